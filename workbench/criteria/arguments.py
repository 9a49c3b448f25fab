"""What a criterion is given: the arguments it names."""

import inspect
from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any, NamedTuple

GIVEN = ("model", "batch", "masks", "loss_fn", "generator")
"""What a criterion can name."""

OPTIONS = ("bn", "exclude", "granularity", "reduce", "seed")
"""What `wb.score` keeps to itself."""


class Arguments(NamedTuple):
    """What a function takes of `GIVEN`, by place and by name, and its knobs."""

    places: tuple[str, ...]
    names: tuple[str, ...]
    knobs: tuple[str, ...]


def arguments(function: Callable[..., Any]) -> Arguments:
    """Which of `GIVEN` a function names, and its knobs, which have defaults. `**rest` takes all of `GIVEN`.

    A function that can be called as `f(model, batch, masks=, loss_fn=, generator=)` is called so, whatever names it has
    for the first two. Raises TypeError for an argument that is neither given nor has a default, or that never comes.

    >>> arguments(lambda model, masks, power=2: {})
    Arguments(places=(), names=('model', 'masks'), knobs=('power',))
    >>> arguments(lambda net, data, **rest: {}).places
    ('model', 'batch')
    """
    if not callable(function):
        raise TypeError(f"a criterion is a function; got {type(function).__name__}")
    signature = inspect.signature(function)
    takes = list(signature.parameters.values())
    plain = [p for p in takes if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    places: tuple[str, ...] = GIVEN[:2]
    names: tuple[str, ...] = GIVEN[2:]
    try:
        knobs_first = [p.name for p in plain[:2] if p.default is not p.empty and p.name not in places]
        if knobs_first and len(plain) > 1:
            raise TypeError("what comes second is a knob")
        taken = set(signature.bind_partial(*places, **dict.fromkeys(names)).arguments)
    except TypeError:
        if unknown := [p.name for p in plain if p.default is p.empty and p.name not in GIVEN]:
            raise TypeError(
                f"a criterion names what it needs of {', '.join(GIVEN)}, and its knobs have defaults; got "
                f"{', '.join(map(repr, unknown))} in {called(function)}{signature}. Inputs and targets are "
                "batch.inputs and batch.targets"
            ) from None
        taken, everything = set(GIVEN), any(p.kind is p.VAR_KEYWORD for p in takes)
        places = tuple(takewhile(GIVEN.__contains__, (p.name for p in takes if p.kind is p.POSITIONAL_ONLY)))
        names = tuple(n for n in GIVEN if n not in places and (everything or n in signature.parameters))
    if not places + names:
        raise TypeError(
            f"a criterion names at least the model, whose weights it scores; got {called(function)}{signature}. Write "
            f"{called(function)}(model, ...)"
        )
    knobs = tuple(p.name for p in plain if p.name not in taken)
    if kept := [knob for knob in knobs if knob in OPTIONS]:
        raise TypeError(
            f"{', '.join(OPTIONS)} are options of wb.score, which no criterion gets; got {', '.join(map(repr, kept))} "
            f"in {called(function)}{signature}. Choose another name; a generator follows the seed"
        )
    return Arguments(places, names, knobs)


def called(function: Callable[..., Any]) -> str:
    """The name of a function, or of the class of another object that can be called."""
    return getattr(function, "__name__", type(function).__name__)


def check_knobs(name: str, function: Callable[..., Any], asked: Arguments, knobs: Mapping[str, Any]) -> None:
    """Raise TypeError unless criterion `name` has these knobs, and no other that it cannot do without."""
    try:
        inspect.signature(function).bind(*asked.places, **dict.fromkeys(asked.names), **knobs)
    except TypeError as error:
        raise TypeError(
            f"criterion {name!r} has no such knobs: {error}. Its knobs: {', '.join(asked.knobs) or 'none'}; all "
            "criteria take bn=, exclude=, granularity=, loss_fn=, reduce= and seed="
        ) from error
