"""Intervals, verdicts, comparisons, and how claims show themselves."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench import claims
from workbench.claims import CLAIM_MIME, NUMBERS_MIME, Claim, arms, compare, detectable, interval, judge, load_claims

BETTER = Claim("better", "7.2", "a beats b", "arXiv:0000.00000", "a toy", "accuracy of a minus b", "above", 0.0)


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


def test_identical_arms_are_undecided() -> None:
    draws = np.random.default_rng(2).normal(0.9, 0.01, size=(200, 2, 5))
    verdicts = [judge(BETTER, (a - b).tolist()).verdict for a, b in draws]
    assert verdicts.count("undecided") >= 0.93 * 200
    assert judge(BETTER, [0.0] * 5).verdict == "undecided"


@pytest.mark.parametrize(
    ("direction", "threshold", "effects", "verdict"),
    [
        ("above", 0, [1, 1.1, 0.9], "holds"),
        ("above", 0, [-1, -1.1, -0.9], "does not hold here"),
        ("above", 0, [1, -1, 0.5], "undecided"),
        ("below", 0, [-1, -1.1, -0.9], "holds"),
        ("below", 0, [1, 1.1, 0.9], "does not hold here"),
        ("above", 1, [0.5, 0.6, 0.7], "does not hold here"),
        ("above", 0, [5.0], "undecided"),
    ],
)
def test_verdicts(direction: Any, threshold: float, effects: list[float], verdict: str) -> None:
    assert judge(replace(BETTER, direction=direction, threshold=threshold), effects).verdict == verdict


def test_exact_claims_need_every_seed() -> None:
    exact = replace(BETTER, direction="below", threshold=1e-12, exact=True)
    assert judge(exact, [1e-15, 0.0]).verdict == "holds"
    assert judge(exact, [1e-15, 1e-3]).verdict == "does not hold here"
    assert judge(exact, [0.0]).verdict == "holds"


def test_evidence_shows_itself() -> None:
    evidence = judge(BETTER, pd.Series([0.2, 0.3, 0.4], index=[7, 8, 9]))
    bundle = evidence._repr_mimebundle_()
    (row,) = bundle[CLAIM_MIME]
    names = "id section statement source setting effect low high n verdict detectable seeds"
    assert set(row) == set(names.split())
    assert row["seeds"] == [7, 8, 9]
    assert row["verdict"] == "holds"
    assert row["effect"] == pytest.approx(0.3)
    assert "a beats b" in bundle["text/html"]
    assert "holds" in bundle["text/html"]
    assert "holds: a beats b" in bundle["text/plain"]
    assert "n = 3" in bundle["text/plain"]
    one = judge(BETTER, [0.2])._repr_mimebundle_()
    assert one[CLAIM_MIME][0]["low"] is None
    assert one[CLAIM_MIME][0]["detectable"] is None
    assert "no interval" in one["text/plain"]


def test_record_emits_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    claims.record("accuracy", np.float64(0.98765))
    claims.record("kept", 294032)
    assert shown[0] == {"text/plain": "accuracy = 0.9877", NUMBERS_MIME: {"accuracy": 0.98765}}
    assert shown[1]["text/plain"] == "kept = 294,032"


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


def test_wrong_effects_are_refused() -> None:
    with pytest.raises(ValueError, match="got none"):
        judge(BETTER, [])
    with pytest.raises(ValueError, match=r"seeds \[1\] are not"):
        judge(BETTER, [0.1, math.nan])
    with pytest.raises(ValueError, match="Did you mean 'synflow-conserves'"):
        judge("synflow-conserve", [0.1])
    with pytest.raises(ValueError, match="direction of claim"):
        replace(BETTER, direction="higher")  # type: ignore[arg-type]


def test_claims_on_file_are_whole() -> None:
    loaded = load_claims()
    assert len(loaded) >= 8
    for name, claim in loaded.items():
        assert name == claim.id
        assert name == name.lower()
        assert "arXiv:" in claim.source, f"{name} names its source by arXiv id"
        assert "seeds" in claim.setting, name
        assert claim.statement.endswith("."), name
