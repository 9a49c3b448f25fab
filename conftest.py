"""Notebooks are tested in their `smoke` profile, the least that computes everything; kernels use one core each."""

from __future__ import annotations

import os
import signal

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two kernels that each want all cores are many times slower than in turn
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a shell without job control
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the programs under test would ignore Ctrl-C, too


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set the profile after a notebook's parameters, as an injected parameter would.

    Committed cells have no execution count; nbval compares outputs only of those that have one.
    """
    for item in items:
        cell = getattr(item, "cell", None)
        if cell is None:
            continue
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source += '\nprofile = "smoke"'
        if cell.get("outputs"):
            cell.execution_count = 1
