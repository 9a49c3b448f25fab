"""Iterative magnitude pruning with rewinding: a whole run of LeNet-300-100 on digits."""

from __future__ import annotations

import time
from collections.abc import Iterator

import workbench as wb
from benchmarks.measure import Row


def rows(quick: bool) -> Iterator[Row]:
    task, levels = wb.load("digits", device="cpu"), 1 if quick else 15
    model = wb.make("lenet-300-100", task)
    wb.train(model, task, steps=2)  # what torch does once
    first, masks = wb.snapshot(model), None
    start = time.process_time()
    for level in range(levels + 1):
        model.load_state_dict(first)
        wb.train(model, task, masks=masks, **({"steps": 2} if quick else {}))
        masks = wb.keep_top(wb.score(model, None, "magnitude"), 1 - 0.8 ** (level + 1), within=masks)
    seconds = time.process_time() - start
    yield Row("iterative magnitude pruning, LeNet-300-100 on digits, 15 levels, 30 epochs each", seconds, "s", 10.0)
