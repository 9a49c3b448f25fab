"""Notebooks executed without a front end: parameters checked first, done work skipped, every run on its own."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench.explorers.faces import FACES
from workbench.files import make_folder, results_folder
from workbench.headless.notebook import bare, find_notebooks, read_notebook, title
from workbench.headless.parameters import check_values, read_parameters
from workbench.headless.processes import executed
from workbench.headless.record import KEY, RECORD, Run, read_record
from workbench.headless.worker import Job
from workbench.project_data import project_data
from workbench.seeds import versions
from workbench.types import check_choice, check_count

# The variables by which the libraries underneath know how many threads to compute with.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "WORKBENCH_THREADS")


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
    at a time, on one thread unless OMP_NUM_THREADS or WORKBENCH_THREADS says otherwise, without the outputs, injected
    parameters and widgets of an earlier run. It is skipped where notebook, parameters, face, threads, package source,
    shipped data and versions are those of a finished run in `out`. A notebook that cannot be read, a failed cell, an
    error inside a widget or a process that ended is a problem of that run; the others go on.

    A run is an executed notebook with its record, and then its page, each written in one step: a kill leaves whole
    files only. What is out of date is removed before the first run; a failed one leaves its record. What a page cannot
    show (`page_problems`) fails no run: the page says so, and the next call makes it again from the executed notebook.

    One command at a time writes to a folder. Files bear the notebook's name with the profile and a hash of the other
    parameters that differ from the defaults; the name alone where pages have a folder of their own (`pages`). `on_run`
    hears of all runs so far when one ends. It misleads where a notebook reads files that are not shipped: a change of
    those does not start it again.
    """
    check_count("jobs", jobs)
    check_choice("face", face, FACES)
    asked = {**({"profile": profile} if profile is not None else {}), **(parameters or {})}
    sources = find_notebooks([str(n) for n in notebooks])
    folder, side = results_folder(out), results_folder(out if pages is None else pages)
    others = [face, kernel_threads(), _origin()]
    plan = [_planned(source, asked, others, folder, side) for source in sources]
    _refuse_to_overwrite(sources, plan)
    make_folder(folder)
    make_folder(side)
    todo: list[Job] = []
    runs: dict[Path, Run] = {}
    for source, one in zip(sources, plan, strict=True):
        record = read_record(one.executed)
        if isinstance(one, Run):
            runs[one.executed] = one
            for old in _of_the_same(source, asked, folder, alone=side != folder):
                _remove(old, side / f"{old.stem}.html")
            report(f"{one.executed.stem}: {one.problems[0]}")
        elif record.get("key") != one.key or record["problems"]:
            todo.append(one)
            _remove(one.executed, one.page)
        elif record["page"] or not os.path.exists(one.page):
            todo.append(replace(one, executed_before=True))
        else:
            runs[one.executed] = Run(one.executed, one.page, record, skipped=True)
            report(f"{one.executed.stem}: done before, skipped")
    if on_run:
        on_run(list(runs.values()))
    with contextlib.closing(executed(todo, jobs, report)) as results:
        for job, record in results:
            runs[job.executed] = Run(job.executed, job.page, record)
            if on_run:
                on_run(list(runs.values()))
    return [runs[one.executed] for one in plan]


def kernel_threads() -> dict[str, str]:
    """The variables for a kernel: one thread where nobody says more, so that `jobs` does not change a number."""
    return {"OMP_NUM_THREADS": "1"} | {name: os.environ[name] for name in THREADS if os.environ.get(name)}


def _planned(source: Path, asked: Mapping[str, object], others: list[Any], folder: Path, side: Path) -> Job | Run:
    """What is to be done for a notebook; a failed Run where it cannot be. Values that it does not take: ValueError."""
    face, threads, _ = others  # what decides about its results beside its text and its parameters

    def failed(name: str, why: str) -> Run:
        facts = {"title": source.stem, "face": face, "threads": threads, "problems": [" ".join(why.split())]}
        record = copy.deepcopy(RECORD) | facts
        return Run(folder / f"{name}.ipynb", side / f"{name}.html", record)

    try:
        notebook = bare(read_notebook(source))
        declared = read_parameters(notebook, source.name)
        text, words = json.dumps(notebook), title(notebook, source.stem)
        if source.stem.lower() in ("index", "claims"):
            raise ValueError(f"a notebook cannot have the name {source.name}: its page would replace a list of pages")
    except Exception as error:  # whatever is wrong with one notebook is its own
        why = str(error) if isinstance(error, ValueError) else f"{source}: {type(error).__name__}: {error}"
        return failed(source.stem if side != folder else _name(source, asked), why)
    values = check_values(declared, asked, source.name)
    given = {name: value for name, value in values.items() if value != declared[name].default}
    values = {name: parameter.default for name, parameter in declared.items()} | values
    name = source.stem if side != folder else _name(source, given)
    if _foreign(target := folder / f"{name}.ipynb"):
        return failed(
            name,
            f"{target} is a notebook that no run wrote, so it is kept. Move it, or choose another folder "
            "for the results",
        )
    cells = [[c.cell_type, c.source, c.metadata.get("tags", []), c.get("attachments", {})] for c in notebook.cells]
    return Job(
        source=source.resolve(),
        text=text,
        title=words,
        parameters=values,
        given=given,
        face=face,
        key=_hash([cells, values, *others]),
        threads=threads,
        executed=target,
        page=side / f"{name}.html",
    )


def _refuse_to_overwrite(sources: Sequence[Path], plan: Sequence[Job | Run]) -> None:
    """A ValueError where a result would be written over a notebook that is to be run, or over another result."""
    for source, one in zip(sources, plan, strict=True):
        if [other.executed for other in plan].count(one.executed) > 1:
            raise ValueError(f"two notebooks would be written to {one.executed}; run them into different folders")
        for path, there in itertools.product((one.executed, one.page), sources):
            if os.path.exists(path) and os.path.exists(there) and path.samefile(there):
                told = f"the result of {source} would overwrite {there}, which is also to be run"
                raise ValueError(f"{told}. Name another folder for the results with -o (out=)")


def _foreign(path: Path) -> bool:
    """Whether a file is somebody's notebook, with cells and without the record of a run."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return bool(content["cells"]) and KEY not in content["metadata"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _of_the_same(source: Path, asked: Mapping[str, object], folder: Path, alone: bool) -> list[Path]:
    """The results in a folder of a notebook that cannot be run now, with the values that are asked for."""
    found, wanted = [], {name: str(value) for name, value in asked.items()}
    for path in folder.glob("*.ipynb"):
        record = read_record(path)
        if record and path.stem == (source.stem if alone else _name(source, record["given"])):
            told = {name: str(record["parameters"].get(name)) for name in {*asked, *record["given"]}}
            found += [path] if told == wanted else []
    return found


def _remove(*paths: Path) -> None:
    """Remove files, where they are there."""
    for path in paths:
        if os.path.isfile(path) or os.path.islink(path):
            path.unlink()


def _name(source: Path, given: Mapping[str, object]) -> str:
    """Name of a run's files: the notebook's, the profile, and a hash of the other given parameters."""
    profile = given.get("profile", "")
    if not isinstance(profile, str) or not re.fullmatch(r"[A-Za-z0-9_]*", profile):
        profile = ""
    others = {name: value for name, value in given.items() if name != "profile" or not profile}
    parts = [source.stem, profile, _hash(others)[:8] if others else ""]
    return "-".join(part for part in parts if part)


def _origin() -> list[Any]:
    """What else decides: the source of the package, the data shipped with it, and the versions it runs with."""
    tools = ("anywidget", "ipykernel", "latex2mathml", "matplotlib", "nbconvert", "papermill")
    package = Path(__file__).resolve().parents[1]
    return [_digest(package), _digest(project_data()), versions(), {name: metadata.version(name) for name in tools}]


def _digest(folder: Path) -> str:
    """Hash of the names and contents of a folder's files, compiled ones left out."""
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        found.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
