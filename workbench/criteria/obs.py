"""OBS: optimal brain surgeon, loss change after the others' best correction (Hassibi and Stork 1993)."""

import torch
from torch import Tensor, nn

from workbench.criteria.curvature import curvature_matrix, flat, named
from workbench.criteria.passes import Weights, masked_weights
from workbench.criteria.registry import criterion
from workbench.models import prunable
from workbench.models.running import Loss
from workbench.types import Batch, Masks, Scores

MOST = 4000
"""Weights at most: the inverse of the curvature matrix takes their number squared in memory, cubed in time."""


@criterion(
    "obs",
    family="loss change",
    derivatives="Hessian",
    cost="1 forward and a backward for each output, of each sample; the inverse of an n x n matrix",
    source="Hassibi and Stork 1993 (Optimal Brain Surgeon)",
    bn="running",
    bn_fixed=True,
    most=MOST,
)
def obs(
    model: nn.Module,
    batch: Batch,
    masks: Masks | None,
    loss_fn: Loss,
    curvature: str = "gauss-newton",
    damp: float = 1e-6,
) -> Scores:
    """`s_q = w_q^2 / (2 [H^-1]_qq)`: the loss's rise if q goes and the weights that are left move to make up for it.

    H is the curvature by all weights that are left ("gauss-newton" or "exact"), with `damp` times its mean diagonal
    added to the diagonal; removed weights score 0. `methods.obs.remove_weights` takes weights out with that correction.
    Misleads away from a minimum, and as a ranking for a cut of many weights: the score is for one weight at a time.
    """
    weights = masked_weights(model, masks)
    live = live_weights(weights, masks)
    point = flat(weights).double()[live]
    inverse = inverse_curvature(model, weights, batch, loss_fn, curvature, damp, live)
    scores = torch.zeros(len(live), dtype=torch.float64, device=live.device)
    scores[live] = point.square() / (2 * inverse.diagonal())
    return named(weights, scores)


def live_weights(weights: Weights, masks: Masks | None) -> Tensor:
    """Which weights are left, as one flat mask over all layers."""
    masks = masks or {}
    return flat({name: masks.get(name, torch.ones_like(w, dtype=torch.bool)) for name, w in weights.items()})


def inverse_curvature(
    model: nn.Module, weights: Weights, batch: Batch, loss_fn: Loss, curvature: str, damp: float, live: Tensor
) -> Tensor:
    """The inverse of the damped curvature by the live weights; a ValueError where it is too large or not positive."""
    if len(live) > MOST:
        raise ValueError(
            f"OBS inverts a matrix of all prunable weights, at most {MOST:,}; got {len(live):,} "
            f"({', '.join(prunable(model, strict=False))}). Score a smaller model, or use 'obd'"
        )
    matrix = curvature_matrix(model, weights, batch, loss_fn, curvature).double()[live][:, live]
    matrix.diagonal().add_(damp * matrix.diagonal().mean().abs() + torch.finfo(torch.float64).tiny)
    factor, fault = torch.linalg.cholesky_ex(matrix)
    if fault:
        raise ValueError(
            f"OBS needs a curvature that is positive in every direction; got a matrix that is not, with damp={damp:g}. "
            "Train to a minimum first, pass a larger damp, or curvature='gauss-newton'"
        )
    return torch.cholesky_inverse(factor)
