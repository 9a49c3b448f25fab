"""A worker process by itself: what it leaves when it dies, and how it ends while it starts."""

from __future__ import annotations

import os
import threading
import time

import pytest

from workbench.sweeps.workers import Local, Worker

pytestmark = pytest.mark.skipif(os.name != "posix", reason="process groups")


def dies_with_a_child() -> None:
    if not os.fork():
        time.sleep(600)
    os._exit(3)


def test_a_child_of_a_run_does_not_hold_up_the_end_of_its_process() -> None:
    """The child has the other end of the pipe on which the answer is waited for."""
    worker = Worker()
    with pytest.raises(ProcessLookupError, match="exit code 3"):
        worker.call(dies_with_a_child, ())
    assert worker.call(pow, (2, 10)) == 1024
    worker.close()


def test_an_engine_that_is_closed_while_its_processes_start_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment in which the process is there and nobody knows of it."""
    import subprocess

    starting, go, begun = threading.Event(), threading.Event(), list[subprocess.Popen[bytes]]()
    popen = subprocess.Popen

    def slow(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        process = popen(*arguments, **options)  # type: ignore[call-overload]
        begun.append(process)
        starting.set()
        assert go.wait(60)
        return process  # type: ignore[no-any-return]

    monkeypatch.setattr(subprocess, "Popen", slow)
    engine = Local(1)
    run = engine._threads.submit(engine._workers[0].call, time.sleep, (600,))
    assert starting.wait(60)
    closing = threading.Thread(target=engine.close)
    closing.start()
    go.set()
    with pytest.raises(ProcessLookupError):
        run.result(60)
    closing.join(60)
    assert begun[0].poll() == -9
