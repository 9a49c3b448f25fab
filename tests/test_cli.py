"""The `workbench` command: one clear line for a mistake, exit codes, nothing started in vain."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from notebook_maker import make

from workbench.cli import main

R = {"name": "ir", "display_name": "R", "language": "R"}


def refused(capsys, *arguments):
    """Run the command in this process; its one line of complaint."""
    assert main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("workbench: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "sparsty", "0.9"], "Did you mean 'sparsity'"),
        (["-p", "sparsity", "abc"], "parameter sparsity is float; got 'abc'"),
        (["-p", "profile", "quick"], "one of 'smoke', 'lecture', 'full'; got 'quick'"),
        (["--profile", "quick"], "one of 'smoke', 'lecture', 'full'; got 'quick'"),
        (["-p", "seeds", "1", "-p", "seeds", "2"], "a parameter is given once; got seeds more often"),
        (["--jobs", "0"], "jobs is a whole number of at least 1; got 0"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_starts(tmp_path, capsys, arguments, message):
    notebook = make(tmp_path / "a.ipynb")
    assert message in refused(capsys, "run", notebook, "-o", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not there"),
        ("not json", "is not a notebook: a notebook is JSON text"),
        ("[1, 2]", "is not a notebook of nbformat 4"),
        (
            json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []}),
            "is not a notebook of nbformat 4",
        ),
        (
            json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}}),
            "is not a valid notebook of nbformat 4 (KeyError: 'cells')",
        ),
        (
            json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "poem"}]}),
            "is not a valid notebook of nbformat 4",
        ),
        (
            json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [1]}),
            "is not a valid notebook of nbformat 4",
        ),
        (
            json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": R}, "cells": []}),
            "a notebook here is in Python",
        ),
        (b"\xff\xfe\x00", "is not a notebook: a notebook is JSON text"),
    ],
)
def test_what_is_no_notebook(tmp_path, capsys, content, message):
    path = tmp_path / "a.ipynb"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in refused(capsys, "run", path, "-o", tmp_path / "out")


def test_a_folder_without_notebooks(tmp_path, capsys):
    assert "holds no notebook" in refused(capsys, "site", tmp_path, "-o", tmp_path / "out")


def test_a_parameter_for_a_notebook_without_a_parameters_cell(tmp_path, capsys):
    notebook = make(tmp_path / "a.ipynb", parameters=None)
    assert "has no cell tagged 'parameters'" in refused(capsys, "run", notebook, "-o", tmp_path / "out", "-p", "x", "1")


def test_results_that_cannot_be_written(tmp_path, capsys):
    notebook = make(tmp_path / "a.ipynb")
    (tmp_path / "file").write_text("")
    assert "can be written to" in refused(capsys, "run", notebook, "-o", tmp_path / "file" / "out")
    assert "can be written to" in refused(capsys, "run", notebook, "-o", tmp_path / "file")
    assert "can be written to" in refused(capsys, "run", notebook, "-o", "/proc/out")


def test_claims_of_a_folder_that_holds_none(tmp_path, capsys):
    assert "holds no executed notebook" in refused(capsys, "claims", tmp_path)


def test_what_a_notebook_takes_is_printed(tmp_path, capsys):
    assert main(["run", "--list", str(make(tmp_path / "a.ipynb"))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split("  ")[0] == "profile"
    assert lines[1].endswith("'lecture'  how much to compute")
    assert len(lines[1:-1]) == 6


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"workbench {metadata.version('pruning-workbench')}\n"


def test_the_command_from_a_shell(tmp_path):
    make(tmp_path / "in" / "good.ipynb", "print(seeds)")
    make(tmp_path / "in" / "bad.ipynb", "1 / 0")
    root = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "workbench.cli", "run", "in", "-p", "seeds", "5", "--profile", "smoke"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    assert "cell 3 of 3 failed" in done.stdout
    assert "ZeroDivisionError: division by zero" in done.stdout
    assert done.stdout.endswith("1 of 2 notebooks finished; see out/index.html\n")
