"""Parameter grids: one run is one row on disk, and a row that is there is never computed again."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import math
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.criteria.registry import Entry, add_criteria, own_criteria
from workbench.seeds import versions
from workbench.types import check_choice, check_count

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]


def key(function: Callable[..., Mapping[str, Any]], arguments: Mapping[str, Any]) -> str:
    """Name of a run: 16 hex digits of the hash of the function's name and its arguments that are not the defaults.

    A new argument with a default therefore keeps the old rows findable, and 10 and 10.0 are one value. The function's
    code is not part of it: who changes what the function computes removes its rows.

    >>> def run(criterion, rounds=1): ...
    >>> key(run, {"criterion": "snip"}) == key(run, {"criterion": "snip", "rounds": 1.0})
    True
    """
    defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
    told = {n: _number(v) for n, v in arguments.items() if n not in defaults or _number(v) != _number(defaults[n])}
    text = json.dumps([function.__name__, told], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def grid(
    function: Callable[..., Mapping[str, Any]],
    path: str | Path,
    /,
    *,
    jobs: int = 1,
    on_row: Callable[[Row, int, int], None] | None = None,
    **axes: Any,
) -> pd.DataFrame:
    """Run `function` at every combination of the axes; one row each, in the order of the grid.

    Each axis is a list of plain values (numbers, strings, booleans, None) for one argument of `function`, which returns
    a dict of plain metrics. A finished run is one JSON line in `path` (key, function, arguments, metrics, seconds,
    versions, date), on disk before the next is written: killed anywhere and called again, the grid goes on where it
    was. Runs compute with one thread each, so `jobs` (worker processes) changes the time and not the numbers; functions
    and criteria defined in a notebook travel to the workers. `on_row(row, done, total)` is called after each new row.

    Raises RuntimeError at the end, when all other runs are on disk, with the arguments of every run that failed.
    One process writes to a path at a time; on a cluster give each its own and read them with `read_rows(a, b)`.

    >>> import tempfile
    >>> def area(width, height=1): return {"area": width * height}
    >>> grid(area, tempfile.mktemp(), width=[2, 3], height=[5])["area"].tolist()
    [10, 15]
    """
    check_count("jobs", jobs)
    runs = _runs(function, axes)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _drop_torn_line(path)
    done = {row["key"]: row for row in _rows(path)} if path.exists() else {}
    todo = {name: arguments for name, arguments in runs.items() if name not in done}
    failures: list[str] = []
    with open(path, "ab") as file:
        for name, result, error in _results(function, todo, jobs):
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
        raise RuntimeError(
            f"{len(failures)} of {len(runs)} runs failed; the other rows are in {path}. Call grid again once this is "
            "mended: rows that are there are kept.\n\n" + "\n".join(failures)
        )
    return _table([done[name] for name in runs])


def read_rows(path: str | Path, *more: str | Path) -> pd.DataFrame:
    """Table of the rows on disk, in the order of the files: arguments, metrics, seconds, versions, date, key.

    Of rows with one key the first counts. A last line without its end (a killed run) does not count.
    """
    rows: dict[str, Row] = {}
    for one in (path, *more):
        for row in _rows(Path(one)):
            rows.setdefault(row["key"], row)
    return _table(list(rows.values()))


def _runs(function: Callable[..., Any], axes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
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
    required = [n for n, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if missing := [n for n in required if n not in axes]:
        raise TypeError(f"{named} needs a value for {', '.join(missing)}. Pass {missing[0]}=[...] as an axis.")
    columns = [[_plain(v, f"axis {n!r} of {named}") for v in values] for n, values in axes.items()]
    combinations = [dict(zip(axes, combination, strict=True)) for combination in itertools.product(*columns)]
    return {key(function, arguments): arguments for arguments in combinations}


def _results(
    function: Callable[..., Any], todo: Mapping[str, dict[str, Any]], jobs: int
) -> Iterator[tuple[str, Row, str]]:
    """Yield (key, row part, error text) as the runs finish."""
    if jobs == 1 or len(todo) < 2:
        for name, arguments in todo.items():
            yield _run(function, name, arguments)
        return
    from joblib import Parallel, delayed

    # Workers that wait in vain for 20 s end, also when the process that started them was killed.
    settings = {"backend": "loky", "return_as": "generator_unordered", "idle_worker_timeout": 20}
    workers = Parallel(n_jobs=min(jobs, len(todo)), **settings)
    own = own_criteria()
    yield from workers(delayed(_run)(function, name, arguments, own) for name, arguments in todo.items())


def _run(
    function: Callable[..., Any], name: str, arguments: dict[str, Any], own: dict[tuple[str, str], Entry] | None = None
) -> tuple[str, Row, str]:
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
        if taken := sorted(set(metrics) & set(arguments)):
            raise ValueError(
                f"metrics have names of their own; {', '.join(taken)} of {function.__name__} is an argument"
            )
        plain = {n: _plain(v, f"metric {n!r} of {function.__name__}") for n, v in metrics.items()}
    except Exception:
        call = ", ".join(f"{n}={v!r}" for n, v in arguments.items())
        return name, {}, f"{function.__name__}({call})\n{traceback.format_exc()}"
    finally:
        torch.set_num_threads(threads)
    date = datetime.now(UTC).date().isoformat()
    return name, {"metrics": plain, "seconds": round(seconds, 3), "versions": versions(), "date": date}, ""


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
        "Pass names, not objects: a criterion of your own by the name it is registered under."
    )


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _drop_torn_line(path: Path) -> None:
    """Cut what stands behind the last line end: a process died while it wrote."""
    if path.exists():
        text = path.read_bytes()
        if not text.endswith(b"\n"):
            os.truncate(path, text.rfind(b"\n") + 1)


def _rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"line {number} of {path} is no row of JSON: {error}. Delete the line; grid computes it again."
            ) from None


def _table(rows: list[Row]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        [
            {
                **row["arguments"],
                **row["metrics"],
                "seconds": row["seconds"],
                "versions": ", ".join(f"{n} {v}" for n, v in row["versions"].items()),
                "date": row["date"],
                "key": row["key"],
            }
            for row in rows
        ]
    )
