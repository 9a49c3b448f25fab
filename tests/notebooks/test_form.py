"""The form of notebooks: short, with instruments where their ideas are explained."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from workbench.explorers.playground.choices import Choices
from workbench.headless import read_notebook

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
MODEL = FOLDER / "01-background.ipynb"
CELLS, WORDS, MEDIAN, LONGEST, EXPLORERS, FOLD = 60, 3500, 8, 15, 3, 10
STATES = r"`(\{[^`]*\})`"


def lines(source: str) -> int:
    return sum(bool(line.strip()) for line in source.splitlines())


def explorers(source: str) -> list[tuple[str, set[str]]]:
    """The picture function and the controls of every `wb.explore` of a cell; a dict in the cell may hold controls."""
    tree, found = ast.parse(source), []
    dicts = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "wb.explore":
            names = {keyword.arg for keyword in node.keywords if keyword.arg}
            for keyword in node.keywords:
                if keyword.arg is None and isinstance(keyword.value, ast.Name):
                    names |= {ast.literal_eval(key) for key in dicts[keyword.value.id].keys if key}
            found.append((ast.unparse(node.args[0]), names))
    return found


def controls(source: str) -> list[set[str]]:
    """What the states of every explorer of a cell may name, the playground's too."""
    found = [names for _, names in explorers(source)]
    return found + [set(Choices().state())] * source.count("wb.explorers.playground(")


def before(cells: list[Any], at: int) -> str:
    """The text between an explorer and the explorer before it."""
    texts = []
    for cell in reversed(cells[:at]):
        if cell.cell_type == "code" and explorers(cell.source):
            break
        texts += [cell.source] if cell.cell_type == "markdown" else []
    return "\n".join(reversed(texts))


def faults(cells: list[Any]) -> list[str]:
    """What a notebook lacks of the form."""
    codes = [cell for cell in cells if cell.cell_type == "code"]
    sizes = {cell.id: lines(cell.source) for cell in codes}
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    found = [f"{len(cells)} cells; at most {CELLS}"] if len(cells) > CELLS else []
    found += [f"{words} words; at most {WORDS}"] if words > WORDS else []
    found += [f"half of the code cells have over {MEDIAN} lines"] if median(sizes.values()) > MEDIAN else []
    tall = {cell.id: len(cell.source.splitlines()) for cell in codes}  # empty lines take room, too
    found += [f"{name} has {size} lines; at most {LONGEST}" for name, size in tall.items() if size > LONGEST]
    places = [at for at, cell in enumerate(cells) if cell.cell_type == "code" and explorers(cell.source)]
    shown = {name for at in places for name, _ in explorers(cells[at].source)}
    found += [f"{len(shown)} explorers; at least {EXPLORERS}"] if len(shown) < EXPLORERS else []
    found += ["the first explorer is below the fold"] if not places or places[0] >= FOLD else []
    for at in places:
        asked, after = before(cells, at), cells[at + 1]
        found += [f"nothing to predict before {cells[at].id}"] if not re.search(r"\*\*Predict[:*]", asked) else []
        seen = after.cell_type == "markdown" and after.source.startswith("**What was to be seen:**")
        found += [f"no sentence of what was to be seen after {cells[at].id}"] if not seen else []
    head = cells[0].source
    found += [f"no plan for {minutes} minutes" for minutes in (20, 45, 90) if f"\n| {minutes} |" not in head]
    taken = [names for cell in codes for names in controls(cell.source)]
    found += [
        f"no explorer takes {state}"
        for state in re.findall(STATES, head)
        if not any(set(json.loads(state)) <= names for names in taken)
    ]
    return found + ([] if re.search(STATES, head) else ["no states to paste"])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_has_the_form(path: Path) -> None:
    assert faults(read_notebook(path).cells) == []


@pytest.mark.parametrize(
    ("cell", "source", "fault"),
    [
        ("network", "a = 1\n" * 16, "network has 16 lines; at most 15"),
        ("sizes-read", "Read this.", "no sentence of what was to be seen after sizes"),
        ("effective-text", "Look.", "nothing to predict before paths"),
        ("summary", "word " * 3500, f"words; at most {WORDS}"),
        ("title", '# Title\n\n| 20 | | `{}` |\n| 45 | | |\n| 90 | | `{"sparsty": 1}` |', 'takes {"sparsty": 1}'),
        ("title", "# Title\n\n| 20 |\n| 45 |\n| 90 |", "no states to paste"),
    ],
)
def test_a_planted_fault_is_found(cell: str, source: str, fault: str) -> None:
    cells = read_notebook(MODEL).cells
    next(one for one in cells if one.id == cell).source = source
    assert len(found := faults(cells)) == 1
    assert fault in found[0]


def test_more_planted_faults_are_found() -> None:
    cells = [cell for cell in read_notebook(MODEL).cells if "wb.explore" not in cell.source or cell.id == "again"]
    found = faults(cells + cells)
    assert f"{2 * len(cells)} cells; at most {CELLS}" in found
    assert f"0 explorers; at least {EXPLORERS}" in found
    assert "the first explorer is below the fold" in found
