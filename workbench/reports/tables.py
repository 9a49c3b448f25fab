"""Tables of a report: means with intervals, arms side by side, failures by their reason, what is missing."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workbench.intervals import detectable, differ, interval, rounding
from workbench.reports.columns import SEED, Roles, arm_names
from workbench.reports.reading import Found
from workbench.sweeps.points import Arguments
from workbench.sweeps.rows import Row

if TYPE_CHECKING:
    import pandas as pd

PAIRS = 60
"""Pairs of arms that a report compares one by one."""


def lines_of(found: Found, chosen: Roles, split: Sequence[str] = ()) -> pd.DataFrame:
    """The runs that a report shows, those with an x: as the columns "picture", the name of what arms are `split` by,
    "arm", "x" (0 where there is none), "y" (NaN where a run has no number), "seed" (None where there is none), and
    "ended": whether the run is neither missing nor running."""
    import pandas as pd

    lines = found.every
    if not chosen.y:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in ("picture", "arm", "x", "y", "seed", "ended")})
    made = pd.DataFrame({"picture": arm_names(lines, split) if split else ""}, index=lines.index)
    made["arm"] = arm_names(lines, [name for name in chosen.by if name not in split])
    made["x"], made["y"], made["seed"] = lines[chosen.x] if chosen.x else 0.0, lines[chosen.y], lines.get(SEED)
    made["ended"] = lines["key"].isin({*found.table["key"], *(row["key"] for row in found.failed)})
    return made[made["x"].notna()].astype({"x": float, "y": float}).reset_index(drop=True)


def means(lines: pd.DataFrame) -> pd.DataFrame:
    """For each picture, arm and x: mean, half the width of the 95 % Student-t interval, low, high, n, and of how many.

    n counts the rows with a number, one a seed, `of` all that have ended, failed ones too. One row has no interval
    (NaN), and rows that differ only by rounding have none. Misleads where runs without a number are the bad ones.

    >>> import pandas as pd
    >>> rows = pd.DataFrame({"picture": "", "arm": "a", "x": 1.0, "y": [1.0, 2.0, 3.0, None], "ended": True})
    >>> means(rows).round(3).to_dict("records")[0]
    {'picture': '', 'arm': 'a', 'x': 1.0, 'mean': 2.0, 'half': 2.484, 'low': -0.484, 'high': 4.484, 'n': 3, 'of': 4}
    """
    import pandas as pd

    rows: list[tuple[Any, ...]] = []
    for (picture, arm, x), found in lines[lines["ended"].astype(bool)].groupby(["picture", "arm", "x"], sort=False)[
        "y"
    ]:
        values = found.dropna().tolist()
        mean, low, high = interval(values) if values else (math.nan,) * 3
        if not values or not differ(values):
            low = high = math.nan
        rows.append((picture, arm, x, mean, high - mean, low, high, len(values), len(found)))
    made = pd.DataFrame(rows, columns=["picture", "arm", "x", "mean", "half", "low", "high", "n", "of"])
    place = {name: {one: at for at, one in enumerate(dict.fromkeys(made[name]))} for name in ("picture", "arm")}
    return made.sort_values(["picture", "arm", "x"], key=lambda column: column.map(place.get(str(column.name), float)))


class Beside(NamedTuple):
    """Two arms of a picture at one x: the mean difference a - b over the seeds that both have, half its interval, how
    many seeds, the smallest difference that so many would have shown with probability 0.8, and whether 0 is outside the
    interval. A difference that is the same at every seed, up to the rounding of the values, has half an interval of 0.
    """

    picture: str
    a: str
    b: str
    x: float
    difference: float
    half: float
    n: int
    least: float
    apart: bool


Pair = tuple[str, str, str, float]
"""Picture, two arms, x."""


def overlapping(table: pd.DataFrame) -> tuple[list[Pair], int, int]:
    """The first pairs of arms of a picture whose intervals overlap at an x, how many do, how many pairs there are.

    An arm without an interval overlaps with all; one without a number is in no pair.
    """
    pairs: list[Pair] = []
    count = total = 0
    places: Any = table[table["n"] > 0].groupby(["picture", "x"], sort=False)
    for (picture, x), rows in sorted(places, key=lambda place: place[0][1]):
        arms, low, high = rows["arm"].tolist(), rows["low"].to_numpy(), rows["high"].to_numpy()
        total += len(arms) * (len(arms) - 1) // 2
        for i in range(len(arms) - 1):
            others = np.flatnonzero(~((low[i + 1 :] > high[i]) | (high[i + 1 :] < low[i])))
            count += len(others)
            pairs += [(picture, arms[i], arms[i + 1 + j], float(x)) for j in others[: max(0, PAIRS - len(pairs))]]
    return pairs, count, total


def beside(lines: pd.DataFrame, pairs: Sequence[Pair]) -> list[Beside]:
    """Pairs of arms compared seed by seed, as far as each has one row a seed."""
    by_place = dict(iter(lines[lines["y"].notna()].groupby(["picture", "arm", "x"], sort=False)))
    made = []
    for picture, a, b, x in pairs:
        one, two = (by_place[picture, arm, x].set_index("seed")["y"] for arm in (a, b))
        if one.index.has_duplicates or two.index.has_duplicates or one.index.isna().any() or two.index.isna().any():
            continue
        differences = (one - two).dropna().tolist()
        if len(differences) < 2:
            continue
        mean, low, high = interval(differences)
        none = rounding([*one, *two])  # what a difference may be wrong by
        if max(differences) - min(differences) <= none:
            half, least, apart = 0.0, 0.0, abs(mean) > none
        else:
            half, least, apart = high - mean, detectable(differences), low > 0 or high < 0
        made.append(Beside(picture, a, b, x, mean, half, len(differences), least, apart))
    return made


class Reason(NamedTuple):
    """Why runs failed: what the first of them says, how many they are, the arguments of the first ones with what each
    says, and the first one's whole text."""

    line: str
    many: int
    runs: list[tuple[str, str]]
    error: str


def reasons(failed: Sequence[Row], shown: int = 50) -> list[Reason]:
    """Failed runs by the exception and the place where it was raised, whatever else it says; the most frequent first.

    >>> error = 'Traceback (most recent call last):\\n  File "a.py", line 3, in f\\n    g()\\nValueError: no layer at '
    >>> [(one.line, one.many) for one in reasons([{"arguments": {"k": k}, "error": f"{error}{k}"} for k in (1, 2)])]
    [('ValueError: no layer at 1', 2)]
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in failed:
        groups.setdefault(_cause(row["error"]), []).append(row)
    return [
        Reason(
            _said(rows[0]), len(rows), [(told(row["arguments"]), _said(row)) for row in rows[:shown]], first["error"]
        )
        for rows in sorted(groups.values(), key=lambda rows: -len(rows))
        for first in rows[:1]
    ]


FRAME = re.compile(r'^ +File ".+", line \d+.*$', re.MULTILINE)


def _cause(error: str) -> tuple[str, str]:
    """What runs of one reason have in common: the exception's name and the last frame; without these, the line."""
    *_, frame = ["", *FRAME.findall(error)]
    line = _line(error)
    return (line.partition(":")[0], frame) if frame else (line, "")


def _line(error: str) -> str:
    """The first line of what an exception says, with its name; without a traceback the last line."""
    behind = FRAME.split(error)[-1]
    lines = error.strip().splitlines() or [""]
    return next((line for line in behind.splitlines() if line[:1].strip()), lines[-1]) if behind != error else lines[-1]


def _said(row: Row) -> str:
    line = _line(row["error"])
    return line if len(line) <= 200 else f"{line[:197]}..."


def told(arguments: Arguments) -> str:
    """Arguments in words.

    >>> told({"criterion": "snip", "seed": 0})
    "criterion='snip', seed=0"
    """
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def lacking(missing: Sequence[Arguments]) -> list[tuple[str, str]]:
    """What is missing by the values of each argument that has few: its name, and value and count in words."""
    made = []
    for name in dict.fromkeys(name for point in missing for name in point):
        counts = Counter(str(point.get(name)) for point in missing)
        if 1 < len(counts) <= 12:
            made.append((name, ", ".join(f"{value}: {counts[value]:,}" for value in sorted(counts, key=_natural))))
    return made


def _natural(word: str) -> tuple[float, str]:
    """Numbers by their size, then words by their letters."""
    try:
        return float(word), ""
    except ValueError:
        return math.inf, word
