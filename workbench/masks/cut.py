"""From scores to masks by one cut."""

import functools
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from workbench.allocation import ALLOCATIONS, Allocation, budgets, kept_count
from workbench.granularity import REDUCTIONS, any_kept, check_share, find_granularity
from workbench.granularity.fixed import kth_largest
from workbench.models.weights import counted
from workbench.types import Masks, Scores, check_bools, check_choice, check_scores, check_sparsity, warn

MANY = 100, 0.1
"""From so many kept units, and this share of them, a warning says that the index decides a mask."""


def dense(model: nn.Module, exclude: Iterable[str] = ()) -> Masks:
    """Masks that keep every prunable weight.

    >>> dense(nn.Linear(2, 1))["weight"].tolist()
    [[True, True]]
    """
    return {name: torch.ones_like(w, dtype=torch.bool) for name, w in counted(model, exclude).items()}


def keep_top(
    scores: Scores,
    sparsity: float,
    *,
    allocation: Allocation = "global",
    within: Masks | None = None,
    granularity: str = "weight",
    reduce: str = "sum",
    model: nn.Module | None = None,
    example: Tensor | None = None,
) -> Masks:
    """Masks that remove exactly `floor(n * sparsity + 1/2)` of the n units, lowest scores first.

    By rank and never by threshold; among equal scores the earlier unit is kept. `allocation="global"` lets all scores
    compete; any other of the `allocations()`, or a dict of densities, splits the budget over layers. What the masks
    `within` remove stays removed. A unit is a weight, or what `granularity` names: "2:4", "kernel", "block 4x4",
    "channel", ... (`granularity.find_granularity`); scores of weights become one of each unit by the rule `reduce`,
    "sum", "mean", "max" or "norm" (root of the sum of squares). Masks of channels also cover biases, and the entries of
    norms that take the channels one by one: a removed channel is 0 behind them. A pass of `example` `[n, ...]` shows
    which these are; by default it is one input of the model's `input_shape`.
    Raises ValueError for a sparsity outside [0, 1), scores that are not finite or not of this model, or a budget that
    `within` cannot meet, TypeError without a model or example that is needed. Warns if ties decide a tenth or more, or
    if a layer loses all its channels.
    Misleads under "global" when layers differ in scale: whole layers can be lost although the total is exact. Channels
    of the last layer are the outputs themselves: leave it out of the scores with `wb.score(..., exclude=[...])`.

    >>> keep_top({"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([3.0, 3.0])}, 0.5)
    {'a': tensor([False,  True]), 'b': tensor([ True, False])}
    >>> scores, whole = {"weight": torch.tensor([1.0, 2.0])}, dict(model=nn.Linear(3, 2), example=torch.ones(1, 3))
    >>> {name: mask.tolist() for name, mask in keep_top(scores, 0.5, granularity="channel", **whole).items()}
    {'weight': [[False, False, False], [True, True, True]], 'bias': [False, True]}
    """
    kind, scores, sparsity = find_granularity(granularity), check_scores(scores), check_sparsity(sparsity)
    check_share(granularity, sparsity, allocation)
    units = kind.reduce(model, scores, REDUCTIONS[check_choice("reduce", reduce, REDUCTIONS)])
    live = within
    if within is not None:
        if kind.share is not None:
            raise ValueError(f"{granularity!r} is one cut of all weights; got masks within. Leave them out")
        within = check_bools(within)
        live = kind.reduce(model, {name: within[name] for name in units if name in within}, any_kept)
    masks, told = cut(units, sparsity, allocation, live)
    if told := told or emptied(masks, granularity):
        warn(told)
    if granularity == "weight":
        return masks
    masks = kind.expand(model, example)(masks)
    return {name: mask & within[name] if within and name in within else mask for name, mask in masks.items()}


def cut(scores: Scores, sparsity: float, allocation: Allocation, within: Masks | None) -> tuple[Masks, str]:
    """`keep_top` of units' scores that were checked, and a warning if the index decides much of it."""
    scores = common(scores)
    flat = {name: score.reshape(-1) for name, score in scores.items()}
    live = {} if within is None else _checked(within, scores)
    if allocation == "global":
        sizes = [values.numel() for values in flat.values()]
        budget = kept_count(sum(sizes), sparsity)
        kept, tied = _top(torch.cat(list(flat.values())), budget, torch.cat(list(live.values())) if live else None)
        parts = kept.split(sizes)
    else:
        budgeted = budgets({name: s.shape for name, s in scores.items()}, sparsity, allocation)
        found = [_top(values, budgeted[name], live.get(name), f" of {name!r}") for name, values in flat.items()]
        parts, tied = [part for part, _ in found], sum(number for _, number in found)
        budget = sum(budgeted.values())
    masks = {name: part.reshape(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}
    if tied < max(MANY[0], MANY[1] * budget):
        return masks, ""
    return masks, (
        f"the scores do not decide about {tied:,} of the {budget:,} kept ({tied / budget:.0%}): some removed ones "
        "have the same scores, so the index decided. The reason can be a dead network or layer, a dtype that cannot "
        "hold the scores, or inputs that are always 0. Look at the scores before you trust the mask"
    )


def emptied(masks: Masks, granularity: str) -> str:
    """A warning about layers that lose all their units; for single weights `collapsed` reports it."""
    gone = [] if granularity == "weight" else [name for name, mask in masks.items() if not mask.any()]
    if not gone:
        return ""
    shown = ", ".join(map(repr, gone[:3])) + (f" and {len(gone) - 3} more" if len(gone) > 3 else "")
    return (
        f'the cut leaves no {granularity} in {shown}: nothing passes there. Under allocation="global" this '
        'happens if scores differ in scale. Use allocation="layer", or a lower sparsity'
    )


def allocate(
    model: nn.Module, sparsity: float, name: str, scores: Scores | None = None, *, exclude: Iterable[str] = ()
) -> dict[str, float]:
    """The density of each layer under an allocation: parameter name -> kept / all, exact in total.

    Densities times sizes are whole and sum to what `keep_top` keeps; the dict is an allocation itself. `"global"` needs
    `scores` that compete; with scores the layers are those scored, else all prunable ones except `exclude`.

    >>> model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> allocate(model, 0.5, "erk")
    {'0.weight': 0.40625, '2.weight': 0.875}
    """
    sparsity = check_sparsity(sparsity)
    check_choice("allocation", name, ALLOCATIONS)
    weights: Mapping[str, Tensor] = counted(model, exclude)
    if scores is not None:
        for layer in check_scores(scores):
            if layer not in weights:
                known = ", ".join(weights)
                raise ValueError(f"scores name prunable weights, {known}; got {layer!r}. Score this model")
        weights = scores
    if name == "global" and scores is not None:
        kept = {layer: int(mask.sum()) for layer, mask in cut(scores, sparsity, name, None)[0].items()}
    else:
        kept = budgets({layer: w.shape for layer, w in weights.items()}, sparsity, name)
    return {layer: kept[layer] / w.numel() for layer, w in weights.items()}


def common(scores: Scores) -> Scores:
    """Scores in one float dtype that loses nothing, so that layers compete on equal terms."""
    dtype = functools.reduce(torch.promote_types, (score.dtype for score in scores.values()), torch.float32)
    return {name: score.to(dtype) for name, score in scores.items()}


def _checked(within: Masks, scores: Scores) -> dict[str, Tensor]:
    """The masks of what is still there, flat, in the order of the scores."""
    for name, score in scores.items():
        mask = within.get(name)
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != score.shape:
            got = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else "nothing"
            raise ValueError(
                f"within holds a bool mask for every scored layer; {name!r} has shape {tuple(score.shape)}, got {got}"
            )
    return {name: within[name].reshape(-1) for name in scores}


def _top(values: Tensor, kept: int, live: Tensor | None, where: str = "") -> tuple[Tensor, int]:
    """Bool, True for the `kept` highest of the live values, the earlier of equal ones; and how many the index chose."""
    n = len(values) if live is None else int(live.count_nonzero())
    if kept > n:
        raise ValueError(
            f"what is removed stays removed; {n:,}{where} are left within the masks, and this sparsity "
            f"keeps {kept:,}. Pass a higher sparsity"
        )
    if kept == 0:
        return torch.zeros_like(values, dtype=torch.bool), 0
    threshold = kth_largest((values if live is None else values[live])[None], kept)[0]
    chosen = values >= threshold if live is None else (values >= threshold) & live
    surplus = int(chosen.count_nonzero()) - kept
    if not surplus:
        return chosen, 0
    ties = torch.nonzero(chosen & (values == threshold)).squeeze(1)
    chosen[ties[len(ties) - surplus :]] = False
    return chosen, len(ties) - surplus
