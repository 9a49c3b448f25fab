"""Top-KAST: few weights act forward, some more are trained behind them (Jayakumar et al. 2020)."""

import torch
from torch import nn

from workbench.masks import keep_top
from workbench.methods.registry import Arguments, named
from workbench.methods.regrow import due, first, magnitudes
from workbench.models import prunable
from workbench.states import Progress
from workbench.types import Masks


@named(
    "top-kast",
    source="Jayakumar et al. 2020, arXiv:2106.03517",
    sparsity="constant",
    returns=True,
    gradients="all",
    memory="the weights behind the masks, dense; which of them are trained",
    cost="the gradients of some removed weights at every step; two sorts of each layer at each change",
)
def top_kast(
    model: nn.Module,
    sparsity: float,
    *,
    allocation: str = "layer",
    reach: float = 2.0,
    every: int = 20,
    stop: float = 1.0,
    strength: float = 1e-4,
) -> Arguments:
    """The largest weights act forward; in each layer `reach` times as many are trained, the next largest too.

    Both sets are chosen anew every `every` steps. The gradient of all other weights is set to 0. A penalty on squares
    pulls at weights in force with `strength`, at the other trained ones with `strength / density`: a weight that is not
    in force must earn its place.

    Misleads as a saving: here all gradients are computed, and weight decay and moments still move every weight.
    """
    if not reach >= 1:
        raise ValueError(f"reach is trained / kept weights of a layer, at least 1; got {reach}. Pass 2")

    @torch.no_grad()
    def update(progress: Progress) -> Masks | None:
        behind, masks, memory = progress.behind, progress.in_force, progress.memory
        change = due(progress, every, stop)
        if change or "trained" not in memory:
            masks = keep_top(magnitudes(behind), sparsity, allocation=allocation)
            counts = {name: int(reach * int(mask.sum())) for name, mask in masks.items()}
            memory["trained"] = {n: first(w.abs(), torch.ones_like(masks[n]), counts[n]) for n, w in behind.items()}
        for name, weight in behind.items():
            grad, density = progress.model.get_parameter(name).grad, float(masks[name].float().mean())
            if grad is not None:
                grad.add_(weight / torch.where(masks[name], 1.0, max(density, 1e-9)), alpha=strength)
                grad.mul_(memory["trained"][name])
        return masks if change else None

    masks = keep_top(magnitudes(prunable(model)), sparsity, allocation=allocation)
    return {"masks": masks, "update": update, "straight_through": True}
