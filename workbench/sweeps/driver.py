"""`sweep`: the runs of a grid, each a row on disk, and a row that is there is never computed again."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.criteria.registry import own_criteria
from workbench.sweeps.files import Claims, Store, unique
from workbench.sweeps.points import Arguments, Points, Run, columns, defaults, points
from workbench.sweeps.progress import Progress
from workbench.sweeps.rows import Row, Task, flat, revision, table
from workbench.sweeps.workers import Engine, Here, Local, cores, gpus
from workbench.types import check_count

if TYPE_CHECKING:
    import pandas as pd

OnRow = Callable[[Row, int, int], None]
MOST = 20_000
"""Runs of a grid from which it may be a mistake."""
LOOK = 0.3
"""Seconds between two looks at runs that another sweep does."""
TOLD = 20
"""Failed runs that an error shows."""


def sweep(
    run: Run,
    out: str | Path,
    /,
    *,
    jobs: int | None = None,
    limit: float | None = None,
    retry: bool = True,
    check: Callable[..., object] | None = None,
    most: int = MOST,
    engine: Engine | None = None,
    on_row: OnRow | None = None,
    progress: bool | None = None,
    **grid: Any,
) -> pd.DataFrame:
    """Run `run` at every combination of the grid; a table with a line for each, in the order of the grid.

    Each axis is a list of plain values (numbers, strings, booleans, None) for one argument of `run`, which returns a
    dict of plain metrics, or yields several. All points are checked before the first starts: against the signature, and
    by `check(**arguments)` (default: the one that `checked` gave the run), which raises ValueError. More than `most`
    are refused.

    A finished run is one file in the folder `out`, written in one step and named by the hash of its arguments that
    differ from the defaults. If the sweep is killed and called again, it goes on; several sweeps on one folder share
    the work. Where `out` ends in .jsonl, the files are moved into this one file at the end.

    `jobs` processes (default: as many as the machine has GPUs, else cores; 0: none, all runs in this one) compute on
    one thread each, which changes the time and not the numbers; functions and criteria defined in a notebook travel to
    them. GPUs are dealt out in turn: twice as many jobs is two runs on each. A run that raises, dies, or takes longer
    than `limit` seconds is a row with its `error`; the others go on, and the next call tries it again unless
    `retry=False`. `engine=wb.sweeps.Dask(...)` computes on a cluster, without `jobs`.
    `on_row(row, done, total)` is called after each new row. A bar shows how far it is, in a terminal and in a notebook;
    with `progress=True` lines do elsewhere; False: nothing. Ctrl-C lets running runs end, twice stops at once.

    Raises RuntimeError at the end, when all other runs are on disk, with the arguments of the runs that failed.

    >>> import tempfile
    >>> def area(width, height=1): return {"area": width * height}
    >>> sweep(area, tempfile.mkdtemp(), jobs=0, width=[2, 3], height=[5])["area"].tolist()
    [10, 15]
    """
    options: dict[str, Any] = dict(jobs=jobs, limit=limit, retry=retry, check=check, most=most, engine=engine)
    return sweep_all(run, out, [grid], **options, on_row=on_row, progress=progress)


def sweep_all(
    run: Run,
    out: str | Path,
    grids: Sequence[Mapping[str, Any]],
    *,
    jobs: int | None = None,
    limit: float | None = None,
    retry: bool = True,
    check: Callable[..., object] | None = None,
    most: int = MOST,
    engine: Engine | None = None,
    on_row: OnRow | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """`sweep` over the points of several grids, each once."""
    check_count("jobs", cores() if jobs is None else jobs, least=0)
    if limit is not None and not limit > 0:
        raise ValueError(f"limit is how many seconds a run may take, more than 0; got {limit!r}")
    if limit is not None and jobs == 0 and engine is None:
        raise ValueError("a run in this process cannot be stopped, so jobs=0 takes no limit. Pass jobs=1")
    runs = points(run, grids, most)
    _check(run, runs, check or getattr(run, "check", None))
    store = Store(out)
    store.open()
    for grid in grids:
        axes = columns(run, grid)
        store.remember({"function": run.__name__, "defaults": _plain_only(defaults(run)), "axes": axes})
    with Claims(store.folder) as claims:
        try:
            chosen = lambda: engine or _engine(jobs)  # noqa: E731
            failed = _computed(run, runs, store, claims, chosen, retry, limit, on_row, progress)
        finally:
            if store.packed and claims.alone():
                store.pack()
    if failed:
        raise RuntimeError(_told(failed, len(runs), store.name))
    rows = {row.key: row for row in unique(store.rows(), flat)}
    return table(rows[key] for key in runs)


def _check(run: Run, runs: Points, check: Callable[..., object] | None) -> None:
    """Raise ValueError with the first points that `check` refuses."""
    refused: list[str] = []
    for arguments in runs.values() if check else ():
        try:
            check(**arguments)  # type: ignore[misc]
        except (ValueError, TypeError) as error:
            refused.append(f"{run.__name__}({', '.join(f'{n}={v!r}' for n, v in arguments.items())}): {error}")
    if refused:
        more = f"\nand {len(refused) - 5} more" if len(refused) > 5 else ""
        raise ValueError(
            f"{len(refused)} of {len(runs)} runs are refused, none was started\n{_lines(refused[:5])}{more}"
        )


def _lines(words: list[str]) -> str:
    return "\n".join(words)


def _plain_only(values: Arguments) -> Arguments:
    return {n: v for n, v in values.items() if v is None or isinstance(v, str | bool | int | float)}


def _engine(jobs: int | None) -> Engine:
    """Processes on this machine: one for each GPU, without any one for each core."""
    if jobs == 0:
        return Here()
    dealt = gpus()
    return Local(jobs or len(dealt) or cores(), dealt)


def _computed(
    run: Run,
    runs: Points,
    store: Store,
    claims: Claims,
    make: Callable[[], Engine],
    retry: bool,
    limit: float | None,
    on_row: OnRow | None,
    progress: bool | None,
) -> list[Row]:
    """Compute what is missing; the rows of runs that failed."""
    done, broken = set[str](), dict[str, Row]()
    for row in store.rows():
        if row["key"] in runs:
            done.add(row["key"]) if "error" not in row else broken.update({row["key"]: row})
    failed = [] if retry else [row for key, row in broken.items() if key not in done]
    done.update(row["key"] for row in failed)
    todo, count = deque(key for key in runs if key not in done), len(done)
    if not todo:
        return failed
    code, own, engine = revision(run), own_criteria(), make()
    running, elsewhere = dict[Future[Row], str](), deque[str]()
    shown, known = Progress(run.__name__, count, len(runs), progress), len(failed)
    try:
        with _stopping() as stopping:
            while (todo and not stopping.is_set()) or running or (elsewhere and not stopping.is_set()):
                while todo and len(running) < engine.width and not stopping.is_set():
                    if not claims.take(key := todo.popleft()):
                        elsewhere.append(key)
                    elif (found := store.read(key)) and "error" not in found:  # by another sweep, since the start
                        claims.release(key)
                        count += 1
                    else:
                        running[engine.submit(Task(run, key, runs[key], code, own, limit))] = key
                shown.tell(count, len(running), failed[known:])
                ended = wait(running, LOOK, FIRST_COMPLETED).done
                for future in sorted(ended, key=lambda one: one.exception() is not None):  # rows first: all go to disk
                    key, row = running.pop(future), future.result()
                    store.write(row)
                    claims.release(key)
                    count += 1
                    if "error" in row:
                        failed.append(row)
                    shown.tell(count, len(running), failed[known:])
                    if on_row is not None:
                        on_row(row, count, len(runs))
                if not running and not todo and elsewhere:
                    time.sleep(LOOK)
                    todo, elsewhere = elsewhere, todo
            if stopping.is_set():
                raise KeyboardInterrupt
    finally:
        shown.close()
        engine.close()
    return failed


@contextlib.contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C; the second one raises KeyboardInterrupt at once."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def stop(number: int, frame: Any) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()
        with contextlib.suppress(RuntimeError):  # in the middle of another line
            print("\nstopping: running runs end, no new ones start. Ctrl-C again stops at once", file=sys.stderr)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)


def _told(failed: list[Row], total: int, name: str) -> str:
    told = f"{len(failed)} of {total} runs failed; the other rows are in {name}"
    more = [f"and {len(failed) - TOLD} more: results({name!r}, errors=True)"] if len(failed) > TOLD else []
    return _lines([f"{told}. Correct this, then call sweep again.\n", *(row["error"] for row in failed[:TOLD]), *more])
