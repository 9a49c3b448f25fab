"""Channel pruning by LASSO on the next layer's outputs (He, Zhang and Sun 2017, arXiv:1707.06168)."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from workbench.criteria.next_layer import Reading, readings
from workbench.criteria.registry import builtin
from workbench.models import prunable
from workbench.types import Batch, Masks, Scores


@builtin(
    "cp",
    needs="inputs",
    family="saliency",
    granularity="channel",
    cost="2 forward; a LASSO path over the channels of each layer",
    source="He et al. 2017, arXiv:1707.06168",
    bn="running",
    memory="activations",
)
def cp(
    model: nn.Module,
    batch: Batch,
    *,
    masks: Masks | None = None,
    loss_fn: Any,
    generator: torch.Generator,
    samples: int | None = 10,
) -> Scores:
    """`s_c`: the largest λ with `β_c ≠ 0` in `min 1/(2N) ||y - sum_c β_c x_c / ||W_c|| ||² + λ ||β||_1`.

    y are `samples` outputs of the next layer without bias, drawn from each input (None: all), x_c is what channel c
    adds to them, and W_c the next layer's weights that read it, whose norm is set to 1 as in the paper. The path of
    solutions is exact; the paper's least squares on W between its steps are left out, and so is the intercept of the
    authors' code, which does not set norms. A channel that the path never takes in, such as one that is always zero,
    scores 0. Layers without one certain next layer (residual sums, the last layer) have no score and must be left out
    with `exclude`; ValueError if no layer has one.
    Misleads under global allocation, as λ has the scale of the layer's outputs, and with fewer samples than channels.
    """
    found = readings("cp", model, batch, masks, samples, generator)
    weights = prunable(model, strict=False)
    return {name: _penalties(reading).to(weights[name].device) for name, reading in found.items()}


def _penalties(reading: Reading) -> Tensor:
    from sklearn.linear_model import lars_path_gram

    parts, target = reading.parts, reading.parts.sum(1)
    there = parts.any(0)
    columns = parts[:, there] / reading.norms[there]
    scores = torch.zeros(parts.shape[1], dtype=parts.dtype)
    if not len(columns.T):
        return scores
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about channels that are combinations of others
        penalties, _, path = lars_path_gram(
            (columns.T @ target).numpy(),
            (columns.T @ columns).numpy(),
            n_samples=len(parts),
            max_iter=8 * columns.shape[1],
            method="lasso",
        )
    chosen = torch.from_numpy(path != 0)
    first = chosen.to(torch.int8).argmax(1)  # the knot after the one where the channel enters
    entered = torch.from_numpy(penalties.copy())[(first - 1).clamp_min(0)]
    scores[there] = torch.where(chosen.any(1), entered, 0.0)
    return scores
