"""A new sparsity from cached scores: what an explorer computes while a slider moves."""

from __future__ import annotations

from collections.abc import Iterator

import torch

import workbench as wb
from benchmarks.measure import Row, in_turns, random_task
from workbench.seeds import generator


def rows(quick: bool) -> Iterator[Row]:
    small = wb.score(wb.make("resnet-20", random_task((3, 32, 32), train=100)), None, "random")
    shapes = [(512, 512, 3, 3)] * (1 if quick else 11)
    large = {f"layer {i}": torch.rand(shape, generator=generator(i)) for i, shape in enumerate(shapes)}
    yield _look_up("272 k weights, 20 layers", small, quick)
    yield _look_up("26 M weights, 11 layers", large, quick)


def _look_up(what: str, scores: wb.Scores, quick: bool) -> Row:
    ranking, visible = wb.rank(scores), max(scores, key=lambda name: scores[name].numel())
    turns = iter(range(100))

    def moved() -> None:
        sparsity = 0.5 + 0.004 * next(turns)
        ranking.counts(sparsity)
        ranking.mask(visible, sparsity)

    seconds = in_turns(1 if quick else 50, moved=moved)["moved"]
    return Row(f"new sparsity from cached scores: counts and the largest layer, {what}", 1000 * seconds, "ms", 5.0)
