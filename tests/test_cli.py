"""The `workbench` command: one clear line for a mistake, exit codes, nothing started in vain."""

import json
import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from notebook_maker import make, text_of

from workbench.cli import main
from workbench.headless import read_notebook
from workbench.stopping import LINE

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
        (["-p", "seeds", "1", "-p", "seeds", "2"], "give each parameter once; got seeds more than once"),
        (["-p", "seeds", "-x"], "parameter seeds is int; got '-x'"),
        (["-p", "-p", "--profile"], "a parameter is one of"),
        (["-o", ""], "results lie in a folder; its name is empty"),
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
        ("", "is not a notebook: a notebook is JSON text"),
    ],
)
def test_what_is_no_notebook(tmp_path, capsys, content, message):
    path = tmp_path / "a.ipynb"
    if content is None:
        assert message in refused(capsys, "run", path, "-o", tmp_path / "out")
        return
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["run", str(path), "-o", str(tmp_path / "out")]) == 1
    line, end = capsys.readouterr().out.splitlines()
    assert line.startswith("a: ")
    assert message in line
    assert end.startswith("0 of 1 notebooks finished")
    assert main(["run", "--list", str(path)]) == 1
    assert message in capsys.readouterr().out


def test_a_folder_without_notebooks(tmp_path, capsys):
    assert "an empty name is not there" in refused(capsys, "run", "", "-o", tmp_path / "out")
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


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_evidence_that_is_stopped_says_one_line_and_keeps_its_rows(tmp_path):
    """Ctrl-C in a terminal goes to the command and to its workers."""
    command = [sys.executable, "-m", "workbench.cli", "evidence", "conservation", "--jobs", "2", "-o", str(tmp_path)]
    root = str(Path(__file__).resolve().parent.parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    with process:
        assert process.stderr.readline().startswith("layer_sums: 3 of 25 runs")  # the last rows take many seconds
        os.killpg(process.pid, signal.SIGINT)
        _, words = process.communicate()
    assert process.returncode == 130
    assert words.endswith(LINE.decode())
    assert words.count("stopping: running runs end, no new ones start") == 1
    assert (tmp_path / "conservation.jsonl").read_text().count("\n") >= 1


def test_unknown_evidence_is_refused(tmp_path, capsys):
    assert "Did you mean 'headline'" in refused(capsys, "evidence", "headlines", "-o", tmp_path)


def test_the_command_from_a_shell(tmp_path):
    """With a folder for temporary files whose name is too long for sockets, and names that are hard on terminals."""
    make(tmp_path / "in" / "good ü#1.ipynb", "import os; print(sparsity, name, os.environ['OMP_NUM_THREADS'])")
    make(tmp_path / "in" / "bad.ipynb", "1 / 0")
    (tmp_path / "in" / "torn.ipynb").write_text("{")
    odd = json.loads((tmp_path / "in" / "bad.ipynb").read_text())
    odd["cells"] = [{**odd["cells"][0], "source": "# Half a character \ud800"}, odd["cells"][1]]
    odd["nbformat_minor"] = 0  # in this version cells had no names
    odd["cells"] = [{name: value for name, value in cell.items() if name != "id"} for cell in odd["cells"]]
    (Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xff.ipynb"))).write_text(json.dumps(odd))
    (tmp_path / ("long" * 20)).mkdir()
    root = str(Path(__file__).resolve().parent.parent)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    environment |= {"TMPDIR": str(tmp_path / ("long" * 20)), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "workbench.cli",
            "run",
            "in",
            "-p",
            "sparsity",
            "-1e-3",
            "-p",
            "name",
            "--x",
            "--jobs",
            "2",
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    assert "cell 3 of 3 failed" in done.stdout
    assert "ZeroDivisionError: division by zero" in done.stdout
    assert "torn.ipynb is not a notebook" in done.stdout
    assert done.stdout.endswith("2 of 4 notebooks finished; see out/index.html\n")
    [good] = (tmp_path / "out").glob("good*.ipynb")
    assert "-0.001 --x 1" in text_of(good)
    [half] = (tmp_path / "out").glob("\udcff*.ipynb")
    assert read_notebook(half).nbformat_minor == 5
    page = (tmp_path / "out" / "index.html").read_text()
    assert 'href="good%20%C3%BC%231-' in page
    assert 'href="%FF-' in page
    assert "Half a character ?" in page
    assert os.listdir(tmp_path / ("long" * 20)) == []
