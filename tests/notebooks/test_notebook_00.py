"""Notebook 00: self-checks know right from wrong, parameters reach explorers, the map names every other notebook."""

from __future__ import annotations

import re
from typing import Any

import exercises
import nbformat
import pytest

import workbench as wb
from workbench.claims import NUMBERS_MIME
from workbench.explorers.page import STATIC
from workbench.headless import read_notebook, run

NOTEBOOK = "00-start-here.ipynb"
RIGHT = {"sparsity_1": 0.95, "maximum_1": 500}
WRONG = [
    ({"sparsity_1": 0.05}, "density"),
    ({"sparsity_1": 20}, "compression itself"),
    ({"sparsity_1": 95}, "percent"),
    ({"sparsity_1": 0.2}, "20 % removed"),
    ({"maximum_1": 1000}, "one weight in the whole network"),
    ({"maximum_1": 900}, "larger layer"),
    ({"maximum_1": 2}, "number of layers"),
]


def test_an_open_exercise_runs_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    exercises.answer(NOTEBOOK, 1)
    assert capsys.readouterr().out.count("Not answered yet") == 2


def test_the_right_answer_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    exercises.accepted(capsys, NOTEBOOK, 1, **RIGHT)


@pytest.mark.parametrize(("wrong", "words"), WRONG)
def test_a_wrong_answer_is_rejected_by_its_name(wrong: dict[str, Any], words: str) -> None:
    exercises.rejected(("mistake", words), NOTEBOOK, 1, **{**RIGHT, **wrong})


def test_an_answer_of_another_form_is_told_what_it_must_be() -> None:
    exercises.rejects_other_forms(NOTEBOOK, 1, RIGHT)


@pytest.mark.parametrize("cell", ["tour", "own-explorer-seen"])
def test_the_controls_that_the_text_names_are_on_the_page(cell: str) -> None:
    page = "".join(path.read_text(encoding="utf-8") for path in STATIC.glob("*.js"))
    names = re.findall(r"(?<!\*)\*([A-Z][\w ]+)\*(?!\*)", exercises.cells(NOTEBOOK)[cell])
    assert len(names) >= 3
    assert [name for name in names if f'"{name}' not in page] == []


def test_the_map_names_every_other_notebook() -> None:
    text = exercises.cells(NOTEBOOK)["map"]
    others = sorted(path.name for path in exercises.NOTEBOOKS.glob("*.ipynb") if path.name != NOTEBOOK)
    assert re.findall(r"\]\((.+?\.ipynb)\)", text) == others


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The explorers of the notebook, executed with other parameters: cell -> its bundle."""
    folder = tmp_path_factory.mktemp("explored")
    notebook = read_notebook(exercises.NOTEBOOKS / NOTEBOOK)
    needed = {"parameters", "setup", "playground", "layers", "limit-of", "limits", "recorded", "duel", "own-explorer"}
    notebook.cells = [cell for cell in notebook.cells if cell.id in needed]
    nbformat.write(notebook, folder / NOTEBOOK)
    asked = {"network": "lenet-300-100", "criterion": "taylor", "compression": 50.0, "seed": 3}
    (ran,) = run([folder / NOTEBOOK], folder / "out", parameters=asked, report=lambda _: None)
    assert ran.problems == []
    outputs = {c.id: [o.data for o in c.outputs if "data" in o] for c in read_notebook(ran.executed).cells}
    found = {name: data[-1][NUMBERS_MIME] for name, data in outputs.items() if data and NUMBERS_MIME in data[-1]}
    return {name: bundle for name, bundle in found.items() if "state" in bundle}


def test_the_parameters_are_where_the_explorers_start(explored: dict[str, dict[str, Any]]) -> None:
    states = {name: bundle["state"] for name, bundle in explored.items()}
    asked = {"network": "lenet-300-100", "criterion": "taylor", "compression": 50.0, "seed": 3}
    assert asked.items() <= states.pop("playground").items()
    assert states == {
        "layers": {"sparsity": 0.98, "criterion": "taylor", "allocation": "global"},
        "limits": {"network": "lenet-300-100", "seed": 3},
        "duel": {"first": "snip", "second": "magnitude"},
        "own-explorer": {"sparsity": 0.9, "criterion": "taylor", "seed": 3},
    }


def test_the_explorers_numbers_are_those_of_the_package(explored: dict[str, dict[str, Any]], digits: wb.Task) -> None:
    (layers,), (limits,), (duel,) = (explored[name]["tables"] for name in ("layers", "limits", "duel"))
    assert sum(row["kept"] for row in layers) == 1004  # 2 % of 50,200
    lenet = wb.make("lenet-300-100", digits, seed=3)
    found = {row["criterion"]: row["critical compression"] for row in limits}
    assert found["magnitude"] == wb.critical(wb.score(lenet, None, "magnitude"))
    assert round(found["synflow, 10 % a round"]) == round(50_200 / 3)  # the network's limit
    rows = wb.experiments.recorded("headline")
    at = {name: rows[(rows["compression"] == 100) & (rows["criterion"] == name)] for name in ("snip", "magnitude")}
    difference = at["snip"]["accuracy"].mean() - at["magnitude"]["accuracy"].mean()
    assert next(row for row in duel if row["index"] == "snip - magnitude")["100x"] == pytest.approx(difference)


def test_what_the_text_says_of_recorded_and_of_computed_numbers(digits: wb.Task) -> None:
    """SNIP and magnitude, SNIP and SynFlow in rounds; the limits of three networks."""
    rows = wb.experiments.recorded("headline")

    def told(a: str, b: str) -> list[int]:
        """Compressions at which five seeds tell b from a."""
        sides = []
        for compression, at in rows[rows["criterion"].isin((a, b)) & (rows["compression"] > 1)].groupby("compression"):
            pairs = wb.claims.compare(at, "accuracy", "criterion", b, a)["difference"].tolist()
            sides += [compression] if wb.claims.interval(pairs)[1] > 0 else []
        return sides

    assert told("magnitude", "snip") == [100, 300]
    assert told("snip", "synflow") == [300, 1000, 3000, 10000]
    for name, reaches in (("vgg", True), ("lenet-300-100", True), ("resnet-20", False)):
        model, batch = wb.make(name, digits, seed=0), digits.batch(256, seed=0)
        one = {
            c: wb.critical(wb.score(model, batch, c, seed=0))
            for c in ("random", "magnitude", "snip", "grasp", "synflow")
        }
        assert (min(one, key=lambda c: one[c]) == "synflow") == (name != "lenet-300-100")
        iterated = wb.critical_iterated(model, batch, "synflow", rate=0.1)
        assert (iterated == wb.max_compression(model)) == reaches
