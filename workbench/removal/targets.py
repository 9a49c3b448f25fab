"""How many units go, so that what is left costs a given part of the dense model."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from workbench.allocation import Allocation
from workbench.masks import keep_top
from workbench.metrics import latency, macs
from workbench.models.running import fitted
from workbench.models.watch import example_of
from workbench.removal.smaller import without
from workbench.removal.units import coupling, group_masks
from workbench.types import Masks, Scores, check_choice

Cost = Callable[[nn.Module, Tensor], float]
COSTS: dict[str, Cost] = {
    "parameters": lambda model, example: sum(p.numel() for p in model.parameters()),
    "macs": lambda model, example: macs(model, example[:1]),
    "seconds": lambda model, example: latency(model, example, repeats=9, threads=1)["median"],
}
"""What a removed model can be asked to cost a share of; seconds are those of the example's batch, on one thread."""


def masks_to(
    model: nn.Module,
    scores: Scores,
    share: float,
    example: Tensor | None = None,
    *,
    of: str = "macs",
    allocation: Allocation = "layer",
) -> Masks:
    """Masks whose removal leaves at most this share of the dense model's "macs", "parameters" or "seconds".

    `scores` are those of `wb.group_scores`; `allocation` splits the units over the groups ("layer": the same part of
    each). The part of the units that goes is found by halving, to a thousandth; it is neither the sparsity nor the
    share. Seconds are measured here and now. Raises ValueError where even one unit in each group costs more.

    >>> import torch
    >>> import workbench as wb
    >>> model = wb.make("vgg", wb.load("digits", device="cpu"))
    >>> scores = wb.group_scores(model, wb.score(model, None, "magnitude"))
    >>> small = wb.remove(model, masks_to(model, scores, 0.5))
    >>> 0.45 < wb.macs(small, torch.zeros(1, 1, 8, 8)) / wb.macs(model, torch.zeros(1, 1, 8, 8)) <= 0.5
    True
    """
    example = fitted(model, example_of(model, example))
    cost, found = COSTS[check_choice("of", of, COSTS)], coupling(model, example)
    if not 0 < share < 1:
        raise ValueError(f"share is the part of the dense model's {of} that may be left, in (0, 1); got {share}")
    dense = cost(model, example)

    def left(kept: Masks) -> float:
        """The share of the cost that is left; more than all where a group would lose all its units."""
        gone = np.zeros_like(found.written)
        for group, mask in kept.items():
            gone[found.order[group][~mask.cpu().numpy()]] = True
        alive = all(bool(mask.any()) for mask in kept.values())
        return cost(without(found, {}, gone), example) / dense if alive else math.inf

    low, high, best = 0.0, 1.0, None
    while high - low > 1e-3:
        part = (low + high) / 2
        kept = keep_top(scores, part, allocation=allocation)
        now = left(kept)
        if now > share and now < math.inf:
            low = part
        else:
            high, best = part, kept if now <= share else best
    if best is None:
        told = f"the units of {len(scores)} groups can go, one stays in each; more than {share:g} of the {of} is left"
        raise ValueError(f"{told}. Pass a larger share")
    return group_masks(model, best, example)
