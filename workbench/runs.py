"""Parameter grids: one run is one row on disk, and a row that is there is never computed again."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import itertools
import json
import math
import os
import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.criteria.registry import add_criteria, own_criteria
from workbench.seeds import versions
from workbench.types import check_choice, check_count

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OWN", "grid", "key", "read_rows"]

Row = dict[str, Any]
Run = Callable[..., Mapping[str, Any]]
Result = tuple[str, Row, str]
"""Key, part of a row, and what went wrong ("" if nothing did)."""

PARTS = dict(key=str, function=str, arguments=dict, metrics=dict, seconds=int | float, versions=dict, date=str)
"""What a row on disk consists of, in this order."""

_START = b'{"key": "0123456789abcdef", "function": "'

OWN = ("date", "key", "processor", "seconds", "versions")
"""Columns of a table of rows that `grid` adds; arguments and metrics have other names."""


def key(function: Run, arguments: Mapping[str, Any]) -> str:
    """Name of a run: 16 hex digits of the hash of the function's name and its arguments that are not the defaults.

    So a new argument with a default keeps the old rows findable, and 10 and 10.0 are one value. The function's code is
    not part of it: if you change what it computes, remove its rows.

    >>> def run(criterion, rounds=1): ...
    >>> key(run, {"criterion": "snip"}) == key(run, {"criterion": "snip", "rounds": 1.0})
    True
    """
    defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
    told = {n: _number(v) for n, v in arguments.items() if n not in defaults or _number(v) != _number(defaults[n])}
    text = json.dumps([function.__name__, told], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def grid(
    function: Run,
    path: str | Path,
    /,
    *,
    jobs: int = 1,
    on_row: Callable[[Row, int, int], None] | None = None,
    **axes: Any,
) -> pd.DataFrame:
    """Run `function` at every combination of the axes; one row each, in the order of the grid.

    Each axis is a list of plain values (numbers, strings, booleans, None) for one argument of `function`, which returns
    a dict of plain metrics; their names differ from its arguments and from the columns that the table adds (`OWN`). A
    finished run is one JSON line in `path`, on disk before the next: if it is killed and called again, the grid
    continues. Each run computes on one thread, so `jobs` (worker processes, which end with the grid or its process)
    changes the time and not the numbers; functions and criteria defined in a notebook travel to the workers.
    `on_row(row, done, total)` is called after each new row.

    Raises RuntimeError at the end, when all other runs are on disk, with the arguments of every run that failed, or
    whose process died (no memory, a crash; with one job it is your own process). A file that holds anything but rows
    stays as it is: a ValueError names the line. One process writes to a path at a time; on a cluster give each its own
    and read them with `read_rows(a, b)`.

    >>> import tempfile
    >>> def area(width, height=1): return {"area": width * height}
    >>> grid(area, tempfile.mktemp(), width=[2, 3], height=[5])["area"].tolist()
    [10, 15]
    """
    check_count("jobs", jobs)
    runs = _runs(function, axes)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    done: dict[str, Row] = {}
    if path.exists():
        rows, length = _read(path)
        done = {row["key"]: row for row in rows}
        os.truncate(path, length)
    todo = {name: arguments for name, arguments in runs.items() if name not in done}
    failures: list[str] = []
    with open(path, "ab+") as file, contextlib.closing(_results(function, todo, jobs)) as results:
        if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
            file.write(b"\n")  # a whole row that lacks its line end
        for name, result, error in results:
            if error:
                failures.append(error)
                continue
            done[name] = {"key": name, "function": function.__name__, "arguments": todo[name], **result}
            file.write(json.dumps(done[name], allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            if on_row is not None:
                on_row(done[name], sum(n in done for n in runs), len(runs))
    if failures:
        told = f"{len(failures)} of {len(runs)} runs failed; the other rows are in {path}"
        raise RuntimeError("\n".join([f"{told}. Correct this, then call grid again.\n", *failures]))
    return _table([done[name] for name in runs])


def read_rows(path: str | Path, *more: str | Path) -> pd.DataFrame:
    """Table of the rows on disk in the order of the files: arguments, metrics, seconds, versions, processor, date, key.

    If several rows have one key, the last counts, here and for `grid`; the start of a row at the end of a file (a
    killed run) does not. Raises ValueError with file and line for anything else that is not a row.
    """
    return _table(list({row["key"]: row for one in (path, *more) for row in _read(Path(one))[0]}.values()))


def _runs(function: Run, axes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Key -> arguments of every combination of the axes, checked against the function's signature."""
    named = getattr(function, "__name__", "<lambda>")
    if named == "<lambda>":
        raise TypeError(f"rows are found by the function's name; got {function!r}. Define it with def.")
    parameters = inspect.signature(function).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, values in axes.items():
        if not takes_any:
            check_choice(f"axis of {named}", name, list(parameters))
        if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
            raise TypeError(f"axis {name!r} is a list of values; got {values!r}. Pass {name}=[{values!r}].")
    if fault := _clash(axes, {}):
        raise ValueError(f"axes of {named}: {fault}")
    required = [n for n, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if missing := [n for n in required if n not in axes]:
        raise TypeError(f"{named} needs a value for {', '.join(missing)}. Pass {missing[0]}=[...] as an axis.")
    columns = [[_plain(v, f"axis {n!r} of {named}") for v in values] for n, values in axes.items()]
    combinations = (dict(zip(axes, combination, strict=True)) for combination in itertools.product(*columns))
    return {key(function, arguments): arguments for arguments in combinations}


def _results(function: Run, todo: Mapping[str, dict[str, Any]], jobs: int) -> Generator[Result]:
    """Yield the results as the runs finish."""
    if jobs == 1:
        yield from (_run(function, *item) for item in todo.items())
        return
    from joblib.externals import loky

    def start() -> Any:
        """A process for one run at a time: if it dies, it is known whose fault that is. Idle for 20 s it ends."""
        return loky.ProcessPoolExecutor(1, timeout=20, initializer=_end_with, initargs=(os.getpid(),))

    own, queue = own_criteria(), list(todo.items())[::-1]
    idle = [start() for _ in range(min(jobs, len(todo)))]
    running: dict[Any, tuple[str, Any]] = {}
    try:
        while queue or running:
            while queue and idle:
                (name, arguments), worker = queue.pop(), idle.pop()
                running[worker.submit(_run, function, name, arguments, own)] = name, worker
            for future in loky.wait(running, return_when=loky.FIRST_COMPLETED).done:
                name, worker = running.pop(future)
                try:
                    result = future.result()
                except loky.BrokenProcessPool as error:
                    worker.shutdown()
                    worker = start()
                    result = name, {}, f"{_call(function, todo[name])}\nits process died: {error}"
                idle.append(worker)
                yield result
    finally:
        for worker in [*idle, *(worker for _, worker in running.values())]:
            worker.shutdown(kill_workers=True)


def _end_with(parent: int) -> None:
    """In a worker: end this process within a second of the end of the process that started it, and not by Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    if os.name == "posix":  # elsewhere a process keeps the number of a parent that is gone
        threading.Thread(target=watch, daemon=True).start()


def _run(function: Run, name: str, arguments: dict[str, Any], own: Any = None) -> Result:
    """One run on one thread. In a worker `own` holds the criteria that the user registered where grid was called."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        add_criteria(own or {})
        start = time.perf_counter()
        metrics = function(**arguments)
        seconds = time.perf_counter() - start
        if not isinstance(metrics, Mapping):
            raise TypeError(f"{function.__name__} returns a dict of metrics; got {metrics!r}")
        if fault := _clash(arguments, metrics):
            raise ValueError(f"metrics of {function.__name__}: {fault}")
        plain = {n: _plain(v, f"metric {n!r} of {function.__name__}") for n, v in metrics.items()}
    except (Exception, SystemExit):
        return name, {}, f"{_call(function, arguments)}\n{traceback.format_exc()}"
    finally:
        torch.set_num_threads(threads)
    date = datetime.now(UTC).date().isoformat()
    return name, {"metrics": plain, "seconds": round(seconds, 3), "versions": versions(), "date": date}, ""


def _call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> str:
    return f"{function.__name__}({', '.join(f'{n}={v!r}' for n, v in arguments.items())})"


def _plain(value: Any, what: str) -> Any:
    """The value as JSON has it: numpy and torch scalars become Python's, NaN becomes None."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, list | tuple):
        return [_plain(v, what) for v in value]
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise TypeError(
        f"{what} is a finite number, a string, a boolean, None or a list of these; got {value!r}. "
        "Pass names, not objects: for your own criterion, the name under which you registered it."
    )


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _clash(arguments: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """What is wrong with the names of a row's arguments and metrics, which share a table; "" if nothing is."""
    if both := sorted(set(arguments) & set(metrics)):
        return f"{', '.join(both)} is an argument and a metric. Give the metric another name."
    if taken := sorted((set(arguments) | set(metrics)) & set(OWN)):
        return f"{', '.join(taken)} is a column that the table adds itself ({', '.join(OWN)}). Choose another name."
    return ""


def _read(path: Path) -> tuple[list[Row], int]:
    """The rows of a file and its length, without the start of a row at its end, which a killed run left."""
    if path.is_dir():
        raise ValueError(f"rows are in a file such as rows.jsonl; {path} is a folder")
    rows: list[Row] = []
    lines = (text := path.read_bytes()).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row, fault = _row(line)
        begins = re.match(rb'\{"key": "[0-9a-f]{16}", "function": "', line + _START[len(line) :])
        if fault and row is None and number == len(lines) and begins:
            return rows, len(text) - len(line)
        if fault:
            told = f"line {number} of {path} is not a row of a grid: {fault}"
            raise ValueError(f"{told}. Delete the line, then grid computes its run again; or name another file.")
        rows.append(row)
    return rows, len(text)


def _row(line: bytes) -> tuple[Any, str]:
    """What a line holds (None if it is no whole JSON), and why that is no row ("" if it is one)."""
    try:
        row = json.loads(line)
    except ValueError as error:
        return None, f"no JSON ({error})"
    if not isinstance(row, dict):
        return row, f"{type(row).__name__} instead of an object"
    for part, kind in PARTS.items():
        if not isinstance(row.get(part), kind):
            return row, f"its {part!r} is {row[part]!r}" if part in row else f"it has no {part!r}"
    return row, _clash(row["arguments"], row["metrics"])


def _table(rows: list[Row]) -> pd.DataFrame:
    import pandas as pd

    table = []
    for row in rows:
        made = {"processor": "not recorded", **row["versions"]}
        told = {"processor": made.pop("processor"), "date": row["date"], "key": row["key"]}
        own = {"seconds": row["seconds"], "versions": ", ".join(f"{n} {v}" for n, v in made.items()), **told}
        table.append({**row["arguments"], **row["metrics"], **own})
    return pd.DataFrame(table)
