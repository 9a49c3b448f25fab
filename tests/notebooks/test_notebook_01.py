"""Notebook 01: its self-checks know right from wrong, and the loop in it is the recorded method."""

from __future__ import annotations

import functools
from typing import Any

import exercises
import pytest

import workbench as wb
from workbench.experiments.after import magnitude_with_rewinding

NOTEBOOK = "01-background.ipynb"
RIGHT: dict[int, dict[str, Any]] = {
    1: {"compression_1": 20, "sparsity_1": 0.95},
    2: {"size_ratio_2": 57 / 17},
    3: {"macs_3": 3456},
    4: {"effective_sparsity_4": 0.8},
    5: {"global_5": {"a": 4, "b": 2}, "layer_5": {"a": 2, "b": 4}},
    6: {"density_6": 0.1074, "levels_6": 14},
}
# Exercise, what is answered wrongly, and words of the message that names the mistake.
WRONG = [
    (1, {"compression_1": 0.95}, "that is the sparsity"),
    (1, {"compression_1": 1.0526}, "1 / sparsity"),
    (1, {"compression_1": 16.83}, "biases"),
    (1, {"compression_1": 19}, "removed / kept"),
    (1, {"sparsity_1": 0.05}, "density"),
    (1, {"sparsity_1": 95}, "percent"),
    (2, {"size_ratio_2": 5}, "compression"),
    (2, {"size_ratio_2": 5.7}, "not after"),
    (2, {"size_ratio_2": 17 / 57}, "upside down"),
    (2, {"size_ratio_2": 57 / 47}, "0.8 was taken as what is kept"),
    (3, {"macs_3": 216}, "number of weights"),
    (3, {"macs_3": 13824}, "stride"),
    (3, {"macs_3": 6912}, "two for a multiply-add"),
    (3, {"macs_3": 1152}, "input channels"),
    (3, {"macs_3": 1944}, "padding"),
    (4, {"effective_sparsity_4": 0.5333}, "direct sparsity"),
    (4, {"effective_sparsity_4": 0.2}, "kept, not the fraction removed"),
    (4, {"effective_sparsity_4": 0.6667}, "dead end"),
    (4, {"effective_sparsity_4": 0.5714}, "share of the kept weights"),
    (5, {"global_5": {"a": 2, "b": 4}}, "layer allocation"),
    (5, {"global_5": {"a": 0, "b": 6}}, "removed, not kept"),
    (5, {"layer_5": {"a": 4, "b": 2}}, "global allocation"),
    (5, {"layer_5": {"a": 3, "b": 3}}, "same number in each"),
    (6, {"density_6": -1.0}, "original weights"),
    (6, {"density_6": 0.8926}, "sparsity"),
    (6, {"density_6": 9.3132}, "compression"),
    (6, {"density_6": 0.1342}, "level 0"),
    (6, {"levels_6": 13}, "one level short"),
    (6, {"levels_6": 5}, "original weights"),
]


cells = functools.partial(exercises.cells, NOTEBOOK)


def test_every_exercise_has_its_four_cells_and_is_tested_here() -> None:
    numbers = {int(name.split("-")[1]) for name in cells() if name.startswith("exercise-")}
    assert numbers == set(RIGHT) == {number for number, _, _ in WRONG}
    for number in numbers:
        assert {f"exercise-{number}{part}" for part in ("-text", "", "-check", "-solution")} <= set(cells())


@pytest.mark.parametrize("number", RIGHT)
def test_an_open_exercise_runs_and_says_so(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exercises.answer(NOTEBOOK, number)
    assert capsys.readouterr().out.count("Not answered yet") == len(RIGHT[number])


@pytest.mark.parametrize("number", RIGHT)
def test_the_right_answer_is_accepted(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exercises.accepted(capsys, NOTEBOOK, number, **RIGHT[number])


@pytest.mark.parametrize(("number", "wrong", "words"), WRONG)
def test_a_wrong_answer_is_rejected_by_its_name(number: int, wrong: dict[str, Any], words: str) -> None:
    exercises.rejected(("mistake", words), NOTEBOOK, number, **{**RIGHT[number], **wrong})


@pytest.mark.parametrize(("number", "name"), [(number, name) for number in RIGHT for name in RIGHT[number]])
def test_any_other_answer_is_rejected_with_a_hint(number: int, name: str) -> None:
    exercises.rejected(("is not it",), NOTEBOOK, number, **{**RIGHT[number], name: 12345.678})


@pytest.mark.parametrize(("loop", "method"), [("iterative", "iterative"), ("one_shot", "one-shot")])
def test_the_loop_in_the_notebook_is_the_recorded_method(
    loop: str, method: str, digits: wb.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wb, "train", functools.partial(wb.train, fast=False))  # as the recorded rows are
    plan = {"levels": 2, "fraction": 0.2, "epochs": 3}
    space: dict[str, Any] = {"wb": wb, "task": digits, "plan": plan, "rewind": 40}
    exec(cells()["imp-loop"] + "\n" + cells()["one-shot-loop"], space)
    before = None
    for _level, masks, model in space[loop](0):
        kept = {name: mask.clone() for name, mask in masks.items()}
        assert all(not model.get_parameter(name)[~mask].any() for name, mask in kept.items())
        assert before is None or all(bool((before[name] | ~mask).all()) for name, mask in kept.items())
        before, accuracy = kept, wb.evaluate(model, digits, split="test")["accuracy"]
    recorded = magnitude_with_rewinding(method, levels=2, seed=0, epochs=3)
    assert before is not None
    assert sum(int(mask.sum()) for mask in before.values()) == recorded["kept"]
    assert accuracy == recorded["accuracy"]
