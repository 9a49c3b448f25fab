"""Which column of a sweep's table is x, which is y, and what an arm is."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from workbench.reports.reading import Found
from workbench.types import check_choice

if TYPE_CHECKING:
    import pandas as pd

SEED = "seed"
ACROSS = ("sparsity", "compression")
STEPS = ("round", "level", "step", "steps", "epoch")
UP = ("accuracy", "acc", "score", "f1", "auc", "perplexity", "bits", "error", "loss")
"""What y is, if a metric has such a name: the first of these that there is."""


class Roles(NamedTuple):
    """x ("" where no number varies), y ("" where no metric is a number), the arguments that make an arm, and what
    varies beyond these: means are over it, as they are over the seeds."""

    x: str
    y: str
    by: tuple[str, ...]
    over: tuple[str, ...]


def roles(found: Found, x: str | None = None, y: str | None = None, by: Sequence[str] | None = None) -> Roles:
    """The roles of the columns, those that are given as they are. They do not change while a sweep runs, but for y, as
    the grid is known from the start.

    x is sparsity or compression if one varies, else the number among the arguments that has most values (of a run
    that yields several dicts, also its round, step or epoch). y is an accuracy if there is one, else the first metric
    that is a number. All other arguments that vary, but for `seed`, make an arm. Raises ValueError for a name that no
    column has, with those that there are.
    """
    lines = found.every
    varies = [name for name in found.arguments if lines[name].nunique(dropna=False) > 1]
    numbers = [name for name in found.metrics if is_numeric(lines[name])]
    several = len(found.table) > found.runs
    across = [n for n in (*varies, *(numbers if several else ())) if n != SEED and is_numeric(lines[n])]
    known = [n for n in across if n in varies or n in (*ACROSS, *STEPS)]
    if x is None:
        by_name = [n for group in (ACROSS, STEPS) for n in group if n in known]
        own = [n for n in ACROSS if n in known and n in varies]
        most = sorted((n for n in known if n in varies and n not in (by or ())), key=lambda n: -lines[n].nunique())
        x = next(iter([*own, *(by_name if several else ()), *most]), "")
    elif x:
        _column("--x", x, [n for n in (*found.arguments, *found.metrics) if is_numeric(lines[n])])
    if y is None:
        y = next((n for want in UP for n in numbers if want in n.lower() and n != x), "")
        y = y or next((n for n in numbers if n != x), "")
    elif y:
        _column("--y", y, numbers)
    rest = [n for n in varies if n not in (x, SEED)]
    for name in by or ():
        _column("--by", name, [n for n in found.arguments if n != x])
    chosen = tuple(rest if by is None else dict.fromkeys(by))
    return Roles(x, y, chosen, tuple(n for n in rest if n not in chosen))


def is_numeric(column: pd.Series) -> bool:
    """Whether a column holds numbers only (booleans are none), and at least one."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    kept = column.dropna()
    if not len(kept) or is_numeric_dtype(kept):
        return bool(len(kept)) and not is_bool_dtype(kept)
    return bool(kept.map(lambda v: isinstance(v, int | float) and not isinstance(v, bool)).all())


def arm_names(lines: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """What each line's arm is called: the value of one argument, or name and value of several."""
    import pandas as pd

    if not by:
        return pd.Series("all runs", index=lines.index)
    words = [lines[name].map(functools.cache(functools.partial(_word, name))) for name in by]
    return pd.Series(map(", ".join, zip(*words, strict=True)), index=lines.index)


def _word(name: str, value: object) -> str:
    """A value as a part of an arm's name: a word says by itself what it is of, others need the argument's name.

    >>> _word("criterion", "snip"), _word("lr", 0.1), _word("bn", None)
    ('snip', 'lr 0.1', 'bn none')
    """
    if isinstance(value, str) and value[:1].isalpha():
        return value if len(value) <= 60 else f"{value[:57]}..."
    none = value is None or value != value
    return f"{name} {'none' if none else f'{value:g}' if isinstance(value, float) else str(value)[:60]}"


def _column(option: str, name: str, allowed: Sequence[str]) -> None:
    if not allowed:
        raise ValueError(f"{option} {name}: there is no such column yet. Leave it out")
    own = " (a number that every run has)" if option != "--by" else ""
    check_choice(f"{option}{own}", name, allowed)
