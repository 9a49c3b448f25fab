"""What is to be run: a function and lists of values for its arguments, as one point for each combination."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from workbench.types import check_choice, check_count

Arguments = dict[str, Any]
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
    """`key`, by the function's name and what its arguments usually are."""
    told = {n: _number(v) for n, v in arguments.items() if n not in usual or _number(v) != _number(usual[n])}
    text = json.dumps([name, told], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def defaults(function: Run) -> dict[str, Any]:
    """What the arguments are when they are not given; those without a default are not in it."""
    parameters = inspect.signature(function).parameters
    return {name: p.default for name, p in parameters.items() if p.default is not p.empty}


def points(function: Run, grids: Iterable[Mapping[str, Any]], most: int | None = None) -> Points:
    """The points of grids, in their order: every combination of an axis's values, each once.

    An axis is a list of plain values (numbers, strings, booleans, None) for one argument. Raises TypeError and
    ValueError for what the function's signature does not take, for a grid without a point, and for more than `most`.

    >>> def area(width, height=1): ...
    >>> list(points(area, [{"width": [2, 3], "height": [5]}]).values())
    [{'width': 2, 'height': 5}, {'width': 3, 'height': 5}]
    """
    axes = [columns(function, grid) for grid in grids]
    count = sum(math.prod(map(len, one.values())) for one in axes)
    if most is not None and count > check_count("most", most):
        raise ValueError(
            f"a grid of {count:,} runs is more than most={most:,}. Shorten its lists, or pass most={count}"
        )
    name, usual = function.__name__, defaults(function)
    return {key_of(name, usual, point): point for one in axes for point in combinations(one)}


def combinations(axes: Mapping[str, Iterable[Any]]) -> Iterator[Arguments]:
    """Every combination of the axes' values; the last axis changes first."""
    return (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))


def columns(function: Run, grid: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The axes of a grid as lists of plain values, checked against the function's signature."""
    named = getattr(function, "__name__", "<lambda>")
    if named == "<lambda>":
        raise TypeError(f"rows are found by the function's name; got {function!r}. Define it with def.")
    parameters = inspect.signature(function).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, values in grid.items():
        if not takes_any:
            check_choice(f"axis of {named}", name, list(parameters))
        if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
            raise TypeError(f"axis {name!r} is a list of values; got {values!r}. Pass {name}=[{values!r}].")
    if fault := clash(grid, {}):
        raise ValueError(f"axes of {named}: {fault}")
    required = [n for n, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    required += [n for n, p in parameters.items() if p.default is p.empty and p.kind is p.KEYWORD_ONLY]
    if missing := [n for n in required if n not in grid]:
        raise TypeError(f"{named} needs a value for {', '.join(missing)}. Pass {missing[0]}=[...] as an axis.")
    axes = {n: [plain(v, f"axis {n!r} of {named}") for v in values] for n, values in grid.items()}
    if empty := [name for name, values in axes.items() if not values]:
        raise ValueError(f"an axis of {named} has at least one value; got {empty[0]}=[]. Leave it out for the default.")
    return axes


def plain(value: Any, what: str) -> Any:
    """The value as JSON and tables have it: numpy and torch scalars become Python's, NaN becomes None."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, list | tuple):
        return [plain(v, what) for v in value]
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
        return f"{', '.join(both)} is an argument and a metric. Give the metric another name."
    if taken := sorted((set(arguments) | set(metrics)) & set(OWN)):
        return f"{', '.join(taken)} is a column that the table adds itself ({', '.join(OWN)}). Choose another name."
    return ""


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
