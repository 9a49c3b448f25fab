"""Exercises of a notebook, answered as a student would: its cells run, the answers put in, the check run."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.exercises import WrongAnswer
from workbench.headless import read_notebook

ODD: list[Any] = ["many", "0.05", [], [None], [1, "a"], [[1, 2], [3]], {}, {"x": 1}, 1j, True, max, np.zeros((2, 3))]
ODD += [torch.zeros(4, 2, 3), {"fc1.weight": torch.ones(2)}]
"""Answers of a form that no exercise asks for."""
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


@functools.cache
def cells(notebook: str) -> dict[str, str]:
    """Source of every cell by its id."""
    return {cell.id: cell.source for cell in read_notebook(NOTEBOOKS / notebook).cells}


def answer(notebook: str, number: int, **values: Any) -> dict[str, Any]:
    """Run an exercise and its check with these answers; a function is called with the exercise's names first.

    The check runs as in a headless run, where a wrong answer raises.
    """
    space: dict[str, Any] = {}
    for name in ("parameters", "setup"):
        exec(cells(notebook)[name], space)
    space["task"] = wb.load("digits")
    exec(cells(notebook)[f"exercise-{number}"], space)
    space |= {name: value(space) if callable(value) else value for name, value in values.items()}
    with mock.patch.dict(os.environ, WORKBENCH_FACE="picture"):
        exec(cells(notebook)[f"exercise-{number}-check"], space)
    return space


def accepted(capsys: pytest.CaptureFixture[str], notebook: str, number: int, **values: Any) -> dict[str, Any]:
    """These answers are right, each of them; the names that the exercise leaves."""
    space = answer(notebook, number, **values)
    assert capsys.readouterr().out.count("Right:") == len(values)
    return space


def rejected(words: tuple[str, ...], notebook: str, number: int, **values: Any) -> None:
    """One of these answers is wrong, and the message says so in these words."""
    with pytest.raises(WrongAnswer) as error:
        answer(notebook, number, **values)
    assert all(part in str(error.value) for part in words)


def rejects_other_forms(notebook: str, number: int, right: dict[str, Any]) -> None:
    """Whatever is answered in another form, the message says which form the answer must have."""
    for name in right:
        for odd in ODD:
            rejected(("must",), notebook, number, **{**right, name: odd})


def tests(
    notebook: str, right: dict[int, dict[str, Any]], wrong: list[tuple[int, dict[str, Any], str]]
) -> tuple[Callable[..., None], ...]:
    """Three tests of a notebook's exercises: right answers, wrong ones by their mistake, and answers of other forms.

    `right`: number -> answers by name; `wrong`: number, some answers, and words of the message that names the mistake.
    """

    @pytest.mark.parametrize("number", right)
    def the_right_answer_is_accepted(number: int, capsys: pytest.CaptureFixture[str]) -> None:
        accepted(capsys, notebook, number, **right[number])

    @pytest.mark.parametrize(("number", "answers", "words"), wrong)
    def a_wrong_answer_is_rejected(number: int, answers: dict[str, Any], words: str) -> None:
        rejected((words,), notebook, number, **answers)

    @pytest.mark.parametrize("number", right)
    def another_form_is_told_its_form(number: int) -> None:
        rejects_other_forms(notebook, number, right[number])

    return (
        the_right_answer_is_accepted,
        a_wrong_answer_is_rejected,
        another_form_is_told_its_form,
    )
