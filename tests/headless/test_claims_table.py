"""`workbench claims`: the verdicts of a run in one table."""

import csv
import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from notebook_maker import record

from workbench.claims import CLAIM_MIME, judge, load_claims
from workbench.headless import collect_claims, write_claims

NONE = "no evidence in this run"


def executed(path, *evidence, **facts):
    """Write a notebook that a run has executed and that shows these rows; facts of its record."""
    outputs = [new_output("display_data", {CLAIM_MIME: [row], "text/plain": "shown"}) for row in evidence]
    notebook = new_notebook(cells=[new_code_cell("", outputs=outputs)], metadata={"workbench": record(**facts)})
    nbformat.write(notebook, path)


def row(name, *effects):
    """The row that a notebook shows for a claim."""
    return json.loads(json.dumps(judge(name, effects).row()))


def test_every_claim_is_listed_refuted_and_undecided_ones_too(tmp_path):
    claims = [claim for claim in load_claims().values() if not claim.exact]
    far = [claim.threshold + (1 if claim.direction == "above" else -1) for claim in claims]
    executed(tmp_path / "a.ipynb", row(claims[0].id, far[0], far[0] + 0.01), row(claims[1].id, far[1]))
    beyond = 2 * claims[0].threshold - far[0]
    executed(tmp_path / "b.ipynb", row(claims[0].id, beyond, beyond + 0.01))
    own = {"id": "own", "section": "0", "statement": "of one's own", "source": "me", "setting": "toy"}
    executed(tmp_path / "c.ipynb", own | {"effect": 1.0, "low": None, "high": None, "n": 1, "verdict": "undecided"})
    rows = collect_claims(tmp_path)
    assert list(dict.fromkeys(r["id"] for r in rows)) == [*load_claims(), "own"]
    found = {(r["id"], r["run"]): r["verdict"] for r in rows}
    assert found[claims[0].id, "a"] == "holds"
    assert found[claims[0].id, "b"] == "does not hold here"
    assert found[claims[1].id, "a"] == "undecided"
    assert found["own", "c"] == "undecided"
    assert sum(verdict == NONE for verdict in found.values()) == len(load_claims()) - 2


def test_the_table_is_printed_and_written(tmp_path):
    name = next(iter(load_claims()))
    executed(tmp_path / "a.ipynb", row(name, 0.25, 0.5))
    text = write_claims(tmp_path)
    first = text.splitlines()[1]
    assert first.startswith(("holds", "does not hold here", "undecided"))
    assert name in first
    assert NONE in text
    with open(tmp_path / "claims.csv") as file:
        lines = list(csv.DictReader(file))
    assert lines[0]["id"] == name
    assert float(lines[0]["effect"]) == 0.375
    assert lines[0]["run"] == "a"
    assert lines[1]["verdict"] == NONE
    assert lines[1]["effect"] == ""
    assert lines[0]["statement"] == load_claims()[name].statement
    page = (tmp_path / "claims.html").read_text()
    assert page.count("<tr>") == len(lines) + 1
    assert page.endswith("</html>\n")


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a folder that 'workbench run' wrote"):
        collect_claims(tmp_path)


def test_what_somebody_changed_in_a_results_folder_stops_nothing(tmp_path):
    name = next(iter(load_claims()))
    executed(tmp_path / "good.ipynb", row(name, 0.25, 0.5))
    executed(tmp_path / "later.ipynb", row(name, 0.25, 0.5), problems=["cell 9 of 9 failed"])
    executed(
        tmp_path / "odd.ipynb", {"id": "own", "n": "<img src=x onerror=document.title=1>", "effect": "<b>", "low": []}
    )
    executed(tmp_path / "list.ipynb", ["no row"])
    executed(tmp_path / "typed.ipynb", row(name, 1.0), problems="none")
    executed(tmp_path / "lacking.ipynb", row(name, 1.0), parameters=None)
    broken = json.loads((tmp_path / "good.ipynb").read_text()) | {"cells": [{"cell_type": "poem"}]}
    (tmp_path / "broken.ipynb").write_text(json.dumps(broken))
    (tmp_path / "deep.ipynb").write_text("[" * 100_000)
    (tmp_path / "foreign.ipynb").write_text(json.dumps({"metadata": {"workbench": [1]}}))
    (tmp_path / "text.ipynb").write_bytes(b"\xff")
    (tmp_path / "folder.ipynb").mkdir()
    text = write_claims(tmp_path)
    assert [r["run"] for r in collect_claims(tmp_path) if r["n"] != 0] == ["good", "later (failed)", "odd"]
    assert "later (failed)" in text
    page = (tmp_path / "claims.html").read_text()
    assert "<img" not in page
    assert "&lt;img src=x onerror" in page


def test_no_folder_is_not_this_folder():
    with pytest.raises(ValueError, match="its name is empty"):
        collect_claims("")
