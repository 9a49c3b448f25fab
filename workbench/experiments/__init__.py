"""Recorded runs, one file for each topic: a run with its grids and its readings. New files are found automatically."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.claims import Evidence, Verdicts, adjust, judge, load_claims
from workbench.experiments.common import authors
from workbench.experiments.registry import EXPERIMENTS, READINGS, experiment, reading
from workbench.project_data import project_data
from workbench.sweeps import Row, results, sweep
from workbench.types import check_choice

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EXPERIMENTS", "READINGS", "compute", "experiment", "reading", "recorded", "verdict", "verdicts"]

for _topic in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_topic.name}")


def compute(
    name: str,
    folder: str | Path | None = None,
    jobs: int = 0,
    on_row: Callable[[Row, int, int], None] | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Compute the missing rows of an experiment in `folder` (default: its own, or `data/rows`); return all its rows.

    `workbench evidence` does it for every experiment. A row that is there is not computed again: delete it first.
    """
    found = EXPERIMENTS[name]
    path = Path(folder or found.folder or project_data("rows")) / f"{name}.jsonl"
    return sweep(found.function, path, *found.grids, jobs=jobs, on_row=on_row, progress=progress)


def recorded(name: str, bn: str = "authors") -> pd.DataFrame:
    """The recorded rows of an experiment, with every argument.

    If a criterion was recorded under several BatchNorm statistics, `bn="authors"` gives the rows under those of its
    authors' code, `"all"` every row.

    >>> sorted(recorded("conservation")["network"].unique())
    ['lenet-300-100', 'resnet-20', 'vgg']
    """
    found = EXPERIMENTS[name]
    folder = found.folder or project_data("rows")
    if not (path := folder / f"{name}.jsonl").exists():
        raise ValueError(f"experiment {name!r} has no rows in {folder}. Compute them first: compute({name!r})")
    rows = results(path)
    for argument, parameter in inspect.signature(found.function).parameters.items():
        if argument not in rows:
            rows.insert(0, argument, parameter.default)
        elif parameter.default is not parameter.empty and parameter.default is not None:
            rows[argument] = rows[argument].where(rows[argument].notna(), parameter.default)
    several = {"bn", "criterion"} <= set(rows)
    return authors(rows) if check_choice("bn", bn, ("all", "authors")) == "authors" and several else rows


def verdict(claim: str) -> Evidence:
    """Judge a claim of `data/claims.yaml` from its recorded rows; in a notebook the result shows itself.

    >>> verdict("synflow-conserves").verdict
    'holds'
    """
    return verdicts(claim)[0]


def verdicts(*claims: str) -> Verdicts:
    """These claims, or all, judged from their recorded rows; in a notebook they show themselves as one table.

    The verdict is that of a claim's own interval; p is adjusted for all claims of `data/claims.yaml`, and those of your
    own that are named (`claims.adjust`). A claim that holds alone, but not among all (bh > 0.025), says so.

    >>> [evidence.verdict for evidence in verdicts("synflow-conserves", "one-shot-collapses-earlier")]
    ['holds', 'holds']
    """
    known = load_claims()
    if lacking := [claim for claim in known if claim not in READINGS]:
        raise ValueError(
            f"claims of data/claims.yaml without a reading: {', '.join(lacking)}. Write @reading({lacking[0]!r}, "
            "of=...) above a function that reads one number per seed off the rows of an experiment"
        )
    rows = functools.cache(functools.partial(recorded, bn="all"))
    readings = {name: READINGS[name] for name in [*known, *claims]}
    ledger = adjust(judge(found.claim, found(*map(rows, found.of))) for found in readings.values())
    by_name = dict(zip(readings, ledger, strict=True))
    return Verdicts(by_name[name] for name in claims or known)
