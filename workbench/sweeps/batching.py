"""Runs put into batches that are computed at once, and how a run says that it has such a form."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from workbench.sweeps.points import Arguments, Points, Run
from workbench.types import check_choice, check_count

Point = Arguments
"""The arguments of one run by name."""
Several = Callable[[list[Point]], Sequence[Mapping[str, Any] | Exception]]
TOGETHER = 64
"""Runs of one call, where batches are chosen by themselves."""


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


def in_batches(run: Run, together: int | None) -> Callable[[Points], list[list[str]]]:
    """A function that puts runs, by their keys, into the lists in which they are computed."""
    form, usual = getattr(run, "batched", None), inspect.signature(run).parameters.get("device")
    if together is not None and check_count("together", together) > 1 and form is None:
        told = f"{run.__name__} has no batched form, so its runs are computed one by one"
        raise ValueError(f"{told}. Leave together out")

    def size(point: Arguments) -> int:
        return together or (TOGETHER if worth_it(point.get("device", usual and usual.default) or "cpu") else 1)

    def dealt(runs: Points) -> list[list[str]]:
        if form is None or together == 1:
            return [[name] for name in runs]
        names, found = {id(point): name for name, point in runs.items()}, list[list[str]]()
        for most in dict.fromkeys(map(size, runs.values())):
            several = batches([point for point in runs.values() if size(point) == most], form.over, most)
            found += [[names[id(point)] for point in batch] for batch in several]
        return found

    return dealt
