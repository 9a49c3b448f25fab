"""Experiments and readings of one's own, and what is wrong with either is said where it is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench.claims import Claim, load_claims
from workbench.experiments import EXPERIMENTS, READINGS, compute, experiment, reading, recorded, verdict, verdicts

MINE = Claim("mine", "0", "Squares grow.", "me", "a toy", "area at width 3 minus area at width 2", "above", 4.9)


@pytest.fixture(autouse=True)
def _own_ones_are_forgotten() -> Iterator[None]:
    yield
    for registry in (EXPERIMENTS, READINGS):
        for name in registry.own():
            registry.remove(name)


def squares(folder: Path, widths: tuple[int, ...] = (2, 3)) -> Any:
    @experiment("squares", grids=[{"width": widths, "seed": [0, 1]}], folder=folder)
    def area(width: int, seed: int, height: int | None = None, kind: str = "box") -> dict[str, float]:
        return {"area": width**2 + seed * width / 100}

    return area


def growth(rows: Any, more: int = 0) -> Any:
    found = rows.pivot(columns="width", values="area")
    return found[3 + more] - found[2]


def test_an_own_experiment_and_claim_need_a_decorator_each(tmp_path: Path) -> None:
    area = squares(tmp_path / "rows")
    assert area(3, seed=0) == {"area": 9.0}, "the decorator gives the function back"
    assert compute("squares")["area"].tolist() == [4, 4.02, 9, 9.03]
    assert recorded("squares")["kind"].tolist() == ["box"] * 4
    assert (tmp_path / "rows" / "squares.jsonl").exists()
    assert reading(MINE, of="squares")(growth) is growth
    assert verdict("mine").effect == pytest.approx((5 + 5.01) / 2)
    shown = verdicts("synflow-conserves", "mine")
    assert [evidence.claim.id for evidence in shown] == ["synflow-conserves", "mine"]
    assert len(verdicts()) == len(load_claims()), "a claim of one's own is judged where it is named"


def test_a_cell_that_runs_twice_replaces_its_own(tmp_path: Path) -> None:
    squares(tmp_path)
    squares(tmp_path, widths=(2, 3, 4))
    assert len(compute("squares")) == 6
    reading(MINE, of="squares")(growth)
    reading(MINE, of="squares", more=1)(growth)
    assert verdict("mine").effect == pytest.approx((12 + 12.02) / 2)


def test_rows_come_by_seed_and_a_dict_gives_parts(tmp_path: Path) -> None:
    squares(tmp_path)
    compute("squares")
    seen = []

    @reading(MINE, of=("squares", "sizes"))
    def two(rows: Any, sizes: Any) -> Any:
        seen.append((rows.index.name, list(rows.index), sizes.index.name))
        return {"wide": growth(rows), "wider": growth(rows) + 1}

    assert verdict("mine").part == "wide"
    assert seen == [("seed", [0, 0, 1, 1], "seed")]


def test_a_run_serves_several_experiments(tmp_path: Path) -> None:
    area = squares(tmp_path)
    assert experiment("large", [{"width": [10], "seed": [0]}], folder=tmp_path)(area) is area
    assert compute("large")["area"].tolist() == [100]
    assert EXPERIMENTS["large"].function is EXPERIMENTS["squares"].function


def test_wrong_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"experiment is one of .*Did you mean 'critical'"):
        reading(MINE, of=("headline", "criticl"))
    with pytest.raises(
        ValueError, match=r"'force-delay' is not a claim of data/claims.yaml. Write its entry there, or"
    ):
        reading("force-delay", of="critical")
    with pytest.raises(ValueError, match="'force-delays' is the workbench's own claim and stays as it is"):
        reading("force-delays", of="critical")(growth)
    with pytest.raises(
        ValueError, match=r"'mine' needs a folder for its rows, because it is your own. Pass folder='rows'"
    ):
        experiment("mine", [{}])(growth)
    with pytest.raises(TypeError, match=r"grids is a list of grids, each a dict of lists; got {'seed'"):
        experiment("mine", {"seed": [0]}, folder=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'critical' is the workbench's own experiment and stays as it is"):
        experiment("critical", [{}], folder=tmp_path)(growth)
    squares(tmp_path)
    with pytest.raises(ValueError, match=r"'squares' has no rows in .*compute\('squares'\)"):
        recorded("squares")


def test_a_reading_needs_seeds(tmp_path: Path) -> None:
    experiment("unsown", [{"width": [1, 2]}], folder=tmp_path)(lone)
    compute("unsown")
    reading(MINE, of="unsown")(growth)
    with pytest.raises(ValueError, match="judged by seeds; the run of experiment 'unsown' has no argument 'seed'"):
        verdict("mine")


def lone(width: int) -> dict[str, float]:
    return {"area": width**2}


def test_an_entry_without_a_reading_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = {**load_claims(), "new-claim": MINE}
    monkeypatch.setattr("workbench.experiments.load_claims", lambda: lacking)
    with pytest.raises(ValueError, match=r"without a reading: new-claim. Write @reading\('new-claim', of=...\)"):
        verdicts("synflow-conserves")


def test_every_reading_names_experiments_that_are_there() -> None:
    for claim in READINGS:
        assert set(READINGS[claim].of) <= set(EXPERIMENTS), claim
