"""Verdicts, and how claims show themselves."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench import claims
from workbench.claims import (
    CLAIM_MIME,
    LEVEL,
    NUMBERS_MIME,
    Claim,
    Verdicts,
    adjust,
    judge,
    load_claims,
)
from workbench.intervals import interval

BETTER = Claim("better", "7.2", "a beats b", "arXiv:0000.00000", "a toy", "accuracy of a minus b", "above", 0.0)


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
        ("above", 0, [1e-17] * 5, "undecided"),
        ("above", 0, [1e-17, 2e-17, 3e-17, 2e-17, 1e-17], "undecided"),
        ("above", 0, [0.3, 0.3, 0.3], "undecided"),
        ("below", 0.5, [0.1 + 0.2, 0.3, 0.3], "undecided"),
        ("above", 0, [1e6 + 1e-9, 1e6, 1e6], "undecided"),
        ("above", 0, [-2.0, -2.0], "undecided"),
        ("above", 0, [1e-6, 1.1e-6, 0.9e-6], "holds"),
    ],
)
def test_verdicts(direction: Any, threshold: float, effects: list[float], verdict: str) -> None:
    assert judge(replace(BETTER, direction=direction, threshold=threshold), effects).verdict == verdict


def test_an_end_on_the_threshold_but_for_rounding_decides_nothing() -> None:
    low = interval([0.1, 0.2, 0.3])[1]
    for threshold in (low, low - 1e-14, low + 1e-14):
        assert judge(replace(BETTER, threshold=threshold), [0.1, 0.2, 0.3]).verdict == "undecided"
    assert judge(replace(BETTER, threshold=low - 1e-9), [0.1, 0.2, 0.3]).verdict == "holds"


@pytest.mark.parametrize(("low", "verdict"), [(1.2, "holds"), (0.8, "undecided"), (-0.8, "undecided")])
def test_a_verdict_does_not_hang_on_one_image(low: float, verdict: str) -> None:
    """The interval of -+ 1 spread ends `low` images from a threshold of 3 of 300; the mirror image is refuted."""
    claim = replace(BETTER, threshold=-0.01, images=300)
    spread = np.array([-1.0, 0.0, 1.0]) / 300
    values = spread - interval(spread.tolist())[1] + low / 300 - 0.01
    assert judge(claim, values.tolist()).verdict == verdict
    mirrored = judge(claim, (-0.02 - values).tolist()).verdict
    assert mirrored == verdict.replace("holds", "does not hold here")
    assert judge(replace(claim, images=0), values.tolist()).verdict == ("undecided" if low < 0 else "holds")
    shown = str(judge(claim, [0, 0.1]))
    assert "above -0.01 (3 of the 300 test images that all seeds share) by more than one image" in shown


def test_exact_claims_need_every_seed() -> None:
    exact = replace(BETTER, direction="below", threshold=1e-12, exact=True)
    assert judge(exact, [1e-15, 0.0]).verdict == "holds"
    assert judge(exact, [1e-15, 1e-3]).verdict == "does not hold here"
    assert judge(exact, [0.0]).verdict == "holds"
    assert judge(exact, [0.0, 0.0]).verdict == "holds"


SPREAD = np.array([-0.1, 0.0, 0.1, 0.05, -0.05])


@pytest.mark.parametrize(
    ("parts", "verdict", "shown"),
    [
        ({"x": SPREAD + 1, "y": SPREAD + 2}, "holds", "x"),
        ({"x": SPREAD + 1, "y": SPREAD * 3 + 0.25, "z": SPREAD + 2}, "undecided", "y"),
        ({"x": SPREAD * 3 + 0.25, "y": SPREAD * 3, "z": SPREAD - 1}, "does not hold here", "z"),
        ({"x": SPREAD + 1, "y": SPREAD * 0 + 0.5}, "undecided", "y"),
        ({"x": SPREAD - 1, "y": SPREAD * 0 + 0.5}, "does not hold here", "x"),
        ({("vgg", "snip"): SPREAD, ("lenet", "snip"): SPREAD + 1}, "undecided", "vgg, snip"),
        ({"x": SPREAD + 1}, "holds", ""),
    ],
)
def test_a_claim_of_parts_holds_if_every_part_does(parts: Any, verdict: str, shown: str) -> None:
    table = pd.DataFrame(parts, index=[3, 4, 5, 6, 7])
    evidence = judge(BETTER, table)
    assert (evidence.verdict, evidence.part, evidence.seeds) == (verdict, shown, (3, 4, 5, 6, 7))
    below = judge(replace(BETTER, direction="below"), -table)
    assert (below.verdict, below.part, below.p) == (verdict, shown, pytest.approx(evidence.p, nan_ok=True))
    alone = [judge(BETTER, table[name]) for name in table]
    assert evidence.p == pytest.approx(max(float(np.nan_to_num(one.p, nan=np.inf)) for one in alone)) or math.isnan(
        evidence.p
    )
    assert (evidence.low, evidence.high) in [(one.low, one.high) for one in alone] or math.isnan(evidence.low)


def test_an_exact_claim_of_parts_shows_the_part_that_is_worst() -> None:
    exact = replace(BETTER, direction="below", threshold=1e-3, exact=True)
    evidence = judge(exact, pd.DataFrame({"x": [1e-9, 1e-8], "y": [1e-5, 1e-6]}))
    assert (evidence.verdict, evidence.part, evidence.high) == ("holds", "y", 1e-5)
    evidence = judge(exact, pd.DataFrame({"x": [1e-9, 1e-2], "y": [1e-5, 1e-6]}))
    assert (evidence.verdict, evidence.part, evidence.high) == ("does not hold here", "x", 1e-2)


def test_parts_at_the_threshold_hold_no_more_often_than_one_does() -> None:
    """Two parts, one at the threshold, one far above: 2.5 % hold."""
    draws = np.random.default_rng(3).normal([0.0, 10.0], size=(1000, 5, 2))
    held = [judge(BETTER, pd.DataFrame(draw)).verdict == "holds" for draw in draws]
    assert np.mean(held) == pytest.approx(LEVEL, abs=0.015)


def test_p_by_hand() -> None:
    """n = 3, mean 2, s = 1, threshold 1: t = sqrt(3), p = P(T_2 > sqrt(3)) = (1 - sqrt(3 / 5)) / 2."""
    assert judge(replace(BETTER, threshold=1), [1.0, 2.0, 3.0]).p == pytest.approx((1 - math.sqrt(3 / 5)) / 2)
    assert judge(replace(BETTER, threshold=1, direction="below"), [1.0, 2.0, 3.0]).p == pytest.approx(
        (1 + math.sqrt(3 / 5)) / 2
    )
    edge = interval([0.1, 0.2, 0.3])[1]
    assert judge(replace(BETTER, threshold=edge), [0.1, 0.2, 0.3]).p == pytest.approx(LEVEL)


def test_adjusted_p_by_hand() -> None:
    """p = 0.01, 0.04, 0.03, 0.005: BH 0.02, 0.04, 0.04, 0.02 and Holm 0.03, 0.06, 0.06, 0.02."""
    one = judge(BETTER, [0.2, 0.3, 0.4])
    ledger = adjust(replace(one, p=p) for p in (0.01, 0.04, 0.03, 0.005))
    assert [e.bh for e in ledger] == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert [e.holm for e in ledger] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    exact = judge(replace(BETTER, exact=True), [1.0, 2.0])
    more = adjust([*ledger, exact, judge(BETTER, [0.5, 0.5])])
    assert [e.bh for e in more[:4]] == pytest.approx([0.025, 0.05, 0.05, 0.025])
    assert math.isnan(more[4].bh)
    assert math.isnan(more[4].holm)
    assert more[5].bh == more[5].holm == 1.0
    assert adjust([]) == Verdicts()


def test_what_holds_alone_and_not_among_all_claims_says_so() -> None:
    holds = judge(BETTER, [0.2, 0.3, 0.4, 0.8])
    assert holds.verdict == "holds"
    one, *others = adjust([holds, *[judge(BETTER, [0.1, -0.1, 0.01])] * 20])
    assert (one.verdict, one.words) == ("holds", "holds, but not among all claims")
    assert {e.words for e in others} == {"undecided"}
    bundle = Verdicts([one])._repr_mimebundle_()
    assert "holds, but not among all claims" in bundle["text/html"]
    assert bundle["text/plain"].startswith("holds, but not among all claims: a beats b")
    assert f'<td style="text-align:left">{one.bh:.2g}</td>' in bundle["text/html"]
    assert bundle[CLAIM_MIME][0]["holm"] == one.holm
    assert adjust([holds])[0].words == "holds"


def test_evidence_shows_itself() -> None:
    evidence = judge(BETTER, pd.Series([0.2, 0.3, 0.4], index=[7, 8, 9]))
    bundle = evidence._repr_mimebundle_()
    (row,) = bundle[CLAIM_MIME]
    names = "id section statement source setting effect low high n verdict detectable seeds part p bh holm words"
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
    assert "no interval: one seed" in one["text/plain"]
    same = judge(BETTER, [0.2, 0.2])._repr_mimebundle_()
    assert same[CLAIM_MIME][0]["high"] is None
    assert "none (the same at every seed)" in same["text/html"]
    parts = judge(BETTER, pd.DataFrame({"x": [1, 2], "<y>": [0, 1]}))._repr_mimebundle_()
    assert "<strong>&lt;y&gt;</strong>: 0.5" in parts["text/html"]
    assert "above 0: <y>: 0.5" in parts["text/plain"]


def test_show_number_emits_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    claims.show_number("accuracy", np.float64(0.98765))
    claims.show_number("kept", 294032)
    assert shown[0] == {"text/plain": "accuracy = 0.9877", NUMBERS_MIME: {"accuracy": 0.98765}}
    assert shown[1]["text/plain"] == "kept = 294,032"


def test_wrong_effects_are_refused() -> None:
    with pytest.raises(ValueError, match="got none"):
        judge(BETTER, [])
    with pytest.raises(TypeError, match=r"are one number per seed: a dict, .*; got None"):
        judge(BETTER, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"seeds \[1\] are not"):
        judge(BETTER, [0.1, math.nan])
    with pytest.raises(ValueError, match=r"those of snip of seeds \[1\] are not"):
        judge(BETTER, pd.DataFrame({"snip": [0.1, None], "grasp": [0.1, 0.2]}))
    for twice in ([0, 0, 1], [0, 0.0, 1]):
        with pytest.raises(ValueError, match=r"seeds \[0\] appear more than once"):
            judge(BETTER, pd.Series([0.1, 0.2, 0.3], index=twice))
    with pytest.raises(ValueError, match=r"seeds \[0\] appear more than once"):
        judge(BETTER, pd.DataFrame({"a": [1, 2], "b": [1, 2]}, index=[0, 0]))
    for odd in (0.5, math.nan, "one", (0, "vgg"), None):
        with pytest.raises(ValueError, match="seeds, which are whole numbers"):
            judge(BETTER, {odd: 0.1, 1: 0.2})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="its own name; got a, a"):
        judge(BETTER, pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]))
    with pytest.raises(ValueError, match=r"seeds \[0, 1\] are not"):
        judge(BETTER, [[1, 2], [3, 4]])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="Did you mean 'synflow-conserves'"):
        judge("synflow-conserve", [0.1])
    with pytest.raises(ValueError, match="direction of claim"):
        replace(BETTER, direction="higher")  # type: ignore[arg-type]


def test_claims_on_file_are_whole(digits: wb.Task) -> None:
    loaded = load_claims()
    assert len(loaded) >= 8
    for name, claim in loaded.items():
        assert name == claim.id
        assert name == name.lower()
        assert "arXiv:" in claim.source, f"{name} names its source by arXiv id"
        assert "seeds" in claim.setting, name
        assert claim.statement.endswith("."), name
        targets = digits.splits["test"].targets
        images = int((targets >= 5).sum()) if "on the digits 5 to 9" in claim.setting else len(targets)
        if "CIFAR-10" in claim.setting:
            images = 5_000 if "classes 5 to 9" in claim.setting else 10_000
        assert claim.images == (images if "test accuracy" in claim.effect else 0), name
