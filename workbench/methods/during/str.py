"""Soft threshold reparameterization: each layer learns how much it removes (Kusupati et al. 2020)."""

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


def soft(weight: Tensor, level: Tensor) -> Tensor:
    """`sign(w) max(|w| - sigmoid(s), 0)`.

    >>> soft(torch.tensor([-2.0, 0.25]), torch.tensor(0.0)).tolist()
    [-1.5, 0.0]
    """
    return weight.sign() * (weight.abs() - level.sigmoid()).relu()


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
    """
    names = list(prunable(model))

    def loss(now: nn.Module, batch: Batch, memory: dict[str, Any]) -> Tensor:
        if "cut" in memory:
            return loss_of(loss_fn, now(batch.inputs), batch.targets)
        levels = memory.setdefault("levels", {name: torch.tensor(initial) for name in names})
        weights = {n: soft(now.get_parameter(n), levels[n].requires_grad_()) for n in names}
        found = loss_of(loss_fn, functional_call(now, weights, (batch.inputs,)), batch.targets)
        return found + strength / 2 * torch.stack([level**2 for level in levels.values()]).sum()

    @torch.no_grad()
    def update(progress: Progress) -> Masks | None:
        memory, weights = progress.memory, {n: progress.model.get_parameter(n) for n in names}
        if "cut" in memory:
            return None
        for level in memory["levels"].values():
            level -= rate * progress.optimizer.param_groups[0]["lr"] * level.grad
            level.grad = None
        scores = {n: w.abs() - memory["levels"][n].sigmoid() for n, w in weights.items()}
        off = sum(int((s <= 0).sum()) for s in scores.values())
        memory["soft sparsity"] = off / sum(s.numel() for s in scores.values())
        if not last(progress, stop):
            return None
        memory["cut"] = progress.step
        for name, weight in weights.items():
            weight.copy_(soft(weight, memory["levels"][name]))
        return keep_top(scores, sparsity)

    return {"masks": dense(model), "loss": loss, "update": update}
