"""Notebooks 03 and 03b: self-checks know right from wrong, parameters reach the explorers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import exercises
import pytest
import torch

import workbench as wb
from workbench.types import Masks

NOTEBOOK, IN_DEPTH = "03-before-training.ipynb", "03b-in-depth.ipynb"
RIGHT: dict[int, dict[str, Any]] = {
    1: {"scores_1": [8, 4, 9, 3], "mean_1": 0.05},
    2: {"critical_2": 2},
}
# Exercise, what is answered wrongly, and words of the message that names the mistake.
WRONG = [
    (1, {"scores_1": [4, 2, 3, 1]}, "signs"),
    (1, {"scores_1": [2, 1, 3, 1]}, "magnitudes"),
    (1, {"scores_1": [4, 4, 3, 3]}, "derivative alone"),
    (1, {"scores_1": [6, 3, 9, 0]}, "first output"),
    (1, {"mean_1": 0.5}, "not the means"),
    (1, {"mean_1": 5}, "smaller mean"),
    (1, {"mean_1": 500}, "the sum"),
    (1, {"mean_1": 0.005}, "1 / n^2"),
    (2, {"critical_2": 2.4}, "r + 1"),
    (2, {"critical_2": 4}, "maximum"),
    (2, {"critical_2": 6}, "number of weights kept"),
    (2, {"critical_2": 0.5}, "upside down"),
    (2, {"critical_2": 1}, "not with all"),
    (2, {"critical_2": 3}, "only one of the other layers"),
]


def rounds(
    shares: Callable[[int], float] = lambda k: 0.01 ** (k / 5), last: int = 5, within: bool = True, dense: bool = False
) -> Callable[[dict[str, Any]], Masks]:
    """SNIP in rounds, right by default."""

    def masks(space: dict[str, Any]) -> Masks:
        found = None
        for k in range(1, last + 1):
            scores = wb.score(space["model_3"], space["batch_3"], "snip", masks=None if dense else found)
            found = wb.keep_top(scores, 1 - shares(k), within=found if within else None)
        assert found is not None
        return found

    return masks


@pytest.mark.parametrize("number", RIGHT)
def test_the_right_answer_is_accepted(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exercises.accepted(capsys, NOTEBOOK, number, **RIGHT[number])


def test_a_tensor_of_scores_is_an_answer_too(capsys: pytest.CaptureFixture[str]) -> None:
    exercises.accepted(capsys, NOTEBOOK, 1, scores_1=torch.tensor([8.0, 4.0, 9.0, 3.0]))


@pytest.mark.parametrize(("number", "wrong", "words"), WRONG)
def test_a_wrong_answer_is_rejected_by_its_name(number: int, wrong: dict[str, Any], words: str) -> None:
    exercises.rejected(("mistake", words), NOTEBOOK, number, **{**RIGHT[number], **wrong})


@pytest.mark.parametrize(("number", "name"), [(number, name) for number in RIGHT for name in RIGHT[number]])
def test_any_other_answer_is_rejected_with_a_hint(number: int, name: str) -> None:
    exercises.rejected(("is not it",), NOTEBOOK, number, **{**RIGHT[number], name: 12345.678})


def test_the_loop_is_accepted_and_is_what_find_masks_does(capsys: pytest.CaptureFixture[str]) -> None:
    space = exercises.accepted(capsys, IN_DEPTH, 3, masks_3=rounds())
    same = wb.find_masks(space["model_3"], space["batch_3"], "snip", 0.99, rounds=5)
    assert all(torch.equal(same[name], mask) for name, mask in space["masks_3"].items())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (rounds(lambda k: 0.01, last=1), "one cut"),
        (rounds(dense=True), "scores of the dense network"),
        (rounds(lambda k: 1 - 0.99 * k / 5), "equal steps of sparsity"),
        (rounds(within=False), "FORCE"),
        (rounds(last=4), "one round short"),
        (rounds(lambda k: 0.99, last=1), "given as the sparsity"),
    ],
)
def test_a_wrong_loop_is_rejected_by_its_name(wrong: Callable[[dict[str, Any]], Masks], words: str) -> None:
    exercises.rejected(("mistake", words), IN_DEPTH, 3, masks_3=wrong)
