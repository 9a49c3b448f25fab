"""One run and its row: computed here, checked where it is read, shown as a line of a table."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
import subprocess
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.criteria.registry import add_criteria
from workbench.seeds import versions
from workbench.sweeps.points import Arguments, Run, clash, plain

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

PARTS = dict(key=str, function=str, arguments=dict, metrics=dict | list, seconds=int | float, versions=dict, date=str)
"""What a row on disk consists of, in this order. A failed run's has no metrics and an `error`."""


class Task(NamedTuple):
    """All that another process needs for one run. `own` holds the criteria registered where the sweep was called;
    `limit` is how many seconds the run may take."""

    function: Run
    key: str
    arguments: Arguments
    revision: str = ""
    own: Any = None
    limit: float | None = None

    def row(self, metrics: Any, seconds: float, error: str = "") -> Row:
        """The row of this run, made now in this process."""
        told = {"key": self.key, "function": self.function.__name__, "arguments": self.arguments, "metrics": metrics}
        told |= {"seconds": round(seconds, 3), "versions": versions(), "revision": self.revision}
        return told | {"date": datetime.now(UTC).date().isoformat()} | ({"error": error} if error else {})

    def failed(self, why: str, seconds: float) -> Row:
        """The row of a run that ended without metrics."""
        words = f"{self}\n{why}".encode("utf-8", "replace").decode()  # no table holds half a character
        return self.row({}, seconds, error=words)

    def __str__(self) -> str:
        return f"{self.function.__name__}({', '.join(f'{n}={v!r}' for n, v in self.arguments.items())})"


def compute(task: Task) -> Row:
    """Run a task on one thread; whatever it raises is the row of a failed run."""
    import torch

    threads, start = torch.get_num_threads(), time.perf_counter()
    torch.set_num_threads(1)
    try:
        add_criteria(task.own or {})
        found = task.function(**task.arguments)
        several = inspect.isgenerator(found)
        lines = [_metrics(task, one) for one in found] if several else [_metrics(task, found)]
        return task.row(lines if several else lines[0], time.perf_counter() - start)
    except (Exception, SystemExit):
        return task.failed(traceback.format_exc(), time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)


def _metrics(task: Task, metrics: Any) -> dict[str, Any]:
    name = task.function.__name__
    if not isinstance(metrics, Mapping):
        raise TypeError(f"{name} returns a dict of metrics, or yields such dicts; got {metrics!r}")
    if fault := clash(task.arguments, metrics):
        raise ValueError(f"metrics of {name}: {fault}")
    return {n: plain(v, f"metric {n!r} of {name}") for n, v in metrics.items()}


def parsed(text: bytes) -> tuple[Any, str]:
    """What a text holds (None if it is no whole JSON), and why that is no row ("" if it is one)."""
    try:
        row = json.loads(text)
    except ValueError as error:
        return None, f"no JSON ({error})"
    if not isinstance(row, dict):
        return row, f"{type(row).__name__} instead of an object"
    for part, kind in PARTS.items():
        if not isinstance(row.get(part), kind):
            return row, f"its {part!r} is {row[part]!r}" if part in row else f"it has no {part!r}"
    lines = row["metrics"] if isinstance(row["metrics"], list) else [row["metrics"]]
    return row, next(filter(None, (clash(row["arguments"], line) for line in lines)), "")


class Flat(NamedTuple):
    """A row as lines of a table, in a tenth of its memory: names and values, those of arguments and metrics first."""

    key: str
    failed: bool
    lines: list[tuple[tuple[str, ...], tuple[Any, ...]]]
    own: tuple[tuple[str, ...], tuple[Any, ...]]


def flat(row: Row) -> Flat:
    """A row's lines: one for each dict of metrics, or one for a run that has none."""
    found = row["metrics"] if isinstance(row["metrics"], list) else [row["metrics"]]
    made = {"processor": "not recorded", **row["versions"]}
    told = {"seconds": row["seconds"], "versions": "", "revision": row.get("revision", "")}
    told |= {"processor": made.pop("processor"), "date": row["date"], "key": row["key"]}
    told |= {"versions": _words(tuple(made.items()))} | ({"error": row["error"]} if "error" in row else {})
    lines = [{**row["arguments"], **metrics} for metrics in found]
    return Flat(row["key"], "error" in row, [_pair(line) for line in lines], _pair(told))


def _pair(line: dict[str, Any]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    names = tuple(line)
    values = (sys.intern(value) if type(value) is str else value for value in line.values())
    return _names.setdefault(names, names), tuple(values)


_names: dict[tuple[str, ...], tuple[str, ...]] = {}


def table(rows: Iterable[Row | Flat]) -> pd.DataFrame:
    """Rows as a table, a line for each of their dicts of metrics."""
    import pandas as pd

    columns, own = defaultdict[str, list[Any]](list), defaultdict[str, list[Any]](list)
    length = 0
    for row in rows:
        one = row if isinstance(row, Flat) else flat(row)
        for line in one.lines:
            for part, (names, values) in ((columns, line), (own, one.own)):
                for name, value in zip(names, values, strict=True):
                    column = part[name]
                    if len(column) < length:
                        column.extend([math.nan] * (length - len(column)))
                    column.append(value)
            length += 1
    for column in (*columns.values(), *own.values()):
        column.extend([math.nan] * (length - len(column)))
    return pd.DataFrame({**columns, **own})


@functools.cache
def _words(made: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{name} {version}" for name, version in made)


def revision(function: Run) -> str:
    """The git revision of the folder that the function's code is in ("" without one); "-dirty" where files differ."""
    source = ""
    with contextlib.suppress(TypeError, OSError):
        source = inspect.getsourcefile(function) or ""
    folder = Path(source).resolve().parent if source else Path.cwd()
    command = ["git", "-C", str(folder if folder.is_dir() else Path.cwd()), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
