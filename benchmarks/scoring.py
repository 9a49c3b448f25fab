"""Scores and masks of ResNet-20 on a batch of 100 x 3 x 32 x 32."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator

import torch
from torch.nn.utils import prune

import workbench as wb
from benchmarks.measure import Row, in_turns, loss, random_task, relative


def rows(quick: bool) -> Iterator[Row]:
    task = random_task((3, 32, 32), train=1000)
    model = wb.make("resnet-20", task)
    yield from _magnitude(model, turns=1 if quick else 20)
    yield from _one_shot(model, task.batch(2 if quick else 100), turns=1 if quick else 5)
    yield from _synflow(model, rounds=2 if quick else 100, turns=1 if quick else 3)


def _magnitude(model: torch.nn.Module, turns: int) -> Iterator[Row]:
    ours, theirs = ([copy.deepcopy(model) for _ in range(turns + 1)] for _ in range(2))

    def workbench() -> None:
        fresh = ours.pop()
        wb.apply_masks_(fresh, wb.keep_top(wb.score(fresh, None, "magnitude"), 0.9))

    def pytorch() -> None:
        layers = [m for m in theirs.pop().modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
        prune.global_unstructured([(m, "weight") for m in layers], prune.L1Unstructured, amount=0.9)

    ratio = relative(in_turns(turns, workbench=workbench, pytorch=pytorch), "pytorch")["workbench"]
    yield Row("magnitude, global cut, masks applied / torch.nn.utils.prune.global_unstructured", ratio, "x", 0.5)


def _one_shot(model: torch.nn.Module, batch: wb.Batch, turns: int) -> Iterator[Row]:
    plain = copy.deepcopy(model).train()

    def passes() -> None:
        plain.zero_grad()
        loss(plain, *batch).backward()

    for criterion, title, granularity, bound in (
        ("snip", "SNIP", "weight", 1.1),
        ("grasp", "GraSP", "weight", 3.0),
        ("lrp", "LRP", "weight", 4.0),
        ("fisher", "Fisher of channels", "channel", 1.5),
        ("taylor", "Taylor of channels", "channel", 1.5),
    ):
        scores = functools.partial(wb.score, model, batch, criterion, granularity=granularity)
        seconds = in_turns(turns, passes=passes, scores=scores)
        yield Row(f"{title} / forward and backward", relative(seconds, "passes")["scores"], "x", bound)


def _synflow(model: torch.nn.Module, rounds: int, turns: int) -> Iterator[Row]:
    plain = copy.deepcopy(model).double().eval()
    ones = torch.ones(1, 3, 32, 32, dtype=torch.float64)

    def passes() -> None:
        for _ in range(rounds):
            plain.zero_grad()
            plain(ones).sum().backward()

    def synflow() -> None:
        wb.find_masks(model, None, "synflow", 0.99, rounds=rounds)

    seconds = in_turns(turns, passes=passes, synflow=synflow)
    yield Row("SynFlow, 100 rounds / 100 forward and backward passes", relative(seconds, "passes")["synflow"], "x", 1.2)
    yield Row("SynFlow, 100 rounds (its authors' code: 1.9 s on a quiet core)", seconds["synflow"], "s")
