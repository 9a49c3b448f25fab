"""Criteria, allocations and one-shot methods against independent sources: the largest difference, and known deviations.

    python tests/parity            prints the table and writes it to data/parity.csv

A check is a function that computes the same numbers twice, the second time by another route, and returns the largest
difference as a share of the largest number (for masks: how many weights differ).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Check = Callable[[], float]


@dataclass(frozen=True)
class Parity:
    """One check: what is compared, at which granularity (or what else it is), with which independent source."""

    name: str
    granularity: str
    source: str
    deviation: str
    check: Check


CHECKS: list[Parity] = []


def parity(
    name: str, source: str, granularity: str = "weight", deviation: str = "none known"
) -> Callable[[Check], Check]:
    """Register a check; `deviation` says where the source differs or is wrong, and how that is avoided."""

    def register(check: Check) -> Check:
        CHECKS.append(Parity(name, granularity, source, deviation, check))
        return check

    return register


def collect() -> list[Parity]:
    """All checks of this folder, weights first."""
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        importlib.import_module(f"parity.{path.stem}")
    return sorted(CHECKS, key=lambda c: (c.granularity != "weight", c.granularity, c.name))
