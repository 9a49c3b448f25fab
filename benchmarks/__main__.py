"""`python -m benchmarks [topic ...] [--quick]`: measure, print a table, write out/bench.json.

The exit code is 1 when a number is over its bound.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Row
from workbench.seeds import versions

TOPICS = (
    "scoring",
    "sliders",
    "epoch",
    "together",
    "masks",
    "removal",
    "language",
    "sweeps",
    "importing",
    "memory",
    "layout",
    "recipes",
    "methods",
    "processors",
)


def main(words: list[str] | None = None) -> int:
    """Run the topics named (default: all); the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed as ratios in one run.")
    parser.add_argument("topics", nargs="*", metavar="topic", help=f"some of {', '.join(TOPICS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one turn: sees that all runs, judges nothing")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/bench.json"), help="where the numbers go")
    options = parser.parse_args(words)
    unknown = sorted(set(options.topics) - set(TOPICS))
    if unknown:
        parser.error(f"topics are some of {', '.join(TOPICS)}; got {', '.join(unknown)}")
    torch.set_num_threads(1)
    records = []
    for row, seconds in _measure(options.topics or TOPICS, options.quick):
        verdict = "" if row.bound is None or options.quick else "OVER" if row.over else "ok"
        bound = "" if row.bound is None else f"<= {row.bound:g} {row.unit}"
        print(f"{row.value:9.3f} {row.unit:2}  {bound:10} {verdict:4}  {row.what}  [{seconds:.1f} s]", flush=True)
        records.append({**dataclasses.asdict(row), "verdict": verdict, "seconds": seconds})
    _write(options.output, records)
    return int(any(record["verdict"] == "OVER" for record in records))


def _measure(topics: list[str] | tuple[str, ...], quick: bool) -> Iterator[tuple[Row, float]]:
    """The rows of the topics, each with the seconds it took to measure."""
    for topic in topics:
        start = time.perf_counter()
        for row in importlib.import_module(f"benchmarks.{topic}").rows(quick):
            yield row, time.perf_counter() - start
            start = time.perf_counter()


def _write(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {"versions": versions(), "processor": torch.backends.cpu.get_cpu_capability(), "rows": records}
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
