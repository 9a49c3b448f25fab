"""Recorded rows computed again: which are drawn, and what a difference is called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workbench.cli import main
from workbench.experiments import EXPERIMENTS, compute, drift, experiment
from workbench.experiments.drift import ALARM, TIMED, draw, summary


@pytest.fixture
def areas(tmp_path: Path) -> Iterator[Path]:
    """An experiment of ten rows; its file."""

    @experiment("areas", [{"width": [1, 2], "seed": list(range(5))}], folder=tmp_path)
    def area(width: int, seed: int) -> dict[str, Any]:
        if (tmp_path / "broken").exists():
            raise OSError("no data here")
        return {"area": width * width + seed, "word": "box"}

    compute("areas")
    yield tmp_path / "areas.jsonl"
    EXPERIMENTS.remove("areas")


def rewritten(path: Path, change: Any) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for place, row in enumerate(rows):
        change(place, row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_same_bits_are_the_same(areas: Path) -> None:
    table, failed = drift.drift(4, seed=1, names=["areas"])
    assert (len(table), failed) == (8, [])
    assert set(table["verdict"]) == {"same"}
    assert table["difference"].dropna().tolist() == [0] * 4
    assert summary(table) == "4 runs, 8 numbers: 8 same"


def test_a_difference_says_what_may_be_its_reason(areas: Path) -> None:
    def change(place: int, row: dict[str, Any]) -> None:
        row["metrics"]["area"] += place / 10
        if place == 1:
            del row["versions"]["processor"]
        if place == 2:
            row["versions"]["processor"] = "another one, AVX2"
        if place == 3:
            row["versions"]["torch"] = "1.0"

    rewritten(areas, change)
    table, _ = drift.drift(10, names=["areas"])
    numbers = table[table["metric"] == "area"].set_index("difference")["verdict"]
    by_size = {round(-10 * difference): verdict for difference, verdict in numbers.items()}
    assert by_size[0] == "same"
    assert by_size[1] == "processor not recorded"
    assert by_size[2] == "another processor"
    assert by_size[3] == "other versions"
    assert {by_size[place] for place in range(4, 10)} == {ALARM}
    words = summary(table)
    assert f"6 {ALARM}" in words
    assert words.count("ATTENTION") == 6
    assert "largest difference of area: -0.9" in words


def test_rows_are_drawn_by_the_seed_within_the_budget(areas: Path) -> None:
    def change(place: int, row: dict[str, Any]) -> None:
        row["seconds"] = 10.0 if place % 2 else 100.0
        if place == 9:
            row["versions"]["processor"] = "Xeon, AVX512, NVIDIA H100"

    rewritten(areas, change)
    keys = [[one.row["key"] for one in draw(3, seed, names=["areas"])] for seed in (0, 0, 1)]
    assert keys[0] == keys[1] != keys[2]
    chosen = draw(10, budget=45, names=["areas"])
    assert sorted(one.row["seconds"] for one in chosen) == [10.0] * 4, "not the one of a GPU, and none of 100 s"
    with pytest.raises(ValueError, match="no row to compute again took 5 s or less"):
        draw(10, budget=5, names=["areas"])
    assert set(TIMED) < set(EXPERIMENTS)
    assert not {one.experiment for one in draw(10_000, budget=1e9)} & set(TIMED)


def test_a_run_that_fails_is_the_only_failure(areas: Path, tmp_path: Path, capsys: Any) -> None:
    rewritten(areas, lambda place, row: row["metrics"].update(area=-1))
    command = ["evidence", "areas", "--drift", "3", "-o", str(tmp_path / "out")]
    assert main(command) == 0
    assert f"3 {ALARM}, 3 same" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "out" / "drift.csv")) == 6
    (tmp_path / "broken").touch()
    assert main(command) == 1
    assert "OSError: no data here" in capsys.readouterr().err
    assert main(["evidence", "areas", "--drift", "0"]) == 2
    for budget, why in (("nan", "more than 0; got nan"), ("0", "more than 0; got 0.0")):
        assert main([*command, "--budget", budget]) == 2
        assert why in capsys.readouterr().err
