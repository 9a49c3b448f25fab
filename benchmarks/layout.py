"""Memory layout and bfloat16: a training step of ResNet-20, batch 128, in four ways, and as the workbench takes it."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch

import workbench as wb
from benchmarks.measure import Row, in_turns, loss, random_task, relative
from workbench.recipes import has_fast_bfloat16


def rows(quick: bool) -> Iterator[Row]:
    size = 4 if quick else 128
    task = random_task((3, 32, 32), train=20 * size)
    inputs, targets = task.batch(size)
    channels_last = inputs.to(memory_format=torch.channels_last)

    def step(images: torch.Tensor, half: bool) -> functools.partial[None]:
        model = wb.make("resnet-20", task)
        return functools.partial(_step, model, torch.optim.SGD(model.parameters(), lr=0.01), images, targets, half)

    ours = wb.steps(wb.make("resnet-20", task), task, epochs=100, batch_size=size)
    seconds = in_turns(
        1 if quick else 4,
        plain=step(inputs, False),
        layout=step(channels_last, False),
        half=step(inputs, True),
        both=step(channels_last, True),
        workbench=lambda: next(ours),
    )
    ratios = relative(seconds, "plain")
    chosen = "with" if has_fast_bfloat16(task.device) else "without"
    yield Row("training step of ResNet-20, batch 128: channels-last / plain float32", ratios["layout"], "x")
    yield Row("the same: bfloat16 autocast / plain", ratios["half"], "x")
    yield Row("the same: both / plain", ratios["both"], "x")
    yield Row(f"the same as the workbench takes it here, {chosen} bfloat16 / plain", ratios["workbench"], "x")


def _step(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor, targets: torch.Tensor, half: bool
) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        value = loss(model, inputs, targets)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
