"""The benchmarks run, and every bound is there with a finite number. Times are not judged here."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.memory import peak
from workbench.criteria.registry import entries

ROOT = Path(__file__).resolve().parents[2]

BOUNDS = {
    "magnitude, global cut": 0.5,
    "SNIP /": 1.1,
    "GraSP /": 3.0,
    "LRP /": 4.0,
    "Fisher of channels /": 1.5,
    "Taylor of channels /": 1.5,
    "SynFlow, 100 rounds /": 1.2,
    "largest layer, 272 k": 5.0,
    "largest layer, 26 M": 5.0,
    "epoch of LeNet-300-100": 1.3,
    "without: vgg": 1.05,
    "without: resnet-20": 1.05,
    "without: lenet-300-100": 1.10,
    "removal of resnet-20 /": 1.3,
    "removal of resnet-56 /": 1.3,
    "removal of resnet-18 /": 1.3,
    "are from the multiply-adds": 0.25,
    "wanda at half": 1.0,
    "sparsegpt at half": 1.8,
    "wanda / the same by bare": 1.1,
    "sparsegpt / the same by bare": 1.1,
    "step of rigl /": 1.03,
    "step of l0 /": 1.25,
    "step of str /": 1.25,
    "pruning, rewound": 10.0,
    "a recorded training": 20.0,
    "import workbench": 0.3,
    "the most of these": 3.0,
    "two processes / one": 1 / 1.85,
    "above its function": 30.0,
    "on two workers of Dask /": 1.15,
    "resume of a finished sweep": 2.0,
    "results of": 5.0,
    "memory of a driver": 500.0,
}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *words]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict:
    path = tmp_path_factory.mktemp("bench") / "out" / "bench.json"
    result = run("--quick", "-o", str(path))
    assert result.returncode == 0, result.stderr
    return {"rows": json.loads(path.read_text())["rows"], "printed": result.stdout}


@pytest.mark.parametrize("title", BOUNDS)
def test_every_bound_is_measured_once(report, title):
    found = [row for row in report["rows"] if title in row["what"]]
    assert [row["bound"] for row in found] == [BOUNDS[title]]


def test_no_other_bound_is_set(report):
    assert sum(row["bound"] is not None for row in report["rows"]) == len(BOUNDS)


def test_numbers_are_finite_and_printed(report):
    for row in report["rows"]:
        assert math.isfinite(row["value"])
        assert row["value"] >= 0
        assert row["what"] in report["printed"]


def test_memory_stays_within_its_bound(report):
    """Bytes do not depend on how busy the machine is, so that they are judged here too."""
    held = {row["what"]: row["value"] for row in report["rows"] if "in copies of the weights" in row["what"]}
    asked = [place for place, entry in entries().items() if entry.memory == "weights" and entry.builtin]
    assert len(held) == len(asked)
    assert max(held.values()) <= 3
    assert held["magnitude (weight): memory, in copies of the weights"] == pytest.approx(1, abs=0.01)  # the scores


def test_memory_is_counted():
    kept = []
    assert peak(lambda: kept.append(torch.zeros(1000, dtype=torch.float64))) == 8000
    assert peak(lambda: [torch.zeros(1000) for _ in range(3)] and None) == 12000


def test_a_number_over_its_bound_says_so():
    from benchmarks.measure import Row

    assert Row("w", 1.3, "x", 1.2).over
    assert Row("w", float("nan"), "x", 1.2).over
    assert not Row("w", 1.2, "x", 1.2).over
    assert not Row("w", 1.3, "x").over


def test_an_unknown_topic_is_refused_with_the_topics():
    result = run("scorin")
    assert result.returncode == 2
    assert "scoring, sliders" in result.stderr
    assert "scorin\n" in result.stderr
