"""Numbers over seeds: Student-t intervals, the smallest distance that would have shown, and arms side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.types import check_choice

if TYPE_CHECKING:
    import pandas as pd


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high): the Student-t interval mean -+ t((1 + level)/2, n - 1) s / sqrt(n); NaN ends for n = 1.

    It covers the true mean in `level` of repetitions at any n if the values are normal (a percentile bootstrap of five
    does in about 84 %). Misleads for values close to a bound, such as accuracies near 1.

    >>> [round(x, 3) for x in interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    from scipy.special import stdtrit  # Student's quantiles, without the many checks of scipy.stats

    mean, error = mean_and_error(values)
    low, high = (mean + float(stdtrit(len(values) - 1, (1 + sign * level) / 2)) * error for sign in (-1, 1))
    return mean, low, high


def student(values: Sequence[float], bounds: tuple[float, float] = (-math.inf, math.inf)) -> tuple[float, float]:
    """(low, high): the 95 % Student-t interval of the mean, which is what seaborn takes as `errorbar=`.

    `bounds` are where it ends at the latest: (0, 1) for accuracies, as in `errorbar=lambda v: student(v, (0, 1))`.

    >>> [round(x, 3) for x in student([1.0, 2.0, 3.0])]
    [-0.484, 4.484]
    """
    low, high = np.clip(interval(values)[1:], *bounds)
    return float(low), float(high)


def detectable(values: Sequence[float], power: float = 0.8, level: float = 0.95) -> float:
    """Smallest distance from the threshold that n such values would have shown with probability `power`.

    (t((1 + level)/2, n - 1) + t(power, n - 1)) s / sqrt(n), NaN for n = 1 (Bloom 1995, doi:10.1177/0193841X9501900504).
    Misleads at few seeds: it is as uncertain as their deviation s.

    >>> round(detectable([1.0, 2.0, 3.0]), 3)
    3.097
    """
    from scipy import stats

    return float(stats.t.ppf([(1 + level) / 2, power], len(values) - 1).sum()) * mean_and_error(values)[1]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error s / sqrt(n), s with n - 1 in the denominator; NaN for one value."""
    n = len(values)
    if not n:
        raise ValueError("an interval needs one number per seed; got none")
    return float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan


def rounding(values: Sequence[float]) -> float:
    """How much sums of such numbers may be wrong by rounding."""
    return 1e-12 * max(1.0, *map(abs, values))


def differ(values: Sequence[float]) -> bool:
    """Whether numbers differ by more than rounding (one number does not)."""
    return max(values) - min(values) > rounding(values)


def compare(df: pd.DataFrame, value: str, arm: str, a: str, b: str, by: str = "seed") -> pd.DataFrame:
    """Paired differences of two arms: one row per seed, columns a, b and `difference` = a - b.

    `df` is tidy with one row per arm and seed: choose one setting (one compression, one network) first.

    >>> import pandas as pd
    >>> df = pd.DataFrame({"criterion": ["x", "y", "x", "y"], "seed": [0, 0, 1, 1], "accuracy": [0.9, 0.8, 0.7, 0.4]})
    >>> compare(df, "accuracy", "criterion", "x", "y")["difference"].round(3).tolist()
    [0.1, 0.3]
    """
    for column in (value, arm, by):
        check_choice("column", column, df.columns)
    options = list(df[arm].unique())
    for name in (a, b):
        if name not in options:
            raise ValueError(f"{arm} is one of {', '.join(map(str, sorted(options)))}; got {name!r}")
    rows = df[df[arm].isin([a, b])]
    if (twice := rows.duplicated([arm, by])).any():
        found = rows[twice][arm].iloc[0]
        raise ValueError(f"{found!r} has several rows for one {by}; choose one setting first, such as one compression")
    if lone := sorted(rows[~rows.duplicated(by, keep=False)][by]):
        raise ValueError(f"pairs need both arms; {by} {lone} has only one of {a!r} and {b!r}. Run or drop them")
    table = rows.astype({arm: object}).pivot(index=by, columns=arm, values=value)[[a, b]].rename_axis(columns=None)
    return table.assign(difference=table[a] - table[b])


def arms(df: pd.DataFrame, value: str, arm: str) -> pd.DataFrame:
    """Mean, 95 % interval and n of each arm, and which arms it beats: those whose interval lies wholly below its own.

    Arms whose intervals overlap are not ranked, nor are arms whose seeds differ only by rounding, which have no
    interval. Paired seeds often show more: see `compare`.

    >>> import pandas as pd
    >>> df = pd.DataFrame({"arm": ["x"] * 3 + ["y"] * 3, "accuracy": [0.90, 0.91, 0.92, 0.50, 0.51, 0.52]})
    >>> arms(df, "accuracy", "arm")["beats"].tolist()
    ['y', '']
    """
    import pandas as pd

    for column in (value, arm):
        check_choice("column", column, df.columns)
    groups = {name: group.tolist() for name, group in df.groupby(arm, sort=False)[value]}
    rows = [(*interval(values), len(values)) for values in groups.values()]
    table = pd.DataFrame(rows, columns=["mean", "low", "high", "n"], index=pd.Index(groups, name=arm))
    ranked = table[[differ(values) for values in groups.values()]]
    beaten = {name: ", ".join(map(str, ranked.index[ranked["high"] < row["low"]])) for name, row in ranked.iterrows()}
    return table.assign(beats=[beaten.get(name, "") for name in groups])
