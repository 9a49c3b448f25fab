"""Sweeps: two processes against one, what a run costs above its function, resuming, reading, and Dask beside them."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import workbench as wb
from benchmarks.measure import Row
from workbench.sweeps.files import Store
from workbench.sweeps.points import defaults, points
from workbench.sweeps.rows import Task

TURNS = 3
"""Of each the faster counts: what else the machine does makes a turn slower, never faster."""
GRID = {"criterion": ["magnitude", "snip", "random", "synflow"], "sparsity": [0.5, 0.8, 0.9, 0.95, 0.98]}

MEMORY = """
import re, sys
from pathlib import Path
from typing import Any
from benchmarks.sweeps import lenet, wide
import workbench as wb
wb.sweep(lenet, sys.argv[1], jobs=0, progress=False, most=10**6, **wide(int(sys.argv[2])))
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6)
"""
"""A program that resumes a sweep, and the most memory it took (Linux)."""


def lenet(criterion: str, sparsity: float, seed: int = 0, epochs: int | None = None) -> dict[str, float]:
    """Prune a small network and train it by its recipe, or for fewer epochs."""
    task = wb.load("digits", device="cpu")
    model = wb.make("lenet-300-100", task, seed=seed)
    masks = wb.find_masks(model, task.batch(100, seed=seed), criterion, sparsity)
    wb.train(model, task, masks=masks, epochs=epochs, seed=seed)
    return {"accuracy": wb.evaluate(model, task, masks)["accuracy"], "kept": 1 - sparsity}


def wide(number: int) -> dict[str, list[Any]]:
    """A grid of so many runs, in which the seed is the longest axis; of fewer than 40, seeds alone."""
    axes = GRID if number >= 40 else {name: values[:1] for name, values in GRID.items()}
    return {**axes, "seed": list(range(number // math.prod(map(len, axes.values()))))}


def rows(quick: bool) -> Iterator[Row]:
    runs, few, many = (4, 40, 40) if quick else (200, 10_000, 100_000)
    epochs = {"epochs": [1 if quick else None]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        least = _least(folder, wide(runs) | epochs, 1 if quick else TURNS)
        what = f"{runs} runs of lenet-300-100 on digits"
        yield Row(f"{what}, two processes / one", least["two"] / least["one"], "x", 1 / 1.85)
        above = (least["one"] - least["bare"]) / runs
        yield Row("a run of these in a process above its function", 1e3 * above, "ms", 30.0)
        yield Row("the same on two workers of Dask / in two processes", least["dask"] / least["two"], "x", 1.15)
        for number, place in ((few, folder / "few"), (many, folder / "many")):
            fill(place, number)
        resume = seconds(lambda: wb.sweep(lenet, folder / "few", jobs=0, progress=False, **wide(few)))
        yield Row(f"resume of a finished sweep of {few:,} runs", resume, "s", 2.0)
        yield Row(f"results of {many:,} runs", seconds(lambda: wb.results(folder / "many")), "s", 5.0)
        command = [sys.executable, "-c", MEMORY, str(folder / "many"), str(many)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        yield Row(f"memory of a driver with {many:,} runs", float(told), "MB", 500.0)


def _least(folder: Path, grid: dict[str, list[Any]], number: int) -> dict[str, float]:
    """Seconds of the runs of a grid in a loop, in one process, in two, on two workers of Dask: the least of turns."""
    from distributed import LocalCluster

    turns = []
    for turn in range(number):

        def swept(way: str, **options: Any) -> float:
            return seconds(lambda: wb.sweep(lenet, folder / f"{way}-{turn}", grid, progress=False, **options))  # noqa: B023

        loop = seconds(lambda: [lenet(**one) for one in points(lenet, [grid]).values()])
        told = {"bare": loop, "one": swept("one", jobs=1), "two": swept("two", jobs=2)}
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
            told["dask"] = swept("dask", engine=wb.sweeps.Dask(cluster.scheduler_address))
        turns.append(told)
    return {way: min(turn[way] for turn in turns) for way in turns[0]}


def seconds(function: Callable[[], object]) -> float:
    """How long it takes, by the clock: processes wait for each other."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def fill(out: Path, number: int) -> None:
    """A folder of so many finished runs, which were not run."""
    store, grid = Store(out), wide(number)
    store.open()
    store.remember({"function": "lenet", "defaults": defaults(lenet), "axes": grid})
    for name, arguments in points(lenet, [grid]).items():
        store.write(Task(lenet, name, arguments).row({"accuracy": 0.9123, "kept": 0.1}, 1.234))
