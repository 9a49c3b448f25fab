"""Intervals over seeds, and arms side by side."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from workbench.intervals import arms, compare, detectable, interval


def test_interval_by_hand() -> None:
    """n = 3, s = 1: t(0.975, 2) = 4.3027, half width 4.3027 / sqrt(3) = 2.4841."""
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - 2.4841, 2 + 2.4841), abs=1e-4)
    assert detectable([1.0, 2.0, 3.0]) == pytest.approx((4.3027 + 1.0607) / math.sqrt(3), abs=1e-4)


def test_interval_covers_95_percent_at_five_seeds() -> None:
    """Binomial standard error of 4,000 draws at 0.95 is 0.0034; a normal interval would cover 0.88 here."""
    draws = np.random.default_rng(0).normal(size=(4000, 5))
    covered = [low <= 0 <= high for _, low, high in map(interval, draws.tolist())]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.011)


def test_detectable_distance_is_seen_with_80_percent() -> None:
    """At the detectable distance of the true deviation (1) four of five draws of five seeds exclude 0.

    The formula is an approximation of the noncentral t: the power at n = 5 is 0.76.
    """
    at = (2.7764 + 0.9410) / math.sqrt(5)
    draws = np.random.default_rng(1).normal(loc=at, size=(4000, 5))
    assert np.mean([low > 0 for _, low, _ in map(interval, draws.tolist())]) == pytest.approx(0.8, abs=0.06)


def test_values_that_do_not_differ_have_an_interval_of_no_width() -> None:
    assert interval([0.3, 0.3]) == (0.3, 0.3, 0.3)
    assert interval([0.3])[0] == 0.3
    assert all(map(math.isnan, interval([0.3])[1:]))
    with pytest.raises(ValueError, match="one number per seed; got none"):
        interval([])


def two_arms() -> pd.DataFrame:
    return pd.DataFrame({"criterion": ["x", "x", "y", "y"], "seed": [0, 1, 1, 0], "accuracy": [0.9, 0.8, 0.7, 0.5]})


def test_compare_pairs_by_seed() -> None:
    table = compare(two_arms(), "accuracy", "criterion", "x", "y")
    assert table.index.tolist() == [0, 1]
    assert table["difference"].tolist() == pytest.approx([0.4, 0.1])


def test_compare_refuses_what_has_no_pairs() -> None:
    df = two_arms()
    with pytest.raises(ValueError, match=r"seed \[0\] has only one"):
        compare(df.iloc[:3], "accuracy", "criterion", "x", "y")
    with pytest.raises(ValueError, match="choose one setting first"):
        compare(pd.concat([df, df]), "accuracy", "criterion", "x", "y")
    with pytest.raises(ValueError, match="criterion is one of x, y; got 'z'"):
        compare(df, "accuracy", "criterion", "x", "z")
    with pytest.raises(ValueError, match="Did you mean 'accuracy'"):
        compare(df, "accurcy", "criterion", "x", "y")


def test_overlapping_arms_are_not_ranked() -> None:
    far = {"x": [0.90, 0.91, 0.92], "y": [0.50, 0.51, 0.52], "z": [0.89, 0.91, 0.92]}
    df = pd.DataFrame([{"arm": arm, "accuracy": v} for arm, values in far.items() for v in values])
    assert arms(df, "accuracy", "arm")["beats"].to_dict() == {"x": "y", "y": "", "z": "y"}


def test_arms_without_a_spread_are_not_ranked() -> None:
    values = {"x": [0.9, 0.91, 0.92], "same": [0.5, 0.5, 0.5], "rounded": [0.1 + 0.2, 0.3, 0.3], "one": [0.1]}
    df = pd.DataFrame([{"arm": arm, "accuracy": v} for arm, one in values.items() for v in one])
    assert set(arms(df, "accuracy", "arm")["beats"]) == {""}


def test_compare_keeps_what_is_not_a_number_and_takes_categories() -> None:
    df = two_arms().astype({"criterion": "category"})
    assert compare(df, "accuracy", "criterion", "x", "y")["difference"].tolist() == pytest.approx([0.4, 0.1])
    df.loc[0, "accuracy"] = math.nan
    assert compare(df, "accuracy", "criterion", "x", "y")["difference"].isna().tolist() == [True, False]
