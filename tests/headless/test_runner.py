"""Notebooks executed headlessly, with real kernels: what is checked first, what is written, what survives."""

import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
import zmq.asyncio
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.session import Session
from nbformat.v4 import new_markdown_cell
from notebook_maker import FAILING_EXPLORER, FAILING_WIDGET, code, make, text_of

from workbench.headless import files, hidden_errors, numbers, run, run_with_index, runner
from workbench.headless.client import PatientChannel
from workbench.headless.files import make_folder, write_whole

SHOW = "import os; print(os.environ['WORKBENCH_FACE'], os.environ.get('OMP_NUM_THREADS'), profile, sparsity, limit)"


def command(*arguments, **options):
    """Start `workbench` in a session of its own, its stderr and stdout as text."""
    return subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def gone(pid, seconds=10):
    """Whether a process ends within some seconds."""
    for _ in range(seconds * 10):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


def check_whole(folder):
    """Every file under a final name is complete."""
    for path in folder.iterdir():
        if path.suffix == ".ipynb":
            notebook = nbformat.read(path, as_version=4)
            assert notebook.metadata.workbench["problems"] == []
        elif not path.name.startswith("."):
            assert path.read_text().endswith("</html>\n"), path


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three notebooks run at once, the middle one failing; what was said, and the runs."""
    folder = tmp_path_factory.mktemp("three")
    make(folder / "a.ipynb", SHOW, new_markdown_cell("[next](c.ipynb)"))
    make(folder / "b.ipynb", "x = 1", code("# note\ndef deep():\n    return 1 / 0\n\ndeep()"), "print('not reached')")
    make(folder / "c.ipynb", SHOW, code("1 / 0", "raises-exception"), "print('went on')")
    said = []
    given = {"sparsity": "0.95"}
    runs = run_with_index([folder], folder / "out", parameters=given, profile="smoke", jobs=2, report=said.append)
    return folder, runs, said


def test_parameters_face_and_threads_reach_the_kernel(three):
    folder, runs, _ = three
    assert "picture 1 smoke 0.95 None" in text_of(runs[0].executed)
    assert runs[0].record["parameters"] == {
        "profile": "smoke",
        "sparsity": 0.95,
        "seeds": 3,
        "name": "plain",
        "live": False,
        "limit": None,
    }
    assert runs[0].executed.parent == (folder / "out").resolve()
    assert runs[0].executed.name.startswith("a-smoke-")
    assert f'href="{runs[2].page.name}"' in runs[0].page.read_text()


def test_a_failed_cell_names_itself_and_the_others_finish(three):
    _, runs, said = three
    assert [bool(r.problems) for r in runs] == [False, True, False]
    [problem] = runs[1].problems
    assert problem.startswith("cell 4 of 5 failed")
    assert "ZeroDivisionError" in problem
    assert "return 1 / 0" in problem
    assert "\x1b" not in problem
    assert any(runs[1].executed.stem in line and "cell 4 of 5 failed" in line for line in said)
    assert "not reached" not in text_of(runs[1].executed)
    assert "went on" in text_of(runs[2].executed)


def test_progress_counts_the_cells_of_the_source(three):
    _, runs, said = three
    name = runs[0].executed.stem
    lines = [line for line in said if line.startswith(name)]
    steps = [line.removeprefix(f"{name}: ").split(",")[0] for line in lines]
    assert steps == ["cell 2 of 4", "cell 3 of 4", "finished"]
    assert all(line.endswith(" s") for line in lines)


def test_the_index_lists_runs_with_parameters_time_result_and_links(three):
    folder, runs, _ = three
    text = (folder / "out" / "index.html").read_text()
    assert "3 runs, 1 failed" in text
    for r in runs:
        assert f'href="{r.executed.name}"' in text
        assert f'href="{r.page.name}"' in text
        assert f"Title of {r.executed.stem[0]}" in text
    assert "<strong>sparsity = 0.95</strong>" in text
    assert "<strong>seeds" not in text
    assert "ZeroDivisionError" in text


def test_finished_runs_are_skipped_and_failed_ones_tried_again(three):
    folder, runs, _ = three
    before = runs[0].executed.stat().st_mtime_ns
    again = run([folder], folder / "out", parameters={"sparsity": 0.95}, profile="smoke", report=lambda _: None)
    assert [r.skipped for r in again] == [True, False, True]
    assert runs[0].executed.stat().st_mtime_ns == before
    run_with_index([folder / "a.ipynb"], folder / "out", parameters={"sparsity": 0.95}, profile="smoke")
    assert "3 runs, 1 failed" in (folder / "out" / "index.html").read_text()  # earlier runs stay in the list


def test_what_decides_whether_a_run_is_done(tmp_path, monkeypatch):
    path = make(tmp_path / "a.ipynb", code("print(1)", outputs=["old"]))

    def skipped(**options):
        return run([path], tmp_path / "out", report=lambda _: None, **options)[0].skipped

    assert not skipped()
    make(path, code("print(1)", outputs=["other output"]))
    assert skipped()
    assert skipped(parameters={"seeds": 3}, profile="lecture")  # the defaults, said aloud
    assert not skipped(face="live")
    make(path, code("print(2)"))
    assert not skipped(face="live")
    monkeypatch.setattr(runner, "versions", lambda: {"torch": "another"})
    assert not skipped(face="live")
    (tmp_path / "out" / "a.html").unlink()
    assert not skipped(face="live")


def test_source_of_the_package_is_part_of_the_hash(tmp_path):
    (tmp_path / "a.py").write_text("x = 1")
    first = runner._digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("compiled")
    assert runner._digest(tmp_path) == first
    (tmp_path / "a.py").write_text("x = 2")
    second = runner._digest(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({first, second, runner._digest(tmp_path)}) == 3


def test_errors_inside_widgets_fail_the_run(tmp_path):
    make(tmp_path / "explorer.ipynb", FAILING_EXPLORER)
    make(tmp_path / "interact.ipynb", FAILING_WIDGET)
    make(tmp_path / "sound.ipynb", FAILING_WIDGET.replace("raise RuntimeError", "print"))
    runs = run([tmp_path], tmp_path / "out", jobs=2, face="live", report=lambda _: None)
    assert "planted in an explorer" in runs[0].problems[0]
    assert runs[1].problems == ["OutputModel: RuntimeError: planted in a widget"]
    assert runs[2].problems == []
    assert hidden_errors(nbformat.read(runs[1].executed, as_version=4)) == runs[1].problems


@pytest.mark.parametrize("patient", [False, True])
def test_a_message_whose_wake_up_was_lost_arrives(patient):
    """What a send does to a waiting socket: it asks for the socket's events, and the event loop is not told again."""
    kind = PatientChannel if patient else AsyncZMQSocketChannel

    async def lose_the_wake_up():
        with zmq.asyncio.Context() as context, context.socket(zmq.PAIR) as near, context.socket(zmq.PAIR) as far:
            near.linger = far.linger = 0
            near.bind("inproc://lost")
            far.connect("inproc://lost")
            session = Session()
            waiting = asyncio.ensure_future(kind(near, session).get_msg())
            await asyncio.sleep(0.1)
            zmq.Socket.shadow(far).send_multipart(session.serialize(session.msg("told")))
            zmq.Socket.shadow(near).getsockopt(zmq.EVENTS)
            await asyncio.wait([waiting], timeout=3)
            waiting.cancel()
            return waiting.done() and not waiting.cancelled() and waiting.result()["msg_type"]

    with ThreadPoolExecutor() as thread:  # Playwright leaves an event loop running in this one
        assert thread.submit(lambda: asyncio.run(lose_the_wake_up())).result() == ("told" if patient else False)


def test_recorded_numbers_are_collected_in_order():
    outputs = [
        nbformat.v4.new_output("display_data", {"application/vnd.workbench.numbers+json": {"a": 1}}),
        nbformat.v4.new_output(
            "display_data", {"application/vnd.workbench.claim+json": [{"id": "b"}, {"id": "c"}], "text/plain": "b"}
        ),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=outputs)])
    assert numbers(notebook) == [{"a": 1}, {"id": "b"}, {"id": "c"}]


def test_a_process_or_kernel_that_ends_fails_its_own_run_only(tmp_path):
    make(tmp_path / "kernel.ipynb", "import os; os._exit(3)")
    make(tmp_path / "other.ipynb", "print('fine')")
    make(tmp_path / "worker.ipynb", "import os; os.kill(os.getppid(), 9)")
    said = []
    runs = run_with_index([tmp_path], tmp_path / "out", jobs=3, report=said.append)
    assert runs[0].problems == ["cell 3 of 3 failed\nits kernel died: killed, or out of memory"]
    assert runs[0].executed.exists()
    assert runs[1].problems == []
    assert runs[2].problems == ["its process ended (exit code -9): killed, or out of memory"]
    assert not runs[2].executed.exists()
    assert "its process ended" in (tmp_path / "out" / "index.html").read_text()


def test_nothing_starts_where_a_parameter_is_wrong(tmp_path):
    make(tmp_path / "a.ipynb")
    make(tmp_path / "b.ipynb", parameters="rate: float = 0.1")
    with pytest.raises(ValueError, match=r"b.ipynb: a parameter is one of rate; got 'sparsity'"):
        run([tmp_path], tmp_path / "out", parameters={"sparsity": "0.9"})
    assert not (tmp_path / "out").exists()


def test_an_explicit_parameter_wins_over_the_profile(tmp_path):
    path = make(tmp_path / "a.ipynb")
    [done] = run([path], tmp_path / "out", parameters={"profile": "full"}, profile="smoke", report=lambda _: None)
    assert done.record["parameters"]["profile"] == "full"


def test_two_notebooks_of_one_name_need_two_folders(tmp_path):
    paths = [make(tmp_path / side / "a.ipynb") for side in "xy"]
    with pytest.raises(ValueError, match=r"two notebooks would be written to .*a.ipynb"):
        run(paths, tmp_path / "out", report=lambda _: None)


@pytest.mark.parametrize("options", [{"jobs": 0}, {"face": "pictures"}])
def test_other_wrong_arguments(tmp_path, options):
    with pytest.raises(ValueError, match=r"jobs|picture"):
        run([make(tmp_path / "a.ipynb")], tmp_path / "out", **options)


def test_a_full_disk_loses_nothing_that_was_finished(tmp_path):
    """A limit on the size of files makes write() fail with a real error of the system."""
    make(tmp_path / "a.ipynb", "print('small')")
    make(tmp_path / "b.ipynb", "print('x' * 3_000_000)")
    make(tmp_path / "c.ipynb", "print('small too')")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    process = command("run", tmp_path, "-o", tmp_path / "out", preexec_fn=limit)
    said, errors = process.communicate(timeout=400)
    assert process.returncode == 1, errors
    assert "b: OSError: [Errno 27] File too large" in said
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["a.html", "a.ipynb", "c.html", "c.ipynb", "index.html"]
    check_whole(tmp_path / "out")


def test_killed_anywhere_and_started_again(tmp_path):
    """SIGKILL of the command at seeded random moments; the same command then finishes and skips what was done."""
    for name in "abcd":
        make(tmp_path / "in" / f"{name}.ipynb", f"import os; print(os.getpid(), file=open(r'{tmp_path}/pids', 'a'))")
    out = tmp_path / "out"
    arguments = ("run", tmp_path / "in", "-o", out, "--jobs", "2")
    moments = random.Random(0)
    for _ in range(2):
        process = command(*arguments)
        for _ in range(moments.randint(1, 6)):
            assert process.stdout.readline(), "the command ended before its kill"
        time.sleep(moments.uniform(0, 0.7))
        process.kill()
        process.communicate()
        check_whole(out)
    done = {p.name for p in out.glob("*.ipynb")}
    process = command(*arguments)
    said, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    assert {f"{line.split(':')[0]}.ipynb" for line in said.splitlines() if "skipped" in line} == done
    assert not list(out.glob(".*"))
    check_whole(out)
    assert {p.name for p in out.glob("*.ipynb")} == {"a.ipynb", "b.ipynb", "c.ipynb", "d.ipynb"}
    assert all(gone(pid) for pid in (tmp_path / "pids").read_text().split())


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_kill_while_a_file_is_written_leaves_the_old_one(tmp_path, call):
    path = tmp_path / "a.html"
    write_whole(path, "old")
    program = (
        "import os, sys, pathlib, runpy\n"
        f"write_whole = runpy.run_path({files.__file__!r})['write_whole']\n"
        f"os.{call} = lambda *_: os.kill(os.getpid(), 9)\n"
        "write_whole(pathlib.Path(sys.argv[1]), 'new ' * 100_000)"
    )
    assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    make_folder(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_half_written_files_of_a_killed_command_go(tmp_path):
    path = make(tmp_path / "a.ipynb")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".a.ipynb.part").write_text("{")
    (tmp_path / "out" / "a.ipynb").write_text(json.dumps({"metadata": {}, "cells": []}))
    [done] = run([path], tmp_path / "out", report=lambda _: None)
    assert not done.skipped
    assert not list((tmp_path / "out").glob(".*"))


def test_ctrl_c_stops_cleanly(tmp_path):
    make(tmp_path / "in" / "a.ipynb", "print('quick')")
    pid = f"import os; open(r'{tmp_path}/pid', 'w').write(str(os.getpid()))"
    make(tmp_path / "in" / "b.ipynb", f"{pid}; import time; time.sleep(600)")
    process = command("run", tmp_path / "in", "-o", tmp_path / "out")
    for _ in range(600):
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    assert errors == "workbench: stopped; finished runs stay, the same command goes on from there\n"
    assert gone((tmp_path / "pid").read_text())
    check_whole(tmp_path / "out")
    assert (tmp_path / "out" / "a.ipynb").exists()
    assert not (tmp_path / "out" / "b.ipynb").exists()
