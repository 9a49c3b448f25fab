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
    `every` is `table` with the arguments of failed and missing runs, without metrics, in the order of the grids.
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
    every: pd.DataFrame

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
    import pandas as pd

    wanted = asked(store)
    order = {key: at for at, key in enumerate(wanted)}
    rows = sorted(rows, key=lambda row: order.get(row["key"], len(order)))
    done, failed = ([row for row in rows if ("error" in row) is bad] for bad in (False, True))
    functions, finished = {row["key"]: row["function"] for row in rows}, {row["key"] for row in done}
    missing = {key: point for key, point in wanted.items() if key not in functions}
    several = len(set(functions.values())) > 1  # then it is not known of which function a missing run is
    metrics = list(dict.fromkeys(n for row in done for one in _dicts(row["metrics"]) for n in one))
    rest = ({row["key"]: row["arguments"] for row in failed} | ({} if several else missing)) if done else {}
    given = {row["key"]: row["arguments"] for row in done} | rest
    arguments = [n for n in dict.fromkeys(n for point in given.values() for n in point) if n not in metrics]
    lines = every = table(done)
    if rest:
        late = pd.DataFrame([{"key": key, **given[key]} for key in rest]).drop(columns=metrics, errors="ignore")
        every = pd.concat([lines, late], ignore_index=True)
        places = every["key"].map(order).fillna(len(order)).argsort(kind="stable")
        every = every.iloc[places].reset_index(drop=True)
    for name, value in {n: v for grid in store.grids() for n, v in grid["defaults"].items()}.items():
        if name in arguments and value is not None:
            lacks = {key for key, point in given.items() if name not in point}
            values = zip(every["key"], every[name], strict=True)
            every[name] = [value if key in lacks else old for key, old in values]
    if several:
        every.insert(0, name := _free("function", every), every["key"].map(functions))
        arguments.insert(0, name)
    for name in arguments:
        if every[name].map(lambda value: isinstance(value, list)).any():
            every[name] = every[name].map(lambda value: json.dumps(value) if isinstance(value, list) else value)
    lines = every[every["key"].isin(finished)] if rest else every
    made = Counter((*_made(json.dumps(row["versions"])), row.get("revision", "")) for row in rows)
    name = ", ".join(dict.fromkeys(one["function"] for one in rows or store.grids())) or "sweep"
    running = in_flight(store.folder) if store.folder.is_dir() else 0
    return Found(name, lines, failed, [*missing.values()], len(wanted), running, arguments, metrics, made, every)


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
