"""Layer collapse, and how far a criterion compresses before it."""

import bisect
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from workbench.allocation import Allocation, budgets, on_the_way
from workbench.criteria.registry import Criterion
from workbench.criteria.scorer import Scorer
from workbench.granularity import unit_shapes
from workbench.masks import find_masks, trajectory
from workbench.models import prunable
from workbench.models.untouched import untouched
from workbench.types import Batch, Masks, Scores, check_scores, check_weights


def collapsed(masks: Masks) -> list[str]:
    """Layers with no kept weight, although another layer keeps at least two.

    Source: Tanaka et al. 2020, arXiv:2006.05467, section 3 (layer-collapse).
    Misleads as the only check: a layer with a few weights left can also be dead; see `effective`.

    >>> collapsed({"a": torch.tensor([False, False]), "b": torch.tensor([True, True])})
    ['a']
    """
    kept = {name: int(m.sum()) for name, m in check_weights(masks).items()}
    return [name for name, count in kept.items() if count == 0 and max(kept.values()) >= 2]


def max_compression(model: nn.Module, exclude: Iterable[str] = ()) -> float:
    """The network's own limit: one weight in each layer; layers that `exclude` names do not count.

    >>> max_compression(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    9.0
    """
    weights = prunable(model, exclude)
    return sum(w.numel() for w in weights.values()) / len(weights)


def critical(scores: Scores, allocation: Allocation = "global") -> float:
    """The highest compression that one cut by `scores` reaches without layer collapse, exactly.

    Under "global" a layer lives as long as its best weight: with r the worst place of any layer's best weight (0 =
    highest score, ties by index) it is n / (r + 1). Any other allocation decides by the shapes only; its budgets never
    rise when the total falls, so bisection finds the smallest total with a weight for each layer.

    Misleads for iterative criteria: their scores change with every round; see `critical_iterated`.

    >>> critical({"a": torch.tensor([5.0, 4.0, 3.0]), "b": torch.tensor([2.0])})
    1.0
    >>> critical({"a": torch.ones(4, 3), "b": torch.ones(2, 4)}, "layer")
    10.0
    """
    scores = check_scores(scores)
    n = sum(s.numel() for s in scores.values())
    if allocation != "global":
        shapes, sizes = {name: s.shape for name, s in scores.items()}, {name: s.numel() for name, s in scores.items()}

        def alive(kept: int) -> bool:
            now = allocation if isinstance(allocation, str) else on_the_way(sizes, 1 - kept / n, allocation)
            return all(budgets(shapes, 1 - kept / n, now).values())

        return n / (1 + bisect.bisect_left(range(1, n), True, key=alive))
    values = torch.cat([s.reshape(-1).double() for s in scores.values()])
    place, offset = 0, 0
    for score in values.split([s.numel() for s in scores.values()]):
        best = score.max()
        first = offset + int((score == best).nonzero()[0])
        ahead = int((values > best).sum()) + int((values[:first] == best).sum())
        place, offset = max(place, ahead), offset + len(score)
    return n / (place + 1)


def critical_iterated(
    model: nn.Module,
    batch: Batch | None,
    criterion: str | Criterion,
    rate: float = 0.1,
    *,
    allocation: Allocation = "global",
    **knobs: Any,
) -> float:
    """The last compression before a layer is empty, if every round removes the share `rate` of what is left.

    Each round scores the network as pruned so far and cuts: one run of about log(critical) / rate scores, exact to that
    rate: the next round loses a layer, or one weight is left in each layer. Knobs go to `wb.find_masks`.

    Misleads as the limit of a schedule of K rounds, whose rates grow with its target: its masks at two targets do not
    nest, and between them a layer may be lost and be there again; see `first_failure`.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> _ = nn.init.constant_(model[0].weight, 1.0), nn.init.constant_(model[2].weight, 2.0)
    >>> round(critical_iterated(model, None, "magnitude"), 3)
    2.571
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1:
        raise ValueError(f"rate is the share of what is left that a round removes, in (0, 1); got {rate!r}. Pass 0.1")
    scorer = Scorer(model, batch, criterion, **knobs)
    total, least = (
        sum(math.prod(shape) for shape in unit_shapes(model, scorer.weights, scorer.granularity).values()),
        len(scorer.weights),
    )
    counts = [total]
    while (kept := counts[-1]) > least:
        counts.append(max(min(round(kept * (1 - rate)), kept - 1), least))
    run = trajectory(scorer, [1 - kept / total for kept in counts[1:]], allocation, search=True)
    with untouched(model):
        for before, found in zip(counts, run, strict=False):
            if not _complete(found.masks):
                return total / before
    return total / least


def first_failure(
    model: nn.Module,
    batch: Batch | None,
    criterion: str | Criterion,
    rounds: int,
    compressions: Iterable[float],
    **knobs: Any,
) -> float | None:
    """The first of the rising `compressions` at which `find_masks(..., rounds=rounds)` leaves a layer empty, or None.

    Misleads as a limit: the schedule's rate depends on the target, and a higher compression may lose no layer.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> _ = nn.init.constant_(model[0].weight, 1.0), nn.init.constant_(model[2].weight, 2.0)
    >>> first_failure(model, None, "magnitude", rounds=1, compressions=[2, 3, 4])
    3
    """
    for compression in sorted(compressions):
        masks = find_masks(model, batch, criterion, 1 - 1 / compression, rounds=rounds, **knobs)
        if not _complete(masks):
            return compression
    return None


def _complete(masks: Masks) -> bool:
    return all(bool(mask.any()) for mask in masks.values())
