"""OBS: optimal brain surgeon, loss change after the others' best correction (Hassibi and Stork 1993)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from workbench.criteria.curvature import curvature_matrix, flat, named
from workbench.criteria.passes import masked_weights
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
    memory="Hessian",
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
    added to the diagonal; removed weights score 0. `remove_weights` takes weights out with that correction.
    Misleads away from a minimum, and as a ranking for a cut of many weights: the score is for one weight at a time.
    """
    weights = masked_weights(model, masks)
    live = _live(weights, masks)
    point = flat(weights).double()[live]
    inverse = _inverse(model, weights, batch, loss_fn, curvature, damp, live)
    scores = torch.zeros(len(live), dtype=torch.float64, device=live.device)
    scores[live] = point.square() / (2 * inverse.diagonal())
    return named(weights, scores)


def remove_weights(
    model: nn.Module,
    batch: Batch,
    count: int,
    *,
    loss_fn: Loss = nn.functional.cross_entropy,
    curvature: str = "gauss-newton",
    damp: float = 1e-6,
    exclude: Iterable[str] = (),
) -> tuple[Masks, dict[str, Tensor]]:
    """Remove `count` weights one after another, each the one of the least score; masks, and the corrected weights.

    Removing q moves the weights by `-w_q / [H^-1]_qq * H^-1 e_q`, which sets w_q to 0, and takes q out of the
    inverse: `H^-1 - H^-1 e_q e_q' H^-1 / [H^-1]_qq`. H is that of the start. Layers that `exclude` names neither go nor
    move. The model is untouched.

    >>> from workbench.types import Batch
    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 2.0]]))
    >>> batch = Batch(torch.eye(2), torch.zeros(2, 1))
    >>> masks, weights = remove_weights(model, batch, 1, loss_fn=nn.functional.mse_loss)
    >>> masks["weight"].tolist(), [round(w, 4) for w in weights["weight"][0].tolist()]
    ([[False, True]], [0.0, 2.0])
    """
    chosen = prunable(model, exclude)
    weights = {name: weight for name, weight in masked_weights(model, None).items() if name in chosen}
    live = _live(weights, None)
    point = flat(weights).double()
    inverse = _inverse(model, weights, batch, loss_fn, curvature, damp, live)
    if not 0 <= count < len(live):
        raise ValueError(f"count is a number of weights to remove, from 0 to {len(live) - 1}; got {count}")
    for _ in range(count):
        diagonal = inverse.diagonal()
        scores = torch.where(live, point.square() / (2 * diagonal), torch.inf)
        q = int(scores.argmin())
        column = inverse[:, q] / diagonal[q]
        point = point - point[q] * column
        inverse = inverse - torch.outer(column, inverse[q])
        live[q] = False
        point[q] = 0.0
        inverse[q], inverse[:, q] = 0.0, 0.0
        inverse[q, q] = 1.0
    return named(weights, live), {name: new.to(weights[name].dtype) for name, new in named(weights, point).items()}


def _live(weights: dict[str, Tensor], masks: Masks | None) -> Tensor:
    masks = masks or {}
    return flat({name: masks.get(name, torch.ones_like(w, dtype=torch.bool)) for name, w in weights.items()})


def _inverse(
    model: nn.Module,
    weights: dict[str, Tensor],
    batch: Batch,
    loss_fn: Loss,
    curvature: str,
    damp: float,
    live: Tensor,
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
