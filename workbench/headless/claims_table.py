"""The verdicts of a headless run in one table, those against a claim and the undecided ones too."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from workbench.claims import load_claims
from workbench.headless.files import results_folder, write_whole
from workbench.headless.notebook import claim_rows, read_notebook
from workbench.headless.parameters import aligned
from workbench.headless.record import read_record
from workbench.templates import html

NONE = "no evidence in this run"
FACTS = ("id", "section", "statement", "source", "setting")
COLUMNS = (*FACTS, "part", "effect", "low", "high", "n", "p", "bh", "holm", "verdict", "words", "run")


def collect_claims(folder: str | Path) -> list[dict[str, Any]]:
    """One row per claim and run of a results folder, in the order of `data/claims.yaml`; claims of one's own follow.

    A claim that no run judged has the verdict "no evidence in this run"; the name of a run that failed later says so.
    A ValueError where the folder holds no run.
    """
    folder = results_folder(folder)
    records = {path: read_record(path) for path in sorted([*folder.glob("*.ipynb"), *folder.glob("notebooks/*.ipynb")])}
    if not any(records.values()):
        raise ValueError(
            f"claims are collected from a folder that 'workbench run' wrote; {folder} holds no executed notebook"
        )
    found = []
    for path, record in records.items():
        if record:
            name = f"{path.stem} (failed)" if record["problems"] else path.stem
            found += [{**row, "run": name} for row in _judged(path)]
    claims, rows = load_claims(), []
    for name, claim in claims.items():
        nothing = {column: getattr(claim, column) for column in FACTS} | {"n": 0, "verdict": NONE, "run": ""}
        rows += [row for row in found if row.get("id") == name] or [nothing]
    own = [row for row in found if row.get("id") not in list(claims)]
    return [{column: row.get(column) for column in COLUMNS} for row in [*rows, *own]]


def _judged(path: Path) -> list[dict[str, Any]]:
    """The rows in an executed notebook; none where somebody changed it so that it can no longer be read."""
    try:
        return claim_rows(read_notebook(path))
    except ValueError:
        return []


def write_claims(folder: str | Path) -> str:
    """Collect the claims of a results folder, write its `claims.csv` and `claims.html`; the table as aligned text."""
    rows = collect_claims(folder)
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([COLUMNS, *(row.values() for row in rows)])
    write_whole(Path(folder) / "claims.csv", lines.getvalue())
    cells = [(row, _words(row), _effect(row), _interval(row)) for row in rows]
    write_whole(Path(folder) / "claims.html", html("claims", rows=cells, counts=_counts(rows)))
    return _aligned(rows)


def _aligned(rows: list[dict[str, Any]]) -> str:
    """Columns of text and, last, how many of each verdict there are."""
    lines: list[tuple[Any, ...]] = [("verdict", "claim", "effect", "interval", "n", "run")]
    lines += [(_words(r), r["id"], _effect(r), _interval(r), r["n"], r["run"]) for r in rows]
    body = aligned([[" ".join(str(cell).split()) for cell in line] for line in lines])
    return f"{body}\n\n{_counts(rows)}"


def _counts(rows: list[dict[str, Any]]) -> str:
    verdicts = [row["verdict"] for row in rows]
    return ", ".join(f"{verdicts.count(v)} {v}" for v in ("holds", "does not hold here", "undecided", NONE)) + "."


def _words(row: dict[str, Any]) -> str:
    """The verdict, and whether it stands among all claims."""
    return row.get("words") or row["verdict"]


def _effect(row: dict[str, Any]) -> str:
    """The effect of the part of the claim that decided."""
    return f"{row['part']}: {_number(row['effect'])}" if row.get("part") else _number(row["effect"])


def _interval(row: dict[str, Any]) -> str:
    return "" if row["low"] is None else f"{_number(row['low'])} to {_number(row['high'])}"


def _number(value: object) -> str:
    """A number with three digits; nothing for None, and anything else as it stands in the notebook."""
    return "" if value is None else f"{value:.3g}" if isinstance(value, int | float) else str(value)
