"""Notebooks 03 and 03b: self-checks know right from wrong, parameters reach the explorers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import exercises
import nbformat
import pytest
import torch

import workbench as wb
from workbench.claims import NUMBERS_MIME
from workbench.headless import read_notebook, run
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


@pytest.mark.parametrize("odd", [{"a": 1}, [1, 2], 3, {"fc1.weight": torch.ones(2)}])
def test_what_is_no_mask_is_rejected_with_a_hint(odd: Any) -> None:
    exercises.rejected(("is not it", "must"), IN_DEPTH, 3, masks_3=odd)


@pytest.mark.parametrize("odd", ["8,4,9,3", [8, 4, None, 3], torch.ones(2, 2), [[8, 4], [9, 3]], {"a": 8}])
def test_what_is_no_list_of_scores_is_rejected_with_a_hint(odd: Any) -> None:
    exercises.rejected(("is not it", "must"), NOTEBOOK, 1, scores_1=odd, mean_1=0.05)


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The explorers of notebook 03, executed with other parameters: cell -> its bundle."""
    folder = tmp_path_factory.mktemp("explored")
    notebook = read_notebook(exercises.NOTEBOOKS / NOTEBOOK)
    needed = {"parameters", "setup", "network", "tools", "sums", "paths", "mask", "critical-rows", "statistics"}
    needed |= {"accuracy-rows", "sanity-rows", "stays"}
    notebook.cells = [
        c for c in notebook.cells if c.id in needed or (c.cell_type == "code" and "wb.explore(" in c.source)
    ]
    nbformat.write(notebook, folder / NOTEBOOK)
    asked = {"profile": "smoke", "network": "lenet-300-100", "criterion": "snip", "seed": 3}
    asked |= {"compression": 50.0, "sparsity": 0.9}
    (ran,) = run([folder / NOTEBOOK], folder / "out", parameters=asked, report=lambda _: None)
    assert ran.problems == []
    outputs = {c.id: [o.data for o in c.outputs if "data" in o] for c in read_notebook(ran.executed).cells}
    return {name: data[-1] for name, data in outputs.items() if data and "state" in data[-1].get(NUMBERS_MIME, {})}


def test_the_parameters_are_where_the_explorers_start(explored: dict[str, dict[str, Any]]) -> None:
    assert {name: bundle[NUMBERS_MIME]["state"] for name, bundle in explored.items()} == {
        "scrub": {"round": 20, "criterion": "snip", "compression": 50},
        "law": {"criterion": "snip", "network": "lenet-300-100", "bias": 0},
        "skip": {"round": 20, "compression": 1000},
        "densities": {"sparsity": 0.9, "criterion": "snip", "formula": "erk"},
        "collapse": {"network": "lenet-300-100", "cuts": "one cut"},
        "statistics-switch": {"bn": "running", "criterion": "snip", "rounds": 1},
        "accuracy": {"group": "five criteria", "measure": "accuracy"},
        "sanity": {"change": "shuffle", "compression": 20},
        "overlap": {"other": "labels in random order", "criterion": "snip", "sparsity": 0.9},
    }


def test_the_parameters_reach_the_explorers_numbers(explored: dict[str, dict[str, Any]], digits: wb.Task) -> None:
    lenet, batch = wb.make("lenet-300-100", digits, seed=3), digits.batch(per_class=10, seed=3)
    for name, rounds in (("scrub", 20), ("statistics-switch", 1)):
        masks = wb.find_masks(lenet, batch, "snip", 0.98, rounds=rounds)
        share = (1 - wb.effective_sparsity(lenet, masks, digits.batch(1).inputs)) * wb.compression(masks)
        assert f"empty layers 0, on a path {share:.0%} of the kept weights" in explored[name]["text/plain"]
    (table,) = explored["sanity"][NUMBERS_MIME]["tables"]
    assert [row["criterion"] for row in table] == ["grasp", "magnitude", "snip", "synflow"]


@pytest.fixture(scope="module")
def in_depth() -> dict[str, Any]:
    """The names that the first cells of notebook 03b and its functions leave, in the profile smoke."""
    space: dict[str, Any] = {}
    for name in ("parameters", "setup", "plan", "tools", "squares", "places", "destroyed"):
        exec(exercises.cells(IN_DEPTH)[name].replace('= "lecture"', '= "smoke"'), space)
    return space


def test_grasps_layer_sums_are_the_squared_gradients_behind_a_batchnorm(in_depth: dict[str, Any]) -> None:
    net, batch = in_depth["net"], in_depth["batch"]
    masks = wb.dense(net)
    sums = [float(score.double().sum()) for score in wb.score(net, batch, "grasp", bn="batch").values()]
    squares = in_depth["squares"](masks, "batch")
    assert [-total for total in sums[:-1]] == pytest.approx(squares[:-1], rel=0.01)
    assert sums[-1] > 10 * squares[-1]  # no BatchNorm follows the classifier


@pytest.mark.parametrize("change", ["as it is", "shuffle", "reinitialise", "random labels", "invert"])
def test_a_trial_destroys_what_it_says(in_depth: dict[str, Any], change: str) -> None:
    plain, masks = in_depth["destroyed"]("magnitude", "as it is", 20)
    model, changed = in_depth["destroyed"]("magnitude", change, 20)
    same_places = all(torch.equal(masks[name], mask) for name, mask in changed.items())
    same_weights = torch.equal(next(plain.parameters()), next(model.parameters()))
    kept = [[int(mask.sum()) for mask in found.values()] for found in (masks, changed)]
    assert same_weights == (change != "reinitialise")
    assert same_places == (change not in ("shuffle", "invert"))  # magnitude needs no labels
    assert (kept[0] == kept[1]) == (change != "invert")
    assert any((masks[name] & mask).any() for name, mask in changed.items()) == (change != "invert")
