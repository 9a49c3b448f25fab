"""Where runs are computed: in this process, or in processes of their own, one run at a time in each."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from workbench.sweeps.child import read, write
from workbench.sweeps.rows import Row, Task, compute

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Engine(Protocol):
    """What a sweep computes with: `width` calls in flight at a time, each a Future of the rows of its runs."""

    @property
    def width(self) -> int:
        """Calls in flight at a time; it may change."""

    def submit(self, *tasks: Task) -> Future[list[Row]]:
        """Start a run, or several in one call; what goes wrong is in the rows."""

    def close(self) -> None:
        """End at once, with all that runs."""


class Here:
    """An engine without processes: a run that is submitted is computed at once, here, where a debugger sees it."""

    width = 1

    def submit(self, *tasks: Task) -> Future[list[Row]]:
        """Compute runs."""
        done: Future[list[Row]] = Future()
        done.set_result(compute(*tasks))
        return done

    def close(self) -> None:
        """Nothing is left running."""


class Local:
    """An engine of `jobs` processes on this machine, one thread each; each sees one of its GPUs, if there are any.

    `gpus` are the names that CUDA_VISIBLE_DEVICES knows them by, dealt out in turn: two for four processes is two runs
    on each.
    """

    def __init__(self, jobs: int, gpus: list[str] | None = None):
        self.width = jobs
        self._workers = [Worker({"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {}) for i in range(jobs)]
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="sweep")

    def submit(self, *tasks: Task) -> Future[list[Row]]:
        """Start runs in a process that has none."""
        return self._threads.submit(self._run, tasks)

    def _run(self, tasks: tuple[Task, ...]) -> list[Row]:
        worker = self._idle.get()
        try:
            return worker.rows(*tasks)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Kill the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()


class Worker:
    """A process that computes one call at a time, and is started anew where it ended. It ends with this process.

    >>> worker = Worker()
    >>> worker.call(pow, (2, 10))
    1024
    >>> worker.close()
    """

    def __init__(self, environment: Mapping[str, str] | None = None):
        self._environment = dict.fromkeys(THREADS, "1") | dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()
        self.closed = False

    def rows(self, *tasks: Task) -> list[Row]:
        """The rows of runs of one call; those that ended with their process, or at their limit, are failed runs."""
        start, limit = time.monotonic(), tasks[0].limit and tasks[0].limit * len(tasks)
        try:
            return self.call(compute, tasks, limit)
        except TimeoutError:
            why = f"it ran longer than its limit of {limit:g} s and was stopped. Raise the limit, or make it shorter"
        except ProcessLookupError as error:
            why = f"its process died: {error}"
        except BaseException as error:  # a function or a result that does not travel
            why = f"it could not be sent to its process, or its row back: {type(error).__name__}: {error}"
        return [task.failed(why, time.monotonic() - start) for task in tasks]

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], limit: float | None = None) -> Any:
        """What the function returns or raises there. TimeoutError after `limit` seconds, ProcessLookupError if the
        process ended; the next call has a new one."""
        import cloudpickle

        message, late = cloudpickle.dumps((function, arguments)), threading.Event()
        if self._process and self._process.poll() is not None:
            _ended(self._process)
            self._process = None
        process: Any = self._process or self._start()

        def stop() -> None:
            late.set()
            _kill(process)

        timer = threading.Timer(limit, stop) if limit is not None else None
        try:
            with contextlib.suppress(BrokenPipeError, ValueError):  # the other end is gone, or this one closed
                write(process.stdin, message)
            if timer:
                timer.start()
            answer = cloudpickle.loads(read(process.stdout))
        except EOFError:
            code, self._process = _ended(process), None
            if late.is_set():
                raise TimeoutError(limit) from None
            raise ProcessLookupError(_ending(code)) from None
        finally:
            if timer:
                timer.cancel()
                if late.is_set():  # perhaps in the moment of the answer
                    _ended(process)
                    self._process = None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-c", "from workbench.sweeps.child import main; main()"]
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)  # those of here, and with -P no others
        own = {**os.environ, **self._environment, "PYTHONPATH": paths}
        pipe, alone = subprocess.PIPE, os.name == "posix"
        with self._starting:
            if self.closed:
                raise ProcessLookupError("the sweep was stopped")
            process: Any = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=own, start_new_session=alone)
            self._process = process
        threading.Thread(target=_reap, args=(process,), daemon=True).start()
        try:
            read(process.stdout)  # it has imported what it needs: a run's seconds begin
        except EOFError:
            self._process = None
            raise ProcessLookupError(f"it did not start: {_ending(_ended(process))}") from None
        return process

    def close(self) -> None:
        """Kill the process."""
        with self._starting:
            self.closed = True
            process = self._process
        if process:
            _ended(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker and what it started."""
    if process.returncode is not None:
        return  # `_reap` has done it; its number may be another's by now
    if os.name != "posix":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """When a worker ends, end what it started: it may hold the other end of the pipe on which its sweep waits."""
    process.wait()
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Kill a worker, if it still lives, and close its pipes; its exit code."""
    _kill(process)
    code = process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            pipe.close()  # type: ignore[union-attr]
    return code


def _ending(code: int) -> str:
    if code == -getattr(signal, "SIGKILL", 9):
        return "killed; often that is the system, out of memory. Use fewer jobs"
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def cores() -> int:
    """How many processes can compute at a time here.

    >>> cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The GPUs that a process may see, by the names that CUDA_VISIBLE_DEVICES knows them by."""
    import torch

    count, told = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if count and told:
        return [name.strip() for name in told.split(",") if name.strip()][:count]
    return [str(i) for i in range(count)]
