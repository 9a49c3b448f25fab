"""The pages that lead to other pages: the runs of a folder, the notebooks of a site, the claims of a run."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workbench.files import address, results_folder, write_whole
from workbench.headless.notebook import read_notebook
from workbench.headless.record import Run
from workbench.headless.reference import write_reference
from workbench.headless.runner import run
from workbench.headless.runs_table import files_of, runs_table
from workbench.templates import html


def run_with_index(
    notebooks: Sequence[str | Path], out: str | Path, *, report: Callable[[str], None] = print, **options: Any
) -> list[Run]:
    """`run`, with `out/index.html` rewritten whenever a run ends: earlier runs of the folder stay in the list."""
    folder = results_folder(out)
    page = runs_table(folder)

    def write(runs: list[Run]) -> None:
        write_list(folder / "index.html", page(runs), report)

    return run(notebooks, out, on_run=write, report=report, **options)


def site(
    notebooks: Sequence[str | Path], out: str | Path, *, report: Callable[[str], None] = print, **options: Any
) -> list[Run]:
    """Static pages of notebooks with an index: they open from disk, with no kernel and no network.

    The notebooks run as the face `site`; the executed files lie in `out/notebooks`, the reference of the package in
    `out/reference`. Options are those of `run`.
    """
    folder = results_folder(out)
    runs = run(notebooks, folder / "notebooks", pages=folder, face="site", report=report, **options)
    items = []
    for r in runs:
        there, title = files_of(r), r.record["title"]
        link = address(r.page, folder) if r.page in there else ""
        items.append((title, link, r.problems, _lead(r.executed) if r.executed in there else ""))
    try:
        reference = address(write_reference(folder / "reference"), folder)
    except OSError as error:
        report(f"the reference could not be written: {error.strerror}")
        reference = ""
    write_list(folder / "index.html", html("contents", items=items, reference=reference), report)
    return runs


def write_list(path: Path, content: str, report: Callable[[str], None]) -> None:
    """Write a list of runs; where it cannot be written, the runs go on all the same."""
    try:
        write_whole(path, content)
    except OSError as error:
        report(f"{path.name} could not be written: {error.strerror}")


def _lead(path: Path) -> str:
    """What a notebook says one will learn, else the first paragraph of its text."""
    from workbench.headless.markdown import markdown_html

    blocks = [block for c in read_notebook(path).cells if c.cell_type == "markdown" for block in c.source.split("\n\n")]
    promises = [after for before, after in itertools.pairwise(blocks) if "What you will learn" in before]
    plain = [block for block in blocks if block.strip() and not block.lstrip().startswith("#")]
    words = (promises or plain or [""])[0]
    try:
        return markdown_html(words, path.parent)
    except Exception:  # what a parser brings up; its page says so, too
        return words
