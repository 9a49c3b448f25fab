"""The processes that execute notebooks: one each, some at a time, whatever becomes of them."""

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Generator
from multiprocessing.connection import wait
from typing import Any

from workbench.headless.record import read_record
from workbench.headless.scratch import scratch
from workbench.headless.worker import Job, work, write_failure


def executed(
    todo: list[Job], jobs: int, report: Callable[[str], None]
) -> Generator[tuple[Job, dict[str, Any]], None, None]:
    """Work off the jobs, at most `jobs` processes at a time; yields each with its record as it ends."""
    if not todo:
        return
    context, folder = _context(), scratch()
    waiting = list(todo)
    active: dict[Any, tuple[Job, Any, float]] = {}
    try:
        while waiting or active:
            while waiting and len(active) < jobs:
                job, (here, there) = waiting.pop(0), context.Pipe()
                process = context.Process(target=work, args=(job, folder, there), name=job.executed.stem)
                process.start()
                there.close()
                active[here] = (job, process, time.perf_counter())
            ready: list[Any] = list(wait(active))
            for pipe in ready:
                job, process, started = active[pipe]
                name = job.executed.stem
                try:
                    kind, *content = pipe.recv()
                except EOFError:
                    process.join()
                    why = f"its process ended (exit code {process.exitcode}): killed, or out of memory"
                    kind, content = "done", [_ended(job, time.perf_counter() - started, why)]
                if kind == "cell":
                    report(f"{name}: cell {content[0]} of {content[1]}, {content[2]:.1f} s")
                    continue
                record = content[0]
                process.join()
                del active[pipe]
                pipe.close()
                for problem in [*record["problems"], *(f"its page is incomplete: {why}" for why in record["page"])]:
                    report(f"{name}: {problem}")
                report(f"{name}: {'failed' if record['problems'] else 'finished'}, {record['seconds']:.1f} s")
                yield job, record
    finally:
        for pipe, (_, process, _) in active.items():
            pipe.close()
            process.join()


def _ended(job: Job, seconds: float, why: str) -> dict[str, Any]:
    """The record of a run whose process ended: failed, unless its notebook was there and only its page was not."""
    record = read_record(job.executed)
    if record.get("key") == job.key:
        return record | {"page": [f"no page: {why}"]}
    return write_failure(job, seconds, [why])


def _context() -> Any:
    """How worker processes start: as copies of a server that has imported what they need, where the system can."""
    if os.name != "posix":
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["workbench.headless.worker", "workbench.headless.render", "papermill"])
    before = tempfile.tempdir, signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    tempfile.tempdir = str(scratch())  # the server's socket lies there, too
    try:
        forkserver.ensure_running()  # Ctrl-C is the command's to answer: the server and its copies start without it
    finally:
        tempfile.tempdir = before[0]
        signal.pthread_sigmask(signal.SIG_SETMASK, before[1])
    return context
