"""What a sweep costs for each run apart from the run itself, measured on this machine at small sizes.

Seconds of the driver's core and of Dask are CPU time, others are the clock's. Memory is what Python holds at most.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

import workbench as wb
from benchmarks.sweeps import fill, lenet, seconds, wide
from workbench.sweeps import Dask
from workbench.sweeps.files import Store
from workbench.sweeps.rows import Row, Task
from workbench.sweeps.workers import Engine, Worker

ROOT = Path(__file__).resolve().parent.parent
METRICS = {"accuracy": 0.9123, "kept": 0.1}

UNITS = {
    "plan": ("s a run", "before the first run: points, keys, checks"),
    "land": ("s a run", "of the driver's core: the claim, the row, the file, the next run, with 2,000 in flight"),
    "disk": ("s a run", "that the driver waits for this disk, which must have the file before the run counts"),
    "skip": ("s a run", "of the driver, for a run that another sweep on the folder has done, its file in memory"),
    "client": ("s a run", "of the driver more, to give a run to Dask and take its row"),
    "scheduler": ("s a run", "of Dask's scheduler, without `choice`"),
    "choice": ("s a run and worker", "of Dask's scheduler, to choose one of its workers"),
    "watch": ("s a second and worker", "of Dask's scheduler, for heartbeats and the driver's look at the workers"),
    "process": ("s a run", "of a worker's process above the run's function"),
    "spread": ("of the mean", "standard deviation of the seconds of a run (`lenet-300-100` on digits)"),
    "resume": ("s a row", "to start a finished sweep again, with its table"),
    "results": ("s a row", "for `wb.results`, files in memory"),
    "report": ("s a row", "for `wb.reports.write_report`"),
    "parquet": ("s a row", "for an export to Parquet"),
    "packed": ("s a row", "for `wb.results` on one file of lines"),
    "row": ("bytes a row", "of the file"),
    "blocks": ("bytes a row", "on this disk, whole blocks"),
    "driver memory": ("bytes a row", "of the driver of a sweep from its start to its table"),
    "resume memory": ("bytes a row", "of the driver that starts a finished sweep again"),
    "results memory": ("bytes a row", "of `wb.results`"),
    "packed memory": ("bytes a row", "of `wb.results` on one file of lines"),
    "report memory": ("bytes a row", "of `wb.reports.write_report`"),
    "parquet memory": ("bytes a row", "of an export to Parquet"),
}
"""What each figure is."""

SCHEDULER = """
import asyncio
from distributed import Scheduler
async def work():
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address=":0") as scheduler:
        print(scheduler.address, flush=True)
        await scheduler.finished()
asyncio.run(work())
"""

WORKERS = """
import asyncio, pickle, sys
from distributed import Worker
from workbench.sweeps import slots
slots.run = lambda message, name: [task.row({}, 1.234) for task in pickle.loads(message)]
async def work(address, number):
    own = [Worker(address, nthreads=1, dashboard=False, local_directory=sys.argv[3]) for _ in range(number)]
    await asyncio.gather(*own)
    await asyncio.gather(*(worker.finished() for worker in own))
asyncio.run(work(sys.argv[1], int(sys.argv[2])))
"""
"""Many workers in one process, whose runs take no time: what the scheduler does for them is real."""


def measured() -> dict[str, float]:
    """Every figure of `UNITS`, in a few minutes of two cores."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = driver(folder, 10_000) | rows(folder, 10_000) | cluster(folder, 200, 2_000)
        with contextlib.closing(Worker()) as worker:
            task = Task(nothing, "0" * 16, {"seed": 0})
            worker.rows(task)  # it starts
            found["process"] = seconds(lambda: [worker.rows(task) for _ in range(500)]) / 500
        lenet("magnitude", 0.9, epochs=1)  # it loads what it needs
        took = wb.sweep(lenet, folder / "own", jobs=0, progress=False, **wide(20))["seconds"]  # type: ignore[arg-type]
    found["spread"] = float(took.std() / took.mean())
    return {name: float(f"{found[name]:.3g}") for name in UNITS}


def nothing(seed: int) -> dict[str, float]:
    """A run that does nothing."""
    return METRICS


class AtOnce:
    """An engine whose runs end when they are submitted, as if others computed them."""

    def __init__(self, width: int = 2_000) -> None:
        self.width = width

    def submit(self, *tasks: Task) -> Future[list[Row]]:
        """Rows that nobody computed."""
        done: Future[list[Row]] = Future()
        done.set_result([task.row(METRICS, 1.234) for task in tasks])
        return done

    def close(self) -> None:
        """Nothing runs."""


class Elsewhere(AtOnce):
    """With the first run all others are done, by another sweep on the folder."""

    def __init__(self, out: Path, number: int) -> None:
        super().__init__()
        self.out, self.number = out, number

    def submit(self, *tasks: Task) -> Future[list[Row]]:
        """A row; the others are there."""
        for row in made(self.number)[1:]:
            Store(self.out).write(row)
        return super().submit(*tasks)


class Marked:
    """An engine of which is kept what `mark()` says after its first run is submitted, and before it closes."""

    def __init__(self, engine: Engine, mark: Callable[[], np.ndarray]) -> None:
        self.engine, self.mark, self.first, self.last = engine, mark, np.array([]), np.array([])

    @property
    def width(self) -> int:
        return self.engine.width

    def submit(self, *tasks: Task) -> Future[list[Row]]:
        done = self.engine.submit(*tasks)
        if not self.first.size:
            self.first = self.mark()
        return done

    def close(self) -> None:
        self.last = self.mark()
        self.engine.close()


def swept(folder: Path, number: int, engine: Engine, mark: Callable[[], np.ndarray]) -> Marked:
    """A sweep of runs that do nothing, with its marks."""
    marked = Marked(engine, mark)
    wb.sweep(nothing, folder, engine=marked, progress=False, most=number, seed=range(number))
    return marked


def clocks() -> np.ndarray:
    """Seconds of the clock and of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def made(number: int) -> list[Row]:
    """Rows of runs that do nothing."""
    tasks = [Task(nothing, wb.sweeps.key(nothing, {"seed": seed}), {"seed": seed}) for seed in range(number)]
    return [task.row(METRICS, 1.234) for task in tasks]


def driver(folder: Path, number: int) -> dict[str, float]:
    """What one thread of the driver does for a run."""
    start = time.perf_counter()
    marked = swept(folder / "land", number, AtOnce(), clocks)
    (clock, core), plan = marked.last - marked.first, marked.first[0] - start
    marked = swept(folder / "skip", number, Elsewhere(folder / "skip", number), clocks)
    skip = marked.last[0] - marked.first[0]
    memory = peak(lambda: swept(folder / "memory", number, AtOnce(20), clocks))
    found = {"plan": plan, "land": core, "disk": clock - core, "skip": skip, "driver memory": memory}
    return {name: value / number for name, value in found.items()}


def rows(folder: Path, number: int) -> dict[str, float]:
    """What finished rows cost: to read, to show, to keep."""
    out, packed = folder / "rows", folder / "packed.jsonl"
    fill(out, number)
    packed.write_text("".join(Path(path).read_text() for path in Store(out).files()))
    does: dict[str, Callable[[], object]] = {
        "resume": lambda: wb.sweep(lenet, out, jobs=0, progress=False, most=number, **wide(number)),  # type: ignore[arg-type]
        "results": lambda: wb.results(out),
        "packed": lambda: wb.results(packed),
        "report": lambda: wb.reports.write_report(out),
        "parquet": lambda: wb.reports.export(out, str(folder / "rows.parquet")),
    }
    found: dict[str, float] = {}
    for name, do in does.items():
        do()  # it loads what it needs
        found |= {name: seconds(do), f"{name} memory": peak(do)}
    told = [os.stat(path) for path in Store(out).files()]
    found |= {"row": sum(one.st_size for one in told), "blocks": sum(512 * one.st_blocks for one in told)}
    return {name: value / number for name, value in found.items()}


def peak(do: Callable[[], object]) -> int:
    """The most bytes of Python's memory that a call holds at once."""
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def cluster(folder: Path, workers: int, number: int, rest: float = 10.0) -> dict[str, float]:
    """What Dask's scheduler and its driver do for a run, and the scheduler in `rest` seconds without runs."""
    from distributed import Client

    own = swept(folder / "own-dask", number, AtOnce(), clocks)
    with running(SCHEDULER) as scheduler:
        address = scheduler.stdout.readline().strip()
        with running(WORKERS, address, str(workers), str(folder)), Client(address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=300)

            def mark() -> np.ndarray:
                return np.append(clocks(), client.run_on_scheduler(time.process_time))

            swept(folder / "warm", 10, Dask(address, wait=300), clocks)  # the scheduler imports the package
            engine = Dask(address, wait=300)
            while engine.width < 2 * workers:
                time.sleep(0.1)
            before = mark()
            time.sleep(rest)
            clock, _, core = mark() - before
            there = swept(folder / "dask", number, engine, mark)
            choice = client.run_on_scheduler(choosing)
    idle, took = core / clock, there.last - there.first
    run = (took[2] - idle * took[0]) / number
    client_core = (took[1] - (own.last - own.first)[1]) / number
    return {"client": client_core, "scheduler": run - choice, "choice": choice / workers, "watch": idle / workers}


def choosing(dask_scheduler: Any) -> float:
    """CPU seconds in which a scheduler chooses a worker for a run that asks for a resource, as those of sweeps do."""
    task = dask_scheduler.new_task("choice", None, "released")
    task.resource_restrictions = dict.fromkeys(dask_scheduler.resources, 1)
    start = time.process_time()
    for _ in range(500):
        dask_scheduler.decide_worker_non_rootish(task)
    return (time.process_time() - start) / 500


@contextlib.contextmanager
def running(program: str, *words: str) -> Iterator[Any]:
    """A program in a process of its own, which ends here."""
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe, silent = subprocess.PIPE, subprocess.DEVNULL
    process = subprocess.Popen([sys.executable, "-c", program, *words], env=own, stdout=pipe, stderr=silent, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
