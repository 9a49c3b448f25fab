"""Soft threshold reparameterization: each layer learns how much it removes (Kusupati et al. 2020)."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from workbench.masks import dense, keep_top
from workbench.methods.registry import Arguments, named
from workbench.methods.regrow import last
from workbench.models import prunable
from workbench.models.running import Loss, loss_of
from workbench.states import Progress
from workbench.types import Batch, Masks


def slope(weight: Tensor, level: float) -> float:
    """dL/ds of `L(soft(w, s))`, from the gradient of w, which is 0 where the soft weight is.

    With soft(w) = sign(w) max(|w| - sigmoid(s), 0), a soft weight moves by `-sign(w) sigmoid'(s)`.
    """
    along = 0.0 if weight.grad is None else float(torch.vdot(weight.sign().flatten(), weight.grad.flatten()))
    return -along * sigmoid(level) * (1 - sigmoid(level))


def sigmoid(level: float) -> float:
    """The threshold of a level.

    >>> sigmoid(0.0)
    0.5
    """
    return 1 / (1 + math.exp(-level))


@named(
    "str",
    source="Kusupati et al. 2020, arXiv:2002.03231, equations 3 to 6",
    sparsity="at the end",
    returns=False,
    gradients="all",
    memory="a threshold for each layer; the soft sparsity of the last step",
    cost="a soft threshold of all weights in each step",
)
def soft_threshold(
    model: nn.Module,
    sparsity: float,
    *,
    initial: float = -8.0,
    rate: float = 20.0,
    strength: float = 0.006,
    stop: float = 0.75,
    loss_fn: Loss = functional.cross_entropy,
) -> Arguments:
    """Each layer acts with `sign(w) max(|w| - sigmoid(s), 0)`; its s is trained, from `initial` on.

    Weight decay of s (`strength`) pulls it to 0, so the threshold rises; it decides the sparsity together with
    `initial`, and "soft sparsity" in the memory logs it. At the share `stop` of the training the weights of least
    `|w| - sigmoid(s)` go, exactly as many as asked for, the others take their soft values, and masks stay.

    Misleads if the soft sparsity is far from the one asked for: then the cut removes, or brings back, what was trained.
    Until the cut a record's `val_` number is that of the weights without thresholds.
    """
    names = list(prunable(model))

    def loss(now: nn.Module, batch: Batch, memory: dict[str, Any]) -> Tensor:
        if "cut" in memory:
            return loss_of(loss_fn, now(batch.inputs), batch.targets)
        levels = memory.setdefault("levels", dict.fromkeys(names, initial))
        weights = {n: functional.softshrink(now.get_parameter(n), sigmoid(level)) for n, level in levels.items()}
        return loss_of(loss_fn, functional_call(now, weights, (batch.inputs,)), batch.targets)

    @torch.no_grad()
    def update(progress: Progress) -> Masks | None:
        memory, weights = progress.memory, {n: progress.model.get_parameter(n) for n in names}
        if "cut" in memory:
            return None
        levels, pace = memory["levels"], rate * progress.optimizer.param_groups[0]["lr"]
        for name, weight in weights.items():
            levels[name] -= pace * (slope(weight, levels[name]) + strength * levels[name])
        sizes = {n: w.abs() for n, w in weights.items()}
        off = sum(int((size <= sigmoid(levels[n])).sum()) for n, size in sizes.items())
        memory["soft sparsity"] = off / sum(size.numel() for size in sizes.values())
        if not last(progress, stop):
            return None
        for name, weight in weights.items():
            weight.copy_(functional.softshrink(weight, sigmoid(levels[name])))
        return keep_top({n: size - sigmoid(levels[n]) for n, size in sizes.items()}, sparsity)

    return {"masks": dense(model), "loss": loss, "update": update}
