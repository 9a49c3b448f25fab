"""What masks cost in training: a step with masks against one without, the two trainings step by step in turn."""

from __future__ import annotations

from collections.abc import Iterator

import workbench as wb
from benchmarks.measure import Row, in_turns, random_task


def rows(quick: bool) -> Iterator[Row]:
    turns = 2 if quick else 60
    yield _cost("vgg", wb.load("digits", device="cpu"), 64, turns, 1.05)
    yield _cost("resnet-20", random_task((3, 32, 32), train=2560), 4 if quick else 128, max(turns // 3, 2), 1.05)
    yield _cost("lenet-300-100", random_task((784,), train=12_800), 128, 4 * turns, 1.10)


def _cost(network: str, task: wb.Task, batch_size: int, turns: int, bound: float) -> Row:
    def training(masked: bool) -> Iterator[object]:
        model = wb.make(network, task)
        masks = wb.find_masks(model, None, "magnitude", 0.9) if masked else None
        return wb.steps(model, task, masks=masks, epochs=1000, batch_size=batch_size)

    plain, masked = training(False), training(True)
    seconds = in_turns(turns, plain=lambda: next(plain), masked=lambda: next(masked))
    what = f"training step with masks / without: {network}, batches of {batch_size}"
    return Row(what, seconds["masked"] / seconds["plain"], "x", bound)
