"""An engine on a cluster: Dask gives out the runs, and each of its workers computes them in processes of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import pickle
import sys
import threading
import uuid
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from workbench.extras import check_lab, lab
from workbench.sweeps import fingerprint, slots
from workbench.sweeps.rows import Row, Task
from workbench.sweeps.sealed import Sealed
from workbench.types import check_count

WAIT = 30.0
"""Seconds in which a scheduler must answer."""
LOOK = 1.0
"""Seconds between two looks at which workers there are."""
AHEAD = 2
"""Runs in flight for each thread of the cluster: one computes, one waits."""
REMEDY = (
    "What a job or a worker is stands in Dask's configuration, or beside the number: "
    "cluster: {slurm: 4, cores: 1, memory: 4GB}, Dask(slurm=4, cores=1, memory='4GB')"
)
ASK = "exec(text, space) or space['fingerprint']()"
"""What a worker is asked: an expression of plain Python, which it understands whatever is installed there."""


class Dask:
    """An engine of Dask workers: those of a scheduler, or N jobs of Slurm, or N workers on Kubernetes.

    `scheduler` is an address such as tcp://host:8786, or tls:// with the certificates that Dask's own configuration
    names. `options` go to dask_jobqueue.SLURMCluster or dask_kubernetes.operator.KubeCluster; what is not given comes
    from Dask's configuration. It connects with the first run and leaves with the last; what it started ends then.

    A worker takes runs if its Python, torch and package are those here. Before the first run others are a ValueError
    with their addresses; those that come later are named on standard error and get none. A run whose worker dies is
    computed elsewhere; one that loses four workers is a failed run. ConnectionError if the scheduler does not answer
    for `wait` seconds, or ends: the rows so far are on disk, and the next sweep goes on.

    >>> Dask("tcp://localhost:8786", slurm=4)
    Traceback (most recent call last):
    ValueError: a cluster is one of scheduler=, slurm=, kubernetes=; got scheduler, slurm. Pass one
    """

    def __init__(
        self,
        scheduler: str | None = None,
        *,
        slurm: int | None = None,
        kubernetes: int | None = None,
        wait: float = WAIT,
        **options: Any,
    ):
        given = dict(scheduler=scheduler, slurm=slurm, kubernetes=kubernetes)
        if len(named := [name for name, value in given.items() if value is not None]) != 1:
            told = ", ".join(named) or ", ".join(options) or "none"
            raise ValueError(f"a cluster is one of scheduler=, slurm=, kubernetes=; got {told}. Pass one")
        if scheduler is not None and options:
            raise ValueError(f"a scheduler that runs already takes no options; got {', '.join(options)}")
        if scheduler is not None and not (isinstance(scheduler, str) and "://" in scheduler):
            raise ValueError(f"a scheduler has an address such as tcp://host:8786; got {scheduler!r}")
        if not wait > 0:
            raise ValueError(f"wait is how many seconds a scheduler has to answer, more than 0; got {wait!r}")
        if (count := slurm if scheduler is None and slurm is not None else kubernetes) is not None:
            check_count(named[0], count)
        check_lab("distributed", *{"slurm": ["dask_jobqueue"], "kubernetes": ["dask_kubernetes"]}.get(named[0], []))
        self._scheduler, self._slurm, self._kubernetes = scheduler, slurm, kubernetes
        self._wait, self._options = wait, options
        self._session: _Session | None = None

    @property
    def width(self) -> int:
        """Runs in flight: it follows the workers that come and go."""
        return self._opened().width

    def submit(self, *tasks: Task) -> Future[list[Row]]:
        """Start a run, or several in one call, on a worker that takes it."""
        return self._opened().submit(tasks)

    def _opened(self) -> _Session:
        if self._session is None:
            self._session = _Session(self._scheduler or self._started(), self._wait)
        return self._session

    def _started(self) -> Any:
        """A cluster of our own."""
        from distributed.core import Status

        cluster: Any = None
        try:
            if self._slurm is None:
                return lab("dask_kubernetes.operator").KubeCluster(n_workers=self._kubernetes, **self._options)
            cluster = lab("dask_jobqueue").SLURMCluster(**self._options)
            cluster.scale(jobs=self._slurm)
            cluster.sync(_ready, cluster)
            return cluster
        except ImportError:
            raise
        except Exception as error:
            kind = ValueError if isinstance(error, ValueError | TypeError) else ConnectionError
            told = f"no cluster could be started: {type(error).__name__}: {error}".rstrip(". ")
        if cluster is not None:  # here, where no traceback holds its jobs any more
            with contextlib.suppress(Exception):
                cluster.close()
            cluster.status = Status.closed  # its own close fails where it never started
        gc.collect()  # else it is closed a second time when Python ends
        raise kind(f"{told}. {REMEDY}")

    def close(self) -> None:
        """Take back what runs, and leave the scheduler; what was started for this sweep ends."""
        if self._session is not None:
            self._session.close()
            self._session = None


async def _ready(cluster: Any) -> None:
    """All jobs are submitted; raises what went wrong with one (Dask itself only logs it)."""
    await cluster
    await asyncio.gather(*cluster.workers.values())


class _Session:
    """A connection to a scheduler: which of its workers take runs, and the runs that are out."""

    def __init__(self, cluster: Any, wait: float):
        from distributed import Client

        self._cluster, self._wait = cluster, wait
        self.address = cluster if isinstance(cluster, str) else cluster.scheduler_address
        self._own = fingerprint.fingerprint()
        self._resource = "-".join(["workbench", *self._own.values()])
        self._name = uuid.uuid4().hex[:8]
        self._refused: set[str] = set()
        self._threads, self._begun = 0, False
        self._changing, self._closing = threading.Lock(), threading.Event()
        self._out: dict[Future[list[Row]], tuple[Task, ...]] = {}
        self._lost: Exception | None = None
        self._sealed: tuple[Any, Any] = (None, None)
        try:
            if isinstance(cluster, str):
                with ThreadPoolExecutor(1) as thread:  # a notebook has a loop in this one
                    thread.submit(asyncio.run, _answers(cluster, wait)).result()
            self._client: Any = Client(cluster, timeout=wait, set_as_default=False)
        except (OSError, TypeError, ValueError) as error:
            self._leave()
            raise ConnectionError(_silent(self.address, wait, error)) from error
        try:
            self._look()
        except BaseException:
            self.close()
            raise
        if not self._threads:
            print(f"no worker at {self.address} yet: the runs wait for the first one", file=sys.stderr)
        threading.Thread(target=self._watch, daemon=True, name="workers of the sweep").start()

    @property
    def width(self) -> int:
        if self._lost:
            raise self._lost
        return max(1, AHEAD * self._threads)

    def submit(self, tasks: tuple[Task, ...]) -> Future[list[Row]]:
        row: Future[list[Row]] = Future()
        task = tasks[0]
        try:
            if self._sealed[0] is not task.function:
                self._sealed = task.function, Sealed(task.function, task.own)
        except Exception as error:
            row.set_result(_failed(tasks, f"it does not travel to a worker: {type(error).__name__}: {error}"))
            return row
        with self._changing:
            if self._lost:
                raise self._lost
            self._out[row] = tasks
        name = f"{task.function.__name__}-{task.key}-{len(tasks)}-{self._name}"
        message = pickle.dumps([one._replace(function=self._sealed[1], own=None) for one in tasks])
        sent = self._client.get_executor(pure=False, resources={self._resource: 1}).submit(
            slots.run, message, name, key=name
        )
        sent.add_done_callback(lambda got: self._back(row, got))
        return row

    def _back(self, row: Future[list[Row]], got: Future[list[Row]]) -> None:
        """Hand a row over, or why there is none."""
        from distributed import KilledWorker

        with self._changing:
            tasks = self._out.pop(row, None)
        if tasks is None:
            return
        try:
            row.set_result(got.result())
        except KilledWorker:
            row.set_result(_failed(tasks, "each worker of the cluster that began it died, four in all"))
        except CancelledError:
            row.set_exception(ConnectionError(_gone(self.address)))
        except Exception as error:
            row.set_result(_failed(tasks, f"its worker could not compute it: {type(error).__name__}: {error}"))

    def _watch(self) -> None:
        from distributed.comm import CommClosedError

        while not self._closing.wait(LOOK):
            try:
                self._look()
            except Exception as error:
                if self._closing.is_set():
                    return
                ended = isinstance(error, CommClosedError)
                told = _gone(self.address) if ended else _silent(self.address, self._wait, error)
                lost = error if isinstance(error, ValueError) else ConnectionError(told)
                with self._changing:
                    self._lost, out = lost, list(self._out)
                    self._out.clear()
                for row in out:
                    row.set_exception(lost)
                return

    def _look(self) -> None:
        """See which workers there are, and let those of the same kind take runs."""
        ask = self._client.scheduler.identity
        workers = self._client.sync(ask, n_workers=-1, callback_timeout=self._wait)["workers"]
        ours = {place for place, facts in workers.items() if self._resource in facts["resources"]}
        if strange := [place for place in workers.keys() - ours if workers[place]["id"] not in self._refused]:
            text = Path(fingerprint.__file__).read_text("utf-8")
            asked = self._client.run(eval, ASK, {"text": text, "space": {}}, workers=strange, on_error="ignore")
            differing = {place: told for place in asked if (told := self._differences(asked[place]))}
            if differing:
                self._refuse(differing)
                self._refused |= {workers[place]["id"] for place in differing}
            if good := sorted(asked.keys() - differing):
                ours |= self._client.run(slots.admit, self._resource, workers=good, on_error="ignore").keys()
        self._begun = self._begun or bool(ours)
        before, self._threads = self._threads, sum(workers[place]["nthreads"] for place in ours)
        if before and not self._threads:
            print(f"no worker at {self.address} any more: the runs wait for a new one", file=sys.stderr)

    def _differences(self, there: dict[str, str]) -> str:
        pairs = [(name, there.get(name, "none"), own) for name, own in self._own.items()]
        if there["source"] == "none":
            return "it has no workbench"
        return ", ".join(f"{name} {found} instead of {own}" for name, found, own in pairs if found != own)

    def _refuse(self, differing: dict[str, str]) -> None:
        """A ValueError before the first run, words on standard error later."""
        told = "\n".join(f"{place}: {why}" for place, why in sorted(differing.items()))
        if not self._begun:
            remedy = "Install there what is installed here, or stop these workers"
            raise ValueError(
                f"workers of {self.address} are not the same as here, no run was started\n{told}\n{remedy}"
            )
        print(f"workers that came later are not the same as here, they get no runs\n{told}", file=sys.stderr)

    def close(self) -> None:
        self._closing.set()
        with self._changing:
            self._out.clear()
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)
        self._leave()

    def _leave(self) -> None:
        if not isinstance(self._cluster, str):
            with contextlib.suppress(Exception):
                self._cluster.close()


def _failed(tasks: tuple[Task, ...], why: str) -> list[Row]:
    return [task.failed(why, 0) for task in tasks]


async def _answers(address: str, wait: float) -> None:
    """A scheduler answers within `wait` seconds; OSError if not. (A Client waits for ever if one only listens.)"""
    from distributed.comm import connect
    from distributed.security import Security

    async with asyncio.timeout(wait):
        try:
            comm = await connect(address, timeout=wait, **Security().get_connection_args("client"))
        except MemoryError:  # it took the first bytes for a length
            raise OSError("what answers there is no scheduler of Dask") from None
        await comm.close()


def _silent(address: str, wait: float, error: Exception) -> str:
    why = f"{type(error).__name__}: {error}".rstrip(": ")
    remedy = "Start it, or correct the address, or what Dask's configuration says of TLS"
    return f"no scheduler answers at {address} within {wait:g} s ({why}). {remedy}"


def _gone(address: str) -> str:
    return f"the scheduler at {address} is gone. The rows so far are on disk: start it and the sweep again"
