"""Layer collapse, and how far a criterion compresses before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from workbench.criteria.registry import Criterion
from workbench.masks import find_masks
from workbench.models import prunable
from workbench.types import Batch, Masks, Scores, check_bools, check_count, check_scores


def collapsed(masks: Masks) -> list[str]:
    """Layers with no kept weight, though more could go elsewhere (another layer keeps at least two).

    Source: Tanaka et al. 2020, arXiv:2006.05467, section 3 (layer-collapse).
    Misleads as the only alarm: a layer with a few weights left can be just as dead; see `effective`.

    >>> collapsed({"a": torch.tensor([False, False]), "b": torch.tensor([True, True])})
    ['a']
    """
    kept = {name: int(m.sum()) for name, m in check_bools(masks).items()}
    avoidable = any(count >= 2 for count in kept.values())
    return [name for name, count in kept.items() if count == 0 and avoidable]


def max_compression(model: nn.Module, exclude: Iterable[str] = ()) -> float:
    """The network's own limit: one weight a layer; layers that `exclude` names do not count.

    >>> max_compression(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    9.0
    """
    weights = prunable(model, exclude)
    return sum(w.numel() for w in weights.values()) / len(weights)


def critical(scores: Scores) -> float:
    """The highest compression that one-shot global pruning by `scores` reaches without layer collapse, in closed form.

    A layer lives as long as its best weight does: with r the worst place, over the network, of any layer's best
    weight (0 = highest score, ties by index), r + 1 weights are needed and the compression is n / (r + 1).

    Misleads for iterative criteria: their scores change with every round; see `critical_search`.

    >>> critical({"a": torch.tensor([5.0, 4.0, 3.0]), "b": torch.tensor([2.0])})
    1.0
    """
    scores = check_scores(scores)
    values = torch.cat([s.reshape(-1).double() for s in scores.values()])
    place, offset = 0, 0
    for score in scores.values():
        best = score.double().max()
        first = offset + int(torch.nonzero(score.reshape(-1).double() == best)[0])
        ahead = int((values > best).sum()) + int((values[:first] == best).sum())
        place, offset = max(place, ahead), offset + score.numel()
    return len(values) / (place + 1)


def critical_search(
    model: nn.Module,
    batch: Batch | None,
    criterion: str | Criterion,
    rounds: int = 1,
    tolerance: float = 0.02,
    **knobs: Any,
) -> float:
    """The highest compression without layer collapse under iterative scoring, by bisection on its logarithm.

    Exact to a factor of `1 + tolerance` (and to one weight). Assumes that a criterion which collapses at one
    compression collapses at every higher one. Costs about log2(log(max) / tolerance) runs of `rounds` scores.

    Misleads with one batch or seed for criteria that depend on them: repeat it. Misleads too where collapse is not
    monotone (SNIP, FORCE and ProsPr in rounds on a batch's BatchNorm statistics lose a layer at one compression and
    none at a higher one): there it is the end of one bisection, good to a factor of a few.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> _ = nn.init.constant_(model[0].weight, 1.0), nn.init.constant_(model[2].weight, 2.0)
    >>> round(critical_search(model, None, "magnitude"), 3)
    2.571
    """
    check_count("rounds", rounds)
    weights = prunable(model, knobs.get("exclude", ()))
    total, least = sum(w.numel() for w in weights.values()), len(weights)

    def alive(kept: int) -> bool:
        masks = find_masks(model, batch, criterion, 1 - kept / total, rounds=rounds, **knobs)
        return all(bool(m.any()) for m in masks.values())

    if alive(least):
        return total / least
    dead, living = least, total
    while living - dead > 1 and living / dead > 1 + tolerance:
        middle = min(max(round((dead * living) ** 0.5), dead + 1), living - 1)
        dead, living = (dead, middle) if alive(middle) else (middle, living)
    return total / living
