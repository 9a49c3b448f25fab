"""Notebook 04: self-checks know right from wrong, parameters reach explorers, the open step is the method's own."""

from __future__ import annotations

from typing import Any

import exercises
import nbformat
import pytest
import torch
from torch import nn

import workbench as wb
from workbench.claims import NUMBERS_MIME
from workbench.headless import read_notebook, run
from workbench.states import Progress

NOTEBOOK = "04-during-training.ipynb"
RIGHT: dict[int, dict[str, Any]] = {
    1: {"sparsity_1": 0.7},
    2: {"share_2": 0.13},
    3: {"after_3": [[1, 0, 0, 1], [0, 1, 0, 1], [0, 1, 0, 0], [0, 1, 0, 0]]},
}
# Exercise, what is answered wrongly, and words of the message that names the mistake.
WRONG = [
    (1, {"sparsity_1": 0.1}, "the formula takes 1 - p"),
    (1, {"sparsity_1": 0.875}, "multiply by 0.8"),
    (1, {"sparsity_1": 0.4}, "linear"),
    (1, {"sparsity_1": 0.6272}, "from start to stop"),
    (1, {"sparsity_1": 0.3}, "density"),
    (2, {"share_2": 0.1}, "the changes cost more"),
    (2, {"share_2": 0.4}, "only every tenth"),
    (2, {"share_2": 0.19}, "only the gradients of the weights are dense"),
    (2, {"share_2": 0.39}, "a dense step costs 3"),
    (2, {"share_2": 0.87}, "what is saved"),
    (3, {"after_3": [[1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 0, 0], [0] * 4]}, "just dropped"),
    (3, {"after_3": [[1, 0, 0, 1], [1, 1, 0, 1], [0, 0, 1, 0], [0] * 4]}, "size of the gradient"),
    (3, {"after_3": [[1, 0, 0, 1], [0, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]]}, "size of the weight"),
    (3, {"after_3": [[1, 0, 0, 0], [0, 1, 0, 1], [0] * 4, [0] * 4]}, "as many must grow"),
    (3, {"after_3": [[0, 1, 0, 1], [0] * 4, [1, 1, 0, 0], [0, 1, 1, 0]]}, "the weakest go"),
]
CELLS = exercises.cells(NOTEBOOK)


def test_every_exercise_has_its_four_cells_and_is_tested_here() -> None:
    numbers = {int(name.split("-")[1]) for name in CELLS if name.startswith("exercise-")}
    assert numbers == set(RIGHT) == {number for number, _, _ in WRONG}
    for number in numbers:
        assert {f"exercise-{number}{part}" for part in ("-text", "", "-check", "-solution")} <= set(CELLS)


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


@pytest.mark.parametrize("number", RIGHT)
def test_an_answer_of_another_form_is_told_what_it_must_be(number: int) -> None:
    exercises.rejects_other_forms(NOTEBOOK, number, RIGHT[number])


def the_step() -> dict[str, Any]:
    space: dict[str, Any] = {}
    for name in ("parameters", "setup", "drop-and-grow", "exercise-3"):
        exec(CELLS[name], space)
    return space


def test_exercise_3_is_the_step_of_the_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    space = the_step()
    after = space["drop_and_grow"](space["weight_3"], space["gradient_3"], space["mask_3"], 0.5, True)
    assert after.int().tolist() == RIGHT[3]["after_3"]
    exercises.accepted(capsys, NOTEBOOK, 3, after_3=after)  # of False and True


@pytest.mark.parametrize("example", range(5))
def test_the_open_step_is_rigl(example: int) -> None:
    """On a random layer, at the start of the training, where RigL's cosine is 1 but for rounding."""
    weight, gradient = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(example))
    model, mask = nn.Linear(6, 6, bias=False), weight > 0
    model.weight.data.copy_(weight * mask)
    model.weight.grad = gradient.clone()
    batch = wb.Batch(torch.ones(1, 6), torch.zeros(1, dtype=torch.long))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    masks = {"weight": mask}
    seen = Progress(1, 1_000_000, model, optimizer, batch, torch.zeros(()), {}, 0, masks)
    update = wb.method("rigl", model, 0.5, drop=0.51, every=1)["update"]
    assert torch.equal(update(seen)["weight"], the_step()["drop_and_grow"](weight, gradient, mask, 0.51, True))


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The explorers that follow parameters, executed with others: cell -> its bundle."""
    folder = tmp_path_factory.mktemp("explored")
    notebook = read_notebook(exercises.NOTEBOOKS / NOTEBOOK)
    needed = {"parameters", "setup", "plan", "schedule", "schedule-explorer", "films", "film", "film-explorer"}
    notebook.cells = [cell for cell in notebook.cells if cell.id in needed]
    nbformat.write(notebook, folder / NOTEBOOK)
    asked = {"profile": "smoke", "epochs": 1, "method": "dpf", "sparsity": 0.9, "seed": 3}
    (ran,) = run([folder / NOTEBOOK], folder / "out", parameters=asked, report=lambda _: None)
    assert ran.problems == []
    outputs = {c.id: [o.data for o in c.outputs if "data" in o] for c in read_notebook(ran.executed).cells}
    return {name: data[-1] for name, data in outputs.items() if data and "state" in data[-1].get(NUMBERS_MIME, {})}


def test_the_parameters_are_where_the_explorers_start(explored: dict[str, dict[str, Any]]) -> None:
    states = {name: bundle[NUMBERS_MIME]["state"] for name, bundle in explored.items()}
    assert states == {
        "schedule-explorer": {"kind": "cubic", "start": 0.0, "stop": 0.75, "sparsity": 0.9},
        "film-explorer": {"method": "dpf", "step": 8},
    }
