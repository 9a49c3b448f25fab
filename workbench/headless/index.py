"""The pages that lead to other pages: the runs of a folder, the notebooks of a site, the claims of a run."""

from __future__ import annotations

import html
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.headless.files import write_whole
from workbench.headless.markdown import markdown_html
from workbench.headless.notebook import read_notebook
from workbench.headless.page import page, table
from workbench.headless.runner import Run, read_record, run


def run_with_index(notebooks: Sequence[str | Path], out: str | Path, **options: Any) -> list[Run]:
    """`run`, with `out/index.html` rewritten whenever a run ends: earlier runs of the folder stay in the list."""
    folder = Path(out).resolve()

    def write(runs: list[Run]) -> None:
        known = {r.executed: r for r in runs}
        for path in sorted(folder.glob("*.ipynb")):
            if path not in known and (record := read_record(path)):
                known[path] = Run(path, path.with_suffix(".html"), record)
        write_whole(folder / "index.html", _runs_page([known[path] for path in sorted(known)]))

    return run(notebooks, out, on_run=write, **options)


def site(notebooks: Sequence[str | Path], out: str | Path, **options: Any) -> list[Run]:
    """Static pages of notebooks with an index: they open from disk, with no kernel and no network.

    The notebooks run as the face `site`; the executed files lie in `out/notebooks`. Options are those of `run`.
    """
    folder = Path(out).resolve()
    runs = run(notebooks, folder / "notebooks", pages=folder, face="site", **options)
    write_whole(folder / "index.html", _contents_page(runs))
    return runs


def _runs_page(runs: Sequence[Run]) -> str:
    """The table of runs."""
    rows = []
    for r in runs:
        record = r.record
        given, values = record["given"], record["parameters"]
        lines = {name: html.escape(f"{name} = {value!r}") for name, value in values.items()}
        marked = [f"<strong>{line}</strong>" if name in given else line for name, line in lines.items()]
        result = '<span class="finished">finished</span>'
        if r.problems:
            text, first = html.escape("\n\n".join(r.problems)), html.escape(r.problems[0].splitlines()[0])
            details = f"<details><summary>{first}</summary><pre>{text}</pre></details>"
            result = f'<span class="failed">failed</span> {details}'
        links = [_link(r.page, r.page.parent, "page"), _link(r.executed, r.page.parent, "notebook")]
        rows.append(
            [
                f"{html.escape(record['title'])}<br><small>{html.escape(r.executed.stem)}</small>",
                result,
                "<br>".join(marked) or "none",
                f"{record['seconds']:.1f}",
                html.escape(record.get("finished", "").replace("T", " ").replace("+00:00", " UTC")),
                " ".join(link for link in links if link),
            ]
        )
    failed = sum(bool(r.problems) for r in runs)
    lead = f"{len(runs)} runs, {failed} failed. Parameters that differ from the notebook's defaults are set in bold."
    heads = ["Notebook", "Result", "Parameters", "Seconds", "Finished", "Files"]
    return page("Runs", f'<h1>Runs</h1>\n<p class="lead">{lead}</p>\n{table(heads, rows)}')


def _contents_page(runs: Sequence[Run]) -> str:
    """The list of the site's notebooks, each with what one will learn in it."""
    items = []
    for r in runs:
        title = html.escape(r.record["title"])
        head = f'<a href="{html.escape(r.page.name)}">{title}</a>' if r.page.exists() else title
        state = '<p class="failed">The run of this notebook failed.</p>' if r.problems else ""
        items.append(f"<li>{head}{state}{_lead(r.executed) if r.executed.exists() else ''}</li>")
    return page("Notebooks", f'<h1>Notebooks</h1>\n<ul class="contents">{"".join(items)}</ul>')


def _lead(path: Path) -> str:
    """What a notebook says one will learn, else the first paragraph of its text."""
    blocks = [block for c in read_notebook(path).cells if c.cell_type == "markdown" for block in c.source.split("\n\n")]
    promises = [after for before, after in itertools.pairwise(blocks) if "What you will learn" in before]
    plain = [block for block in blocks if block.strip() and not block.lstrip().startswith("#")]
    return markdown_html((promises or plain or [""])[0], path.parent)


def _link(path: Path, start: Path, words: str) -> str:
    """A link to a file that is there, as seen from a folder."""
    if not path.exists():
        return ""
    return f'<a href="{html.escape(os.path.relpath(path, start).replace(os.sep, "/"))}">{words}</a>'
