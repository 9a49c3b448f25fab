"""One notebook in a process of its own: what the worker does."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.headless.files import write_whole
from workbench.headless.notebook import hidden_errors, read_notebook
from workbench.headless.parameters import Value

if TYPE_CHECKING:
    from nbformat import NotebookNode

KEY = "workbench"
"""Where an executed notebook's metadata keep the record of its run."""

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Job:
    """A notebook to execute: with which values, as which face, and where the results go."""

    source: Path
    title: str
    parameters: dict[str, Value]
    given: dict[str, Value]
    face: str
    key: str
    executed: Path
    page: Path
    threads: int | None

    @property
    def link(self) -> str:
        """The executed notebook as seen from its page."""
        return os.path.relpath(self.executed, self.page.parent).replace(os.sep, "/")

    def record(self, seconds: float, problems: list[str]) -> dict[str, Any]:
        """The record of its run, ending now."""
        facts = {name: getattr(self, name) for name in ("title", "parameters", "given", "face", "key")}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return {**facts, "finished": now, "seconds": round(seconds, 1), "problems": problems}


def work(job: Job, pipe: Connection) -> None:
    """Execute a job and write its page and, last, its notebook; the record of the run stands in the metadata.

    Sends ("cell", number, of, seconds) as each code cell starts and ("done", record) at the end. When the other end
    of the pipe closes, because the command was stopped or killed, this process ends at once and the kernel with it.
    """
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C reaches the command, which closes the pipe
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    from workbench.headless.render import notebook_page

    started = time.perf_counter()
    problems: list[str] = []
    try:
        notebook, problems = _execute(job, lambda *cell: pipe.send(("cell", *cell)))
        notebook.metadata[KEY] = job.record(time.perf_counter() - started, problems)
        ending = job.page.name.removeprefix(job.source.stem)
        write_whole(job.page, notebook_page(notebook, job.source.parent, job.link, ending))
        write_whole(job.executed, _text(notebook))
    except Exception as error:  # whatever ends this run is reported, and the other runs go on
        problems = [*problems, f"{type(error).__name__}: {error}"]
    pipe.send(("done", job.record(time.perf_counter() - started, problems)))


def _execute(job: Job, progress: Callable[[int, int, float], None]) -> tuple[NotebookNode, list[str]]:
    """The executed notebook and its problems: the traceback of a failed cell, then the hidden errors."""
    from nbclient.exceptions import DeadKernelError
    from papermill.engines import NBClientEngine
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook
    from traitlets.config import Config

    os.environ["WORKBENCH_FACE"] = job.face
    if job.threads:
        os.environ["OMP_NUM_THREADS"] = str(job.threads)
    os.chdir(job.source.parent)
    notebook = load_notebook_node(read_notebook(job.source))
    notebook.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    if job.given:
        notebook = parameterize_notebook(notebook, job.given)
    places = _numbering(notebook)
    started = time.perf_counter()
    current = 0

    class Engine(NBClientEngine):
        """papermill's own engine that tells which cell starts."""

        @classmethod
        def execute_managed_notebook(cls, manager: Any, kernel_name: str, **options: Any) -> None:
            start = manager.cell_start

            def cell_start(cell: NotebookNode, cell_index: int, **kwargs: Any) -> None:
                nonlocal current
                start(cell, cell_index, **kwargs)
                current = places.get(cell_index, current)
                if cell.cell_type == "code" and cell_index in places:
                    progress(places[cell_index], len(places), time.perf_counter() - started)

            manager.cell_start = cell_start
            super().execute_managed_notebook(manager, kernel_name, **options)

    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        manager = {"connection_file": os.path.join(folder, "kernel.json")}
        manager["client_class"] = "workbench.headless.client.PatientClient"
        if os.name == "posix":
            manager["transport"] = "ipc"  # sockets as files: no port is taken twice by kernels that start together
        try:
            Engine.execute_notebook(
                notebook,
                "python3",
                progress_bar=False,
                autosave_cell_every=0,
                start_timeout=180,
                config=Config({"KernelManager": manager}),
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            )
        except DeadKernelError:
            return notebook, [f"cell {current} of {len(places)} failed\nits kernel died: killed, or out of memory"]
    return notebook, _failures(notebook, places) + hidden_errors(notebook)


def _failures(notebook: NotebookNode, places: dict[int, int]) -> list[str]:
    """The traceback of the cell that ended the execution, if one did."""
    for index, cell in enumerate(notebook.cells):
        if cell.metadata.get("papermill", {}).get("exception"):
            errors = [output for output in cell.outputs if output.output_type == "error"]
            trace = ANSI.sub("", "\n".join(errors[-1].traceback) if errors else "")
            where = f"cell {places[index]} of {len(places)}" if index in places else "the cell of injected parameters"
            return [f"{where} failed\n{trace}"]
    return []


def _numbering(notebook: NotebookNode) -> dict[int, int]:
    """Index in the executed notebook -> number of the cell in the source, from 1: the injected cell has none."""
    kept = [i for i, c in enumerate(notebook.cells) if "injected-parameters" not in c.metadata.get("tags", [])]
    return {index: number for number, index in enumerate(kept, 1)}


def _text(notebook: NotebookNode) -> str:
    import nbformat

    return str(nbformat.writes(notebook)) + "\n"


def _end_with(pipe: Connection) -> None:
    """End this process when the other end of the pipe is closed."""
    try:
        pipe.poll(None)
    finally:
        os._exit(1)
