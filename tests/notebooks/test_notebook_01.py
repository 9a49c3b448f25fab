"""Notebooks 01 and 01b: self-checks know right from wrong, parameters reach explorers, the loop is the recorded one."""

from __future__ import annotations

import functools
from typing import Any

import exercises
import nbformat
import pytest

import workbench as wb
from workbench.claims import NUMBERS_MIME
from workbench.experiments.after import magnitude_with_rewinding
from workbench.headless import read_notebook, run

NOTEBOOK, IN_DEPTH = "01-background.ipynb", "01b-in-depth.ipynb"
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


CELLS = {**exercises.cells(NOTEBOOK), **exercises.cells(IN_DEPTH)}


def home(number: int) -> str:
    """The notebook of an exercise."""
    return next(name for name in (NOTEBOOK, IN_DEPTH) if f"exercise-{number}" in exercises.cells(name))


def test_every_exercise_has_its_four_cells_and_is_tested_here() -> None:
    numbers = {int(name.split("-")[1]) for name in CELLS if name.startswith("exercise-")}
    assert numbers == set(RIGHT) == {number for number, _, _ in WRONG}
    for number in numbers:
        own = exercises.cells(home(number))
        assert {f"exercise-{number}{part}" for part in ("-text", "", "-check", "-solution")} <= set(own)


@pytest.mark.parametrize("number", RIGHT)
def test_an_open_exercise_runs_and_says_so(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exercises.answer(home(number), number)
    assert capsys.readouterr().out.count("Not answered yet") == len(RIGHT[number])


@pytest.mark.parametrize("number", RIGHT)
def test_the_right_answer_is_accepted(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exercises.accepted(capsys, home(number), number, **RIGHT[number])


@pytest.mark.parametrize(("number", "wrong", "words"), WRONG)
def test_a_wrong_answer_is_rejected_by_its_name(number: int, wrong: dict[str, Any], words: str) -> None:
    exercises.rejected(("mistake", words), home(number), number, **{**RIGHT[number], **wrong})


@pytest.mark.parametrize(("number", "name"), [(number, name) for number in RIGHT for name in RIGHT[number]])
def test_any_other_answer_is_rejected_with_a_hint(number: int, name: str) -> None:
    exercises.rejected(("is not it",), home(number), number, **{**RIGHT[number], name: 12345.678})


@pytest.mark.parametrize("number", RIGHT)
def test_an_answer_of_another_form_is_told_what_it_must_be(number: int) -> None:
    exercises.rejects_other_forms(home(number), number, RIGHT[number])


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The explorers of notebook 01, executed with other parameters: cell -> its bundle."""
    folder = tmp_path_factory.mktemp("explored")
    notebook = read_notebook(exercises.NOTEBOOKS / NOTEBOOK)
    needed = {"parameters", "setup", "network", "tools", "bars"}
    notebook.cells = [
        c for c in notebook.cells if c.id in needed or (c.cell_type == "code" and "wb.explore" in c.source)
    ]
    nbformat.write(notebook, folder / NOTEBOOK)
    asked = {"profile": "smoke", "network": "lenet-300-100", "criterion": "taylor", "compression": 20.0, "seed": 3}
    (ran,) = run([folder / NOTEBOOK], folder / "out", parameters=asked, report=lambda _: None)
    assert ran.problems == []
    outputs = {c.id: [o.data for o in c.outputs if "data" in o] for c in read_notebook(ran.executed).cells}
    return {name: data[-1] for name, data in outputs.items() if data and "state" in data[-1].get(NUMBERS_MIME, {})}


def test_the_parameters_are_where_the_explorers_start(explored: dict[str, dict[str, Any]]) -> None:
    states = {name: bundle[NUMBERS_MIME]["state"] for name, bundle in explored.items()}
    start = {"sparsity": 0.95, "criterion": "taylor"}
    assert states == {
        "sizes": {**start, "allocation": "global"},
        "cut": {**start, "layer": "fc1.weight"},
        "paths": {"sparsity": 0.5, "criterion": "random", "seed": 3},
        "split": {**start, "second": "layer"},
        "alive": {"sparsity": 0.95, "criterion": "magnitude"},
        "scoring-again": {"round": 5, "sparsity": 0.9975, "criterion": "taylor"},
    }


def test_the_parameters_reach_the_explorers_numbers(explored: dict[str, dict[str, Any]], digits: wb.Task) -> None:
    (sizes,), (split,) = (explored[name][NUMBERS_MIME]["tables"] for name in ("sizes", "split"))
    assert sizes[0]["weights kept"] == 20
    assert sizes[0]["MACs"] == 20  # of linear layers each weight is one
    assert [row["kept"] for row in split] == [2510, 2510]  # 5 % of 50,200
    lenet = wb.make("lenet-300-100", digits, seed=3)
    masks = wb.keep_top(wb.score(lenet, None, "magnitude"), 0.95)
    on_path = (1 - wb.effective_sparsity(lenet, masks, digits.batch(1).inputs)) * wb.compression(masks)
    assert f"{on_path:.1%} of the kept weights on a path" in explored["alive"]["text/plain"]


def test_every_explorer_has_a_picture_without_a_kernel(explored: dict[str, dict[str, Any]]) -> None:
    for bundle in explored.values():
        assert {"text/html", "image/png", "text/plain"} <= set(bundle)


@pytest.mark.parametrize(("loop", "method"), [("iterative", "iterative"), ("one_shot", "one-shot")])
def test_the_loop_in_the_notebook_is_the_recorded_method(
    loop: str, method: str, digits: wb.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wb, "train", functools.partial(wb.train, fast=False))  # as the recorded rows are
    plan = {"levels": 2, "fraction": 0.2, "epochs": 3}
    space: dict[str, Any] = {}
    for name in ("parameters", "setup", "imp-loop", "one-shot-loop"):
        exec(exercises.cells(IN_DEPTH)[name], space)
    space |= {"task": digits, "plan": plan, "batch": None}
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
