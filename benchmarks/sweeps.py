"""Sweeps: two processes against one, what a run costs above its function, resuming, reading, and Dask beside them."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import workbench as wb
from benchmarks.measure import Row
from workbench.sweeps.files import Store
from workbench.sweeps.points import defaults, points
from workbench.sweeps.rows import Task

GRID = {"criterion": ["magnitude", "snip", "random", "synflow"], "sparsity": [0.5, 0.8, 0.9, 0.95, 0.98]}

MEMORY = """
import re, sys
from pathlib import Path
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


def wide(number: int) -> dict[str, list[object]]:
    """A grid of so many runs, in which the seed is the longest axis; of fewer than 40, seeds alone."""
    axes = GRID if number >= 40 else {name: values[:1] for name, values in GRID.items()}
    return {**axes, "seed": list(range(number // math.prod(map(len, axes.values()))))}


def rows(quick: bool) -> Iterator[Row]:
    runs, few, many = (4, 40, 40) if quick else (200, 10_000, 100_000)
    epochs = {"epochs": [1 if quick else None]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def swept(out: str, **options: object) -> Callable[[], object]:
            return lambda: wb.sweep(lenet, folder / out, progress=False, **wide(runs), **epochs, **options)  # type: ignore[arg-type]

        bare = seconds(lambda: [lenet(**one) for one in points(lenet, [wide(runs) | epochs]).values()])
        one, two = seconds(swept("one", jobs=1)), seconds(swept("two", jobs=2))
        yield Row(f"{runs} runs of lenet-300-100 on digits, two processes / one", two / one, "x", 1 / 1.85)
        yield Row("a run of these in a process above its function", 1e3 * (one - bare) / runs, "ms", 30.0)
        yield from _dask(swept, runs, two)
        for number, place in ((few, folder / "few"), (many, folder / "many")):
            fill(place, number)
        resume = seconds(lambda: wb.sweep(lenet, folder / "few", jobs=0, progress=False, **wide(few)))  # type: ignore[arg-type]
        yield Row(f"resume of a finished sweep of {few:,} runs", resume, "s", 2.0)
        yield Row(f"results of {many:,} runs", seconds(lambda: wb.results(folder / "many")), "s", 5.0)
        command = [sys.executable, "-c", MEMORY, str(folder / "many"), str(many)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        yield Row(f"memory of a driver with {many:,} runs", float(told), "MB", 500.0)


def _dask(swept: Callable[..., Callable[[], object]], runs: int, local: float) -> Iterator[Row]:
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        engine = wb.sweeps.Dask(cluster.scheduler_address)
        there = seconds(swept("dask", engine=engine))
    yield Row(f"the same {runs} runs on two workers of Dask / in two processes", there / local, "x", 1.15)


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
