"""Movement pruning: weights that fine-tuning moves towards zero go, large or small (Sanh et al. 2020)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from workbench.masks import dense, keep_top
from workbench.methods.registry import Arguments, named
from workbench.methods.regrow import rising
from workbench.states import Progress
from workbench.types import Masks


@named(
    "movement",
    source="Sanh, Wolf and Rush 2020, arXiv:2005.07683, section 4",
    sparsity="rises",
    returns=True,
    gradients="all",
    memory="a score for each weight; the weights behind the masks, dense",
    cost="the gradients of removed weights at every step; a sort of all weights at each change",
)
def movement(
    model: nn.Module,
    sparsity: float,
    *,
    allocation: str = "layer",
    unit: str = "weight",
    exclude: Iterable[str] = (),
    schedule: str = "cubic",
    every: int = 20,
    start: float = 0.0,
    stop: float = 0.75,
) -> Arguments:
    """Every `every` steps the weights of highest `S = -sum of w dL/dw` stay: those that training moved away from zero.

    The sum is over all steps so far, of the gradient of the masked network at each weight and of the weight's own
    value, also behind the mask: so the score of a removed weight goes on (straight through), and it may come back with
    the value it had. Removed weights get no gradient themselves. The sparsity rises as in "gradual". With a `unit`
    other than a weight, such as "head", the sum of its weights' scores counts. Layers in `exclude` stay.

    Misleads from new weights: what trains from nothing moves away from zero everywhere.
    """
    rise = rising(sparsity, schedule, every, start, stop)
    masks = dense(model, exclude)

    @torch.no_grad()
    def update(progress: Progress) -> Masks | None:
        gradients = {name: progress.model.get_parameter(name).grad for name in masks}
        if "cut" not in progress.memory:
            scores = progress.memory.setdefault(
                "scores", {name: torch.zeros_like(w) for name, w in progress.behind.items()}
            )
            for name, grad in gradients.items():
                scores[name] -= progress.behind[name] * (0 if grad is None else grad)
        for name, grad in gradients.items():
            if grad is not None:
                grad.mul_(progress.in_force.get(name, True))
        if (now := rise(progress)) is None:
            return None
        scores = {name: progress.memory["scores"][name] for name in masks}
        units: dict[str, Any] = dict(granularity=unit, model=progress.model, example=progress.batch.inputs)
        return keep_top(scores, now, allocation=allocation, **units)

    return {"masks": masks, "update": update, "straight_through": True}
