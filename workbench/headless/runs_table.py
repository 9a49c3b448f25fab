"""The runs of a folder as a table that can be sorted and filtered: `index.html`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.files import address
from workbench.headless.record import Run, read_record
from workbench.templates import html


def runs_table(folder: Path) -> Callable[[Sequence[Run]], str]:
    """A function that makes the page: of the runs it is given, and of the others whose notebooks lie in `folder`.

    A notebook is read once, and again only where its file has changed.
    """

    @functools.cache
    def known(path: Path, *_: int) -> Mapping[str, Any]:
        return read_record(path)

    def page(runs: Sequence[Run]) -> str:
        found = {run.executed: run for run in runs}
        for path in folder.glob("*.ipynb"):
            if path not in found and (record := known(path, *_stamp(path))):
                found[path] = Run(path, path.with_suffix(".html"), record)
        listed = [found[path] for path in sorted(found)]
        columns, shared = columns_of([run.record for run in listed])
        rows = [(run, state(run), *_addresses(run, folder)) for run in listed]
        failed = sum(bool(run.problems) for run in listed)
        return html("runs", rows=rows, failed=failed, columns=columns, shared=shared)

    return page


def columns_of(records: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict[str, Any]]:
    """(the parameters that have a column, those that were set to one value in all runs that take them, with it).

    A column is `profile`, and each parameter that somebody set and that differs. What differs only because notebooks
    have other defaults has none.

    >>> first = {"parameters": {"seed": 0, "n": 9}, "given": {"n": 9}}
    >>> columns_of([first, {"parameters": {"seed": 1}, "given": {"seed": 1}}])
    (['seed'], {'n': 9})
    """
    values: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record["parameters"].items():
            values.setdefault(name, []).append(value)
    given = {name for record in records for name in record["given"]}
    several = {name for name, found in values.items() if len(set(map(repr, found))) > 1}
    columns = [name for name in values if name == "profile" or name in given & several]
    return columns, {name: values[name][0] for name in values if name in given and name not in columns}


def state(run: Run) -> str:
    """What became of a run: "finished", "failed", or "page incomplete" where only its page lacks something."""
    return "failed" if run.problems else "page incomplete" if run.page_problems else "finished"


def files_of(run: Run) -> list[Path]:
    """The files of a run that are there, its page first; none where it has not run."""
    return [path for path in (run.page, run.executed) if run.record["key"] and os.path.exists(path)]


def _addresses(run: Run, folder: Path) -> tuple[str, str]:
    """The addresses of its page and of its notebook, as seen from the folder; empty where they are not there."""
    there = files_of(run)
    page, executed = (address(path, folder) if path in there else "" for path in (run.page, run.executed))
    return page, executed


def _stamp(path: Path) -> tuple[int, int]:
    """What changes with a file; zeros where it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
