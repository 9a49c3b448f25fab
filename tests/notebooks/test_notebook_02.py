"""Notebook 02: self-checks know right from wrong, and a click takes the channels that it says."""

from __future__ import annotations

import ast
from typing import Any

import exercises
import pytest
import torch

NOTEBOOK = "02-universal-or-specific-speedup.ipynb"
RIGHT: dict[int, dict[str, Any]] = {1: {"left_1": [0.5, 0.25, 0.5]}, 2: {"below_2": [0.5, 0.96875]}}
# Exercise, what is answered wrongly, and words of the message that names the mistake.
WRONG = [
    (1, {"left_1": [0.5, 0.5, 1.0]}, "it loses inputs, too"),
    (1, {"left_1": [0.5, 0.5, 0.5]}, "half everywhere"),
    (1, {"left_1": [0.25, 0.25, 0.25]}, "a quarter everywhere"),
    (1, {"left_1": [0.5, 0.25, 0.25]}, "they stay"),
    (2, {"below_2": [1.0, 0.96875]}, "the columns are forgotten"),
    (2, {"below_2": [0.5, 1.0]}, "the bits are forgotten"),
    (2, {"below_2": [0.5, 0.03125]}, "these are sparsities"),
    (2, {"below_2": [2 / 3, 0.96875]}, "columns of 16 bits"),
]

test_right, test_wrong, test_other_form = exercises.tests(NOTEBOOK, RIGHT, WRONG)


@pytest.mark.parametrize(
    ("take", "left"),
    [
        ("it alone", [[True, True], [True, False, True]]),
        ("it and the weaker ones of its layer", [[True, True], [False, False, True]]),
        ("it and all weaker ones", [[False, True], [False, False, True]]),
    ],
)
def test_a_click_takes_a_channel_and_the_weaker_ones(take: str, left: list[list[bool]]) -> None:
    nan = float("nan")
    space: dict[str, Any] = {"torch": torch, "raster": torch.tensor([[0.5, 3.0, nan], [1.0, 2.0, 4.0]])}
    space |= {"parts": {"a": torch.ones(2), "b": torch.ones(3)}}
    wanted = ("takes", "units_left")
    for node in ast.parse(exercises.cells(NOTEBOOK)["narrow"]).body:
        names = [getattr(node, "name", "")] + [getattr(target, "id", "") for target in getattr(node, "targets", [])]
        if set(names) & set(wanted):
            exec(compile(ast.Module([node], []), "narrow", "exec"), space)
    assert take in space["takes"]
    assert [mask.tolist() for mask in space["units_left"]((1, 1), take).values()] == left
