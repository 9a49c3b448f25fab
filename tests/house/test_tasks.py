"""tasks.py: one .venv, made anew only when the lock changes; a set-up that was broken off does not count."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load_tasks():
    spec = importlib.util.spec_from_file_location("tasks", ROOT / "tasks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tasks = load_tasks()


class Recorder:
    """Runs nothing: writes down the commands, makes the environment's Python, fails at the command named."""

    def __init__(self, root, fail_at=None):
        self.root, self.fail_at, self.commands = root, fail_at, []

    def __call__(self, command):
        words = [str(word) for word in command]
        if self.fail_at and self.fail_at in words:
            raise tasks.Failed(f"planted at {self.fail_at}")
        self.commands.append(words)
        python = tasks.program("python", self.root)
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "requirements.lock").write_text("numpy==2.4.6\ntorch==2.13.0\n")
    return tmp_path


def test_a_set_up_is_done_once(checkout):
    run = Recorder(checkout)
    tasks.set_up(checkout, run)
    assert tasks.ready(checkout)
    done = len(run.commands)
    tasks.set_up(checkout, run)
    assert len(run.commands) == done > 0


def test_a_changed_lock_makes_the_environment_anew(checkout):
    tasks.set_up(checkout, Recorder(checkout))
    (checkout / "requirements.lock").write_text("numpy==2.4.7\ntorch==2.13.0\n")
    again = Recorder(checkout)
    tasks.set_up(checkout, again)
    assert "--clear" in again.commands[0]


def test_a_moved_checkout_is_set_up_again(checkout, tmp_path_factory):
    tasks.set_up(checkout, Recorder(checkout))
    moved = checkout.rename(tmp_path_factory.mktemp("elsewhere") / "checkout")
    assert not tasks.ready(moved)


@pytest.mark.parametrize("step", ["venv", "-r", "--editable"])
def test_a_half_finished_set_up_does_not_count(checkout, step):
    tasks.set_up(checkout, Recorder(checkout))
    (checkout / "requirements.lock").write_text("numpy==2.4.7\ntorch==2.13.0\n")
    with pytest.raises(tasks.Failed, match="planted"):
        tasks.set_up(checkout, Recorder(checkout, fail_at=step))
    assert not tasks.ready(checkout)
    (checkout / "requirements.lock").write_text("numpy==2.4.6\ntorch==2.13.0\n")
    assert not tasks.ready(checkout), "what was there before the broken set-up is gone"


def test_an_environment_without_its_python_does_not_count(checkout):
    tasks.set_up(checkout, Recorder(checkout))
    tasks.program("python", checkout).unlink()
    assert not tasks.ready(checkout)


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_no_command_can_fetch_cuda_packages(checkout, system):
    run = Recorder(checkout)
    tasks.set_up(checkout, run, system=system)
    installs = [words for words in run.commands if "install" in words]
    assert all("--no-deps" in words for words in installs)
    assert any("torch==2.13.0+cpu" in words for words in installs) == (system == "linux")


def test_the_words_after_the_task_are_passed_on(monkeypatch):
    commands = []
    monkeypatch.setattr(tasks, "set_up", lambda: None)
    monkeypatch.setattr(tasks, "run", commands.append)
    assert tasks.main(["test", "-k", "masks"]) == 0
    assert commands[0][-2:] == ["-k", "masks"]


def test_a_failing_command_makes_the_task_fail(monkeypatch, capsys):
    monkeypatch.setattr(tasks, "set_up", lambda: None)
    monkeypatch.setitem(tasks.TASKS, "test", lambda arguments: tasks.run([sys.executable, "-c", "raise SystemExit(3)"]))
    assert tasks.main(["test"]) == 1
    assert "exit code 3" in capsys.readouterr().err


def test_all_checks_run_before_one_fails(tmp_path):
    later = tmp_path / "later"
    with pytest.raises(tasks.Failed, match="exit code 1"):
        tasks.together(
            [sys.executable, "-c", "raise SystemExit(1)"],
            [sys.executable, "-c", f"open({str(later)!r}, 'w').close()"],
        )
    assert later.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="an interrupt cannot be sent to another process on Windows")
def test_an_interrupt_is_the_commands_own_to_answer(tmp_path):
    """JupyterLab asks before it stops: the task must wait for its answer and not kill it."""
    ready, saved = tmp_path / "ready", tmp_path / "saved"
    child = f"""
import pathlib, time
try:
    pathlib.Path({str(ready)!r}).touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    pathlib.Path({str(saved)!r}).touch()
"""
    parent = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import tasks; tasks.run([sys.executable, '-c', {child!r}])"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], start_new_session=True)
    deadline = time.monotonic() + 30
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 0
    assert saved.exists()


@pytest.mark.parametrize(
    ("environment", "user", "expected"),
    [
        ({}, 0, {"--no-browser", "--allow-root"}),
        ({}, 1000, {"--no-browser"}),
        ({"DISPLAY": ":0"}, 1000, set()),
    ],
)
def test_lab_fits_the_place(monkeypatch, environment, user, expected):
    commands = []
    monkeypatch.setattr(tasks, "run", commands.append)
    monkeypatch.setattr(tasks.sys, "platform", "linux")
    monkeypatch.setattr(tasks.os, "environ", environment)
    monkeypatch.setattr(tasks.os, "geteuid", lambda: user, raising=False)
    tasks.lab(["--port=9999"])
    words = set(map(str, commands[0]))
    assert words & {"--no-browser", "--allow-root"} == expected
    assert "--port=9999" in words
    assert any("00-start-here.ipynb" in word for word in words)


def test_the_makefile_only_calls_the_tasks():
    text = (ROOT / "Makefile").read_text()
    assert set(re.search(r"^TASKS = (.+)$", text, re.M)[1].split()) == set(tasks.TASKS)
    recipes = [line.strip() for line in text.splitlines() if line.startswith("\t")]
    assert recipes == ["@$(PYTHON) tasks.py", "@$(PYTHON) tasks.py $@ $(ARGS)"]


def test_tests_that_begin_first_are_there(pytestconfig):
    """A name that is not there would only make the tests take longer."""
    first = pytestconfig.pluginmanager.get_plugin(str(ROOT / "conftest.py")).LONG
    assert [path for path in first if not (ROOT / path).exists()] == []
    assert set(tasks.SLOW) <= set(first)
