"""One notebook in a process of its own: what the worker does."""

from __future__ import annotations

import contextlib
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
from urllib.parse import quote

from workbench.files import address, write_whole
from workbench.headless.notebook import hidden_errors, places, read_notebook
from workbench.headless.parameters import Value
from workbench.headless.picture import small_picture
from workbench.headless.record import KEY, RECORD

if TYPE_CHECKING:
    from nbformat import NotebookNode

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Job:
    """A notebook to execute (its text, without outputs): with which values, as which face, where the results go.

    `threads` are variables of the kernel's environment. Where it was `executed_before`, only its page is made.
    """

    source: Path
    text: str
    title: str
    parameters: dict[str, Value]
    given: dict[str, Value]
    face: str
    key: str
    threads: dict[str, str]
    executed: Path
    page: Path
    executed_before: bool = False

    def record(self, seconds: float, problems: list[str]) -> dict[str, Any]:
        """The record of its run, ending now, without a picture; `page` holds what its page could not show."""
        facts = {name: getattr(self, name) for name in ("title", "parameters", "given", "face", "key", "threads")}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return {**RECORD, **facts, "finished": now, "seconds": round(seconds, 1), "problems": problems, "page": []}


def work(job: Job, scratch: Path, pipe: Connection) -> None:
    """Execute a job, write its notebook with the record of the run in the metadata, then its page.

    Temporary files lie in `scratch`. Sends ("cell", number, of, seconds) as each code cell starts and ("done", record)
    at the end. When the other end of the pipe closes (a stopped command), this process ends at once, and its kernel.
    """
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C reaches the command, which closes the pipe
    if os.name == "posix":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the server of processes holds it back
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    pipe.send(("done", complete(job, scratch, lambda *cell: pipe.send(("cell", *cell)))))


def complete(job: Job, scratch: Path, progress: Callable[[int, int, float], None]) -> dict[str, Any]:
    """Execute a job and write its files; the record of the run. The notebook comes first: a page costs no run."""
    started = time.perf_counter()
    problems: list[str] = []
    try:
        if job.executed_before:
            notebook = read_notebook(job.executed)
        else:
            notebook, problems = _execute(job, scratch, progress)
            notebook.metadata[KEY] = job.record(time.perf_counter() - started, problems) | small_picture(notebook)
            write_whole(job.executed, _text(notebook))
        record = dict(notebook.metadata[KEY])
    except Exception as error:  # whatever ends this run is reported, and the other runs go on
        return write_failure(job, time.perf_counter() - started, [*problems, f"{type(error).__name__}: {error}"])
    shown = _write_page(job, notebook)
    if shown != record["page"]:
        record["page"] = notebook.metadata[KEY]["page"] = shown
        with contextlib.suppress(OSError):  # a full disk: the record on it says less, and the numbers are the same
            write_whole(job.executed, _text(notebook))
    return record


def write_failure(job: Job, seconds: float, problems: list[str]) -> dict[str, Any]:
    """The record of a run that left no notebook, written with the notebook's source where that can be written."""
    import nbformat

    record = job.record(seconds, problems)
    with contextlib.suppress(OSError):
        notebook = nbformat.v4.reads(job.text)
        notebook.metadata[KEY] = record
        write_whole(job.executed, _text(notebook))
    return record


def _write_page(job: Job, notebook: NotebookNode) -> list[str]:
    """Write the page of an executed notebook; what it could not show. Whatever happens here, the run is done."""
    from workbench.headless.render import notebook_page

    ending = quote(os.fsencode(job.page.name.removeprefix(job.source.stem)))
    try:
        content, problems = notebook_page(notebook, job.source.parent, address(job.executed, job.page.parent), ending)
        write_whole(job.page, content)
    except Exception as error:
        return [f"no page: {type(error).__name__}: {error}"]
    return problems


def _execute(job: Job, scratch: Path, progress: Callable[[int, int, float], None]) -> tuple[NotebookNode, list[str]]:
    """The executed notebook and its problems: the traceback of a failed cell, then the hidden errors."""
    import nbformat
    from nbclient.exceptions import DeadKernelError
    from papermill.engines import NBClientEngine
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook
    from traitlets.config import Config

    os.environ.update(job.threads, WORKBENCH_FACE=job.face)
    os.chdir(job.source.parent)
    notebook = load_notebook_node(nbformat.v4.reads(job.text))
    notebook.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    if job.given:
        notebook = parameterize_notebook(notebook, job.given)
    numbers, started, current = places(notebook), time.perf_counter(), 0

    def cell_starts(cell: NotebookNode, cell_index: int) -> None:
        nonlocal current
        current = numbers.get(cell_index, current)
        if cell.cell_type == "code" and cell_index in numbers:
            progress(numbers[cell_index], len(numbers), time.perf_counter() - started)

    with tempfile.TemporaryDirectory(prefix="kernel-", dir=scratch) as folder:
        client = "workbench.headless.client.PatientClient"
        manager = {"connection_file": os.path.join(folder, "kernel.json"), "client_class": client}
        if os.name == "posix":
            manager["transport"] = "ipc"  # sockets as files: no port is taken twice by kernels that start together
        try:
            NBClientEngine.execute_notebook(
                notebook,
                "python3",
                progress_bar=False,
                autosave_cell_every=0,
                start_timeout=180,
                on_cell_start=cell_starts,
                config=Config({"KernelManager": manager}),
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            )
        except DeadKernelError:
            return notebook, [f"cell {current} of {len(numbers)} failed\nits kernel died: killed, or out of memory"]
    return notebook, _failures(notebook, numbers) + hidden_errors(notebook)


def _failures(notebook: NotebookNode, numbers: dict[int, int]) -> list[str]:
    """The traceback of the cell that ended the execution, if one did."""
    for index, cell in enumerate(notebook.cells):
        if cell.metadata.get("papermill", {}).get("exception"):
            traces = ["\n".join(output.traceback) for output in cell.outputs if output.output_type == "error"]
            injected = "the cell of injected parameters"
            where = f"cell {numbers[index]} of {len(numbers)}" if index in numbers else injected
            return [f"{where} failed\n{ANSI.sub('', (traces or [''])[-1])}"]
    return []


def _text(notebook: NotebookNode) -> str:
    import nbformat

    return str(nbformat.writes(notebook)) + "\n"


def _end_with(pipe: Connection) -> None:
    """End this process when the other end of the pipe is closed."""
    try:
        pipe.poll(None)
    finally:
        os._exit(1)
