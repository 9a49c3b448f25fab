"""Runs put into batches that are computed at once, and how a run says that it has such a form."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from workbench.types import check_choice, check_count

Point = dict[str, Any]
"""The arguments of one run by name."""
Several = Callable[[list[Point]], Sequence[Mapping[str, Any] | Exception]]


class Batched(NamedTuple):
    """The batched form of a run: `function(points)` returns a row or an exception for each; `over` may differ in it."""

    function: Several
    over: tuple[str, ...]


def batched(run: Callable[..., Any], over: Sequence[str]) -> Callable[[Several], Several]:
    """Say that the function below computes several runs of `run` at once, as long as they differ only in `over`.

    It takes a list of dicts of arguments, and returns for each the row that `run` would return, or the exception that
    it would raise. It is found as `run.batched`.

    >>> def area(width, height=1): return {"area": width * height}
    >>> @batched(area, over=["width"])
    ... def areas(points): return [area(**point) for point in points]
    >>> area.batched.function([{"width": 2}, {"width": 3}]), area.batched.over
    ([{'area': 2}, {'area': 3}], ('width',))
    """
    for name in over:
        check_choice(f"argument of {run.__name__}", name, inspect.signature(run).parameters)

    def register(function: Several) -> Several:
        run.batched = Batched(function, tuple(over))  # type: ignore[attr-defined]
        return function

    return register


def batches(points: Sequence[Point], over: Sequence[str], size: int) -> list[list[Point]]:
    """The points in lists of at most `size` whose points differ only in the arguments `over`.

    Points keep their order within a list, and lists that of their first points.

    >>> batches([{"seed": s, "data": d} for s in (0, 1, 2) for d in "ab"], over=["seed"], size=2)[0]
    [{'seed': 0, 'data': 'a'}, {'seed': 1, 'data': 'a'}]
    """
    check_count("size", size)
    groups: dict[str, list[list[Point]]] = {}
    found: list[list[Point]] = []
    for point in points:
        rest = repr(sorted((name, value) for name, value in point.items() if name not in over))
        group = groups.setdefault(rest, [])
        if not group or len(group[-1]) == size:
            group.append([])
            found.append(group[-1])
        group[-1].append(point)
    return found


def worth_it(device: str | torch.device) -> bool:
    """Whether batches are chosen where nobody asked for them: on CUDA devices, which one small network leaves idle.

    >>> worth_it("cpu")
    False
    """
    return torch.device(device).type == "cuda"
