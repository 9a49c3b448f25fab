"""Notebook 02: self-checks know right from wrong."""

from __future__ import annotations

from typing import Any

import exercises
import pytest

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


@pytest.mark.parametrize("number", RIGHT)
def test_the_right_answer_is_accepted(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exercises.accepted(capsys, NOTEBOOK, number, **RIGHT[number])


@pytest.mark.parametrize(("number", "answers", "words"), WRONG)
def test_a_wrong_answer_is_rejected_by_its_mistake(number: int, answers: dict[str, Any], words: str) -> None:
    exercises.rejected((words,), NOTEBOOK, number, **answers)


@pytest.mark.parametrize("number", RIGHT)
def test_another_form_is_told_which_form_is_asked(number: int) -> None:
    exercises.rejects_other_forms(NOTEBOOK, number, RIGHT[number])
