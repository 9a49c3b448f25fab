"""Sparse networks from scratch: momentum says where weights grow (Dettmers and Zettlemoyer 2019)."""

import torch
from torch import Tensor, nn

from workbench.allocation import apportion
from workbench.methods.registry import Arguments, named
from workbench.methods.regrow import dropped, due, grown, random_start
from workbench.states import Progress
from workbench.types import Masks


def _mean(momentum: Tensor) -> float:
    """The mean of magnitudes, above 0 so that a split is always possible."""
    return max(float(momentum.abs().mean()), 1e-30) if momentum.numel() else 1e-30


@named(
    "snfs",
    source="Dettmers and Zettlemoyer 2019, arXiv:1907.04840",
    sparsity="constant",
    returns=True,
    memory="a momentum of all weights, dense",
    cost="the gradients of removed weights at every step; a sort of each layer",
    gradients="all",
)
def sparse_momentum(
    model: nn.Module,
    sparsity: float,
    *,
    allocation: str = "layer",
    drop: float = 0.5,
    every: int = 20,
    stop: float = 1.0,
    smoothing: float = 0.9,
    seed: int = 0,
) -> Arguments:
    """Every `every` steps layers drop the share `drop` of their weights; those with more momentum grow back more.

    The momentum of a weight is the exponential mean of its gradients, removed weights included; a layer's share of
    what grows is the mean |momentum| of its kept weights, and in a layer those of largest |momentum| grow. `drop` falls
    to 0 along a line. What a layer has no room for goes to the others. The total is constant, layers are not.

    Misleads as sparse training: the momentum of removed weights needs dense gradients at every step.
    """

    def update(progress: Progress) -> Masks | None:
        weights = {name: progress.model.get_parameter(name) for name in progress.masks}
        momentum = progress.memory
        for name, weight in weights.items():
            past = momentum.get(name, torch.zeros_like(weight))
            grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            momentum[name] = smoothing * past + (1 - smoothing) * grad
        if not due(progress, every, stop):
            return None
        masks, now = progress.masks, drop * (1 - progress.step / progress.total)
        shares = {name: _mean(momentum[name][mask]) for name, mask in masks.items()}
        kept = {name: dropped(weights[name], mask, int(now * int(mask.sum()))) for name, mask in masks.items()}
        count = sum(int(masks[name].sum() - kept[name].sum()) for name in masks)
        more = apportion(count, {name: int((~mask).sum()) for name, mask in kept.items()}, shares)
        return {name: grown(momentum[name].abs(), kept[name], more[name], closed=masks[name]) for name in masks}

    return {"masks": random_start(model, sparsity, allocation, seed), "update": update}
