"""One number with its bound, and timing in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from workbench import Task
from workbench.metrics import cost


@dataclass(frozen=True)
class Row:
    """A measured number; `bound` is the most it may be, None where it is only reported."""

    what: str
    value: float
    unit: str
    bound: float | None = None

    @property
    def over(self) -> bool:
        return self.bound is not None and not self.value <= self.bound


def in_turns(turns: int, **functions: Callable[[], object]) -> dict[str, float]:
    """CPU seconds of each function: the median of `turns` calls, after one to warm up; all functions called in turn."""
    found = cost.in_turns(functions, turns, warmup=1, clock=time.process_time)
    return {name: median for name, (median, _, _) in found.items()}


def relative(seconds: Mapping[str, float], reference: str) -> dict[str, float]:
    """Seconds as multiples of the reference's, without it."""
    return {name: value / seconds[reference] for name, value in seconds.items() if name != reference}


def random_task(shape: tuple[int, ...], train: int, val: int = 100, name: str = "random") -> Task:
    """Random bytes as inputs, ten classes in turn; `name` is that of the data whose recipe it takes."""
    draw = np.random.default_rng(0)
    inputs = draw.integers(0, 256, (train + val, *shape), dtype=np.uint8)
    labels = np.arange(train + val) % 10
    return Task.from_arrays(inputs, labels, inputs[:100], labels[:100], val=val, name=name, device="cpu")


def loss(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy of a batch."""
    return torch.nn.functional.cross_entropy(model(inputs), targets)
