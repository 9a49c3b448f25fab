"""`sweep`: the runs of a grid, each a row on disk, and a row that is there is never computed again."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.criteria.registry import own_criteria
from workbench.sweeps.batching import in_batches
from workbench.sweeps.claims import Claims
from workbench.sweeps.files import Store, unique
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
LONGEST = 1e8
"""Seconds that no run takes (three years); clocks have an end."""
TOLD = 20
"""Different errors of failed runs that are shown."""


def sweep(
    run: Run,
    out: str | Path,
    /,
    *grids: Mapping[str, Any],
    jobs: int | None = None,
    limit: float | None = None,
    retry: bool = True,
    check: Callable[..., object] | None = None,
    most: int = MOST,
    together: int | None = None,
    engine: Engine | None = None,
    on_row: OnRow | None = None,
    progress: bool | None = None,
    **axes: Any,
) -> pd.DataFrame:
    """Run `run` at every combination of the axes; a table with a line for each, in the order of the grid.

    Each axis is a list of plain values (numbers, strings, booleans, None) for one argument of `run`, which returns a
    dict of plain metrics, or yields several. `grids` are dicts of axes, each a grid of its own; a point of two grids is
    one run. Axes that are named here are one more grid. An argument with the name of an option below needs a dict.

    All points are checked before the first starts: against the signature, and by `check(**arguments)` (default: the one
    that `checked` gave the run), which raises ValueError. More than `most` combinations are refused.

    A finished run is one file in the folder `out`, written in one step and named by the `key` of the function's name
    and of the arguments that differ from the defaults. If the sweep is killed and called again, it goes on; several
    sweeps on one folder share the work. Where `out` ends in .jsonl, the files are moved into this one file at the end.

    `jobs` processes (default: as many as the machine has GPUs, else cores; 0: none, all runs in this one) compute on
    one thread each, which changes the time and not the numbers; functions and criteria defined in a notebook travel to
    them. GPUs are dealt out in turn: twice as many jobs is two runs on each. `engine=wb.sweeps.Dask(...)` computes on a
    cluster, without `jobs`. A run that raises, dies, or takes longer than `limit` seconds is a row with its `error`;
    the others go on, and the next call tries it again unless `retry=False`.

    Where the run has a `batched` form, up to `together` runs that may differ in it are computed in one call; a batch
    that fails as a whole is computed again run by run. By itself (None) this is done on CUDA devices only.

    `on_row(row, done, total)` is called after each new row. A bar shows how far it is, in a terminal and in a notebook;
    with `progress=True` lines do elsewhere; False: nothing. Ctrl-C lets running runs end, twice stops at once.

    Raises RuntimeError at the end, when all other runs are on disk, with the arguments of the runs that failed.

    >>> import tempfile
    >>> def area(width, height=1): return {"area": width * height}
    >>> sweep(area, tempfile.mkdtemp(), jobs=0, width=[2, 3], height=[5])["area"].tolist()
    [10, 15]
    >>> sweep(area, tempfile.mkdtemp(), {"width": [2]}, {"width": [7], "height": [1, 2]}, jobs=0)["area"].tolist()
    [2, 7, 14]
    """
    check_count("jobs", cores() if jobs is None else jobs, least=0)
    if limit is not None and not (isinstance(limit, Real) and 0 < limit < LONGEST):
        told = f"limit is how many seconds a run may take, more than 0 and less than {LONGEST:g}; got {limit!r}"
        raise ValueError(f"{told}. Leave it out for none")
    if limit is not None and jobs == 0 and engine is None:
        raise ValueError("a run in this process cannot be stopped, so jobs=0 takes no limit. Pass jobs=1")
    asked = [columns(run, grid) for grid in ([*grids, axes] if axes or not grids else grids)]
    runs = points(run, asked, most)
    _check(run, runs, check or getattr(run, "check", None))
    dealt = in_batches(run, together)
    store = Store(out)
    with Claims(store.folder, store.pack) as claims:
        store.open()
        usual = defaults(run)
        _check_defaults(store, run.__name__, usual)
        for grid in asked:
            lists = {name: list(values) for name, values in grid.items()}
            store.remember({"function": run.__name__, "defaults": usual, "axes": lists})
        work = _Work(run, runs, store, claims, dealt, on_row)
        failed = work.done(lambda: engine or _engine(jobs), retry, limit, progress)
    if failed:
        raise RuntimeError(_told(failed, len(runs), store.name))
    order = list(runs)
    runs.clear()  # the points of 100,000 runs take 30 MB
    rows = {row.key: row for row in unique(store.rows(), flat)}
    return table(rows.pop(key) for key in order)


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


def _check_defaults(store: Store, name: str, usual: Arguments) -> None:
    """ValueError where rows of this function are from a time when an argument that it has now had another default: it
    is not in their keys, so their values would be taken for those of the new one."""
    for grid in store.grids():
        before = grid["defaults"] if grid["function"] == name else {}
        for argument in before.keys() & usual.keys():
            if usual[argument] != before[argument]:
                told = f"{store.name} holds rows of {name} that have {argument}={before[argument]!r} as the default"
                raise ValueError(f"{told}; now it is {usual[argument]!r}. Name another folder, or put the default back")


def _lines(words: list[str]) -> str:
    return "\n".join(words)


def _engine(jobs: int | None) -> Engine:
    """Processes on this machine: one for each GPU, without any one for each core."""
    if jobs == 0:
        return Here()
    dealt = gpus()
    return Local(jobs or len(dealt) or cores(), dealt)


class _Work:
    """The runs of one sweep on their way: what is to be done, what is in flight, what failed."""

    def __init__(
        self,
        run: Run,
        runs: Points,
        store: Store,
        claims: Claims,
        dealt: Callable[[Points], list[list[str]]],
        on_row: OnRow | None,
    ):
        self._run, self._runs, self._store, self._claims, self._on_row = run, runs, store, claims, on_row
        self._finished, self._broken = set[str](), dict[str, Row]()
        for row in store.rows():
            if row["key"] in runs:
                self._finished.add(row["key"]) if "error" not in row else self._broken.update({row["key"]: row})
        self._dealt, self._count = dealt, 0
        self._todo, self._elsewhere = deque[list[str]](), deque[list[str]]()
        self._running, self._failed = dict[Future[list[Row]], list[Task]](), list[Row]()

    def done(self, make: Callable[[], Engine], retry: bool, limit: float | None, progress: bool | None) -> list[Row]:
        """Compute what is missing; the rows of runs that failed, without `retry` those that had failed, too."""
        before = [] if retry else [row for name, row in self._broken.items() if name not in self._finished]
        skipped = self._finished | {row["key"] for row in before}
        missing = {name: point for name, point in self._runs.items() if name not in skipped}
        self._count, self._todo = len(skipped), deque(self._dealt(missing))
        if not self._todo:
            return before
        task = Task(self._run, "", {}, revision(self._run), own_criteria(), limit)
        engine, shown = make(), Progress(self._run.__name__, self._count, len(self._runs), progress)
        try:
            with _stopping() as stopping:
                while self._running or ((self._todo or self._elsewhere) and not stopping.is_set()):
                    while self._todo and len(self._running) < engine.width and not stopping.is_set():
                        self._start(engine, task)
                    tell = functools.partial(shown.tell, failed=self._failed)
                    tell(self._count, self._flying)
                    ended = wait(self._running, LOOK, FIRST_COMPLETED).done
                    for future in sorted(ended, key=lambda one: one.exception() is not None):  # rows first: all to disk
                        self._land(engine, self._running.pop(future), future.result(), tell)
                    if not self._running and not self._todo and self._elsewhere:
                        time.sleep(LOOK)
                        self._todo, self._elsewhere = self._elsewhere, self._todo
                if stopping.is_set():
                    raise KeyboardInterrupt
        finally:
            shown.close()
            engine.close()
        return before + self._failed

    @property
    def _flying(self) -> int:
        return sum(map(len, self._running.values()))

    def _start(self, engine: Engine, task: Task) -> None:
        """Start the next runs, as far as no other sweep does them or has done them."""
        mine = []
        for name in self._todo.popleft():
            if not self._claims.take(name):
                self._elsewhere.append([name])
            elif (found := self._store.read(name)) and found != self._broken.get(name):  # another sweep's
                self._claims.release(name)
                self._count += 1
                if "error" in found:
                    self._failed.append(found)
            else:
                mine.append(task._replace(key=name, arguments=self._runs[name]))
        if mine:
            self._running[engine.submit(*mine)] = mine

    def _land(self, engine: Engine, tasks: list[Task], rows: list[Row], tell: Callable[[int, int], None]) -> None:
        """Put rows on disk; a run that failed among others is computed again alone."""
        for task, row in zip(tasks, rows, strict=True):
            if "error" in row and len(tasks) > 1:
                self._running[engine.submit(task)] = [task]
                continue
            self._store.write(row)
            self._claims.release(task.key)
            self._count += 1
            if "error" in row:
                self._failed.append(row)
            tell(self._count, self._flying)
            if self._on_row is not None:
                self._on_row(row, self._count, len(self._runs))


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
            print(
                "\nstopping: running runs end, no new ones start. A second Ctrl-C (or interrupt) stops at once",
                file=sys.stderr,
            )

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)


def _told(failed: list[Row], total: int, name: str) -> str:
    """What a sweep with failed runs ends with: of those that say the same at their end, one in full."""
    ends: dict[str, list[str]] = {}
    for row in failed:
        text = str(row["error"]).rstrip()
        ends.setdefault(text.rpartition("\n")[2], []).append(text)
    shown = [
        f"{len(failed)} of {total} runs failed; the rows are in {name}. Correct this, then start the sweep again.\n"
    ]
    for first, *others in list(ends.values())[:TOLD]:
        shown += [first, *[f"and {len(others)} more, such as {one.splitlines()[0]}" for one in others[:1]], ""]
    more = [f"and {len(ends) - TOLD} other errors: results({name!r}, errors=True)"] if len(ends) > TOLD else []
    return _lines([*shown[:-1], *more])
