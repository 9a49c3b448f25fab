"""What a task's own functions give is checked where they meet a model."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import workbench as wb


@pytest.mark.parametrize(("value", "got"), [(torch.ones(3), r"shape \(3,\)"), (0.5, "float"), (None, "NoneType")])
def test_a_loss_is_one_number(value: object, got: str) -> None:
    task, model = wb.load("moons", device="cpu"), nn.Linear(2, 2)
    told = rf"loss_fn\(outputs, targets\) is a tensor of one number; got .*{got}"
    for call in (
        lambda: wb.score(model, task.batch(8), "snip", loss_fn=lambda outputs, targets: value),
        lambda: wb.train(model, dataclasses.replace(task, loss=lambda outputs, targets: value), steps=1),
    ):
        with pytest.raises(TypeError, match=told):
            call()


@pytest.mark.parametrize("found", [{}, {"n": (1.0, 2)}, {"error": (1.0, 2), "n": (1.0, 2)}])
def test_a_measure_has_a_name_of_its_own(found: dict[str, tuple[float, int]]) -> None:
    task = dataclasses.replace(wb.load("moons", device="cpu"), measure=lambda outputs, targets: found)
    with pytest.raises(ValueError, match="under names other than 'n'"):
        wb.evaluate(nn.Linear(2, 2), task)


@pytest.mark.parametrize("name", ["prepare", "loss", "measure"])
def test_what_a_task_owns_is_a_function(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} is a function; got 'mse'"):
        dataclasses.replace(wb.load("moons", device="cpu"), **{name: "mse"})
