"""The verdicts of a headless run in one table, those against a claim and the undecided ones too."""

import contextlib
import csv
import io
from pathlib import Path
from typing import Any

from workbench.claims import load_claims
from workbench.files import results_folder, write_whole
from workbench.headless.notebook import claim_rows, read_notebook
from workbench.headless.parameters import aligned
from workbench.headless.record import read_record
from workbench.templates import html

NONE = "no evidence in this run"
FACTS = ("id", "section", "statement", "source", "setting")
COLUMNS = (*FACTS, "part", "effect", "low", "high", "n", "p", "bh", "holm", "verdict", "words", "run")


def collect_claims(folder: str | Path) -> list[dict[str, Any]]:
    """One row per claim and run of a results folder, in the order of `data/claims.yaml`; your own claims follow.

    A claim that no run judged has the verdict "no evidence in this run"; the name of a run that failed later says so.
    A ValueError where the folder holds no run.
    """
    folder = results_folder(folder)
    paths = sorted([*folder.glob("*.ipynb"), *folder.glob("notebooks/*.ipynb")])
    records = {path: record for path in paths if (record := read_record(path))}
    if not records:
        raise ValueError(
            f"claims are collected from a folder that 'workbench run' wrote; {folder} holds no executed notebook"
        )
    found = []
    for path, record in records.items():
        name = f"{path.stem} (failed)" if record["problems"] else path.stem
        with contextlib.suppress(ValueError):  # somebody changed it so that it can no longer be read
            found += [row | {"run": name} for row in claim_rows(read_notebook(path))]
    claims, rows = load_claims(), []
    for name, claim in claims.items():
        nothing = {column: getattr(claim, column) for column in FACTS} | {"n": 0, "verdict": NONE, "run": ""}
        rows += [row for row in found if row.get("id") == name] or [nothing]
    own = [row for row in found if row.get("id") not in list(claims)]
    return [{column: row.get(column) for column in COLUMNS} for row in [*rows, *own]]


def write_claims(folder: str | Path) -> str:
    """Collect the claims of a results folder, write its `claims.csv` and `claims.html`; the table as aligned text."""
    rows = collect_claims(folder)
    shown = [(row, *_in_words(row)) for row in rows]
    verdicts = [row["verdict"] for row in rows]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in ("holds", "does not hold here", "undecided", NONE)) + "."
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([COLUMNS, *(row.values() for row in rows)])
    write_whole(Path(folder) / "claims.csv", lines.getvalue())
    write_whole(Path(folder) / "claims.html", html("claims", rows=shown, counts=counts))
    text = [("verdict", "claim", "effect", "interval", "n", "run")]
    text += [(words, row["id"], effect, ends, row["n"], row["run"]) for row, words, effect, ends in shown]
    return f"{aligned([[' '.join(str(cell).split()) for cell in line] for line in text])}\n\n{counts}"


def _in_words(row: dict[str, Any]) -> tuple[str, str, str]:
    """The verdict (and whether it stands among all claims), the effect of the part that decided, the interval."""
    effect = f"{row['part']}: {_number(row['effect'])}" if row.get("part") else _number(row["effect"])
    ends = "" if row["low"] is None else f"{_number(row['low'])} to {_number(row['high'])}"
    return row.get("words") or row["verdict"], effect, ends


def _number(value: object) -> str:
    """A number with three digits; nothing for None, and anything else as it stands in the notebook."""
    return "" if value is None else f"{value:.3g}" if isinstance(value, int | float) else str(value)
