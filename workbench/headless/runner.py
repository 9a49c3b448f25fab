"""Notebooks executed without a front end: parameters checked first, done work skipped, every run on its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.headless.files import make_folder
from workbench.headless.notebook import find_notebooks, read_notebook, title
from workbench.headless.parameters import Value, check_values, read_parameters
from workbench.headless.worker import KEY, Job, work
from workbench.seeds import versions
from workbench.shipped import shipped
from workbench.types import check_choice, check_count

if TYPE_CHECKING:
    from nbformat import NotebookNode

FACES = ("live", "picture", "site")


@dataclass(frozen=True)
class Run:
    """What became of one notebook: its files, the record its notebook carries, and whether it was done before."""

    executed: Path
    page: Path
    record: Mapping[str, Any]
    skipped: bool = False

    @property
    def problems(self) -> list[str]:
        """Why the run failed; empty where it did not."""
        return list(self.record.get("problems", []))


def run(
    notebooks: Sequence[str | Path],
    out: str | Path,
    *,
    parameters: Mapping[str, object] | None = None,
    profile: str | None = None,
    jobs: int = 1,
    face: str = "picture",
    pages: str | Path | None = None,
    report: Callable[[str], None] = print,
    on_run: Callable[[list[Run]], None] | None = None,
) -> list[Run]:
    """Execute notebooks (files, or folders of them) into the folder `out`; one Run each, in order.

    `parameters` (and `profile`, which is one of them and yields to an explicit value) must be known to *each* notebook
    and are checked before anything starts: ValueError. Each notebook runs in a process and a kernel of its own, `jobs`
    at a time, with one thread each where there are several. A run is one executed notebook, written in one step
    together with its page, so that a kill leaves whole files only. It is skipped where its notebook (without outputs),
    parameters, face, package source, shipped data and versions are those of a finished run in `out`. A failed cell, an
    error inside a widget or a process that ended is a problem of that run; the others go on.

    One command at a time writes to a folder. Files bear the notebook's name with the profile and a hash of the other
    parameters where these differ from the defaults; the name alone where pages lie in a folder of their own (`pages`).
    `on_run` is called with all runs so far when one ends. It misleads where a notebook reads files that are not
    shipped: a change of those does not start it again.
    """
    check_count("jobs", jobs)
    check_choice("face", face, FACES)
    plan = _plan(find_notebooks([str(n) for n in notebooks]), parameters or {}, profile)
    folder = make_folder(Path(out).resolve())
    side = make_folder(Path(pages).resolve()) if pages else folder
    origin = _origin()
    todo: list[Job] = []
    runs: dict[Path, Run] = {}
    order: list[Path] = []
    for source, notebook, values, given in plan:
        name = source.stem if pages else _name(source, given)
        key = _hash([_source(notebook), values, face, origin])
        files = folder / f"{name}.ipynb", side / f"{name}.html"
        words = title(notebook, source.stem)
        job = Job(source, words, values, given, face, key, *files, threads=1 if jobs > 1 else None)
        if job.executed in order:
            raise ValueError(f"two notebooks would be written to {job.executed}; run them into folders of their own")
        order.append(job.executed)
        record = read_record(job.executed)
        if record.get("key") == key and not record["problems"] and job.page.exists():
            runs[job.executed] = Run(job.executed, job.page, record, skipped=True)
            report(f"{name}: done before, skipped")
        else:
            todo.append(job)
    if on_run:
        on_run(list(runs.values()))
    with contextlib.closing(_executed(todo, jobs, report)) as results:
        for job, record in results:
            runs[job.executed] = Run(job.executed, job.page, record)
            if on_run:
                on_run(list(runs.values()))
    return [runs[path] for path in order]


def read_record(path: Path) -> dict[str, Any]:
    """The record in an executed notebook; empty where the file is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["metadata"][KEY]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _plan(
    sources: list[Path], parameters: Mapping[str, object], profile: str | None
) -> list[tuple[Path, NotebookNode, dict[str, Value], dict[str, Value]]]:
    """(file, notebook, all values, values that differ from the defaults) of each notebook; every check is made here."""
    given = {**({"profile": profile} if profile is not None else {}), **parameters}
    plan = []
    for source in sources:
        notebook = read_notebook(source)
        declared = read_parameters(notebook, source.name)
        values = check_values(declared, given, source.name)
        changed = {name: value for name, value in values.items() if value != declared[name].default}
        defaults = {name: parameter.default for name, parameter in declared.items()}
        plan.append((source.resolve(), notebook, defaults | values, changed))
    return plan


def _executed(
    todo: list[Job], jobs: int, report: Callable[[str], None]
) -> Generator[tuple[Job, dict[str, Any]], None, None]:
    """Work off the jobs, at most `jobs` processes at a time; yields each with its record as it ends."""
    context = _context()
    waiting = list(todo)
    active: dict[Any, tuple[Job, Any, float]] = {}
    try:
        while waiting or active:
            while waiting and len(active) < jobs:
                job, (here, there) = waiting.pop(0), context.Pipe()
                process = context.Process(target=work, args=(job, there), name=job.executed.stem)
                process.start()
                there.close()
                active[here] = (job, process, time.perf_counter())
            ready: list[Any] = list(wait(active))
            for pipe in ready:
                job, process, started = active[pipe]
                name = job.executed.stem
                try:
                    kind, *content = pipe.recv()
                except EOFError:
                    process.join()
                    problem = f"its process ended (exit code {process.exitcode}): killed, or out of memory"
                    kind, content = "done", [job.record(time.perf_counter() - started, [problem])]
                if kind == "cell":
                    report(f"{name}: cell {content[0]} of {content[1]}, {content[2]:.1f} s")
                    continue
                record = content[0]
                process.join()
                del active[pipe]
                pipe.close()
                for problem in record["problems"]:
                    report(f"{name}: {problem}")
                report(f"{name}: {'failed' if record['problems'] else 'finished'}, {record['seconds']:.1f} s")
                yield job, record
    finally:
        for pipe, (_, process, _) in active.items():
            pipe.close()
            process.join()


def _context() -> Any:
    """How worker processes start: as copies of a server that has imported what they need, where the system can."""
    if os.name != "posix":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["workbench.headless.worker", "workbench.headless.render", "papermill"])
    return context


def _name(source: Path, given: Mapping[str, Value]) -> str:
    """Name of a run's files: the notebook's, the profile, and a hash of the other given parameters."""
    others = {name: value for name, value in given.items() if name != "profile"}
    parts = [source.stem, str(given.get("profile", "")), _hash(others)[:8] if others else ""]
    return "-".join(part for part in parts if part)


def _source(notebook: NotebookNode) -> list[Any]:
    """What of a notebook decides about its results: cells without outputs."""
    cells = notebook.cells
    return [[c.cell_type, c.source, c.metadata.get("tags", []), c.get("attachments", {})] for c in cells]


def _origin() -> list[Any]:
    """What else decides: the source of the package, the data shipped with it, and the versions it runs with."""
    tools = ("anywidget", "ipykernel", "latex2mathml", "matplotlib", "nbconvert", "papermill")
    package = Path(__file__).resolve().parents[1]
    return [_digest(package), _digest(shipped()), versions(), {name: metadata.version(name) for name in tools}]


def _digest(folder: Path) -> str:
    """Hash of the names and contents of a folder's files, compiled ones left out."""
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        found.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
