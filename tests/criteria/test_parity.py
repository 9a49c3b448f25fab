"""Criteria, allocations and one-shot methods agree with independent sources; data/parity.csv is their table."""

from __future__ import annotations

import csv

import pytest
from parity import Parity, collect

import workbench as wb
from workbench.project_data import project_data

CHECKS = collect()


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.granularity}-{c.name}")
def test_it_agrees(check: Parity) -> None:
    assert check.check() < 1e-6


def test_every_criterion_and_one_shot_method_is_compared() -> None:
    compared = {(check.name, check.granularity) for check in CHECKS}
    for granularity in ("weight", "channel"):
        assert {(name, granularity) for name in wb.criteria(granularity)} - compared <= {("random", "weight")}
    assert {(name, "one-shot") for name in wb.one_shot_methods()} <= compared


def test_the_table_is_that_of_the_checks() -> None:
    with project_data("parity.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    told = [(row["name"], row["granularity"], row["source"], row["known deviations"]) for row in rows]
    assert told == [(c.name, c.granularity, c.source, c.deviation) for c in CHECKS], "run `make parity`"
    assert all(float(row["largest difference"]) < 1e-6 for row in rows)
