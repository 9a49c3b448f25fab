#!/usr/bin/env python3
"""The tasks of the pruning workbench. Each task first installs into .venv what requirements.lock pins.

    python tasks.py TASK [arguments that are passed on]

Needs Python 3.11 or newer and nothing else; `make TASK ARGS="..."` does the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 (said here, before anything newer is met)
    sys.exit("Python 3.11 or newer is needed; this is {}.{} ({})".format(*sys.version_info[:2], sys.executable))

ROOT = Path(__file__).resolve().parent
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
"""On Linux the package index's own PyTorch is a CUDA build; its CPU build stands in PyTorch's index."""

SLOW = ("tests/browser", "tests/headless", "tests/house", "tests/notebooks", "tests/test_cli.py", "tests/sweeps")
"""Tests with a browser, with kernels or with processes of their own, which `quick` leaves out."""

Run = Callable[[Sequence[str | Path]], None]


class Failed(Exception):
    """A command that ended with another exit code than 0."""


def run(command: Sequence[str | Path]) -> None:
    """Run a command in the repository; Failed if it fails. An interrupt is the command's own to answer."""
    process = subprocess.Popen([str(word) for word in command], cwd=ROOT)
    while process.returncode is None:
        with contextlib.suppress(KeyboardInterrupt):
            process.wait()
    if process.returncode:
        raise Failed(f"exit code {process.returncode} from: {' '.join(map(str, command))}")


# -- set-up ------------------------------------------------------------------------------------------------------


def program(name: str, root: Path = ROOT) -> Path:
    """A program of the environment, such as its Python."""
    return root / ".venv" / ("Scripts" if os.name == "nt" else "bin") / (f"{name}.exe" if os.name == "nt" else name)


def fingerprint(root: Path = ROOT) -> str:
    """What the environment depends on: the lock, and the folder, because an environment cannot be moved."""
    text = (root / "requirements.lock").read_text(encoding="utf-8")
    return hashlib.sha256(f"{root}\n{text}".encode()).hexdigest()


def ready(root: Path = ROOT) -> bool:
    """Whether a set-up from this very lock was finished."""
    stamp = root / ".venv" / "set-up.stamp"
    return program("python", root).exists() and stamp.exists() and stamp.read_text() == fingerprint(root)


def pinned(name: str, root: Path = ROOT) -> str:
    """The line `name==version` of the lock."""
    lines = (root / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


def set_up(root: Path = ROOT, run: Run = run, system: str = sys.platform) -> None:
    """Make .venv again unless it is ready. The stamp comes last: an incomplete set-up does not count."""
    if ready(root):
        return
    if os.name == "nt" and Path(sys.prefix) == root / ".venv":
        raise Failed("this Python is in .venv, which must be made again: run `deactivate`, then this task again")
    print("Setting up .venv: about 2 GB, some minutes, once.", flush=True)
    start = time.perf_counter()
    stamp = root / ".venv" / "set-up.stamp"
    stamp.unlink(missing_ok=True)
    python = program("python", root)
    install: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-compile",
        "--no-deps",
    ]
    run([getattr(sys, "_base_executable", sys.executable), "-m", "venv", "--clear", root / ".venv"])
    if system == "linux":
        run([*install, "--retries", "1", "--extra-index-url", CPU_BUILDS, f"{pinned('torch', root)}+cpu"])
    run([*install, "-r", root / "requirements.lock"])
    run([*install, "--no-build-isolation", "--editable", root])
    stamp.write_text(fingerprint(root))
    print(f"Set up in {time.perf_counter() - start:.0f} s.", flush=True)


# -- tasks -------------------------------------------------------------------------------------------------------


def lab(arguments: list[str]) -> None:
    """open JupyterLab on the first notebook (if no browser can open, print the address)"""
    options = [
        "--LabApp.default_url=/lab/tree/notebooks/00-start-here.ipynb",
        f"--LabApp.app_settings_dir={ROOT / 'tools' / 'lab'}",  # no question about news, no look for updates
    ]
    if not has_screen():
        options.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    run([program("python"), "-m", "jupyterlab", *options, *arguments])


def has_screen() -> bool:
    """Whether a browser window can open here."""
    if sys.platform in ("win32", "darwin"):
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def test(arguments: list[str]) -> None:
    """run all tests: tests/, the examples in docstrings, every notebook; each core takes one file at a time"""
    in_order = ["--dist", "loadfile", "--no-loadscope-reorder"]  # that of conftest.py: long files first
    run([program("python"), "-m", "pytest", "--numprocesses", "auto", *in_order, *arguments])


def quick(arguments: list[str]) -> None:
    """run the fast tests: no notebooks, no browser, no kernels or worker processes; less than 2 minutes on two cores"""
    test([*(f"--ignore={path}" for path in SLOW), "tests", "workbench", *arguments])


def run_notebooks(arguments: list[str]) -> None:
    """run every notebook headlessly into out/, with an index page"""
    run([program("workbench"), "run", *arguments])


def site(arguments: list[str]) -> None:
    """write the static pages and the reference into site/"""
    run([program("workbench"), "site", *arguments])


def evidence(arguments: list[str]) -> None:
    """compute the recorded rows that are missing in data/rows/ (hours, if all are missing)"""
    run([program("workbench"), "evidence", *arguments])


def drift(arguments: list[str]) -> None:
    """compute 20 recorded rows again, and write how they differ into out/drift.csv (some minutes)"""
    run([program("workbench"), "evidence", "--drift", "20", *arguments])


def bench(arguments: list[str]) -> None:
    """run the benchmarks"""
    run([program("python"), "-m", "benchmarks", *arguments])


STRIP = ["--keep-id", "--extra-keys", "metadata.papermill cell.metadata.papermill metadata.language_info.version"]
"""nbstripout removes outputs, except of cells tagged `keep_output`."""


def parity(arguments: list[str]) -> None:
    """compare criteria and allocations with independent sources; writes data/parity.csv and docs/parity.md"""
    run([program("python"), "tests/parity", *arguments])
    run([program("python"), "tools/readme.py"])


def check(arguments: list[str]) -> None:
    """check format, lint, types and that notebooks are committed without outputs"""
    together(
        [program("ruff"), "format", "--check"],
        [program("ruff"), "check"],
        [program("mypy")],
        [program("nbstripout"), "--verify", *STRIP, *notebooks()],
    )


def fix(arguments: list[str]) -> None:
    """repair format and lint as far as a program can, and remove outputs from the notebooks"""
    together(
        [program("ruff"), "check", "--fix", "--quiet"],
        [program("ruff"), "format", "--quiet"],
        [program("nbstripout"), *STRIP, *notebooks()],
    )


def together(*commands: Sequence[str | Path]) -> None:
    """Run all commands, then fail with those that failed."""
    failures = []
    for command in commands:
        try:
            run(command)
        except Failed as failure:
            failures.append(str(failure))
    if failures:
        raise Failed("\n".join(failures))


def notebooks() -> list[str]:
    """The notebooks, in their order."""
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("notebooks/*.ipynb"))


TASKS: dict[str, Callable[[list[str]], None]] = {
    "lab": lab,
    "test": test,
    "quick": quick,
    "run": run_notebooks,
    "site": site,
    "evidence": evidence,
    "drift": drift,
    "bench": bench,
    "parity": parity,
    "check": check,
    "fix": fix,
}


def main(words: list[str]) -> int:
    """Do the task that the words name; the exit code."""
    if not words or words[0] not in TASKS:
        print('python tasks.py TASK [arguments], or make TASK [ARGS="arguments"]. Tasks:')
        print("\n".join(f"  {name:9} {task.__doc__}" for name, task in TASKS.items()))
        return 2 if words else 0
    try:
        set_up()
        TASKS[words[0]](words[1:])
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
