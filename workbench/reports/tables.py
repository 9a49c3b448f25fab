"""Tables of a report: means with intervals, arms side by side, failures by their reason, what is missing."""

from __future__ import annotations

import math
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
    """The rows that a report shows: those with a number for y and x, as the columns "arm", "x" (0 where there is none),
    "y", "seed" (None where there is none) and "picture", the name of what arms are `split` by."""
    import pandas as pd

    lines = found.table
    if not chosen.y or not len(lines):
        return pd.DataFrame({name: pd.Series(dtype=object) for name in ("arm", "x", "y", "seed", "picture")})
    made = pd.DataFrame({"arm": arm_names(lines, [name for name in chosen.by if name not in split])})
    made["x"], made["y"] = lines[chosen.x] if chosen.x else 0.0, lines[chosen.y]
    made["seed"], made["picture"] = lines.get(SEED), arm_names(lines, split) if split else ""
    whole = made[made["x"].notna() & made["y"].notna()]
    return whole.astype({"x": float, "y": float}).reset_index(drop=True)


def means(lines: pd.DataFrame) -> pd.DataFrame:
    """For each arm and x: mean, half the width of the 95 % Student-t interval, low, high, and n; in their order.

    n counts the rows, one a seed. One row has no interval (NaN), and rows that differ only by rounding have none.

    >>> import pandas as pd
    >>> rows = pd.DataFrame({"arm": ["a"] * 3, "x": [1.0] * 3, "y": [1.0, 2.0, 3.0]})
    >>> means(rows).round(3).to_dict("records")
    [{'arm': 'a', 'x': 1.0, 'mean': 2.0, 'half': 2.484, 'low': -0.484, 'high': 4.484, 'n': 3}]
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for (arm, x), found in lines.groupby(["arm", "x"], sort=False)["y"]:
        values = found.tolist()
        mean, low, high = interval(values)
        if not differ(values):
            low = high = math.nan
        rows.append({"arm": arm, "x": x, "mean": mean, "half": high - mean, "low": low, "high": high, "n": len(values)})
    made = pd.DataFrame(rows, columns=["arm", "x", "mean", "half", "low", "high", "n"])
    first = {arm: place for place, arm in enumerate(dict.fromkeys(made["arm"]))}
    return made.sort_values(["arm", "x"], key=lambda column: column.map(first) if column.name == "arm" else column)


class Beside(NamedTuple):
    """Two arms at one x: the mean difference a - b over the seeds that both have, half its interval, how many seeds,
    the smallest difference that so many would have shown with probability 0.8, and whether 0 is outside the interval.
    A difference that is the same at every seed, up to the rounding of the values, has half an interval of 0."""

    a: str
    b: str
    x: float
    difference: float
    half: float
    n: int
    least: float
    apart: bool


def overlapping(table: pd.DataFrame) -> tuple[list[tuple[str, str, float]], int, int]:
    """The first pairs of arms whose intervals overlap at an x, how many do, and how many pairs there are.

    An arm without an interval overlaps with all.
    """
    pairs: list[tuple[str, str, float]] = []
    count = total = 0
    places: Any = table.groupby("x", sort=True)
    for x, rows in places:
        arms, low, high = rows["arm"].tolist(), rows["low"].to_numpy(), rows["high"].to_numpy()
        total += len(arms) * (len(arms) - 1) // 2
        for i in range(len(arms) - 1):
            others = np.flatnonzero(~((low[i + 1 :] > high[i]) | (high[i + 1 :] < low[i])))
            count += len(others)
            pairs += [(arms[i], arms[i + 1 + j], float(x)) for j in others[: max(0, PAIRS - len(pairs))]]
    return pairs, count, total


def beside(lines: pd.DataFrame, pairs: Sequence[tuple[str, str, float]]) -> list[Beside]:
    """Pairs of arms compared seed by seed, as far as each has one row a seed."""
    by_place = dict(iter(lines.groupby(["arm", "x"], sort=False)))
    made = []
    for a, b, x in pairs:
        one, two = (by_place[arm, x].set_index("seed")["y"] for arm in (a, b))
        if one.index.has_duplicates or two.index.has_duplicates or one.index.isna().any() or two.index.isna().any():
            continue
        differences = (one - two).dropna().tolist()
        if len(differences) < 2:
            continue
        mean, low, high = interval(differences)
        none = rounding([*one, *two])  # what a difference may be wrong by
        if max(differences) - min(differences) <= none:
            made.append(Beside(a, b, x, mean, 0.0, len(differences), 0.0, abs(mean) > none))
        else:
            least = detectable(differences)
            made.append(Beside(a, b, x, mean, high - mean, len(differences), least, low > 0 or high < 0))
    return made


def reasons(failed: Sequence[Row], shown: int = 5) -> list[tuple[str, int, list[tuple[str, str]]]]:
    """Failed runs by the last line of what they say: the line, how many runs, and the first of them in full."""
    groups: dict[str, list[Row]] = {}
    for row in failed:
        groups.setdefault(_last(row["error"]), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return [
        (line, len(rows), [(told(row["arguments"]), row["error"]) for row in rows[:shown]]) for line, rows in ordered
    ]


def _last(error: str) -> str:
    lines = error.strip().splitlines() or [""]
    return lines[-1] if len(lines[-1]) <= 200 else f"{lines[-1][:197]}..."


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
            made.append((name, ", ".join(f"{value}: {count:,}" for value, count in counts.items())))
    return made
