"""One thread that takes work off the page: generators, advanced one step at a time, the newest of each kind."""

import atexit
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from workbench.seeds import threads

Result = TypeVar("Result")
Work = Generator[None, None, Result]
"""Slow work in small steps: one between two `yield`s."""
Report = Callable[[str, float], None]
"""`report("training", 0.3)`: what is being done and how much of it is."""
Job = Callable[[Callable[[], bool]], Iterator[None]]
"""`job(stale)` is a generator; each `yield` is a place to stop or to let more urgent work go first."""

AT_EXIT = 10.0
"""Seconds that the end of Python waits for a step: torch must not be left computing while Python goes."""


def drain(work: Work[Result]) -> Result:
    """Do slow work here and now, in one torch thread as the worker does it (the same bits)."""
    with threads():
        try:
            while True:
                next(work)
        except StopIteration as end:
            return end.value


@dataclass(eq=False)
class _Running:
    steps: Iterator[None]
    dropped: threading.Event
    start: float


class Worker:
    """Run at most one job per slot in one background thread; earlier slots go first, the latest job of a slot wins.

    A job that was replaced, cancelled or closed is not advanced again: it ends at its next `yield`. `failed` receives
    what a job raises. The thread computes with one torch thread, so that it leaves a core to the page and gives the
    same bits on every machine load.

    >>> done = threading.Event()
    >>> def job(stale):
    ...     yield
    ...     done.set()
    >>> worker = Worker(["only"], failed=print)
    >>> worker.submit("only", job)
    >>> done.wait(10)
    True
    >>> worker.close()
    """

    def __init__(self, slots: Sequence[str], failed: Callable[[BaseException], None]):
        self._jobs: dict[str, _Running | None] = dict.fromkeys(slots)
        self._failed = failed
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="workbench-explorer", daemon=True)
        self._thread.start()
        atexit.register(self.close, wait=AT_EXIT)

    def submit(self, slot: str, job: Job, delay: float = 0.0) -> None:
        """Put a job into its slot, to start after `delay` seconds; the job that was there is dropped."""
        with self._changed:
            self.cancel(slot)
            dropped = threading.Event()
            self._jobs[slot] = _Running(job(dropped.is_set), dropped, time.monotonic() + delay)
            self._changed.notify_all()

    def cancel(self, *slots: str) -> None:
        """Drop the jobs of these slots (of all, when none is named); returns at once."""
        with self._changed:
            for slot in slots or tuple(self._jobs):
                if running := self._jobs[slot]:
                    running.dropped.set()
                    self._jobs[slot] = None
            self._changed.notify_all()

    def busy(self, *slots: str) -> bool:
        """Whether one of these slots holds a job that waits or runs."""
        return any(self._jobs[slot] is not None for slot in slots)

    def close(self, wait: float = 0.0) -> None:
        """Drop everything and end the thread; waits at most so many seconds for the step that is running."""
        atexit.unregister(self.close)
        with self._changed:
            self._closed = True
            self.cancel()
        if wait:
            self._thread.join(wait)

    def _next(self) -> tuple[str, _Running] | None:
        with self._changed:
            while not self._closed:
                now, jobs = time.monotonic(), [(slot, job) for slot, job in self._jobs.items() if job is not None]
                for slot, job in jobs:
                    if job.start <= now:
                        return slot, job
                self._changed.wait(min(job.start for _, job in jobs) - now if jobs else None)
        return None

    def _run(self) -> None:
        torch.set_num_threads(1)
        warnings.filterwarnings("ignore", module="threading")  # what a job warns of has no cell to stand under
        while chosen := self._next():
            slot, running = chosen
            try:
                next(running.steps)
            except BaseException as error:  # whatever a user's criterion raises belongs into the explorer's error line
                wanted = not running.dropped.is_set()
                with self._changed:
                    if self._jobs[slot] is running:
                        self._jobs[slot] = None
                if wanted and not isinstance(error, StopIteration):
                    self._failed(error)
            del chosen, running
