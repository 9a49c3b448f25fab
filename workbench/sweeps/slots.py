"""On a worker of a cluster: the processes that compute its runs, kept between runs, which end with the worker."""

from __future__ import annotations

import contextlib
import pickle
import threading
import time
from collections import deque
from typing import Any

from workbench.sweeps.rows import Row, Task
from workbench.sweeps.workers import Worker

KEEP = 60.0
"""Seconds that an idle process is kept: it holds torch in memory."""
LOOK = 0.5
"""Seconds between two looks at what is still wanted."""

_idle: deque[tuple[float, Worker]] = deque()
_busy: dict[str, tuple[Any, Worker]] = {}
_starting = threading.Lock()
_watches: list[threading.Thread] = []


def run(message: bytes, name: str) -> list[Row]:
    """Compute the runs of one call, pickled tasks, in a process of its own. `name` is what the cluster calls it; it is
    stopped if nobody wants it any more."""
    from distributed import get_worker

    tasks: list[Task] = pickle.loads(message)
    with _starting:
        if not _watches:
            _watches.append(threading.Thread(target=_watch, daemon=True))
            _watches[0].start()
    try:
        worker = _idle.pop()[1]
    except IndexError:
        worker = Worker()
    _busy[name] = get_worker(), worker
    try:
        return worker.rows(*tasks)
    finally:
        del _busy[name]
        if not worker.closed:
            _idle.append((time.monotonic(), worker))


def _watch() -> None:
    """Stop runs whose driver is gone, and processes without work."""
    while True:
        time.sleep(LOOK)
        for name, (place, worker) in list(_busy.items()):
            if not _wanted(place, name):
                worker.close()
        with contextlib.suppress(IndexError):
            while _idle[0][0] < time.monotonic() - KEEP:
                _idle.popleft()[1].close()


def _wanted(place: Any, name: str) -> bool:
    """Whether the worker works, and its scheduler has not taken the run back."""
    from distributed.worker import WORKER_ANY_RUNNING

    state = place.state.tasks.get(name)
    return place.status in WORKER_ANY_RUNNING and state is not None and state.state != "cancelled"


async def admit(resource: str, dask_worker: Any) -> None:
    """Make this worker one that takes the runs of a sweep: they ask for the resource, one for each of its threads."""
    from distributed.core import Status

    await dask_worker.set_resources(**{resource: dask_worker.state.nthreads})
    if dask_worker.status == Status.running:  # a scheduler looks only then for runs that nobody could take
        dask_worker.status = Status.paused
        dask_worker.status = Status.running
