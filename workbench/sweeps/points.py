"""What is to be run: a function and lists of values for its arguments, as one point for each combination."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from workbench.types import check_choice, check_count

Arguments = dict[str, Any]
Axes = Mapping[str, Sequence[Any]]
"""Argument -> its values."""
Points = dict[str, Arguments]
"""Key -> arguments."""
Run = Callable[..., Any]
"""A function of plain keyword arguments that returns a dict of plain metrics, or yields several."""

OWN = ("date", "error", "key", "processor", "revision", "seconds", "versions")
"""Columns of a table of results that are not a run's own; its arguments and metrics have other names."""


def checked(check: Callable[..., object]) -> Callable[[Run], Run]:
    """Say what checks the arguments of the run below, each point before a sweep starts: ValueError refuses one.

    It is found as `run.check`.

    >>> def positive(width): ...
    >>> @checked(positive)
    ... def area(width, height=1): return {"area": width * height}
    >>> area.check.__name__
    'positive'
    """

    def register(run: Run) -> Run:
        run.check = check  # type: ignore[attr-defined]
        return run

    return register


def key(function: Run, arguments: Mapping[str, Any]) -> str:
    """Name of a run: 16 hex digits of the hash of the function's name and its arguments that are not the defaults.

    So a new argument with a default keeps the old rows findable, and 10 and 10.0 are one value. The function's code is
    not part of it: if you change what it computes, remove its rows.

    >>> def run(criterion, rounds=1): ...
    >>> key(run, {"criterion": "snip"}) == key(run, {"criterion": "snip", "rounds": 1.0})
    True
    """
    return key_of(function.__name__, defaults(function), arguments)


def key_of(name: str, usual: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """`key`, by the function's name and its `defaults`."""
    told = {n: _number(v) for n, v in arguments.items() if n not in usual or _number(v) != _number(usual[n])}
    text = json.dumps([name, told], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def defaults(function: Run) -> dict[str, Any]:
    """What the arguments are when they are not given, as the values of an axis are; no axis has those not in it.

    >>> def run(width, sizes=(1, 2), loss=print): ...
    >>> defaults(run)
    {'sizes': [1, 2]}
    """
    usual = dict[str, Any]()
    for name, parameter in inspect.signature(function).parameters.items():
        with contextlib.suppress(TypeError):
            value = plain(parameter.default, name)  # NaN would be None, which is another default
            usual |= {name: value} if value is not None or parameter.default is None else {}
    return usual


def points(function: Run, grids: Iterable[Axes], most: int | None = None) -> Points:
    """The points of grids, whose axes are those of `columns`, in their order: every combination of values, each once.

    ValueError for more than `most` combinations, before they are made.

    >>> def area(width, height=1): ...
    >>> list(points(area, [{"width": [2, 3], "height": [5]}]).values())
    [{'width': 2, 'height': 5}, {'width': 3, 'height': 5}]
    """
    grids = list(grids)
    count = sum(map(size, grids))
    if most is not None and count > check_count("most", most):
        raise ValueError(
            f"grids of {count:,} combinations are more than most={most:,}. Shorten their lists, or pass most={count}"
        )
    name, usual = function.__name__, defaults(function)
    return {key_of(name, usual, point): point for one in grids for point in combinations(one)}


def size(axes: Axes) -> int:
    """How many combinations the axes' values have; some may be the same run.

    >>> size({"width": [2, 3], "seed": range(3_000_000_000)})
    6000000000
    """
    return math.prod(1 + (v[-1] - v[0]) // v.step if isinstance(v, range) and v else len(v) for v in axes.values())


def combinations(axes: Axes) -> Iterator[Arguments]:
    """Every combination of the axes' values; the last axis changes first."""
    return (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))


def columns(function: Run, grid: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """The axes of a grid as lists of plain values, checked against the function's signature; a range stays one.

    An axis is a list of plain values (numbers, strings, booleans, None, lists of these) for one argument. It may be an
    iterator, which is used up. TypeError and ValueError for what is none, and for what the function does not take.
    """
    named = getattr(function, "__name__", "<lambda>")
    if named == "<lambda>":
        raise TypeError(f"rows are found by the function's name; got {function!r}. Define it with def.")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"a run returns or yields its metrics; {named} is async. Call asyncio.run(...) in a def")
    if not isinstance(grid, Mapping):
        raise TypeError(f"a grid is a dict with a list for each argument; got {grid!r}. Pass {{'seed': [0, 1]}}")
    parameters = inspect.signature(function).parameters
    by_position = [
        n for n, p in parameters.items() if p.kind is p.POSITIONAL_ONLY and (n in grid or p.default is p.empty)
    ]
    if by_position:
        raise TypeError(
            f"a run is called with named arguments; {named} takes {by_position[0]} by position only. Remove its /"
        )
    takes = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, values in grid.items():
        if not isinstance(name, str):
            raise TypeError(f"an axis of {named} has the name of an argument; got {name!r}. Pass {{'seed': [0, 1]}}")
        if not takes_any:
            if not takes:
                raise ValueError(f"{named} takes no named arguments; got the axis {name!r}. Leave it out")
            check_choice(f"axis of {named}", name, takes)
        single = isinstance(values, str | bytes | Mapping) or getattr(values, "ndim", 1) == 0
        if single or not hasattr(values, "__iter__"):
            raise TypeError(f"axis {name!r} is a list of values; got {values!r}. Pass {name}=[{values!r}].")
    if fault := clash(grid, getattr(function, "facts", ())):  # metrics that are known before the run
        raise ValueError(f"axes of {named}: {fault}")
    if missing := [n for n, p in takes.items() if p.default is p.empty and n not in grid]:
        raise TypeError(f"{named} needs a value for {', '.join(missing)}. Pass {missing[0]}=[...] as an axis.")
    axes: dict[str, Sequence[Any]] = {
        n: values if isinstance(values, range) else [plain(v, f"axis {n!r} of {named}") for v in values]
        for n, values in grid.items()
    }
    if empty := [name for name, values in axes.items() if not values]:
        needed = empty[0] in takes and takes[empty[0]].default is inspect.Parameter.empty
        remedy = "Give it a value" if needed else "Leave it out for the default"
        raise ValueError(f"an axis of {named} has at least one value; got {empty[0]}=[]. {remedy}")
    return axes


def plain(value: Any, what: str, measured: bool = False) -> Any:
    """The value as JSON and tables have it: numpy and torch scalars become Python's, tuples become lists, NaN becomes
    None, and so does what is infinite, if it was `measured`."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and (math.isnan(value) or (measured and math.isinf(value))):
        return None
    if isinstance(value, list | tuple):
        return [plain(v, what, measured) for v in value]
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise TypeError(
            f"{what} is a number up to 1.8e308; got one with {value.bit_length()} bits. Pass it as a string"
        )
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise TypeError(
            f"{what} is a string with half a character, which no file holds; got {value!r}. Write it whole."
        )
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise TypeError(
        f"{what} is a finite number, a string, a boolean, None or a list of these; got {value!r}. "
        "Pass names, not objects: for your own criterion, the name under which you registered it."
    )


def clash(arguments: Iterable[str], metrics: Iterable[str]) -> str:
    """What is wrong with the names of a row's arguments and metrics, which share a table; "" if nothing is."""
    if both := sorted(set(arguments) & set(metrics)):
        return f"{', '.join(both)} is an argument and a metric. Give one of them another name."
    if taken := sorted((set(arguments) | set(metrics)) & set(OWN)):
        return f"{', '.join(taken)} is a column that the table adds itself ({', '.join(OWN)}). Choose another name."
    return ""


def _number(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_number(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
