"""The pages that lead to other pages: the runs of a folder, the notebooks of a site, the claims of a run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workbench.headless.files import results_folder, write_whole
from workbench.headless.notebook import read_notebook
from workbench.headless.page import Html, link, page, table, text
from workbench.headless.runner import Run, read_record, run


def run_with_index(
    notebooks: Sequence[str | Path], out: str | Path, *, report: Callable[[str], None] = print, **options: Any
) -> list[Run]:
    """`run`, with `out/index.html` rewritten whenever a run ends: earlier runs of the folder stay in the list."""
    folder = results_folder(out)

    def write(runs: list[Run]) -> None:
        known = {r.executed: r for r in runs}
        for path in sorted(folder.glob("*.ipynb")):
            if path not in known and (record := read_record(path)):
                known[path] = Run(path, path.with_suffix(".html"), record)
        _write_list(folder / "index.html", _runs_page([known[path] for path in sorted(known)]), report)

    return run(notebooks, out, on_run=write, report=report, **options)


def site(
    notebooks: Sequence[str | Path], out: str | Path, *, report: Callable[[str], None] = print, **options: Any
) -> list[Run]:
    """Static pages of notebooks with an index: they open from disk, with no kernel and no network.

    The notebooks run as the face `site`; the executed files lie in `out/notebooks`. Options are those of `run`.
    """
    folder = results_folder(out)
    runs = run(notebooks, folder / "notebooks", pages=folder, face="site", report=report, **options)
    _write_list(folder / "index.html", _contents_page(runs), report)
    return runs


def _write_list(path: Path, content: str, report: Callable[[str], None]) -> None:
    """Write a list of runs; where it cannot be written, the runs go on all the same."""
    try:
        write_whole(path, content)
    except OSError as error:
        report(f"{path.name} could not be written: {error.strerror}")


def _runs_page(runs: Sequence[Run]) -> str:
    """The table of runs."""
    rows = []
    for r in runs:
        record = r.record
        given, values = record["given"], record["parameters"]
        lines = {name: text(f"{name} = {value!r}") for name, value in values.items()}
        marked = [f"<strong>{line}</strong>" if name in given else line for name, line in lines.items()]
        links = [(r.page, "page"), (r.executed, "notebook")] if record["key"] else []
        rows.append(
            [
                Html(f"{text(record['title'])}<br><small>{text(r.executed.stem)}</small>"),
                _result(r),
                Html("<br>".join(marked) or "none"),
                f"{record['seconds']:.1f}",
                record["finished"].replace("T", " ").replace("+00:00", " UTC"),
                Html(" ".join(link(path, r.page.parent, words) for path, words in links if os.path.exists(path))),
            ]
        )
    failed = sum(bool(r.problems) for r in runs)
    lead = f"{len(runs)} runs, {failed} failed. Parameters that differ from the notebook's defaults are set in bold."
    heads = ["Notebook", "Result", "Parameters", "Seconds", "Finished", "Files"]
    return page("Runs", f'<h1>Runs</h1>\n<p class="lead">{lead}</p>\n{table(heads, rows)}')


def _result(r: Run) -> Html:
    """Whether a run finished, and what is to be said about it."""
    word = "failed" if r.problems else "finished"
    said = [("", r.problems), ("page incomplete: ", r.page_problems)]
    details = [
        f"<details><summary>{text(head + lines[0].partition(chr(10))[0])}</summary>"
        f"<pre>{text((chr(10) * 2).join(lines))}</pre></details>"
        for head, lines in said
        if lines
    ]
    return Html(" ".join([f'<span class="{word}">{word}</span>', *details]))


def _contents_page(runs: Sequence[Run]) -> str:
    """The list of the site's notebooks, each with what one will learn in it."""
    items = []
    for r in runs:
        ran = bool(r.record["key"])
        words = r.record["title"]
        head = link(r.page, r.page.parent, words) if ran and os.path.exists(r.page) else text(words)
        state = '<p class="failed">The run of this notebook failed.</p>' if r.problems else ""
        items.append(f"<li>{head}{state}{_lead(r.executed) if ran and os.path.exists(r.executed) else ''}</li>")
    return page("Notebooks", f'<h1>Notebooks</h1>\n<ul class="contents">{"".join(items)}</ul>')


def _lead(path: Path) -> str:
    """What a notebook says one will learn, else the first paragraph of its text."""
    blocks = [block for c in read_notebook(path).cells if c.cell_type == "markdown" for block in c.source.split("\n\n")]
    promises = [after for before, after in itertools.pairwise(blocks) if "What you will learn" in before]
    plain = [block for block in blocks if block.strip() and not block.lstrip().startswith("#")]
    words = (promises or plain or [""])[0]
    from workbench.headless.markdown import markdown_html

    try:
        return markdown_html(words, path.parent)
    except Exception:  # what a parser brings up; its page says so, too
        return text(words)
