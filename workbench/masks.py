"""From scores to masks, exactly; and what masks do to a model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from workbench.allocation import ALLOCATIONS, Allocation, budgets, kept_count, on_the_way
from workbench.criteria import Scorer, untouched
from workbench.criteria.registry import Criterion
from workbench.models.weights import counted
from workbench.types import (
    Batch,
    Masks,
    Scores,
    check_choice,
    check_count,
    check_masks,
    check_scores,
    check_sparsity,
    warn,
)


def dense(model: nn.Module, exclude: Iterable[str] = ()) -> Masks:
    """Masks that keep every prunable weight.

    >>> dense(nn.Linear(2, 1))["weight"].tolist()
    [[True, True]]
    """
    return {name: torch.ones_like(w, dtype=torch.bool) for name, w in counted(model, exclude).items()}


def keep_top(
    scores: Scores, sparsity: float, *, allocation: Allocation = "global", within: Masks | None = None
) -> Masks:
    """Masks that remove exactly `floor(n * sparsity + 1/2)` of the n weights, lowest scores first.

    By rank and never by threshold; among equal scores the earlier weight is kept. `allocation="global"` lets all
    scores compete, any other of the `allocations()` (or a dict of densities) splits the budget over layers. `within`
    are masks whose removed weights stay removed. Raises ValueError for a sparsity outside [0, 1), scores that are not
    finite, or a budget that `within` cannot meet; warns where ties decide about a tenth of what is kept, or more.

    Misleads under "global" when layers differ in scale: whole layers can go while the total is exact.

    >>> keep_top({"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([3.0, 3.0])}, 0.5)
    {'a': tensor([False,  True]), 'b': tensor([ True, False])}
    """
    scores, sparsity = check_scores(scores), check_sparsity(sparsity)
    if within is not None:
        _check_within(scores, within)
    by_index: list[int] = []
    masks = cut(scores, sparsity, allocation, within, by_index)
    if told := ties(by_index, masks):
        warn(told)
    return masks


MANY = 100, 0.1
"""From so many kept weights, and this share of them, on a mask that the index decides is told."""


def cut(scores: Scores, sparsity: float, allocation: Allocation, within: Masks | None, by_index: list[int]) -> Masks:
    """`keep_top` of arguments that were checked; numbers of weights that are kept by their index join `by_index`."""
    scores = _common(scores)
    sizes = {name: s.numel() for name, s in scores.items()}
    if allocation == "global":
        live = None if within is None else torch.cat([within[name].reshape(-1) for name in scores])
        kept = _top(
            torch.cat([s.reshape(-1) for s in scores.values()]),
            kept_count(sum(sizes.values()), sparsity),
            live,
            by_index,
        )
        parts = kept.split(list(sizes.values()))
        masks = {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}
    else:
        budget = budgets({name: s.shape for name, s in scores.items()}, sparsity, allocation)
        masks = {}
        for name, score in scores.items():
            live = None if within is None else within[name].reshape(-1)
            flat = _top(score.reshape(-1), budget[name], live, by_index, f" of {name!r}")
            masks[name] = flat.reshape(score.shape)
    return masks


def ties(by_index: list[int], masks: Masks) -> str:
    """What there is to say where the index decides about much of what is kept; else nothing."""
    tied, (least, share) = sum(by_index), MANY
    if tied < least or tied < share * (kept := sum(int(mask.sum()) for mask in masks.values())):
        return ""
    return (
        f"the scores say nothing about {tied:,} of the {kept:,} weights kept ({tied / kept:.0%}): others that are "
        "removed have the same scores, and the index decided. A dead network or layer, a dtype that cannot hold the "
        "scores, or inputs that are always 0 do this; look at the scores before you trust the mask"
    )


def allocate(
    model: nn.Module, sparsity: float, name: str, scores: Scores | None = None, *, exclude: Iterable[str] = ()
) -> dict[str, float]:
    """The density of each layer under an allocation: parameter name -> kept / all, exact in total.

    Every density times the layer's size is a whole number, and they sum to the n - floor(n * sparsity + 1/2) weights
    that `keep_top` keeps; the dict is an allocation itself. `"global"` needs the `scores` that compete. With scores
    the layers are those scored, else all prunable ones but `exclude`.

    >>> model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> allocate(model, 0.5, "erk")
    {'0.weight': 0.40625, '2.weight': 0.875}
    """
    sparsity = check_sparsity(sparsity)
    check_choice("allocation", name, ALLOCATIONS)
    weights: Mapping[str, Tensor] = counted(model, exclude)
    if scores is not None:
        weights = _scored(weights, check_scores(scores))
    if name == "global" and scores is not None:
        kept = {layer: int(mask.sum()) for layer, mask in cut(scores, sparsity, name, None, []).items()}
    else:
        kept = budgets({layer: w.shape for layer, w in weights.items()}, sparsity, name)
    return {layer: kept[layer] / w.numel() for layer, w in weights.items()}


def _scored(weights: Mapping[str, Tensor], scores: Scores) -> Scores:
    for name in scores:
        if name not in weights:
            raise ValueError(f"scores name prunable weights, {', '.join(weights)}; got {name!r}. Score this model")
    return scores


def _common(scores: Scores) -> Scores:
    """Scores in one float dtype that loses nothing, so that layers compete on equal terms."""
    dtype = torch.float32
    for score in scores.values():
        dtype = torch.promote_types(dtype, score.dtype)
    return {name: score.to(dtype) for name, score in scores.items()}


def _check_within(scores: Scores, within: Masks) -> None:
    if not isinstance(within, Mapping):
        raise TypeError(f"within is a dict of masks; got {type(within).__name__}")
    for name, score in scores.items():
        mask = within.get(name)
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != score.shape:
            got = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else "nothing"
            raise ValueError(
                f"within holds a bool mask for every scored layer; {name!r} has shape {tuple(score.shape)}, got {got}"
            )


def _top(values: Tensor, kept: int, live: Tensor | None, by_index: list[int], where: str = "") -> Tensor:
    """Bool, True for the `kept` highest of the live values; ties go to the earlier index.

    Where ties are cut, the number of those kept joins `by_index`.
    """
    n = len(values) if live is None else int(live.count_nonzero())
    if kept > n:
        raise ValueError(
            f"weights already removed stay removed; {n:,} weights{where} are left within the masks, and this sparsity "
            f"keeps {kept:,}. Pass a higher sparsity"
        )
    if kept == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    threshold = _kth_largest(values, kept, live)
    chosen = values >= threshold if live is None else (values >= threshold) & live
    surplus = int(chosen.count_nonzero()) - kept
    if surplus:
        ties = torch.nonzero(chosen & (values == threshold)).squeeze(1)
        chosen[ties[len(ties) - surplus :]] = False
        by_index.append(len(ties) - surplus)
    return chosen


def _kth_largest(values: Tensor, k: int, live: Tensor | None) -> Tensor:
    """The k-th largest of the live values: a partition, linear in the number of weights."""
    if values.device.type != "cpu":
        candidates = values if live is None else values[live]
        return candidates.kthvalue(len(candidates) - k + 1).values
    array = values.numpy() if live is None else values.numpy()[np.flatnonzero(live.numpy())]
    return torch.as_tensor(np.partition(array, len(array) - k)[len(array) - k])


@dataclass(frozen=True)
class Ranking:
    """Scores sorted once, so that every sparsity is a look-up; gives the same masks as `keep_top`.

    `ranks[name]` is the place of each weight, 0 = kept longest, over the whole network ("global") or its layer.
    """

    ranks: dict[str, Tensor]
    ordered: dict[str, Tensor]
    cuts: Tensor
    allocation: Allocation
    total: int

    def counts(self, sparsity: float) -> dict[str, int]:
        """Kept weights per layer, without touching the masks."""
        if self.allocation != "global":
            return budgets({name: r.shape for name, r in self.ranks.items()}, sparsity, self.allocation)
        kept = kept_count(self.total, sparsity)
        return {name: int(torch.searchsorted(places, kept)) for name, places in self.ordered.items()}

    def mask(self, name: str, sparsity: float) -> Tensor:
        """The mask of one layer."""
        check_choice("layer", name, self.ranks)
        kept = kept_count(self.total, sparsity) if self.allocation == "global" else self.counts(sparsity)[name]
        return self.ranks[name] < kept

    def masks(self, sparsity: float) -> Masks:
        """The masks of all layers."""
        return {name: self.mask(name, sparsity) for name in self.ranks}

    def cut(self, sparsity: float) -> float | None:
        """The lowest kept score under global allocation; None where each layer has its own or nothing is kept."""
        kept = kept_count(self.total, sparsity)
        return float(self.cuts[kept - 1]) if self.allocation == "global" and kept else None


def rank(scores: Scores, allocation: Allocation = "global") -> Ranking:
    """Sort scores once (stable: among equals the earlier weight ranks higher).

    Memory: 8 bytes a weight. Misleads for iterated criteria, whose scores change with every sparsity.

    >>> rank({"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([3.0, 3.0])}).counts(0.5)
    {'a': 1, 'b': 1}
    """
    scores = _common(check_scores(scores))
    if isinstance(allocation, str) and check_choice("allocation", allocation, ALLOCATIONS) != "global":
        budgets({name: s.shape for name, s in scores.items()}, 0, allocation)  # does it take these shapes?
    sizes = [s.numel() for s in scores.values()]
    if allocation == "global":
        values = torch.cat([s.reshape(-1) for s in scores.values()])
        order = torch.argsort(values, descending=True, stable=True)
        parts = list(_places(order).split(sizes))
        cuts = values[order]
        ordered = {name: part.sort().values for name, part in zip(scores, parts, strict=True)}
    else:
        parts = [_places(torch.argsort(s.reshape(-1), descending=True, stable=True)) for s in scores.values()]
        cuts, ordered = torch.empty(0), {}
    ranks = {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}
    return Ranking(ranks, ordered, cuts, allocation, sum(sizes))


def _places(order: Tensor) -> Tensor:
    """The inverse permutation, as int32 (networks of over two thousand million weights do not fit this workbench)."""
    places = torch.empty(len(order), dtype=torch.int32, device=order.device)
    places[order] = torch.arange(len(order), dtype=torch.int32, device=order.device)
    return places


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
    layers come down in proportion to them. The model is bit-equal at every round. Knobs go to `wb.score`. Warns once
    where ties decide about a tenth of what is kept, or more.
    Source: Tanaka et al. 2020, arXiv:2006.05467, algorithm 1 (the exponential schedule).

    Misleads when compared at equal sparsity with one-shot scores but not at equal cost: K rounds cost K scores.

    >>> model = nn.Linear(8, 1)
    >>> [int(masks["weight"].sum()) for _, _, masks in rounds(model, None, "magnitude", 0.75, rounds=2)]
    [4, 2]
    """
    run = planned(model, batch, criterion, sparsity, rounds, allocation, knobs)

    def guarded() -> Iterator[Round]:
        while True:
            with untouched(model):
                found = next(run, None)
            if found is None:
                return
            yield found

    return guarded()


def planned(
    model: nn.Module,
    batch: Batch | None,
    criterion: str | Criterion,
    sparsity: float,
    rounds: int,
    allocation: Allocation,
    knobs: Mapping[str, Any],
) -> Iterator[Round]:
    """`rounds` of arguments that are checked here, to be run under `untouched`."""
    sparsity, rounds = check_sparsity(sparsity), check_count("rounds", rounds)
    scorer = Scorer(model, batch, criterion, **knobs)
    if allocation != "global":
        shapes = {name: w.shape for name, w in scorer.weights.items()}
        budgets(shapes, sparsity, allocation)  # a wrong allocation is named before the first round
    steps = [1 - (1 - sparsity) ** (k / rounds) for k in range(1, rounds)]
    return trajectory(scorer, [*steps, sparsity], allocation)


def trajectory(scorer: Scorer, sparsities: Iterable[float], allocation: Allocation = "global") -> Iterator[Round]:
    """The rounds that end at these sparsities, which rise; to be run under `untouched`."""
    sizes = {name: w.numel() for name, w in scorer.weights.items()}
    masks: Masks | None = None
    told = ""
    for k, sparsity in enumerate(sparsities, 1):
        split = allocation if isinstance(allocation, str) else on_the_way(sizes, sparsity, allocation)
        # Told once; a layer that died already leaves no gradient to the others, and that is told as collapse.
        alive = masks is None or all(bool(mask.any()) for mask in masks.values())
        scores, by_index = scorer(masks), list[int]()
        masks = cut(scores, sparsity, split, None if scorer.entry.returns else masks, by_index)
        if alive and not told and (told := ties(by_index, masks)):
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
    """Masks by one-shot (`rounds=1`) or iterative scoring, the last of `wb.rounds`; the model is untouched.

    Misleads when compared at equal sparsity with one-shot scores but not at equal cost: K rounds cost K scores.

    >>> import workbench as wb
    >>> model = wb.make("vgg", wb.load("digits", device="cpu"))
    >>> masks = find_masks(model, None, "synflow", 0.9, rounds=3)
    >>> sum(int(m.sum()) for m in masks.values())
    29403
    """
    run = planned(model, batch, criterion, sparsity, rounds, allocation, knobs)
    with untouched(model):
        return deque(map(attrgetter("masks"), run), maxlen=1).pop()


@torch.no_grad()
def apply_masks_(model: nn.Module, masks: Masks) -> None:
    """Set the model's removed weights to exactly 0, in place.

    >>> model = nn.Linear(2, 1)
    >>> apply_masks_(model, {"weight": torch.tensor([[True, False]])})
    >>> model.weight[0, 1].item()
    0.0
    """
    clear_weights_(kept_bits(model, masks))


@torch.no_grad()
def mask_grads_(model: nn.Module, masks: Masks) -> None:
    """Set the gradients of removed weights to 0, in place; call after `backward` and before clipping."""
    clear_grads_(kept_bits(model, masks))


def kept_bits(model: nn.Module, masks: Masks) -> list[tuple[nn.Parameter, Tensor]]:
    """The masked parameters, each with its mask as whole numbers: all bits set where kept, none where removed.

    A bitwise "and" with them sets a number to 0, NaN too, in a sixth of the time that `masked_fill_` takes.
    """
    found = []
    for name, mask in check_masks(model, masks).items():
        weight = model.get_parameter(name)
        whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
        found.append((weight, mask.to(whole).neg_()))
    return found


def clear_weights_(held: list[tuple[nn.Parameter, Tensor]]) -> None:
    """Set the removed weights to exactly 0, in place; `held` is from `kept_bits`, which steps do not repeat."""
    for weight, bits in held:
        weight.detach().view(bits.dtype).bitwise_and_(bits)


def clear_grads_(held: list[tuple[nn.Parameter, Tensor]]) -> None:
    """Set the gradients of removed weights to 0, in place; `held` is from `kept_bits`."""
    for weight, bits in held:
        if weight.grad is not None:
            weight.grad.detach().view(bits.dtype).bitwise_and_(bits)


@torch.no_grad()
def reset_state_(optimizer: torch.optim.Optimizer, model: nn.Module, masks: Masks) -> None:
    """Clear the optimizer's moments of removed weights; call when masks change during training.

    Otherwise a weight that is removed, or grows back, moves by momentum from another time.
    """
    for name, mask in check_masks(model, masks).items():
        for value in optimizer.state.get(model.get_parameter(name), {}).values():
            if isinstance(value, Tensor) and value.shape == mask.shape:
                value.masked_fill_(~mask, 0)
