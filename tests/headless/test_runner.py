"""Notebooks executed headlessly, with real kernels: what is checked first, what is written, what survives."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
import zmq.asyncio
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.session import Session
from nbformat.v4 import new_markdown_cell
from notebook_maker import FAILING_EXPLORER, FAILING_WIDGET, code, gone, make, text_of

from workbench import files, stopping
from workbench.files import PART, make_folder, write_whole
from workbench.headless import (
    hidden_errors,
    numbers,
    read_notebook,
    render,
    run,
    run_with_index,
    runner,
    scratch,
    site,
    worker,
)
from workbench.headless.client import PatientChannel
from workbench.headless.record import read_record
from workbench.headless.scratch import LOCK, PREFIX
from workbench.stopping import LINE

FULL = "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))"
"""A disk with room for a small file: the system then refuses what the process above the kernel writes."""

ODD = "from IPython.display import display; display({'text/html': {'a': 1}}, raw=True)"

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


@pytest.fixture
def instant(monkeypatch):
    """Runs without kernels, each at once: notebook's name -> problems, or the exception that its execution raises."""
    outcomes = {}

    def execute(job, scratch, progress):
        notebook = nbformat.v4.reads(job.text)
        outcome = outcomes.get(job.source.stem, [])
        if isinstance(outcome, BaseException):
            raise outcome
        return notebook, outcome

    def executed(todo, jobs, report):
        for job in todo:
            yield job, worker.complete(job, None, print)

    monkeypatch.setattr(worker, "_execute", execute)
    monkeypatch.setattr(runner, "executed", executed)
    return outcomes


def check_whole(folder):
    """Every file under a final name is complete."""
    for path in folder.iterdir():
        if path.suffix == ".ipynb":
            notebook = nbformat.read(path, as_version=4)
            assert notebook.metadata.workbench["problems"] == []
        elif not path.name.startswith("."):
            assert path.read_text().endswith("</html>\n"), path


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Notebooks run two at a time, some failing in their own way; what was said, and the runs by name."""
    folder = tmp_path_factory.mktemp("several")
    make(folder / "a.ipynb", SHOW, new_markdown_cell("[next](c.ipynb)"))
    make(folder / "b.ipynb", "x = 1", code("# note\ndef deep():\n    return 1 / 0\n\ndeep()"), "print('not reached')")
    old = code("sparsity = 0.5", "injected-parameters")
    make(folder / "c.ipynb", old, SHOW, code("1 / 0", "raises-exception"), ODD, "print('went on')")
    make(folder / "disk.ipynb", FULL, "print('x' * 3_000_000)")
    make(folder / "kernel.ipynb", "import os; os._exit(3)")
    make(folder / "worker.ipynb", "import os; os.kill(os.getppid(), 9)")
    said = []
    given = {"sparsity": "0.95"}
    runs = run_with_index([folder], folder / "out", parameters=given, profile="smoke", jobs=2, report=said.append)
    return folder, {r.executed.stem.split("-")[0]: r for r in runs}, said


def test_parameters_face_and_threads_reach_the_kernel(several):
    folder, runs, _ = several
    assert "picture 1 smoke 0.95 None" in text_of(runs["a"].executed)
    assert runs["a"].record["threads"]["OMP_NUM_THREADS"] == "1"
    assert runs["a"].record["parameters"] == {
        "profile": "smoke",
        "sparsity": 0.95,
        "seeds": 3,
        "name": "plain",
        "live": False,
        "limit": None,
    }
    assert runs["a"].executed.parent == (folder / "out").resolve()
    assert runs["a"].executed.name.startswith("a-smoke-")
    assert f'href="{runs["c"].page.name}"' in runs["a"].page.read_text()


def test_a_failed_cell_names_itself_and_the_others_finish(several):
    _, runs, said = several
    assert [name for name, r in runs.items() if not r.problems] == ["a", "c"]
    [problem] = runs["b"].problems
    assert problem.startswith("cell 4 of 5 failed")
    assert "ZeroDivisionError" in problem
    assert "return 1 / 0" in problem
    assert "\x1b" not in problem
    assert any(runs["b"].executed.stem in line and "cell 4 of 5 failed" in line for line in said)
    assert "not reached" not in text_of(runs["b"].executed)
    assert "went on" in text_of(runs["c"].executed)


def test_a_process_a_kernel_or_a_disk_fails_its_own_run_only(several):
    folder, runs, _ = several
    assert runs["kernel"].problems == ["cell 3 of 3 failed\nits kernel died: killed, or out of memory"]
    assert runs["worker"].problems == ["its process ended (exit code -9): killed, or out of memory"]
    assert runs["disk"].problems == ["OSError: [Errno 27] File too large"]
    for name in ("kernel", "worker", "disk"):  # the notebook on the disk says that it failed
        assert read_record(runs[name].executed) == runs[name].record
    assert "its process ended" in (folder / "out" / "index.html").read_text()
    assert not list((folder / "out").glob(".*"))


def test_what_an_earlier_run_injected_is_dropped(several):
    _, runs, _ = several
    assert "picture 1 smoke 0.95 None" in text_of(runs["c"].executed)
    sources = [cell.source for cell in nbformat.read(runs["c"].executed, as_version=4).cells]
    assert "sparsity = 0.5" not in sources


def test_an_output_that_a_notebook_cannot_hold_fails_no_run(several):
    _, runs, _ = several
    assert "an output that a notebook cannot hold" in text_of(runs["c"].executed)
    assert read_notebook(runs["c"].executed)


def test_progress_counts_the_cells_of_the_source(several):
    _, runs, said = several
    name = runs["a"].executed.stem
    lines = [line for line in said if line.startswith(name)]
    steps = [line.removeprefix(f"{name}: ").split(",")[0] for line in lines]
    assert steps == ["cell 2 of 4", "cell 3 of 4", "finished"]
    assert all(line.endswith(" s") for line in lines)


def test_the_index_lists_runs_with_parameters_time_result_and_links(several):
    folder, runs, _ = several
    text = (folder / "out" / "index.html").read_text()
    assert "6 runs, 4 failed" in text
    for name, r in runs.items():
        assert f'href="{r.executed.name}"' in text
        assert (f'href="{r.page.name}"' in text) == (name not in ("worker", "disk"))
        assert f"Title of {name}" in text
    assert "<strong>sparsity = 0.95</strong>" in text
    assert "seeds" not in text
    assert "ZeroDivisionError" in text


def test_finished_runs_are_skipped_and_failed_ones_tried_again(tmp_path, instant):
    a, b = make(tmp_path / "a.ipynb"), make(tmp_path / "b.ipynb")
    instant["b"] = ["cell 3 of 3 failed"]
    options = {"parameters": {"sparsity": 0.95}, "profile": "smoke", "report": lambda _: None}
    first = run_with_index([a, b], tmp_path / "out", **options)
    before = first[0].executed.stat().st_mtime_ns
    again = run_with_index([a, b], tmp_path / "out", **options)
    assert [r.skipped for r in again] == [True, False]
    assert first[0].executed.stat().st_mtime_ns == before
    run_with_index([a], tmp_path / "out", **options)
    assert "2 runs, 1 failed" in (tmp_path / "out" / "index.html").read_text()  # earlier runs stay in the list


def test_what_decides_whether_a_run_is_done(tmp_path, monkeypatch, instant):
    path = make(tmp_path / "a.ipynb", code("print(1)", outputs=["old"]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def skipped(**options):
        return run([path], tmp_path / "out", report=lambda _: None, **options)[0].skipped

    assert not skipped()
    make(path, code("sparsity = 0.5", "injected-parameters"), code("print(1)", outputs=["other output"]))
    assert skipped(jobs=2)
    assert skipped(parameters={"seeds": 3}, profile="lecture")  # the defaults, said aloud
    assert not skipped(face="live")
    make(path, code("print(2)"))
    assert not skipped(face="live")
    monkeypatch.setattr(runner, "versions", lambda: {"torch": "another"})
    assert not skipped(face="live")
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert skipped(face="live")  # one thread where nobody says otherwise
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert not skipped(face="live")
    assert read_record(tmp_path / "out" / "a.ipynb")["threads"]["OMP_NUM_THREADS"] == "2"


def test_a_page_that_lacks_something_fails_no_run_and_is_made_again(tmp_path, instant, monkeypatch):
    path = make(tmp_path / "a.ipynb", new_markdown_cell("$x^2$ and ![p](p.png)"))
    said = []

    def once():
        [r] = run_with_index([path], tmp_path / "out", report=said.append)
        assert r.problems == []
        assert read_record(r.executed) == r.record
        return r

    first = once()
    assert first.page_problems == ["cell 3: a picture that is not in the page: p.png"]
    assert "a picture that is not in the page: p.png" in first.page.read_text()
    assert 'data-state="page incomplete"' in (tmp_path / "out" / "index.html").read_text()
    instant["a"] = RuntimeError("executed again")  # from here on only the page is made
    (tmp_path / "p.png").write_bytes(b"PNG")
    assert once().page_problems == []
    assert "This page is incomplete" not in first.page.read_text()
    assert once().skipped
    first.page.unlink()
    monkeypatch.setattr(render, "title", lambda *_: 1 / 0)
    assert once().page_problems == ["no page: ZeroDivisionError: division by zero"]
    monkeypatch.undo()


def test_the_first_figure_of_a_run_stands_in_the_index(tmp_path, instant, monkeypatch):
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

    def execute(job, scratch, progress):
        notebook = nbformat.v4.reads(job.text)
        data = {"image/png": pixel, "text/plain": "one red pixel"}
        notebook.cells[1].outputs = [nbformat.v4.new_output("display_data", data)]
        return notebook, ["cell 3 of 3 failed"]  # a failed run has a picture, too

    monkeypatch.setattr(worker, "_execute", execute)
    [r] = run_with_index([make(tmp_path / "a.ipynb")], tmp_path / "out", report=print)
    assert read_record(r.executed) == r.record
    assert f'<img src="{r.record["picture"]}" alt="one red pixel"' in (tmp_path / "out" / "index.html").read_text()
    assert r.record["picture"].startswith("data:image/webp;base64,")
    notebook = json.loads(r.executed.read_text())
    for name in ("picture", "alt"):
        del notebook["metadata"]["workbench"][name]  # as an earlier version wrote it
    r.executed.write_text(json.dumps(notebook))
    assert read_record(r.executed) == {**r.record, "picture": "", "alt": ""}


@pytest.mark.parametrize("outcome", [["cell 3 of 3 failed"], RuntimeError("planted"), KeyboardInterrupt()])
def test_a_failed_run_leaves_nothing_of_an_earlier_success(tmp_path, instant, outcome):
    """An exception that ends the command stands for its kill."""
    path = make(tmp_path / "a.ipynb", "print(1)")
    [first] = run_with_index([path], tmp_path / "out", report=print)
    make(path, "print(2)")
    instant["a"] = outcome
    if isinstance(outcome, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            run_with_index([path], tmp_path / "out", report=print)
        assert not first.executed.exists()
    else:
        [again] = run_with_index([path], tmp_path / "out", report=print)
        assert again.problems
        assert read_record(first.executed) == again.record
    assert "1 run, 0 failed" not in (tmp_path / "out" / "index.html").read_text()


def test_a_notebook_that_broke_takes_its_old_result_along(tmp_path, instant):
    """Also where the values that were asked for are the defaults, and only the run with these values."""
    path = make(tmp_path / "a.ipynb")
    make(tmp_path / "a-b.ipynb")
    for options in ({"profile": "lecture"}, {"profile": "smoke"}, {"profile": "smoke", "parameters": {"seeds": "5"}}):
        run_with_index([tmp_path], tmp_path / "out", report=print, **options)
    path.write_text("{")
    runs = run_with_index([tmp_path], tmp_path / "out", report=print, profile="lecture")
    assert [bool(r.problems) for r in runs] == [False, True]
    assert len(list((tmp_path / "out").glob("*.ipynb"))) == 5
    assert not (tmp_path / "out" / "a.ipynb").exists()
    run_with_index([path], tmp_path / "out", report=print, profile="smoke", parameters={"seeds": "5"})
    assert len(list((tmp_path / "out").glob("a-smoke*.ipynb"))) == 1


NAMELESS = {"name": "x", "display_name": "x", "language": None}

BROKEN = {
    "deep": "[" * 100_000,
    "deep in an object": '{"nbformat": 4, "nbformat_minor": 5, "cells": [], "metadata": {"a": '
    + "[" * 900
    + "]" * 900
    + "}}",
    "null": {
        "metadata": {"kernelspec": {"name": "x", "display_name": "x", "language": None}, "language_info": {"name": "R"}}
    },
    "minor": {"nbformat_minor": None},
    "huge": "x: int = " + "9" * 5000,
    "nested": "x: int = " + "-" * 100_000 + "1",
    "unhashable": "x: int = {[]}",
    "null byte": "x: int = 1\0",
    "computed": "x = 1",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_notebook_that_cannot_be_run_fails_alone_in_one_line(tmp_path, instant, content):
    make(tmp_path / "a.ipynb")
    path = make(tmp_path / "b.ipynb", parameters=content if str(content).startswith("x") else "")
    if isinstance(content, dict):
        path.write_text(json.dumps(json.loads(path.read_text()) | content))
    elif not content.startswith("x"):
        path.write_text(content)
    said = []
    good, bad = run_with_index([tmp_path], tmp_path / "out", report=said.append)
    assert good.problems == []
    [problem] = bad.problems
    assert "b.ipynb" in problem
    assert len(problem) < 500
    assert "\n" not in problem
    assert said[-1] == f"b: {problem}"
    assert "2 runs, 1 failed" in (tmp_path / "out" / "index.html").read_text()


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
    path = make(tmp_path / "a.ipynb", FAILING_EXPLORER, FAILING_WIDGET)
    [done] = run([path], tmp_path / "out", face="live", report=lambda _: None)
    [widget, explorer] = sorted(done.problems)
    assert widget == "OutputModel: RuntimeError: planted in a widget"
    assert "planted in an explorer" in explorer
    notebook = nbformat.read(done.executed, as_version=4)
    assert sorted(hidden_errors(notebook)) == [widget, explorer]
    for state in notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"].values():
        state["state"].pop("outputs", None)
        state["state"].pop("status", None)
    assert hidden_errors(notebook) == []


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
            await asyncio.wait([waiting], timeout=10 if patient else 1.5)
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


def test_nothing_starts_where_a_parameter_is_wrong(tmp_path):
    make(tmp_path / "a.ipynb")
    make(tmp_path / "b.ipynb", parameters="rate: float = 0.1")
    with pytest.raises(ValueError, match=r"b.ipynb: a parameter is one of rate; got 'sparsity'"):
        run([tmp_path], tmp_path / "out", parameters={"sparsity": "0.9"})
    assert not (tmp_path / "out").exists()


def test_an_explicit_parameter_wins_over_the_profile(tmp_path, instant):
    path = make(tmp_path / "a.ipynb")
    [done] = run([path], tmp_path / "out", parameters={"profile": "full"}, profile="smoke", report=lambda _: None)
    assert done.record["parameters"]["profile"] == "full"
    assert done.executed.name == "a-full.ipynb"


def test_a_parameter_writes_to_no_other_folder(tmp_path, instant):
    path = make(tmp_path / "in" / "a.ipynb", parameters='profile: str = "plain"')
    [done] = run([path], tmp_path / "out", profile="../b", report=lambda _: None)
    assert done.executed.parent == tmp_path / "out"
    assert done.executed.exists()


def test_two_notebooks_of_one_name_need_two_folders(tmp_path):
    paths = [make(tmp_path / side / "a.ipynb") for side in "xy"]
    with pytest.raises(ValueError, match=r"two notebooks would be written to .*a.ipynb"):
        run(paths, tmp_path / "out", report=lambda _: None)


def test_no_result_is_written_over_a_notebook_that_is_to_be_run(tmp_path, instant, monkeypatch):
    path = make(tmp_path / "a.ipynb")
    make(tmp_path / "b" / "a-smoke.ipynb")
    make(tmp_path / "b" / "a.ipynb")
    make(tmp_path / "site" / "notebooks" / "a.ipynb")
    (tmp_path / "page.html").write_text(path.read_text())
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a.ipynb").symlink_to(path)
    (tmp_path / "hard").mkdir()
    os.link(path, tmp_path / "hard" / "a.ipynb")
    monkeypatch.chdir(tmp_path)
    before = {found: found.read_bytes() for found in tmp_path.rglob("*.*") if found.is_file()}
    for notebook, out, options in (
        (path, ".", {}),
        ("a.ipynb", tmp_path, {}),
        ("a.ipynb", "b/..", {}),
        ("a.ipynb", "link", {}),
        ("link/a.ipynb", ".", {}),
        ("linked/a.ipynb", ".", {}),
        ("a.ipynb", "linked", {}),
        ("a.ipynb", "hard", {}),
        ("b", "b", {"profile": "smoke"}),
        ("page.html", ".", {}),
    ):
        with pytest.raises(ValueError, match=r"would overwrite .*Name another folder"):
            run([notebook], out, report=print, **options)
    with pytest.raises(ValueError, match="would overwrite"):
        site(["site/notebooks"], "site", report=print)
    assert {found: found.read_bytes() for found in before} == before


def test_a_notebook_that_no_run_wrote_is_kept(tmp_path, instant):
    mine = make(tmp_path / "a.ipynb")
    before = mine.read_bytes()
    runs = run_with_index([make(tmp_path / "in" / name) for name in ("a.ipynb", "b.ipynb")], tmp_path, report=print)
    assert "a.ipynb is a notebook that no run wrote" in runs[0].problems[0]
    assert runs[1].problems == []
    assert mine.read_bytes() == before


def test_a_page_takes_no_place_of_a_list(tmp_path, instant):
    make(tmp_path / "Index.ipynb")
    make(tmp_path / "claims.ipynb")
    runs = run_with_index([tmp_path], tmp_path / "out", report=print)
    assert all("cannot have the name" in r.problems[0] for r in runs)


def test_a_list_that_cannot_be_written_stops_no_run(tmp_path, instant):
    path = make(tmp_path / "a.ipynb")
    (tmp_path / "out" / "index.html").mkdir(parents=True)
    said = []
    [r] = run_with_index([path], tmp_path / "out", report=said.append)
    assert r.problems == []
    assert "index.html could not be written: Is a directory" in said


def test_what_somebody_changed_in_a_results_folder_stops_nothing(tmp_path, instant):
    path = make(tmp_path / "a.ipynb")
    out = tmp_path / "out"
    [first] = run_with_index([path], out, report=print)
    notebook = json.loads(first.executed.read_text())
    for name, value in (("problems", "none"), ("problems", [1]), ("parameters", []), ("seconds", "1"), ("title", None)):
        changed = notebook["metadata"]["workbench"] | {name: value}
        first.executed.write_text(json.dumps({**notebook, "metadata": {"workbench": changed}}))
        (out / "other.ipynb").write_text(first.executed.read_text())
        [again] = run_with_index([path], out, report=print)
        assert not again.skipped
        assert "1 run, 0 failed" in (out / "index.html").read_text()


@pytest.mark.parametrize("options", [{"jobs": 0}, {"face": "pictures"}])
def test_other_wrong_arguments(tmp_path, options):
    with pytest.raises(ValueError, match=r"jobs|picture"):
        run([make(tmp_path / "a.ipynb")], tmp_path / "out", **options)


def test_stopped_in_every_way_and_started_again(tmp_path):
    """Killed at a random moment; ended, and interrupted as a terminal does it, while a notebook runs."""
    told = f"import os, time\nwith open(r'{tmp_path}/pids', 'a') as file: print(os.getpid(), file=file)"
    make(tmp_path / "in" / "a.ipynb", told)
    make(tmp_path / "in" / "b.ipynb", f"{told}\ntime.sleep(600)")
    out, moments = tmp_path / "out", random.Random(0)
    with tempfile.TemporaryDirectory(prefix="short", dir="/tmp") as short:
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            process = command("run", tmp_path / "in", "-o", out, env=os.environ | {"TMPDIR": short})
            said = [""]
            if number == signal.SIGKILL:
                said = [process.stdout.readline() for _ in range(moments.randint(1, 3))]
                time.sleep(moments.uniform(0, 0.7))
            while number != signal.SIGKILL and not said[-1].startswith("b: cell 3"):
                said.append(process.stdout.readline())
                assert said[-1], process.stderr.read()
            if number == signal.SIGINT:
                os.killpg(process.pid, number)
            else:
                os.kill(process.pid, number)
            _, errors = process.communicate(timeout=100)
            check_whole(out)
            if number != signal.SIGKILL:
                assert (process.returncode, errors) == (128 + number, LINE.decode())
                assert os.listdir(short) == []  # also what the kill left
                assert sorted(p.name for p in out.iterdir()) == ["a.html", "a.ipynb", "index.html"]
        assert "a: done before, skipped\n" in said
    assert all(gone(pid) for pid in (tmp_path / "pids").read_text().split())


@pytest.mark.parametrize(("sign", "number"), [(" torch.version", signal.SIGINT), (" nbformat.v4", signal.SIGTERM)])
def test_a_stop_while_the_command_starts_is_one_line(tmp_path, sign, number):
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "workbench.cli", "run", make(tmp_path / "a.ipynb")],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert any(line.rstrip().endswith(sign) for line in process.stderr)
    process.send_signal(number)
    errors = [line for line in process.communicate(timeout=100)[1].splitlines(True) if "import time:" not in line]
    assert (process.returncode, errors) == (128 + number, [LINE.decode()])


def test_only_the_command_listens_for_a_stop(monkeypatch):
    for argv, orig, expected in (
        (["-m"], ["python", "-m", "workbench.cli", "run"], True),
        (["/usr/bin/workbench", "run"], ["python", "/usr/bin/workbench", "run"], True),
        (["C:/Scripts/workbench.exe"], [], True),
        (["-m"], ["python", "-m", "pytest", "workbench.cli"], True),
        (["/usr/bin/pytest", "workbench.cli"], ["python", "/usr/bin/pytest", "workbench.cli"], False),
        (["ipykernel_launcher.py"], ["python", "-m", "ipykernel_launcher"], False),
        ([""], ["python"], False),
        ([], [], False),
    ):
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(sys, "orig_argv", orig)
        assert stopping.is_command() == expected, argv


def test_what_killed_processes_left_is_swept_and_what_is_in_use_is_not(tmp_path, monkeypatch):
    """In a folder with a short name; where the name is too long for sockets, /tmp serves."""
    left, made, foreign = (tmp_path / f"{PREFIX}{name}" for name in ("left", "made", "foreign"))
    for folder in (left, made, foreign):
        folder.mkdir()
    (left / LOCK).touch()
    (made / "new").touch()
    monkeypatch.setattr(scratch, "_bases", lambda: [str(tmp_path / "none"), str(tmp_path)])
    monkeypatch.setattr(stopping, "at_stop", [])
    monkeypatch.setattr(scratch.util, "Finalize", lambda *_, **__: None)
    used = scratch.scratch.__wrapped__()
    [remove] = stopping.at_stop
    assert sorted(tmp_path.iterdir()) == sorted([used, made, foreign])
    scratch._sweep(str(tmp_path))  # as another process does
    assert used.exists()
    remove()
    assert not used.exists()
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", "/tmp/" + "x" * 80)
    assert scratch._bases() == ["/tmp"]


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
    [part] = tmp_path.glob(f".*{PART}")
    make_folder(tmp_path)
    assert part.exists(), "it may be another command's"
    aged(part)
    make_folder(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def aged(path):
    """Make a file one that nobody writes any more."""
    long_ago = time.time() - 2 * files.OLD
    os.utime(path, (long_ago, long_ago))


def test_many_write_one_file_at_a_time(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: write_whole(make_folder(tmp_path) / "a.html", str(i) * 10_000), range(200)))
    [path] = tmp_path.iterdir()
    assert path.read_text() in {str(i) * 10_000 for i in range(200)}


def test_half_written_files_of_a_killed_command_go(tmp_path, instant):
    path = make(tmp_path / "a.ipynb")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f".a.ipynb{PART}").write_text("{")
    aged(tmp_path / "out" / f".a.ipynb{PART}")
    (tmp_path / "out" / ".mine.part").touch()
    (tmp_path / "out" / "a.ipynb").write_text(json.dumps({"metadata": {}, "cells": []}))
    [done] = run([path], tmp_path / "out", report=lambda _: None)
    assert not done.skipped
    assert [p.name for p in (tmp_path / "out").glob(".*")] == [".mine.part"]
