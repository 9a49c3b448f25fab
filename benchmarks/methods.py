"""What methods cost in training: their steps against dense ones, in turn; a whole iterative pruning; a recording."""

from __future__ import annotations

import time
from collections.abc import Iterator

import workbench as wb
from benchmarks.measure import Row, in_turns, random_task, relative
from workbench.methods.registry import METHODS

BOUNDS = {"rigl": 1.03, "l0": 1.25, "str": 1.25}
"""Of a step, changes included; for the others it is only reported."""
LEVELS = 15


def rows(quick: bool) -> Iterator[Row]:
    yield from _steps(quick)
    yield _iterative(quick)
    yield _recorded(quick)


def _steps(quick: bool) -> Iterator[Row]:
    """`every` steps at a time, so that each turn has one change of the masks; RigL's interval is the paper's."""
    network, task, every = "vgg", random_task((1, 8, 8), train=12_800, name="digits"), 5 if quick else 100

    def training(name: str) -> Iterator[object]:
        model = wb.make(network, task)
        sparsity = 0.5 if METHODS[name].granularity == "n:m" else 0.9
        how = wb.method(name, model, sparsity, **({"every": every} if "every" in METHODS[name].options else {}))
        return wb.steps(model, task, steps=100_000, batch_size=64, fast=False, **how)

    def turn(run: Iterator[object]) -> None:
        for _ in range(every):
            next(run)

    model = wb.make(network, task)
    runs = {"dense": wb.steps(model, task, steps=100_000, batch_size=64, fast=False)}
    runs |= {name: training(name) for name in METHODS}
    seconds = in_turns(1 if quick else 3, **{name: lambda run=run: turn(run) for name, run in runs.items()})
    for name, ratio in relative(seconds, "dense").items():
        yield Row(
            f"training step of {name} / dense: {network}, batches of 64, a change in {every} steps",
            ratio,
            "x",
            BOUNDS.get(name),
        )


def _iterative(quick: bool) -> Row:
    task, levels = wb.load("digits", device="cpu"), 2 if quick else LEVELS
    start = time.process_time()
    length = {"epochs": 2} if quick else {}
    list(wb.timing("rewound", wb.make("lenet-300-100", task), task, 1 - 0.8**levels, rounds=levels, k=10, **length))
    what = f"iterative magnitude pruning, rewound: lenet-300-100 on digits, {levels} levels"
    return Row(what, time.process_time() - start, "s", 10.0)


def _recorded(quick: bool) -> Row:
    task = wb.load("digits", device="cpu")
    model = wb.make("vgg", task)
    film = wb.Recording(model, task, gradients="changes")
    for row in wb.steps(model, task, epochs=1 if quick else 12, **wb.method("rigl", model, 0.9, every=2)):
        film.add(row)
    return Row("masks of a recorded training: vgg, RigL, a change every 2 steps", film.size / 1e6, "MB", 20.0)
