"""Pruning to a number of multiply-adds in place of a number of weights."""

from bisect import bisect_right

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

    kept = bisect_right(range(1, total + 1), most, key=lambda kept: macs(model, example, keep(kept)))
    if not kept:
        raise ValueError(f"most is a number of MACs, enough for at least one weight; got {most}")
    return keep(kept)
