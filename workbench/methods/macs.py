"""Pruning to a number of multiply-adds in place of a number of weights."""

from __future__ import annotations

from torch import Tensor, nn

from workbench.masks import keep_top
from workbench.metrics import macs
from workbench.types import Masks, Scores


def keep_within_macs(model: nn.Module, scores: Scores, most: int, example: Tensor, allocation: str = "global") -> Masks:
    """The masks of `keep_top` that keep the most weights at no more than `most` MACs per sample, by bisection.

    >>> import torch
    >>> model = nn.Linear(4, 1)
    >>> scores = {"weight": torch.tensor([[1.0, 4.0, 2.0, 3.0]])}
    >>> keep_within_macs(model, scores, 2, torch.ones(1, 4))["weight"].tolist()
    [[False, True, False, True]]
    """
    total = sum(s.numel() for s in scores.values())

    def keep(kept: int) -> Masks:
        return keep_top(scores, 1 - kept / total, allocation=allocation)

    if most < macs(model, example, keep(1)):
        raise ValueError(f"most is a number of MACs that pays for one weight at least; got {most}")
    within, beyond = 1, total + 1
    while beyond - within > 1:
        middle = (within + beyond) // 2
        within, beyond = (middle, beyond) if macs(model, example, keep(middle)) <= most else (within, middle)
    return keep(within)
