"""A notebook as the run of a sweep: the points of a grid are values of its parameters."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.claims import NUMBERS_MIME
from workbench.explorers.faces import FACES
from workbench.headless.index import write_list
from workbench.headless.notebook import bare, claim_rows, read_notebook, results, title
from workbench.headless.parameters import Value, check_values, read_parameters
from workbench.headless.runner import kernel_threads
from workbench.headless.runs_table import runs_table
from workbench.headless.scratch import scratch
from workbench.headless.worker import Job, complete, write_failure
from workbench.sweeps import Row, key, sweep
from workbench.sweeps.files import Store
from workbench.sweeps.points import clash, columns
from workbench.types import check_choice

if TYPE_CHECKING:
    import pandas as pd
    from nbformat import NotebookNode

FACTS = ("page", "notebook", "code")
"""The metrics of every run: the names of its files in the folder of the results, and which code it executed."""


class NotebookRun:
    """A notebook as a run: called with values of its parameters, it executes the notebook and returns plain metrics.

    Its name is the file's, its arguments are the notebook's parameters with their defaults. The notebook is read once,
    here. The metrics are `page` and `notebook`, the names of the files in the folder `out`, `code`, a hash of the code
    cells, each number that `claims.show_number` showed, and the verdict of each claim by the claim's id. RuntimeError
    with the traceback where a cell failed; the executed notebook is there, too.
    """

    def __init__(self, path: str | Path, out: str | Path | None = None, face: str = "picture"):
        notebook = bare(read_notebook(path))
        self.face, self.path = check_choice("face", face, FACES), Path(path).resolve()
        self.declared = read_parameters(notebook, self.path.name)
        if not self.declared:
            raise ValueError(f"{path} has no cell tagged 'parameters', so there is nothing to vary. Tag that cell")
        self.text, self.title = json.dumps(notebook), title(notebook, self.path.stem)
        source = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
        self.code = hashlib.sha256(source.encode(errors="replace")).hexdigest()[:8]
        self.out = None if out is None else Path(out).resolve()
        self.scratch, self.facts = scratch(), FACTS
        self.__name__ = self.path.stem.encode(errors="replace").decode()  # half a character fits in no table
        kind = inspect.Parameter.KEYWORD_ONLY
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(name, kind, default=one.default) for name, one in self.declared.items()]
        )

    def into(self, out: Path) -> NotebookRun:
        """This run, with the folder of its files."""
        other = copy.copy(self)
        other.out = out
        return other

    def axes(self, grid: Mapping[str, Any]) -> dict[str, list[Value]]:
        """A grid with its values in the types of the parameters; ValueError for the first that does not fit."""
        check = lambda name, value: check_values(self.declared, {name: value}, self.path.name)[name]  # noqa: E731
        return {name: [check(name, value) for value in values] for name, values in columns(self, grid).items()}

    def job(self, arguments: Mapping[str, object]) -> Job:
        """What is to be executed for these arguments, and into which files: their names hold the key of the row."""
        if self.out is None:
            raise ValueError("a notebook is executed into a folder. Use sweep_notebook, or NotebookRun(path, out)")
        values = check_values(self.declared, arguments, self.path.name)
        usual = {name: one.default for name, one in self.declared.items()}
        row_key = key(self, arguments)
        name = f"{self.__name__}-{row_key}"
        return Job(
            source=self.path,
            text=self.text,
            title=self.title,
            parameters=usual | values,
            given={name: value for name, value in values.items() if value != usual[name]},
            face=self.face,
            key=row_key,
            threads=kernel_threads(),
            executed=self.out / f"{name}.ipynb",
            page=self.out / f"{name}.html",
        )

    def __call__(self, **arguments: object) -> dict[str, Any]:
        job = self.job(arguments)
        for old in (job.executed, job.page):
            old.unlink(missing_ok=True)
        with _put_back():
            record = complete(job, self.scratch if self.scratch.is_dir() else scratch(), lambda *_: None)
        if record["problems"]:
            raise RuntimeError("\n\n".join(record["problems"]))
        facts = {"page": job.page.name, "notebook": job.executed.name, "code": self.code}
        return facts | recorded(read_notebook(job.executed), {*arguments, *FACTS})


def recorded(notebook: NotebookNode, taken: set[str]) -> dict[str, Any]:
    """What an executed notebook recorded: numbers under their names, verdicts under the ids of their claims.

    A name that is `taken`, or a column that a table of results adds, gets the ending "(shown)".
    """
    shown = [output.get("data", {}).get(NUMBERS_MIME) for output in results(notebook)]
    found = {n: v for one in shown if isinstance(one, dict) and len(one) == 1 for n, v in one.items()}
    found |= {row["id"]: row.get("verdict") for row in claim_rows(notebook) if isinstance(row.get("id"), str)}
    plain = {n: v for n, v in found.items() if v is None or isinstance(v, bool | int | float | str)}
    return {f"{name} (shown)" if clash(taken, [name]) else name: value for name, value in plain.items()}


def sweep_notebook(
    run: NotebookRun | str | Path,
    out: str | Path,
    /,
    *grids: Mapping[str, Any],
    on_row: Callable[[Row, int, int], None] | None = None,
    report: Callable[[str], None] = print,
    **options: Any,
) -> pd.DataFrame:
    """Execute a notebook at every point of grids of its parameters; rows, notebooks and pages in the folder `out`.

    It is `sweep` for a notebook, with its options and errors: finished runs are not executed again, a failed cell
    is a failed run. Every value is checked against the typed parameters before the first run starts: ValueError. The
    list of all runs, `index.html`, is written while they run. As with a function, the code is not part of a row's key:
    a warning says how many rows are of an earlier code.
    """
    run = run if isinstance(run, NotebookRun) else NotebookRun(run)
    placed = run.into(Store(out).folder)
    checked = [placed.axes(grid) for grid in grids]
    write = _index_writer(Store(out).folder, report)

    ran = False

    def tell(row: Row, done: int, total: int) -> None:
        nonlocal ran
        ran = True
        job = placed.job(row["arguments"])
        if "error" in row and not job.executed.exists():  # its process ended
            write_failure(job, row["seconds"], [row["error"].partition("\n")[2]])
        write(False)
        if on_row is not None:
            on_row(row, done, total)

    try:
        table = sweep(placed, out, *checked, on_row=tell, **options)
        ran = True
    finally:
        if ran:  # else it was refused
            write(True)
    if earlier := int((table["code"] != placed.code).sum()):
        told = f"{earlier} of {len(table)} rows are of an earlier code of {placed.path.name}, and are kept"
        warnings.warn(f"{told}. To compute them again, name another folder", stacklevel=2)
    return table


def _index_writer(folder: Path, report: Callable[[str], None]) -> Callable[[bool], None]:
    """A function that writes the list of runs, unless that would take more than a tenth of the time."""
    page, due = runs_table(folder), 0.0

    def write(now: bool) -> None:
        nonlocal due
        start = time.monotonic()
        if folder.is_dir() and (now or start > due):
            write_list(folder / "index.html", page([]), report)
            due = time.monotonic() + 9 * (time.monotonic() - start)

    return write


@contextlib.contextmanager
def _put_back() -> Iterator[None]:
    """Put the working directory and the environment back, which an execution sets."""
    before = dict(os.environ)
    with contextlib.chdir("."):
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
