"""Checks of a student's answers in a notebook; they recognise the usual mistakes."""

import math
import numbers
import os
import re
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
    by entry; dicts (masks, scores) and tables key by key; everything else by `==`. Where a list or array of 0 and 1 is
    expected, False and True are these. So pass the answer as it is: if it has another form than the expected one (text,
    a short list, a dict with other names, None or a complex number inside), the message says what is allowed; if a
    number is rounded too much, it asks for more digits.

    In the live face a wrong answer does not stop Run All. If WORKBENCH_FACE names another face, as in every headless
    run, it raises WrongAnswer.
    Misleads if two mistakes cancel out: a right number does not prove a right way.

    >>> check(20.0, 1 / (1 - 0.95), wrong={"percent kept, not compression": 0.05})
    Right: 20.0
    >>> check(None, 20.0)
    Not answered yet. Replace None by your answer and run the cell again.
    >>> check(0.05, 20.0, wrong={"percent kept, not compression": 0.05})
    0.05 is the result of this mistake: percent kept, not compression.
    >>> check("20", 20.0)
    '20' is not it. The answer must be a number, and this is text: remove the quotation marks.
    """
    if answer is None or answer is ...:
        print("Not answered yet. Replace None by your answer and run the cell again.")
        return
    shown = _shown(answer)
    if _is_list(_plain(expected, [])) and all(_is_number(entry) and entry in (0, 1) for entry in _entries(expected)):
        answer = _bits(answer)
    if _equal(answer, expected, tolerance):
        print(f"Right: {shown}")
        return
    if mistake := next((name for name, value in (wrong or {}).items() if _equal(answer, value, tolerance)), ""):
        told = f"is the result of this mistake: {mistake}. {hint}".strip()
    elif form := _form(answer, expected):
        told = f"is not it. {form}."
    elif _equal(answer, expected, tolerance, rounded=True):
        told = "is not it. It is close: give more digits, or the expression itself."
    else:
        told = f"is not it. {hint or 'Compute it once by hand on a small example.'}"
    error = WrongAnswer(f"{shown} {told}")
    if (os.environ.get("WORKBENCH_FACE") or "live") != "live":
        raise error
    lab("IPython.display").display(error)


def _entries(value: Any) -> list[Any]:
    """All entries of a list and of the lists in it."""
    value = _plain(value, [])
    return [entry for part in value for entry in _entries(part)] if _is_list(value) else [value]


def _bits(answer: Any) -> Any:
    """A list or array of False and True as a list of 0 and 1; everything else as it is."""
    if not all(isinstance(entry, bool) for entry in _entries(answer)):
        return answer
    rows = _plain(answer, [])
    return [_bits(row) for row in rows] if _is_list(rows) else int(rows)


def _shown(answer: Any) -> str:
    """An answer in one short line."""
    try:
        return textwrap.shorten(str(answer) if isinstance(answer, numbers.Number) else repr(answer), 120)
    except ValueError:  # more digits than Python writes
        return "An answer of this length"


def _equal(a: Any, b: Any, tolerance: float, rounded: bool = False) -> bool:
    """Whether two answers agree; `rounded`: or `a` is `b` with fewer digits."""
    tolerance = max(tolerance, _rounding(a), _rounding(b))
    a, b = _plain(a, b), _plain(b, a)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_equal(a[k], b[k], tolerance, rounded) for k in a)
    if _is_list(a) and _is_list(b):
        return len(a) == len(b) and all(_equal(x, y, tolerance, rounded) for x, y in zip(a, b, strict=True))
    try:
        if _is_number(a) and _is_number(b):
            a, b = float(a), float(b)
            return math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-12) or (rounded and _shortened(a, b))
        return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)
    except (OverflowError, RuntimeError, TypeError, ValueError):  # beyond floats, a signalling NaN, NA, a sparse tensor
        return False


def _shortened(a: float, b: float) -> bool:
    """Whether a is b, rounded or cut off after the decimals that a has."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return False
    unit = 10.0 ** -len(f"{a:.6g}".partition(".")[2])
    near = math.isclose(a, b, rel_tol=0.1)
    return near and (abs(a - b) <= unit * 0.501 or math.isclose(a, math.trunc(b / unit) * unit, rel_tol=1e-9))


def _form(answer: Any, expected: Any, path: str = "") -> str:
    """What of an answer has not the form of the expected one: what is allowed, what it is, what to do; or nothing."""
    a, b = _plain(answer, expected), _plain(expected, answer)
    what = f"The answer at {path}" if path else "The answer"
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if a.keys() != b.keys():
            return f"{what} must have the names {_few(b)}, and this has {_few(a)}: use those names"
        return next((form for key in b if (form := _form(a[key], b[key], f"{path}[{key!r}]"))), "")
    allowed, got = _kind(b), _kind(a)
    if allowed == got:
        pairs = enumerate(zip(a, b, strict=True)) if _is_list(a) else ()
        return next((form for n, (x, y) in pairs if (form := _form(x, y, f"{path}[{n}]"))), "")
    todo = f"give {allowed}" + (f" with the names {_few(b)}" if isinstance(b, Mapping) else "")
    if got == "text" and re.match(r"\s*[-+.\d\[({]", a):  # a value in quotation marks
        todo = "remove the quotation marks"
    todo = "replace it by your value" if got == "None" else todo
    return f"{what} must be {allowed}, and this is {got}: {todo}"


def _kind(value: Any) -> str:
    """What a value is, in words that are the same for what can be compared."""
    if isinstance(value, bool):
        return "True or False"
    if _is_number(value):
        return "a number"
    if _is_list(value):
        shape = _shape(value)
        return f"an array of shape {shape}" if len(shape) > 1 else f"a list of length {shape[0]}"
    if isinstance(value, Mapping):
        return "a dict"
    names = {str: "text", complex: "a complex number", type(None): "None"}
    return names.get(type(value), f"an object of type {type(value).__name__}")


def _shape(value: Any) -> tuple[int, ...]:
    """Lengths of a list and of the lists in it; if these differ, the first counts."""
    return (len(value), *(_shape(value[0]) if len(value) else ())) if _is_list(value) else ()


def _few(names: Mapping[Any, Any]) -> str:
    return ", ".join([*map(str, list(names)[:8]), *(["..."] if len(names) > 8 else [])]) or "none"


def _rounding(value: Any) -> float:
    """How far a result in this value's own type may be off: four times its epsilon."""
    return 4 * EPSILON.get(str(getattr(value, "dtype", "")).removeprefix("torch."), 0.0)


def _plain(value: Any, other: Any) -> Any:
    """Tables as dicts, a Series as a dict or list as the other side is, arrays as lists, of one entry as numbers."""
    is_object = not isinstance(value, type)  # a class has the names of its methods, too
    if is_object and hasattr(value, "to_dict") and (isinstance(other, Mapping) or not hasattr(value, "tolist")):
        return value.to_dict()
    if hasattr(value, "tolist"):
        try:
            entries = value.tolist()
        except (RuntimeError, TypeError):  # it has no entries: a class, a sparse tensor
            return value
        while isinstance(entries, list) and len(entries) == 1 and not _is_list(other) and not hasattr(other, "tolist"):
            entries = entries[0]
        return entries
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Number) and not isinstance(value, bool | complex)
