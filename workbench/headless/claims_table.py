"""The verdicts of a headless run in one table, those against a claim and the undecided ones too."""

from __future__ import annotations

import csv
import html
import io
from pathlib import Path
from typing import Any

from workbench.claims import load_claims
from workbench.headless.files import write_whole
from workbench.headless.notebook import claim_rows, read_notebook
from workbench.headless.page import page, table
from workbench.headless.runner import read_record

NONE = "no evidence in this run"
FACTS = ("id", "section", "statement", "source", "setting")
COLUMNS = (*FACTS, "part", "effect", "low", "high", "n", "p", "bh", "holm", "verdict", "run")


def collect_claims(folder: str | Path) -> list[dict[str, Any]]:
    """One row per claim and run of a results folder, in the order of `data/claims.yaml`; claims of one's own follow.

    A claim that no run judged has the verdict "no evidence in this run". A ValueError where the folder holds no run.
    """
    folder = Path(folder)
    paths = [p for p in sorted([*folder.glob("*.ipynb"), *folder.glob("notebooks/*.ipynb")]) if read_record(p)]
    if not paths:
        raise ValueError(
            f"claims are collected from a folder that 'workbench run' wrote; {folder} holds no executed notebook"
        )
    found = [{**row, "run": path.stem} for path in paths for row in claim_rows(read_notebook(path))]
    claims = load_claims()
    rows = []
    for name, claim in claims.items():
        facts = {column: getattr(claim, column) for column in FACTS}
        nothing = {**facts, "effect": None, "low": None, "high": None, "n": 0, "verdict": NONE, "run": ""}
        rows += [row for row in found if row["id"] == name] or [nothing]
    return [{c: row.get(c) for c in COLUMNS} for row in [*rows, *(r for r in found if r["id"] not in claims)]]


def write_claims(folder: str | Path) -> str:
    """Collect the claims of a results folder, write its `claims.csv` and `claims.html`; the table as aligned text."""
    rows = collect_claims(folder)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(Path(folder) / "claims.csv", text.getvalue())
    write_whole(Path(folder) / "claims.html", _page(rows))
    return _aligned(rows)


def _page(rows: list[dict[str, Any]]) -> str:
    heads = ["Verdict", "Claim", "Effect", "95 % interval", "n", "Setting", "Source", "Run"]
    cells = [
        [
            f"<strong>{html.escape(row['verdict'])}</strong>",
            f"{html.escape(row['statement'])}<br><small>{html.escape(_place(row))}</small>",
            _number(row["effect"]),
            _interval(row),
            str(row["n"]),
            html.escape(row["setting"]),
            html.escape(row["source"]),
            html.escape(row["run"]),
        ]
        for row in rows
    ]
    return page("Claims", f'<h1>Claims</h1>\n<p class="lead">{_counts(rows)}</p>\n{table(heads, cells)}')


def _aligned(rows: list[dict[str, Any]]) -> str:
    """Columns of text and, last, how many of each verdict there are."""
    lines = [("verdict", "claim", "effect", "interval", "n", "run")]
    lines += [(r["verdict"], r["id"], _number(r["effect"]), _interval(r), str(r["n"]), r["run"]) for r in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    body = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*body, "", _counts(rows)])


def _counts(rows: list[dict[str, Any]]) -> str:
    verdicts = [row["verdict"] for row in rows]
    return ", ".join(f"{verdicts.count(v)} {v}" for v in ("holds", "does not hold here", "undecided", NONE)) + "."


def _place(row: dict[str, Any]) -> str:
    return f"{row['id']}, section {row['section']}"


def _interval(row: dict[str, Any]) -> str:
    return "" if row["low"] is None else f"{_number(row['low'])} to {_number(row['high'])}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
