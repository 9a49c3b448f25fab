"""What a granularity is, the registry of them, and the rules that make one score of many."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor, nn

from workbench.models import prunable
from workbench.registry import Registry
from workbench.types import Masks, Scores

Rule = Callable[[Tensor], Tensor]
"""One number of those in the last dimension, which are a unit's."""

REDUCTIONS: dict[str, Rule] = {
    "sum": lambda scores: scores.sum(-1),
    "mean": lambda scores: scores.mean(-1),
    "max": lambda scores: scores.amax(-1),
    "norm": lambda scores: scores.square().sum(-1).sqrt(),
}
"""Rules that make one score of those of a unit's weights, by name."""


def any_kept(bits: Tensor) -> Tensor:
    """The rule for masks: whether a unit keeps a weight."""
    return bits.any(-1)


Expand = Callable[[nn.Module | None, Tensor | None], Callable[[Masks], Masks]]
Grid = Callable[[nn.Module, str, Tensor], tuple[Tensor, int, int]]


class Granularity(NamedTuple):
    """`reduce(model, values, rule)` gives one value a unit, of values in the weights' shapes (those of units stay).

    `expand(model, example)`, with a batch of inputs, gives the function from units' masks to the parameters' masks.
    `share` is what it removes of the weights, where that is fixed (2:4 removes half): then units are weights, and the
    values of those that are kept are higher than all others; `grid(model, name, values)` shows a weight's values as a
    matrix in which the places that go together stand together, in blocks of so many rows and columns.
    """

    reduce: Callable[[nn.Module | None, Scores, Rule], Scores]
    expand: Expand
    share: float | None = None
    grid: Grid | None = None


GRANULARITIES: Registry[Granularity] = Registry("granularity")


def shapes_of(model: nn.Module | None, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The shapes of these prunable weights."""
    known = prunable(needed(model), strict=False)
    for name in names:
        if name not in known:
            raise ValueError(f"scores name prunable weights, {', '.join(known)}; got {name!r}. Score this model")
    return {name: tuple(known[name].shape) for name in names}


def of_weights(name: str, value: Tensor, shape: tuple[int, ...], units: tuple[int, ...]) -> bool:
    """Whether these are values of a weight's entries, and not of its units; ValueError for another shape."""
    if tuple(value.shape) not in (shape, units):
        told = f"values of {name!r} have its weight's shape {shape}, or that of its units {units}"
        raise ValueError(f"{told}; got {tuple(value.shape)}. Score this model")
    return tuple(value.shape) == shape


def needed(model: nn.Module | None) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TypeError(f"units of more than one weight need a model; got model={model!r}. Pass model=")
    return model


def same(model: nn.Module | None, example: Tensor | None) -> Callable[[Masks], Masks]:
    """Units are weights."""
    return lambda units: units
