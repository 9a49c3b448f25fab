"""One run and its row: computed here, checked where it is read, shown as a line of a table."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
import signal
import subprocess
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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


def compute(*tasks: Task) -> list[Row]:
    """Run tasks on one thread, several by the batched form of their run; what goes wrong is in the rows."""
    import torch

    threads, start = torch.get_num_threads(), time.perf_counter()
    torch.set_num_threads(1)
    try:
        add_criteria(tasks[0].own or {})
        answers = _several(tasks) if len(tasks) > 1 else [_answer(tasks[0])]
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            raise  # Ctrl-C; a process that does not listen to it has it from the run
        answers = [error] * len(tasks)
    finally:
        torch.set_num_threads(threads)
    seconds, among = (time.perf_counter() - start) / len(tasks), {"together": len(tasks)} if len(tasks) > 1 else {}
    return [
        task.failed("".join(traceback.format_exception(answer)), seconds)
        if isinstance(answer, BaseException)
        else task.row(answer, seconds) | among
        for task, answer in zip(tasks, answers, strict=True)
    ]


def _answer(task: Task) -> Any:
    found = task.function(**task.arguments)
    return [_metrics(task, one) for one in found] if inspect.isgenerator(found) else _metrics(task, found)


def _several(tasks: Sequence[Task]) -> list[Any]:
    """What the batched form of a run gives: metrics or an exception for each."""
    form: Any = tasks[0].function
    found = form.batched.function([dict(task.arguments) for task in tasks])
    if len(found) != len(tasks):
        raise ValueError(f"the batched form of {form.__name__} gave {len(found)} rows for {len(tasks)} points")
    return [one if isinstance(one, BaseException) else _metrics(t, one) for t, one in zip(tasks, found, strict=True)]


def _metrics(task: Task, metrics: Any) -> dict[str, Any]:
    name = task.function.__name__
    if not isinstance(metrics, Mapping):
        told = f"{name} returns a dict of metrics, or yields such dicts; got {metrics!r}"
        raise TypeError(f"{told}. Return {{'accuracy': ...}}")
    if odd := [one for one in metrics if not isinstance(one, str)]:
        raise TypeError(f"the name of a metric of {name} is a string; got {odd[0]!r}. Write {str(odd[0])!r}")
    if fault := clash(task.arguments, metrics):
        raise ValueError(f"metrics of {name}: {fault}")
    return {
        plain(n, f"a metric's name of {name}"): plain(v, f"metric {n!r} of {name}", measured=True)
        for n, v in metrics.items()
    }


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
    found = (row["metrics"] if isinstance(row["metrics"], list) else [row["metrics"]]) or [{}]
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
