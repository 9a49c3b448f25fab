"""Notebooks are tested in their `smoke` profile, the least that computes everything; kernels use one core each.

Of files that run beside each other, the long ones begin first, so that none is left alone at the end.
"""

from __future__ import annotations

import os
import signal
import sys

import pytest

LONG = (
    "tests/notebooks/test_notebooks.py",
    "notebooks",
    "tests/house/test_processors.py",
    "tests/browser",
    "tests/headless",
    "tests/sweeps",
    "tests/house",
    "tests/notebooks",
    "tests/test_cli.py",
)
"""Files and folders of tests in the order in which they begin, the others after them."""

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two kernels that each want all cores are many times slower than in turn
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes would each compile torch, which takes seconds
sys.dont_write_bytecode = False
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a shell without job control
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the programs under test would ignore Ctrl-C, too


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first; set the profile after a notebook's parameters, as an injected parameter would.

    Committed cells have no execution count; nbval compares outputs only of those that have one.
    """
    items.sort(key=_place)
    for item in items:
        cell = getattr(item, "cell", None)
        if cell is None:
            continue
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source += '\nprofile = "smoke"'
        if cell.get("outputs"):
            cell.execution_count = 1


def _place(item: pytest.Item) -> int:
    return next(
        (place for place, path in enumerate(LONG) if item.path.is_relative_to(item.config.rootpath / path)), len(LONG)
    )
