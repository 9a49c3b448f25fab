"""Self-checks for a notebook's exercises: they raise, and they know the usual wrong answers by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


class WrongAnswer(AssertionError):
    """An exercise's answer is not right; the message says what it looks like and gives a hint."""


def check(
    answer: Any, expected: Any, wrong: Mapping[str, Any] | None = None, hint: str = "", tolerance: float = 1e-3
) -> None:
    """Compare a student's answer with the expected one.

    `answer=None` or `...` is not answered yet: a line says so and nothing is raised, so that an unsolved notebook
    runs. `wrong` maps a description of a usual mistake to the answer it leads to. Numbers agree within the relative
    `tolerance`, dicts and lists entry by entry, everything else by `==`. Raises WrongAnswer otherwise.

    Misleads where two mistakes cancel out: a right number is no proof of a right way.

    >>> check(20.0, 1 / (1 - 0.95), wrong={"percent kept, not compression": 0.05})
    Right: 20.0
    >>> check(None, 20.0)
    Not answered yet. Replace None by your answer and run the cell again.
    """
    if answer is None or answer is ...:
        print("Not answered yet. Replace None by your answer and run the cell again.")
        return
    if _equal(answer, expected, tolerance):
        print(f"Right: {answer}")
        return
    for mistake, value in (wrong or {}).items():
        if _equal(answer, value, tolerance):
            raise WrongAnswer(f"{answer!r} is what one gets from this mistake: {mistake}. {hint}".strip())
    raise WrongAnswer(f"{answer!r} is not it. {hint or 'Compute it once by hand on a small example.'}")


def _equal(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_equal(a[k], b[k], tolerance) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_equal(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, bool) or isinstance(b, bool) or not isinstance(a, int | float) or not isinstance(b, int | float):
        return type(a) is type(b) and bool(a == b)
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-12)
