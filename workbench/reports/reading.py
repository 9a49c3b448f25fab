"""All that a folder of a sweep holds, read once: rows, failures, what is missing, where the rows were made."""

from __future__ import annotations

import functools
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.sweeps.claims import in_flight
from workbench.sweeps.files import Store, unique
from workbench.sweeps.points import Arguments
from workbench.sweeps.rows import Row, table
from workbench.sweeps.tables import asked, opened

if TYPE_CHECKING:
    import pandas as pd


class Found(NamedTuple):
    """Finished rows as a table, failed ones as they are, the arguments of the runs that are missing.

    `arguments` and `metrics` name the columns of `table` that a run was given and that it measured. `running` is how
    many runs are computed now (None: not known). `asked` is how many runs the grids have, 0 where these are not known.
    """

    name: str
    table: pd.DataFrame
    failed: list[Row]
    missing: list[Arguments]
    asked: int
    running: int | None
    arguments: list[str]
    metrics: list[str]
    made: Counter[tuple[str, str, str]]

    @property
    def runs(self) -> int:
        """How many runs have finished."""
        return int(self.table["key"].nunique()) if len(self.table) else 0

    @property
    def counts(self) -> str:
        """How far it is, in words."""
        words = f"{self.runs:,} {'run' if self.runs == 1 else 'runs'} done"
        words += f", {self.running:,} running" if self.running else ""
        words += f", {len(self.failed):,} failed" if self.failed else ""
        waiting = max(0, len(self.missing) - (self.running or 0))
        return words + (f", {waiting:,} missing" if self.asked else "")


def found(out: str | Path) -> Found:
    """Read the folder or packed file of a sweep; ValueError where there is none, or something in it is not a row.

    Arguments that a row was not given have the defaults of the grid. Lists become text, so that rows can be grouped.

    >>> import tempfile, workbench as wb
    >>> def area(width, height=1): return {"area": width * height}
    >>> _ = wb.sweep(area, out := tempfile.mkdtemp(), jobs=0, width=[2, 3])
    >>> found(out).counts
    '2 runs done, 0 missing'
    """
    store = opened(out)
    return gathered(store, unique(store.rows(), light))


def light(row: Row) -> Row:
    """A row that shares with others what is the same in all: names, words, versions."""
    shared = {name: sys.intern(value) if type(value) is str else value for name, value in row.items() if name != "key"}
    several = isinstance(row["metrics"], list)
    metrics = [_interned(one) for one in _dicts(row["metrics"])]
    shared |= {"key": row["key"], "versions": _same(tuple(row["versions"].items()))}
    return shared | {"arguments": _interned(row["arguments"]), "metrics": metrics if several else metrics[0]}


def _interned(values: dict[str, Any]) -> dict[str, Any]:
    return {sys.intern(n): sys.intern(v) if type(v) is str else v for n, v in values.items()}


@functools.cache
def _same(versions: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return dict(versions)


def gathered(store: Store, rows: list[Row]) -> Found:
    """What rows say, and what the grids in the store's folder ask beyond them."""
    wanted = asked(store)
    order = {key: at for at, key in enumerate(wanted)}
    rows = sorted(rows, key=lambda row: order.get(row["key"], len(order)))
    done, failed = ([row for row in rows if ("error" in row) is bad] for bad in (False, True))
    arguments = list(dict.fromkeys(name for row in done for name in row["arguments"]))
    lines = table(done)
    for name, value in {n: v for grid in store.grids() for n, v in grid["defaults"].items()}.items():
        if name in arguments and value is not None:
            lacks = {row["key"] for row in done if name not in row["arguments"]}
            values = zip(lines["key"], lines[name], strict=True)
            lines[name] = [value if key in lacks else old for key, old in values]
    functions = {row["key"]: row["function"] for row in done}
    if len(set(functions.values())) > 1:
        lines.insert(0, name := _free("function", lines), lines["key"].map(functions))
        arguments.insert(0, name)
    for name in arguments:
        if lines[name].map(lambda value: isinstance(value, list)).any():
            lines[name] = lines[name].map(lambda value: json.dumps(value) if isinstance(value, list) else value)
    metrics = [n for row in done for one in _dicts(row["metrics"]) for n in one]
    keys = {row["key"] for row in rows}
    made = Counter((*_made(json.dumps(row["versions"])), row.get("revision", "")) for row in rows)
    name = ", ".join(dict.fromkeys(row["function"] for row in rows)) or "sweep"
    missing = [point for key, point in wanted.items() if key not in keys]
    running = in_flight(store.folder) if store.folder.is_dir() else 0
    return Found(name, lines, failed, missing, len(wanted), running, arguments, list(dict.fromkeys(metrics)), made)


def _dicts(metrics: Any) -> list[dict[str, Any]]:
    return metrics if isinstance(metrics, list) else [metrics]


def _free(name: str, lines: pd.DataFrame) -> str:
    """A name that no column has."""
    while name in lines:
        name = f"{name} of the run"
    return name


@functools.cache
def _made(text: str) -> tuple[str, str]:
    """Processor, and versions as words, of a row's versions in JSON."""
    versions = json.loads(text)
    processor = str(versions.pop("processor", "not recorded"))
    return processor, ", ".join(f"{name} {version}" for name, version in versions.items())
