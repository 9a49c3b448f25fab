"""Score, cut, and score again what is left."""

from collections import deque
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any, NamedTuple

from torch import nn

from workbench.allocation import Allocation, budgets, on_the_way
from workbench.criteria.registry import Criterion
from workbench.criteria.scorer import Scorer
from workbench.granularity import check_share, find_granularity, unit_shapes
from workbench.masks.cut import cut, emptied
from workbench.models.untouched import untouched
from workbench.types import Batch, Masks, Scores, check_count, check_sparsity, warn


class Round(NamedTuple):
    """One round of iterative scoring: its number, from 1, its scores, and the masks of what is kept after it."""

    round: int
    scores: Scores
    masks: Masks


def rounds(
    model: nn.Module,
    batch: Batch | None,
    criterion: str | Criterion,
    sparsity: float,
    *,
    rounds: int = 1,
    allocation: Allocation = "global",
    **knobs: Any,
) -> Iterator[Round]:
    """The rounds of `find_masks`, one by one, to look at, to stop early, or to train in between.

    Round k of K scores the network as it is now, pruned by the masks so far, and keeps `density ** (k / K)` of all
    weights; removed weights never return, except under `force`, which is made for that. Under a dict of densities the
    layers shrink in proportion to them. The model does not change. Knobs go to `wb.score`: under
    `granularity="channel"` whole channels go, by the masks of `keep_top`. Warns once if ties decide a tenth or more, or
    if a layer loses all its channels.
    Source: Tanaka et al. 2020, arXiv:2006.05467, algorithm 1 (the exponential schedule).
    Misleads when compared at equal sparsity with one-shot scores but not at equal cost: K rounds cost K scores.

    >>> model = nn.Linear(8, 1)
    >>> [int(masks["weight"].sum()) for _, _, masks in rounds(model, None, "magnitude", 0.75, rounds=2)]
    [4, 2]
    """
    run = planned(Scorer(model, batch, criterion, **knobs), sparsity, rounds, allocation)

    def guarded() -> Iterator[Round]:
        while True:
            with untouched(model):
                found = next(run, None)
            if found is None:
                return
            yield found

    return guarded()


def planned(scorer: Scorer, sparsity: float, rounds: int, allocation: Allocation) -> Iterator[Round]:
    """`rounds`, to be run under `untouched`; the arguments are checked at once."""
    sparsity, rounds = check_sparsity(sparsity), check_count("rounds", rounds)
    check_share(scorer.granularity, sparsity, allocation, rounds)
    if allocation != "global":
        budgets(
            unit_shapes(scorer.model, scorer.weights, scorer.granularity), sparsity, allocation
        )  # a wrong allocation is named before the first round
    return trajectory(scorer, [level_sparsity(k, rounds, sparsity) for k in range(1, rounds + 1)], allocation)


def level_sparsity(level: int, levels: int, sparsity: float) -> float:
    """The sparsity after `level` of `levels` rounds that each remove the same share of what is left.

    >>> [level_sparsity(level, 2, 0.75) for level in (1, 2)]
    [0.5, 0.75]
    """
    return sparsity if level == levels else 1 - (1 - sparsity) ** (level / levels)


def trajectory(
    scorer: Scorer, sparsities: Iterable[float], allocation: Allocation = "global", search: bool = False
) -> Iterator[Round]:
    """The rounds that end at these sparsities, which rise; to be run under `untouched`.

    A `search` for the round in which a layer loses all its units needs no warning of it.
    """
    inputs = None if scorer.batch is None else scorer.batch.inputs
    expand = find_granularity(scorer.granularity).expand(scorer.model, inputs)
    units: Masks | None = None
    masks, told = None, ""
    for k, sparsity in enumerate(sparsities, 1):
        # Warned once; a layer that is already dead leaves no gradient to the others, and `collapsed` reports it.
        alive = units is None or all(bool(mask.any()) for mask in units.values())
        scores, split = scorer(masks), allocation
        if not isinstance(split, str):
            split = on_the_way({name: values.numel() for name, values in scores.items()}, sparsity, split)
        units, tied = cut(scores, sparsity, split, None if scorer.entry.returns else units)
        masks = expand(units)
        if alive and not told and (told := tied or (not search and emptied(units, scorer.granularity)) or ""):
            warn(told)
        yield Round(k, scores, masks)
        del scores  # not held while the next ones are made


def find_masks(
    model: nn.Module,
    batch: Batch | None,
    criterion: str | Criterion,
    sparsity: float,
    *,
    rounds: int = 1,
    allocation: Allocation = "global",
    **knobs: Any,
) -> Masks:
    """Masks by one-shot (`rounds=1`) or iterative scoring: the last of `wb.rounds`, which says when they mislead.

    The model is put back once, after the last round: a criterion of your own that writes into it sees what it wrote.

    >>> import workbench as wb
    >>> model = wb.make("vgg", wb.load("digits", device="cpu"))
    >>> masks = find_masks(model, None, "synflow", 0.9, rounds=3)
    >>> sum(int(m.sum()) for m in masks.values())
    29403
    """
    run = planned(Scorer(model, batch, criterion, **knobs), sparsity, rounds, allocation)
    with untouched(model):
        return deque(map(attrgetter("masks"), run), maxlen=1).pop()
