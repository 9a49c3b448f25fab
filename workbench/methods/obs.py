"""Optimal brain surgeon: weights go one by one, and those that stay make up for each (Hassibi and Stork 1993)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from workbench.criteria.curvature import flat, named
from workbench.criteria.obs import inverse_curvature, live_weights
from workbench.criteria.passes import masked_weights
from workbench.models import prunable
from workbench.models.running import Loss
from workbench.types import Batch, Masks


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

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 2.0]]))
    >>> batch = Batch(torch.eye(2), torch.zeros(2, 1))
    >>> masks, weights = remove_weights(model, batch, 1, loss_fn=nn.functional.mse_loss)
    >>> masks["weight"].tolist(), [round(w, 4) for w in weights["weight"][0].tolist()]
    ([[False, True]], [0.0, 2.0])
    """
    chosen = prunable(model, exclude)
    weights = {name: weight for name, weight in masked_weights(model, None).items() if name in chosen}
    live = live_weights(weights, None)
    point = flat(weights).double()
    inverse = inverse_curvature(model, weights, batch, loss_fn, curvature, damp, live)
    if not 0 <= count < len(live):
        raise ValueError(f"count is a number of weights to remove, from 0 to {len(live) - 1}; got {count}")
    points, inverses = point[None].clone(), inverse[None]
    for _ in range(count):
        diagonal = inverses[0].diagonal()
        q = torch.where(live, points[0].square() / (2 * diagonal), torch.inf).argmin()
        take_out_(points, inverses, q[None])
        live[q] = False
    return named(weights, live), {name: new.to(weights[name].dtype) for name, new in named(weights, points[0]).items()}


def take_out_(points: Tensor, inverses: Tensor, gone: Tensor) -> None:
    """Remove the weight `gone` `[n]` of each of n problems, in place: its `points` `[n, k]` move, `inverses` lose it.

    >>> points, inverses = torch.tensor([[1.0, 2.0]]), torch.tensor([[[2.0, 1.0], [1.0, 1.0]]])
    >>> take_out_(points, inverses, torch.tensor([0]))
    >>> points.tolist(), inverses.tolist()
    ([[0.0, 1.5]], [[[1.0, 0.0], [0.0, 0.5]]])
    """
    each = torch.arange(len(points), device=points.device)
    columns = inverses[each, :, gone] / inverses[each, gone, gone][:, None]
    points.sub_(points[each, gone][:, None] * columns)
    inverses.sub_(columns[:, :, None] * inverses[each, gone][:, None])
    points[each, gone] = 0.0
    inverses[each, gone], inverses[each, :, gone] = 0.0, 0.0
    inverses[each, gone, gone] = 1.0
