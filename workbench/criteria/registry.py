"""The criteria by name, and how a user's own joins them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from workbench.types import Scores, check_choice

Criterion = Callable[..., Scores]
NEEDS = ("nothing", "shape", "labels")


class Entry(NamedTuple):
    """A registered criterion: the function, what it needs of the batch, its source, and whose it is."""

    function: Criterion
    needs: str
    source: str
    builtin: bool


_CRITERIA: dict[str, Entry] = {}


def register_criterion(name: str, *, needs: str = "labels", source: str = "") -> Callable[[Criterion], Criterion]:
    """Register a criterion `f(model, batch, *, masks=None, loss_fn, generator, **knobs) -> Scores` under `name`.

    `needs` says what it uses of the batch: "nothing", the input's "shape", or inputs and "labels". Registering a name
    again replaces one's own criterion, so that a notebook cell can be run again; the workbench's own are protected.
    `masks` are the weights still there in iterative scoring (None: all); the model passed in is unmasked.

    >>> @register_criterion("largest-row", needs="nothing")
    ... def largest_row(model, batch, *, masks=None, loss_fn, generator):
    ...     return {name: w.abs() / w.abs().max() for name, w in prunable(model).items()}
    >>> from workbench.models import prunable
    >>> "largest-row" in criteria()
    True
    >>> unregister_criterion("largest-row")
    """
    if not isinstance(name, str) or not name:
        raise TypeError(
            f"a criterion's name is a non-empty string; got {name!r}. Write @wb.register_criterion('my-name')"
        )
    check_choice("needs", needs, NEEDS)
    if name in _CRITERIA and _CRITERIA[name].builtin:
        raise ValueError(f"{name!r} is one of the workbench's own criteria and stays as it is. Choose another name")

    def register(function: Criterion) -> Criterion:
        if not callable(function):
            raise TypeError(f"a criterion is a function; got {type(function).__name__}")
        _CRITERIA[name] = Entry(
            function, needs, source or (function.__doc__ or "").strip().split("\n")[0], builtin=False
        )
        return function

    return register


def unregister_criterion(name: str) -> None:
    """Forget a criterion of one's own; the workbench's own are protected."""
    check_choice("criterion", name, own_criteria())
    del _CRITERIA[name]


def builtin(name: str, *, needs: str, source: str) -> Callable[[Criterion], Criterion]:
    """Register one of the workbench's own criteria."""

    def register(function: Criterion) -> Criterion:
        _CRITERIA[name] = Entry(function, needs, source, builtin=True)
        return function

    return register


def criteria() -> list[str]:
    """Names of all criteria, the workbench's own and the user's.

    >>> {"grasp", "magnitude", "random", "snip", "synflow"} <= set(criteria())
    True
    """
    return sorted(_CRITERIA)


def own_criteria() -> dict[str, Entry]:
    """The user's own criteria, to carry them into worker processes."""
    return {name: entry for name, entry in _CRITERIA.items() if not entry.builtin}


def add_criteria(entries: dict[str, Entry]) -> None:
    """Take over a user's criteria in a worker process."""
    _CRITERIA.update(entries)


def find_criterion(criterion: str | Criterion) -> tuple[str, Entry]:
    """The name and entry of a criterion given by name or as a function."""
    if callable(criterion):
        name = getattr(criterion, "__name__", type(criterion).__name__)
        entry: dict[str, Any] = {"needs": "nothing", "source": "", "builtin": False}
        return name, next((e for e in _CRITERIA.values() if e.function is criterion), Entry(criterion, **entry))
    return criterion, _CRITERIA[check_choice("criterion", criterion, criteria())]
