"""Notebook 05: self-checks know right from wrong, and the loop in the notebook is the recorded one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import exercises
import pytest
import torch

import workbench as wb
from workbench.experiments.tickets import Question, level_of
from workbench.types import Masks

NOTEBOOK = "05-after-training.ipynb"
DENSITIES = [0.8**n for n in range(6)]
RIGHT = {"spent_2": [12 * sum(DENSITIES), 12 * (1 + 0.8**5), 12 * 0.8**5], "epochs_2": 12 * sum(DENSITIES) / 0.8**5}
WRONG = [
    ({"spent_2": [72, 24, 12]}, "each cost the same"),
    ({"spent_2": [12 * sum(DENSITIES[1:]), 12 * 0.8**5, 12 * 0.8**5]}, "forgotten"),
    ({"spent_2": [12 * sum(1 - d for d in DENSITIES), 12 * 0.67232, 12 * 0.67232]}, "removed, not what is left"),
    ({"spent_2": [36, 12, 0]}, "20 % of all weights"),
    ({"epochs_2": 12 * sum(DENSITIES)}, "cost less"),
    ({"epochs_2": 72}, "equal epochs"),
    ({"epochs_2": sum(DENSITIES) / 0.8**5}, "how many times"),
    ({"epochs_2": 12 * (1 + 0.8**5) / 0.8**5}, "one cut"),
]


def loop(
    cuts: tuple[float, ...] = (0.5, 0.75, 0.875), rewound: bool = True, trained: bool = True
) -> Callable[[dict[str, Any]], Masks]:
    """Iterative magnitude pruning with rewinding, right by default."""

    def masks(space: dict[str, Any]) -> Masks:
        model, found = space["model_1"], None
        for cut in cuts:
            if rewound:
                model.load_state_dict(space["first_1"])
            space["learn"](model, found if trained else None)
            found = wb.keep_top(wb.score(model, None, "magnitude"), cut, within=found)
        assert found is not None
        return found

    return masks


def test_the_loop_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    exercises.accepted(capsys, NOTEBOOK, 1, masks_1=loop())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (loop(rewound=False), "fine-tuning"),
        (loop((0.875,)), "one cut of"),
        (loop((0.5, 0.75)), "one level short"),
        (loop(trained=False), "one cut of a dense training"),
        (loop((0.5, 0.5, 0.5)), "not of what is left"),
    ],
)
def test_a_wrong_loop_is_rejected_by_its_name(wrong: Callable[[dict[str, Any]], Masks], words: str) -> None:
    exercises.rejected(("mistake", words), NOTEBOOK, 1, masks_1=wrong)


def test_the_right_answer_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    exercises.accepted(capsys, NOTEBOOK, 2, **RIGHT)


@pytest.mark.parametrize(("wrong", "words"), WRONG)
def test_a_wrong_answer_is_rejected_by_its_name(wrong: dict[str, Any], words: str) -> None:
    exercises.rejected(("mistake", words), NOTEBOOK, 2, **{**RIGHT, **wrong})


@pytest.mark.parametrize("name", RIGHT)
def test_any_other_answer_is_rejected_with_a_hint(name: str) -> None:
    exercises.rejected(("is not it",), NOTEBOOK, 2, **{**RIGHT, name: 12345.678})


@pytest.mark.parametrize("number", [1, 2])
def test_an_open_exercise_runs_and_says_so(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exercises.answer(NOTEBOOK, number)
    assert capsys.readouterr().out.count("Not answered yet") == number


def test_an_answer_of_another_form_is_told_what_it_must_be() -> None:
    exercises.rejects_other_forms(NOTEBOOK, 2, RIGHT)


def test_the_loop_in_the_notebook_is_the_recorded_one(digits: wb.Task) -> None:
    cells, plan = exercises.cells(NOTEBOOK), {"levels": 2, "fraction": 0.2, "epochs": 1}
    space: dict[str, Any] = {}
    for name in ("parameters", "setup", "plan", "imp-loop", "tickets"):
        exec(cells[name], space)
    space |= {"task": digits, "plan": plan, "last": 2}
    for level, masks, _, _ in space["tickets"](0):
        recorded = level_of(level, Question(0, 0.2, 1, 10, "digits", "lenet-300-100", 0))[0]
        assert all(torch.equal(mask, recorded[name]) for name, mask in masks.items())
