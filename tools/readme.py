"""Write the tables of README.md, the first notebook, docs/parity.md and docs/numbers.md.

.venv/bin/python tools/readme.py                            the tables
.venv/bin/python tools/readme.py --measure smoke lecture    first run the notebooks in these profiles, on one core,
                                                            and write the seconds into their first cells
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
HEAD = "| notebook | survey section | what you learn | minutes to read | seconds to run |\n|---|---|---|---|---|\n"


def field(text: str, name: str) -> str:
    """The rest of the line `**name...:** rest` of a notebook's first cell."""
    found = re.search(rf"^\*\*{name}[^*]*:\*\*\s*(.+)$", text, re.MULTILINE)
    if not found:
        raise ValueError(f"the first cell needs a line **{name}:** ...; it begins {text[:60]!r}")
    return found[1].strip()


def first_cell(path: Path) -> str:
    """The text that a notebook begins with."""
    return nbformat.read(path, as_version=4).cells[0].source


def row(path: Path) -> str:
    """A notebook's line of the table."""
    text = first_cell(path)
    title = text.splitlines()[0].removeprefix("# ")
    section = field(text, "Survey section").split(" of Cheng")[0]
    _, _, after = text.partition("**What you will learn**\n\n")
    points = re.findall(r"^- (.+(?:\n  .+)*)", after.split("\n\n")[0], re.MULTILINE)
    if not points:
        raise ValueError(f"{path.name}: the first cell needs **What you will learn** and a list under it")
    learn = "<br>".join(re.sub(r"\s+", " ", point).rstrip(";.") for point in points)
    minutes, seconds = field(text, "Minutes to read"), field(text, "Seconds to run")
    return f"| [{title}](notebooks/{path.name}) | {section} | {learn} | {minutes} | {seconds} |\n"


def table(root: Path = ROOT) -> str:
    """The table, a line a notebook."""
    return HEAD + "".join(row(path) for path in sorted(root.glob("notebooks/*.ipynb")))


def others(root: Path = ROOT) -> str:
    """The first notebook's table of the notebooks after it, a line a notebook."""
    lines = ["| notebook | survey section | minutes to read |\n|---|---|---|\n"]
    for path in sorted(root.glob("notebooks/*.ipynb"))[1:]:
        title, section, _, minutes, _ = row(path).strip("| \n").split(" | ")
        lines.append(f"| {title.replace('(notebooks/', '(')} | {section} | {minutes} |\n")
    return "".join(lines)


def start(root: Path = ROOT) -> str:
    """The first notebook's text, with the table of the others in its cell `map`."""
    notebook = nbformat.read(min(root.glob("notebooks/*.ipynb")), as_version=4)
    cell = next(cell for cell in notebook.cells if cell.id == "map")
    cell.source = written(cell.source, {"others": others(root)})
    return nbformat.writes(notebook) + "\n"


def parity(root: Path = ROOT) -> str:
    """Criteria and allocations against independent sources, a line a check."""
    with (root / "data" / "parity.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def evidence(root: Path = ROOT) -> str:
    """Experiments with their rows, the seconds these took together and in the middle, and the processors."""
    lines = ["| experiment | run | rows | seconds | of a row | made on |\n|---|---|---:|---:|---:|---|\n"]
    whole = 0.0
    for path in sorted(root.glob("data/rows/*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        took, run = [row["seconds"] for row in rows], ", ".join(dict.fromkeys(row["function"] for row in rows))
        made = Counter(row["versions"].get("processor", "not recorded") for row in rows)
        on = "; ".join(f"{name} ({count})" if len(made) > 1 else name for name, count in made.most_common())
        middle = f"{statistics.median(took):.2g}" if statistics.median(took) < 10 else f"{statistics.median(took):.0f}"
        lines.append(f"| {path.stem} | `{run}` | {len(rows)} | {sum(took):,.0f} | {middle} | {on} |\n")
        whole += sum(took)
    lines.append(f"| all | | | {whole:,.0f} | | |\n")
    return "".join(lines)


def written(text: str, tables: dict[str, str]) -> str:
    """The text with each table in its place."""
    for name, table in tables.items():
        before, start, rest = text.partition(f"<!-- {name}:")
        head, _, rest = rest.partition("-->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}{start}{head}-->\n{table}{end}{after}"
    return text


def documents(root: Path = ROOT) -> dict[Path, str]:
    """The documents with tables, each as it has to be."""
    tables = {root / "README.md": {"notebooks": table(root)}, root / "docs" / "parity.md": {"parity": parity(root)}}
    tables[root / "docs" / "numbers.md"] = {"evidence": evidence(root)}
    found = {path: written(path.read_text(encoding="utf-8"), held) for path, held in tables.items()}
    return found | {min(root.glob("notebooks/*.ipynb")): start(root)}


def seconds(path: Path, profile: str) -> float:
    """How long a headless run of a notebook takes on one core, start of the kernel included."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "workbench.cli", "run", str(path), "--profile", profile, "-o", out]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        said = subprocess.run(command, cwd=ROOT, check=True, env=env, stdout=subprocess.PIPE, text=True).stdout
    found = re.search(r"finished, ([\d.]+) s", said)
    if not found:
        raise ValueError(f"a run ends with its seconds; it said {said[-200:]!r}")
    return float(found[1])


def measure(path: Path, profiles: list[str]) -> None:
    """Write measured seconds into a notebook's first cell, in place of those that it names for the profiles."""
    notebook = nbformat.read(path, as_version=4)
    cell = notebook.cells[0]
    old = field(cell.source, "Seconds to run")
    new = old
    for profile in profiles:
        new = re.sub(rf"\b{profile} \d+", f"{profile} {seconds(path, profile):.0f}", new)
    cell.source = cell.source.replace(old, new)
    nbformat.write(notebook, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write the tables of README.md, the first notebook, docs/parity.md and docs/numbers.md."
    )
    parser.add_argument(
        "--measure", nargs="+", metavar="PROFILE", default=[], help="run the notebooks in these profiles first"
    )
    parser.add_argument(
        "--notebook", default="*", help="the beginning of one notebook's name, such as 03; default: all"
    )
    asked = parser.parse_args()
    if asked.measure:
        for path in sorted(ROOT.glob(f"notebooks/{asked.notebook}*.ipynb")):
            measure(path, asked.measure)
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
