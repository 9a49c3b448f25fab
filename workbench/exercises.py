"""Checks of a student's answers in a notebook; they recognise the usual mistakes."""

import math
import numbers
import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.extras import lab

__all__ = ["WrongAnswer", "check"]

EPSILON = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


class WrongAnswer(AssertionError):
    """An exercise's answer is not right; the message names the likely mistake and gives a hint, in one line."""

    def __repr__(self) -> str:
        return f"Not right. {self}"

    def _repr_html_(self) -> str:
        from workbench.templates import html

        return str(html("wrong_answer", message=self))

    def _render_traceback_(self) -> list[str]:
        return [f"WrongAnswer: {self}"]


def check(
    answer: Any, expected: Any, wrong: Mapping[str, Any] | None = None, hint: str = "", tolerance: float = 1e-3
) -> None:
    """Compare a student's answer with the expected one and show one line: right, not right (in red), or open.

    `answer=None` or `...` is open, so that an unsolved notebook runs. `wrong` maps a description of a usual mistake to
    the answer it leads to. Numbers of any type (Python's, NumPy's, torch's, a Fraction, an array with one entry) agree
    within the relative `tolerance` or the rounding of their own type; lists, tuples, arrays, tensors and Series entry
    by entry; dicts and tables key by key; everything else by `==`.

    In the live face a wrong answer does not stop Run All. If WORKBENCH_FACE names another face, as in every headless
    run, it raises WrongAnswer.
    Misleads if two mistakes cancel out: a right number does not prove a right way.

    >>> check(20.0, 1 / (1 - 0.95), wrong={"percent kept, not compression": 0.05})
    Right: 20.0
    >>> check(None, 20.0)
    Not answered yet. Replace None by your answer and run the cell again.
    >>> check(0.05, 20.0, wrong={"percent kept, not compression": 0.05})
    0.05 is the result of this mistake: percent kept, not compression.
    """
    if answer is None or answer is ...:
        print("Not answered yet. Replace None by your answer and run the cell again.")
        return
    shown = textwrap.shorten(str(answer) if isinstance(answer, numbers.Number) else repr(answer), 200)
    if _equal(answer, expected, tolerance):
        print(f"Right: {shown}")
        return
    told = f"is not it. {hint or 'Compute it once by hand on a small example.'}"
    if _equal(answer, expected, 0.02):
        told += " It is close: give more digits, or the expression itself."
    if isinstance(answer, str) and _equal(_read(answer), expected, tolerance):
        told += " It is text: remove the quotation marks."
    if mistake := next((name for name, value in (wrong or {}).items() if _equal(answer, value, tolerance)), ""):
        told = f"is the result of this mistake: {mistake}. {hint}".strip()
    error = WrongAnswer(f"{shown} {told}")
    if (os.environ.get("WORKBENCH_FACE") or "live") != "live":
        raise error
    lab("IPython.display").display(error)


def _equal(a: Any, b: Any, tolerance: float) -> bool:
    tolerance = max(tolerance, _rounding(a), _rounding(b))
    a, b = _plain(a, b), _plain(b, a)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_equal(a[k], b[k], tolerance) for k in a)
    if _is_list(a) and _is_list(b):
        return len(a) == len(b) and all(_equal(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if _is_number(a) and _is_number(b):
        try:
            return math.isclose(float(a), float(b), rel_tol=tolerance, abs_tol=1e-12)
        except (OverflowError, ValueError):  # a number beyond floats, or one that is none (a signalling NaN)
            return False
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _read(text: str) -> float | str:
    """The number that a text spells, else the text."""
    try:
        return float(text)
    except ValueError:
        return text


def _rounding(value: Any) -> float:
    """How far a result in this value's own type may be off: four times its epsilon."""
    return 4 * EPSILON.get(str(getattr(value, "dtype", "")).removeprefix("torch."), 0.0)


def _plain(value: Any, other: Any) -> Any:
    """Tables as dicts, a Series as a dict or list as the other side is, arrays as lists, of one entry as numbers."""
    if hasattr(value, "to_dict") and (isinstance(other, Mapping) or not hasattr(value, "tolist")):
        return value.to_dict()
    if hasattr(value, "tolist"):
        entries = value.tolist()
        while isinstance(entries, list) and len(entries) == 1 and not _is_list(other) and not hasattr(other, "tolist"):
            entries = entries[0]
        return entries
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Number) and not isinstance(value, bool | complex)
