"""A sweep under real signals: in a terminal, in a group of processes, in a kernel; and what it tells on the way."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench.stopping import LINE
from workbench.sweeps import results
from workbench.sweeps.claims import in_flight

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")
ROOT = Path(__file__).parents[2]
RUN = """
import pathlib, time
def wait(sign, seed):
    pathlib.Path(f"started-{seed}").touch()
    while seed and not pathlib.Path(sign).exists():
        time.sleep(0.01)
    return {"value": seed}
"""
"""Of seed 0, at once; of others, when there is a file of that name."""
STOPPING = "stopping: running runs end, no new ones start. Ctrl-C again stops at once"


def until(holds: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def spec(folder: Path, seeds: str, jobs: int) -> list[str]:
    """A command that sweeps over seeds in a folder."""
    (folder / "runs.py").write_text(RUN)
    text = f"run: runs.py:wait\nout: out\ngrid:\n  sign: go\n  seed: {seeds}\njobs: {jobs}\n"
    (folder / "sweep.yaml").write_text(text)
    return [sys.executable, "-m", "workbench.cli", "sweep", "sweep.yaml"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}


def test_ctrl_c_in_a_terminal_lets_the_running_run_end(tmp_path: Path) -> None:
    """The key goes to all processes of the terminal; the worker's run ends all the same, and the bar told of it."""
    import pty

    command = spec(tmp_path, "{range: 10}", 1)
    child, terminal = pty.fork()
    if not child:
        os.chdir(tmp_path)
        os.execvpe(command[0], command, environment())
    said = b""

    def read() -> bytes:
        nonlocal said
        with contextlib.suppress(OSError):  # the other end is closed
            said += os.read(terminal, 4096)
        return said

    bar = rb"wait: +10%[^\r]* 1/10 [^\r]*1 running"
    until(lambda: re.search(bar, read()) and (tmp_path / "started-1").exists())
    os.write(terminal, b"\x03")
    until(lambda: STOPPING.encode() in read())
    (tmp_path / "go").touch()
    until(lambda: LINE.decode().strip().encode() in read())
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 130
    assert said.decode().count(STOPPING) == 1
    assert sorted(results(tmp_path / "out")["value"]) == [0, 1]
    assert not (tmp_path / "started-2").exists()


def test_ctrl_c_twice_stops_at_once_without_processes(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        spec(tmp_path, "[1, 2]", 0), cwd=tmp_path, env=environment(), stderr=pipe, text=True, start_new_session=True
    )
    with process:
        assert process.stderr is not None
        until((tmp_path / "started-1").exists)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr.readline() == "\n"
        assert process.stderr.readline() == STOPPING + "\n"
        assert in_flight(tmp_path / "out") == 1
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr.read() == LINE.decode()
    assert process.returncode == 130
    assert not list((tmp_path / "out" / "runs").glob("*/*"))
    assert in_flight(tmp_path / "out") == 0


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Any]:
    manager_of = pytest.importorskip("jupyter_client.manager")
    manager = manager_of.KernelManager(kernel_name="python3")
    manager.start_kernel(env=environment(), cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(60)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def ask(client: Any, code: str) -> str:
    """What comes next is run too: after an error a kernel refuses, for a moment, whatever has arrived."""
    asked: str = client.execute(code, stop_on_error=False)
    return asked


def reply(client: Any, asked: str) -> dict[str, Any]:
    while (message := client.get_shell_msg(timeout=60))["parent_header"]["msg_id"] != asked:
        pass
    content: dict[str, Any] = message["content"]
    return content


def test_an_interrupted_cell_stops_its_sweep(kernel: Any, tmp_path: Path) -> None:
    """Once: its run ends and is kept, without processes too. Twice: at once."""
    manager, client = kernel
    reply(client, ask(client, f"import workbench as wb\n{RUN}"))
    ended = ask(client, "wb.sweep(wait, 'ended', jobs=0, sign=['go'], seed=[1, 2, 3])")
    until((tmp_path / "started-1").exists)
    manager.interrupt_kernel()
    (tmp_path / "go").touch()
    assert reply(client, ended)["ename"] == "KeyboardInterrupt"
    assert results(tmp_path / "ended")["value"].tolist() == [1]
    stopped = ask(client, "wb.sweep(wait, 'stopped', jobs=1, sign=['never'], seed=[7, 8])")
    until((tmp_path / "started-7").exists)
    manager.interrupt_kernel()
    time.sleep(0.5)
    assert in_flight(tmp_path / "stopped") == 1
    manager.interrupt_kernel()
    assert reply(client, stopped)["ename"] == "KeyboardInterrupt"
    assert in_flight(tmp_path / "stopped") == 0
    assert reply(client, ask(client, "1 / 0"))["ename"] == "ZeroDivisionError", "the kernel lives"
