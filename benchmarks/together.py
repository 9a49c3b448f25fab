"""Many small networks trained in one computation against the same ones one after another, and the memory of both.

On CUDA where there is a device, and then in seconds of the clock; else on the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

import workbench as wb
from benchmarks.measure import Row, relative
from benchmarks.memory import peak
from workbench.metrics import cost
from workbench.seeds import pick_device

NETWORKS = {"vgg": 10, "lenet-300-100": 60}
"""How many steps of 64 samples are timed of each: the schedule's others are like them."""
NUMBERS = (8, 16, 64)


def rows(quick: bool) -> Iterator[Row]:
    task = wb.load("digits", device=pick_device())
    on_gpu = task.device.type == "cuda"
    where, clock = (torch.cuda.get_device_name(), time.perf_counter) if on_gpu else ("CPU", time.process_time)
    for network, steps in NETWORKS.items():
        for number in NUMBERS[:1] if quick else NUMBERS:
            runs = Runs(network, task, 2 if quick else number, 1 if quick else steps)
            functions = {"alone": runs.alone, "together": runs.together}
            found = cost.in_turns(functions, 1 if quick else 3, warmup=1, clock=clock)
            ratio = relative({name: median for name, (median, _, _) in found.items()}, "together")["alone"]
            yield Row(f"{number} trainings of {network} on digits one after another / together, {where}", ratio, "x")
        few, many = (Runs(network, task, number, 2).memory() for number in (2, 4))
        yield Row(f"memory of each more {network} trained together, {where}", (many - few) / 2 / 1e6, "MB")


class Runs:
    """So many networks of one kind, with masks of other sparsities, seeds and rates."""

    def __init__(self, network: str, task: wb.Task, number: int, steps: int) -> None:
        self.task, self.seeds = task, list(range(number))
        self.models = [wb.make(network, task, seed=seed) for seed in self.seeds]
        self.rates = [0.1 / (1 + seed % 4) for seed in self.seeds]
        scores = [wb.score(model, None, "magnitude") for model in self.models]
        self.masks = [wb.keep_top(s, 1 - 0.5 ** (1 + seed % 5)) for seed, s in enumerate(scores)]
        self.how = {"steps": steps, "batch_size": 64}

    def alone(self) -> None:
        for model, masks, seed, rate in zip(self.models, self.masks, self.seeds, self.rates, strict=True):
            wb.train(model, self.task, masks=masks, seed=seed, lr=rate, fast=False, **self.how)

    def together(self) -> None:
        wb.train_together(self.models, self.task, masks=self.masks, seeds=self.seeds, lr=self.rates, **self.how)

    def memory(self) -> float:
        """The most bytes that training together holds at once."""
        if self.task.device.type == "cpu":
            return peak(self.together)
        self.together()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        self.together()
        return torch.cuda.max_memory_allocated() - before
