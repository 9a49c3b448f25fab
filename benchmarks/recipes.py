"""Default trainings on the embedded data: CPU seconds and test accuracy of one seed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import workbench as wb
from benchmarks.measure import Row

PAIRS = (("digits", "vgg"), ("digits", "lenet-300-100"), ("spirals", "lenet-300-100"))


def rows(quick: bool) -> Iterator[Row]:
    for name, network in PAIRS:
        task = wb.load(name, device="cpu")
        model = wb.make(network, task)
        start = time.process_time()
        wb.train(model, task, **({"steps": 2} if quick else {}))
        yield Row(f"{name}, {network}: default training", time.process_time() - start, "s")
        yield Row(f"{name}, {network}: test accuracy", 100 * wb.evaluate(model, task, split="test")["accuracy"], "%")
