"""What a million runs on a thousand workers would do: a simulation with the figures measured on one machine.

python -m benchmarks.scale              write the tables of docs/scale.md
python -m benchmarks.scale --measure    measure the figures anew before, into benchmarks/scale.json
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
from collections import deque
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.figures import UNITS, measured
from workbench.seeds import versions
from workbench.sweeps.cluster import AHEAD

ROOT = Path(__file__).resolve().parent.parent
FIGURES, PAGE = ROOT / "benchmarks" / "scale.json", ROOT / "docs" / "scale.md"
RUNS, WORKERS = 1_000_000, 1_000
LENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Seconds of a run."""
COMPUTERS, FOLDERS = 40, 10
SLOW_DISK = 0.01
"""Seconds that the driver waits for a file on a slow shared disk: assumed, not measured."""

Figures = dict[str, float]


class Sweep(NamedTuple):
    """A sweep as a closed queue: `ahead` runs of each worker are in flight; all that end pass one scheduler, then one
    driver, each a server with a fixed time; when a run has landed, the next one goes out."""

    runs: int
    workers: int
    scheduler: float
    driver: float
    above: float = 0.0
    """Seconds of a worker for a run above the run's own."""
    ahead: int = 1


class Outcome(NamedTuple):
    """Seconds until the last row has landed, and which share of them each part was busy."""

    seconds: float
    workers: float
    scheduler: float
    driver: float

    @property
    def first(self) -> str:
        """The part that is busiest: what limits the sweep."""
        return max(("workers", "scheduler", "driver"), key=lambda name: float(getattr(self, name)))


def simulate(sweep: Sweep, seconds: float, spread: float = 0.0, seed: int = 0) -> Outcome:
    """The outcome of a sweep whose runs take `seconds`, uniform with the relative standard deviation `spread`.

    With nothing but runs, r of them on w workers take ceil(r / w) turns; a server of s seconds lets 1 / s runs a second
    through, whatever the workers.

    >>> simulate(Sweep(10, 5, scheduler=0, driver=0), 3.0).seconds
    6.0
    """
    half = seconds * spread * math.sqrt(3)
    lengths = np.random.default_rng(seed).uniform(seconds - half, seconds + half, sweep.runs).clip(0) + sweep.above
    took = iter(lengths.tolist())
    begun = min(sweep.workers, sweep.runs)
    ends = [next(took) for _ in range(begun)]
    heapq.heapify(ends)
    waiting = deque([0.0] * (min(sweep.runs, sweep.ahead * sweep.workers) - begun))  # when each run came to a worker
    left = sweep.runs - begun - len(waiting)
    told = landed = 0.0
    while ends:
        now = ends[0]
        told = max(told, now) + sweep.scheduler
        landed = max(landed, told) + sweep.driver
        if left:
            waiting.append(landed)
            left -= 1
        if waiting:
            heapq.heapreplace(ends, max(now, waiting.popleft()) + next(took))
        else:
            heapq.heappop(ends)
    busy = float(lengths.sum()) / sweep.workers, sweep.runs * sweep.scheduler, sweep.runs * sweep.driver
    return Outcome(landed, *(part / landed for part in busy))


def on_dask(figures: Figures, runs: int, workers: int, disk: float | None = None) -> Sweep:
    """One driver and Dask's scheduler, whose time for a run grows with its workers. `disk`: other seconds of it."""
    free = 1 - workers * figures["watch"]
    if free <= 0:
        raise ValueError(f"a scheduler with {workers} workers does nothing but watch them. Take fewer than that")
    scheduler = (figures["scheduler"] + workers * figures["choice"]) / free
    driver = figures["land"] + figures["client"] + (figures["disk"] if disk is None else disk)
    return Sweep(runs, workers, scheduler, driver, figures["process"], AHEAD)


def sharing(figures: Figures, runs: int, workers: int, computers: int) -> Sweep:
    """One of several sweeps on one folder, each with processes of its own: it looks at every run the others do."""
    driver = figures["land"] + figures["disk"] + (computers - 1) * figures["skip"]
    return Sweep(runs // computers, workers // computers, 0.0, driver, figures["process"])


def tables(figures: Figures, machine: str, runs: int = RUNS, workers: int = WORKERS) -> dict[str, str]:
    """The tables of the page by name."""
    one, spread = on_dask(figures, runs, workers), figures["spread"]
    ways = {
        f"{FOLDERS} folders, a scheduler for each": on_dask(figures, runs // FOLDERS, workers // FOLDERS),
        f"{COMPUTERS} sweeps on one folder, no Dask": sharing(figures, runs, workers, COMPUTERS),
        f"one folder, Dask, {1e3 * SLOW_DISK:g} ms a file": on_dask(figures, runs, workers, SLOW_DISK),
    }
    lines, others = [], []
    for length in LENGTHS:
        found = simulate(one, length, spread)
        cells = [f"{length:g} s", told(found.seconds), told(runs * length / workers)]
        cells += [f"{getattr(found, name):.0%}" for name in ("workers", "scheduler", "driver")]
        lines.append([*cells, found.first])
        each = [simulate(way, length, spread) for way in ways.values()]
        others.append([f"{length:g} s", *(f"{told(way.seconds)}, {way.workers:.0%} ({way.first})" for way in each)])
    head = ["a run", "the sweep takes", "without overhead", "workers busy", "scheduler", "driver", "limit"]
    return {
        "figures": _table(["figure", machine, "what it is"], [_figure(name, figures[name]) for name in UNITS]),
        "one": _table(head, lines),
        "ways": _table(["a run", *ways], others),
        "limits": _table(["part", "a run", "runs a second"], _limits(figures, runs, workers)),
        "rest": _table(["step", f"{runs:,} rows"], _rest(figures, runs)),
    }


def _limits(figures: Figures, runs: int, workers: int) -> list[list[str]]:
    """How many runs a second each part lets through."""
    found, slow = (on_dask(figures, runs, workers, disk) for disk in (0.0, SLOW_DISK))
    parts = {
        f"Dask's scheduler, {workers:,} workers": found.scheduler,
        "driver, this disk": on_dask(figures, runs, workers).driver,
        "driver, no wait for a disk": found.driver,
        f"driver, {1e3 * SLOW_DISK:g} ms of wait for a file (assumed)": slow.driver,
    }
    return [[name, f"{1e3 * value:.1f} ms", f"{1 / value:,.0f}"] for name, value in parts.items() if value]


def _rest(figures: Figures, runs: int) -> list[list[str]]:
    """What does not hang on how long a run takes."""

    def both(name: str) -> str:
        return f"{told(runs * figures[name])}, {_bytes(runs * figures[f'{name} memory'])}"

    return [
        ["before the first run: points, keys, checks", told(runs * figures["plan"])],
        ["files", f"{runs:,} in 256 folders, {runs // 256:,} in each"],
        ["their bytes; on disk, in whole blocks", " and ".join(_bytes(runs * figures[n]) for n in ("row", "blocks"))],
        ["memory of the driver, at its most", _bytes(runs * figures["driver memory"])],
        ["start again when all is done, with the table", both("resume")],
        ["`wb.results`", both("results")],
        ["`wb.results` on one `.jsonl` file", both("packed")],
        ["an export to Parquet", both("parquet")],
        ["the report", both("report")],
    ]


def _figure(name: str, value: float) -> list[str]:
    unit, what = UNITS[name]
    scale, word = (1e3, "m") if unit.startswith("s ") and value < 1 else (1, "")
    scale, word = (1e6, "µ") if unit.startswith("s ") and value < 1e-3 else (scale, word)
    return [f"`{name}`", f"{scale * value:.3g} {word}{unit}" if value < 1000 else f"{value:,.0f} {unit}", what]


def _table(head: list[str], lines: list[list[str]]) -> str:
    return "".join("| " + " | ".join(line) + " |\n" for line in (head, ["---"] * len(head), *lines))


def told(seconds: float) -> str:
    """Seconds in a unit that reads well.

    >>> told(90.0), told(5000.0), told(1e6)
    ('90 s', '1.4 h', '11.6 days')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _bytes(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def page(text: str, held: dict[str, str]) -> str:
    """The text with each table between its marks."""
    for name, table in held.items():
        mark = f"<!-- {name}: written by python -m benchmarks.scale -->\n"
        before, start, rest = text.partition(mark)
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not (start and end):
            raise ValueError(f"the page has no place for {name}: it lies between {mark.strip()} and <!-- /{name} -->")
        text = f"{before}{start}{table}{end}{after}"
    return text


def main(words: list[str] | None = None) -> None:
    """Write the tables, with `--measure` from figures of this machine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="A million runs, simulated.")
    parser.add_argument("--measure", action="store_true", help="measure the figures on this machine first (minutes)")
    if parser.parse_args(words).measure:
        made = {"machine": versions()["processor"], "figures": measured()}
        FIGURES.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    made = json.loads(FIGURES.read_text(encoding="utf-8"))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), tables(**made)), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
