"""Notebooks 07 and 07b: self-checks know right from wrong, parameters reach the explorers."""

from __future__ import annotations

from typing import Any

import exercises
import nbformat
import pytest
import torch

from workbench.claims import NUMBERS_MIME
from workbench.headless import read_notebook, run

NOTEBOOK, IN_DEPTH = "07-criteria.ipynb", "07b-in-depth.ipynb"
WEIGHT, NORMS = torch.tensor([[1.0, -2.0, 3.0], [4.0, 0.5, -1.0]]), torch.tensor([5.0, 0.0, 5**0.5])
RIGHT: dict[int, dict[str, Any]] = {
    1: {"score_1": 1.3333, "second_weight_1": -4 / 3},
    2: {"overlap_2": 0.0526},
    3: {"scores_3": WEIGHT.abs() * NORMS},
}
# Exercise, what is answered wrongly, and words of the message that names the mistake.
WRONG = [
    (1, {"score_1": 2}, "that is OBD"),
    (1, {"score_1": 3 / 16}, "multiplied"),
    (1, {"score_1": 8 / 3}, "1/2 is missing"),
    (1, {"score_1": 4}, "the second weight"),
    (1, {"second_weight_1": -8 / 3}, "sign of the step"),
    (1, {"second_weight_1": -2}, "without the correction"),
    (1, {"second_weight_1": -2.5}, "instead of its inverse"),
    (1, {"second_weight_1": 0.6667}, "the step"),
    (1, {"second_weight_1": 0}, "only if both cancel"),
    (2, {"overlap_2": 0.1}, "share of A"),
    (2, {"overlap_2": 0.01}, "divide by the union"),
    (2, {"overlap_2": 0.05}, "count once"),
    (2, {"overlap_2": 0.8182}, "sparsity taken for density"),
    (2, {"overlap_2": 0.81}, "removed weights"),
    (3, {"scores_3": WEIGHT * NORMS}, "not its sign"),
    (3, {"scores_3": WEIGHT.abs()}, "that is magnitude"),
    (3, {"scores_3": WEIGHT.abs() * torch.tensor([-1.0, 0.0, 3.0])}, "the sum of the inputs"),
    (3, {"scores_3": WEIGHT.abs() * NORMS**2}, "take the root"),
    (3, {"scores_3": WEIGHT.abs() * 30**0.5}, "of everything"),
    (3, {"scores_3": WEIGHT.abs() * NORMS / 2**0.5}, "mean square"),
]


def home(number: int) -> str:
    """The notebook of an exercise."""
    return IN_DEPTH if number == 1 else NOTEBOOK


@pytest.mark.parametrize("number", RIGHT)
def test_the_right_answer_is_accepted(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exercises.accepted(capsys, home(number), number, **RIGHT[number])


@pytest.mark.parametrize("scores", [(WEIGHT.abs() * NORMS).numpy(), (WEIGHT.abs() * NORMS).tolist()])
def test_an_array_or_a_list_of_scores_is_an_answer_too(scores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    exercises.accepted(capsys, NOTEBOOK, 3, scores_3=scores)


@pytest.mark.parametrize(("number", "wrong", "words"), WRONG)
def test_a_wrong_answer_is_rejected_by_its_name(number: int, wrong: dict[str, Any], words: str) -> None:
    exercises.rejected(("mistake", words), home(number), number, **wrong)


@pytest.mark.parametrize("odd", [12345.678, "text", torch.ones(3), torch.tensor(1.0), [[1j, 2, 3], [4, 5, 6]]])
@pytest.mark.parametrize(
    ("number", "name"), [(1, "score_1"), (1, "second_weight_1"), (2, "overlap_2"), (3, "scores_3")]
)
def test_any_other_answer_is_rejected_with_a_hint(number: int, name: str, odd: Any) -> None:
    exercises.rejected(("is not it",), home(number), number, **{name: odd})


def test_too_few_digits_are_named() -> None:
    exercises.rejected(("give more digits",), NOTEBOOK, 2, overlap_2=0.053)
    exercises.rejected(("give more digits",), IN_DEPTH, 1, score_1=1.33)


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The explorers of notebook 07, executed with other parameters: cell -> its bundle."""
    folder = tmp_path_factory.mktemp("explored")
    notebook = read_notebook(exercises.NOTEBOOKS / NOTEBOOK)
    last = next(i for i, cell in enumerate(notebook.cells) if cell.id == "few")
    notebook.cells = notebook.cells[: last + 1]
    nbformat.write(notebook, folder / NOTEBOOK)
    asked = {"profile": "smoke", "criterion": "obd", "compression": 20.0, "points": "moons", "seed": 1}
    (ran,) = run([folder / NOTEBOOK], folder / "out", parameters=asked, report=lambda _: None)
    assert ran.problems == []
    codes = [cell for cell in read_notebook(ran.executed).cells if cell.cell_type == "code"]
    outputs = {cell.id: [o.data for o in cell.outputs if "data" in o] for cell in codes}
    return {name: data[-1] for name, data in outputs.items() if data and "state" in data[-1].get(NUMBERS_MIME, {})}


def test_the_parameters_are_where_the_explorers_start(explored: dict[str, dict[str, Any]]) -> None:
    states = {name: bundle[NUMBERS_MIME]["state"] for name, bundle in explored.items()}
    assert states.pop("explain").keys() == {"layer", "weight"}  # the weight that is disputed most
    assert states == {
        "by-hand": {"filter": 0, "before": ""},
        "see": {"sparsity": 0.95, "criterion": "obd", "when": "trained"},
        "disagree": {"sparsity": 0.95, "a": "magnitude", "b": "obd"},
        "loss": {"sparsity": 0.3, "criterion": "obd"},
        "few": {"criterion": "lrp", "points": "moons", "samples": 1},
    }


def test_the_parameters_reach_the_explorers_numbers(explored: dict[str, dict[str, Any]]) -> None:
    (table,) = explored["disagree"][NUMBERS_MIME]["tables"]
    assert table[-1]["kept by magnitude"] == table[-1]["kept by obd"] == 68  # 5 % of 1,360


def test_every_explorer_has_a_picture_without_a_kernel(explored: dict[str, dict[str, Any]]) -> None:
    for bundle in explored.values():
        assert {"text/html", "image/png", "text/plain"} <= set(bundle)
