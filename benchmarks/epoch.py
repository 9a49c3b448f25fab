"""One epoch of LeNet-300-100 against its pure matrix products."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch

import workbench as wb
from benchmarks.measure import Row, in_turns, random_task, relative
from workbench.recipes import recipe


def rows(quick: bool) -> Iterator[Row]:
    n = 1000 if quick else 60_000
    task = random_task((784,), train=n, val=1000, name="mnist")
    model = wb.make("lenet-300-100", task)
    size = recipe(task, model).batch_size
    sizes = [784, 300, 100, 10]
    inputs = [torch.rand(size, width) for width in sizes[:-1]]
    outputs = [torch.rand(size, width) for width in sizes[1:]]
    weights = [torch.rand(after, before) for before, after in itertools.pairwise(sizes)]

    def products() -> None:
        for _ in range(math.ceil(n / size)):
            for x, y, w in zip(inputs, outputs, weights, strict=True):
                x @ w.T, y.T @ x, y @ w

    def epoch() -> None:
        for _ in wb.steps(model, task, epochs=10, stop=math.ceil(n / size)):
            pass

    seconds = in_turns(1 if quick else 5, products=products, epoch=epoch)
    what = f"epoch of LeNet-300-100, 60,000 x 784, batches of {size} / its matrix products, three a layer"
    yield Row(what, relative(seconds, "products")["epoch"], "x", 1.3)
    yield Row("the same epoch", seconds["epoch"], "s")
