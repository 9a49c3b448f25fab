"""Sweeps on Dask: a real scheduler and real workers, each in a process of its own, on loopback."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import workbench as wb
from workbench.cli import main
from workbench.criteria import register_criterion
from workbench.criteria.registry import unregister_criterion
from workbench.extras import check_lab
from workbench.headless.spec import read_spec
from workbench.sweeps import Dask, batched, results, sweep
from workbench.sweeps.driver import _engine
from workbench.sweeps.fingerprint import fingerprint
from workbench.sweeps.rows import Task
from workbench.sweeps.sealed import Sealed
from workbench.sweeps.workers import Local, cores

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")
ROOT = Path(wb.__file__).parents[1]
SOON = 30.0
"""Seconds in which what must happen has happened, on a machine that does much else."""


def until(happened: Callable[[], Any], seconds: float = SOON) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := happened():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {happened}")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Cluster:
    """A scheduler and workers of one thread, without a nanny; all end with the test."""

    def __init__(self, folder: Path, *options: str, protocol: str = "tcp") -> None:
        self.folder, self.options, self.processes = folder, options, list[subprocess.Popen[bytes]]()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"{protocol}://127.0.0.1:{port}"
        words = ["--host", self.address, "--no-dashboard", "--dashboard-address", ":0", *options]
        self.scheduler = self.start("-m", "distributed.cli.dask_scheduler", *words)

    def start(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        with open(self.folder / "log", "ab") as log:
            command, own = [sys.executable, *words], {**os.environ, "PYTHONPATH": str(ROOT), **environment}
            process = subprocess.Popen(command, env=own, cwd=self.folder, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def worker(self, *before: str, **environment: str) -> subprocess.Popen[bytes]:
        program = before or ("-m", "distributed.cli.dask_worker")
        words = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(self.folder)]
        return self.start(*program, self.address, *words, *self.options, **environment)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def started(folder: Path, workers: int, *options: str, protocol: str = "tcp") -> Iterator[Cluster]:
    cluster = Cluster(folder, *options, protocol=protocol)
    try:
        for _ in range(workers):
            cluster.worker()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with started(tmp_path_factory.mktemp("cluster"), 2) as one:
        yield one


def begin(*arguments: Any, **options: Any) -> Future[pd.DataFrame]:
    """A sweep in a thread."""
    table: Future[pd.DataFrame] = Future()

    def work() -> None:
        try:
            table.set_result(sweep(*arguments, **options))
        except BaseException as error:
            table.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return table


def waits(folder: str, seed: int) -> dict[str, Any]:
    """Say which process computes it, and the Dask worker that this belongs to; wait for a word."""
    Path(folder, f"begun-{seed}-{os.getpid()}-{os.getppid()}").touch()
    while not Path(folder, "go").exists() and seed >= 0:
        time.sleep(0.02)
    return {"square": seed * seed, "worker": os.getppid()}


def begun(folder: Path, count: int) -> list[tuple[int, int, int]]:
    """(seed, process, Dask worker) of runs that have begun, as soon as there are so many."""
    found = until(lambda: len(names := sorted(folder.glob("begun-*"))) >= count and names)
    return [tuple(map(int, re.findall(r"-(-?\d+)", path.name))) for path in found]  # type: ignore[misc]


def numbers(df: pd.DataFrame) -> pd.DataFrame:
    return df.drop(columns=["seconds", "date"])


# -- results -----------------------------------------------------------------------------------------------------


def test_rows_are_those_of_one_process_bit_for_bit(cluster: Cluster, tmp_path: Path) -> None:
    @register_criterion("cubes", needs="nothing", source="a test")
    def cubes(model: Any, batch: Any, *, masks: Any = None, loss_fn: Any, generator: Any) -> Any:
        return {name: w.detach().abs() ** 3 for name, w in model.named_parameters() if w.ndim > 1}

    def trained(criterion: str, seed: int) -> dict[str, Any]:
        import torch

        import workbench as wb

        task = wb.load("digits", device="cpu")
        model = wb.make("lenet-300-100", task, seed=seed)
        batch = task.batch(64, seed=seed)
        masks = wb.find_masks(model, batch, criterion, sparsity=0.9)
        loss = torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
        kept = sum(int((torch.arange(m.numel()) * m.reshape(-1)).sum()) for m in masks.values())
        return {"loss": loss.item(), "kept": kept, "threads": torch.get_num_threads()}

    try:
        axes = {"criterion": ["cubes", "snip"], "seed": [0, 1, 2]}
        alone = sweep(trained, tmp_path / "one", jobs=0, **axes)
        together = sweep(trained, tmp_path / "two", engine=Dask(cluster.address), **axes)
    finally:
        unregister_criterion("cubes")
    pd.testing.assert_frame_equal(numbers(alone), numbers(together), check_exact=True)
    assert set(together["threads"]) == {1}


def root(square: int) -> dict[str, Any]:
    return {"root": square**0.5, "among": 1}


@batched(root, over=["square"])
def roots(points: list[dict[str, Any]]) -> list[Any]:
    if len(points) == 3:
        raise MemoryError("too many")
    return [{"root": point["square"] ** 0.5, "among": len(points)} for point in points]


def test_batches_travel_to_workers(cluster: Cluster, tmp_path: Path) -> None:
    """Two batches of two; one of three, which fails as a whole, is computed run by run."""
    table = sweep(root, tmp_path / "two", engine=Dask(cluster.address), together=2, square=[1, 4, 9, 16])
    assert table["root"].tolist() == [1, 2, 3, 4]
    assert table["among"].tolist() == [2] * 4
    table = sweep(root, tmp_path / "three", engine=Dask(cluster.address), together=3, square=[1, 4, 9])
    assert table["among"].tolist() == [1] * 3


def fragile(kind: str) -> dict[str, Any]:
    if kind == "raises":
        raise ZeroDivisionError("one by nothing")
    if kind == "exits":
        os._exit(3)
    if kind == "hangs":
        time.sleep(1000)
    if kind == "memory":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
        return {"length": len(bytearray(2**36))}
    return {"length": len(kind), "worker": os.getppid()}


def test_a_run_that_goes_wrong_is_a_row_and_its_worker_lives(cluster: Cluster, tmp_path: Path) -> None:
    kinds = ["one", "raises", "exits", "hangs", "memory", "four"]
    with pytest.raises(RuntimeError, match="4 of 6 runs failed") as error:
        sweep(fragile, tmp_path / "out", engine=Dask(cluster.address), limit=3, kind=kinds)
    for kind, why in [
        ("raises", "ZeroDivisionError: one by nothing"),
        ("exits", "its process died: exit code 3"),
        ("hangs", "it ran longer than its limit of 3 s"),
        ("memory", "MemoryError"),
    ]:
        assert re.search(rf"(?s)fragile\(kind='{kind}'\)\n((?!fragile\().)*{why}", str(error.value))
    done = results(tmp_path / "out")
    assert done["length"].tolist() == [3, 4]
    assert all(map(alive, done["worker"]))
    assert len(results(tmp_path / "out", errors=True)) == 4


def test_what_does_not_travel_is_a_failed_run(cluster: Cluster, tmp_path: Path) -> None:
    lock = threading.Lock()

    def locked(seed: int) -> dict[str, Any]:
        with lock:
            return {"seed": seed}

    with pytest.raises(RuntimeError, match=r"(?s)1 of 1 runs failed.*it does not travel to a worker: TypeError"):
        sweep(locked, tmp_path / "out", engine=Dask(cluster.address), seed=[1])


def test_a_function_travels_with_its_code_unless_it_is_installed() -> None:
    assert b"begun-" in Sealed(waits, None)._text
    assert Sealed(wb.evaluate, None)._text.find(b"evaluate") >= 0
    assert len(Sealed(wb.evaluate, None)._text) < 200


# -- faults ------------------------------------------------------------------------------------------------------


def test_the_runs_of_a_killed_driver_are_dropped(cluster: Cluster, tmp_path: Path) -> None:
    code = (
        "import importlib.util, sys, workbench as wb\n"
        f"spec = importlib.util.spec_from_file_location('test_cluster', {__file__!r})\n"
        "module = sys.modules['test_cluster'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        f"engine = wb.sweeps.Dask({cluster.address!r})\n"
        f"wb.sweep(module.waits, {str(tmp_path / 'out')!r}, engine=engine, folder=[{str(tmp_path)!r}], seed=[-1, 1, 2])"
    )
    driver = cluster.start("-c", code)
    runs = begun(tmp_path, 3)
    until(lambda: list((tmp_path / "out").glob("runs/*/*.json")))
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    for seed, pid, worker in runs:
        if seed > 0:
            until(lambda pid=pid: not alive(pid))
            assert alive(worker)
    assert results(tmp_path / "out")["seed"].tolist() == [-1]
    (tmp_path / "go").touch()
    engine = Dask(cluster.address)
    table = sweep(waits, tmp_path / "out", engine=engine, folder=[str(tmp_path)], seed=[-1, 1, 2])
    assert table["square"].tolist() == [1, 1, 4]
    assert set(table["worker"]) == {worker for _, _, worker in runs}


def strangers(cluster: Cluster, folder: Path) -> list[subprocess.Popen[bytes]]:
    """A worker with the same version number and other source, and one without the package."""
    (folder / "other" / "workbench").mkdir(parents=True)
    (folder / "other" / "workbench" / "__init__.py").write_text("VERSION = 1\n")
    packages = str(Path(pytest.__file__).parents[1])
    program = "import sys; from distributed.cli.dask_worker import main; sys.exit(main())"
    first = cluster.worker(PYTHONPATH=str(folder / "other"))
    return [first, cluster.worker("-S", "-P", "-c", program, PYTHONPATH=packages)]


def test_workers_of_another_version_are_refused_by_name(
    cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = {"engine": Dask(cluster.address), "folder": [str(tmp_path)], "seed": [1, 2, 3, 4, 5]}
    table = begin(waits, tmp_path / "out", **options)
    pids = {worker for _, _, worker in begun(tmp_path, 2)}
    others = strangers(cluster, tmp_path)
    try:
        words = ""

        def told() -> bool:
            nonlocal words
            words += capfd.readouterr().err
            return words.count("tcp://127.0.0.1") >= 2

        until(told)
        (tmp_path / "go").touch()
        assert set(table.result(SOON)["worker"]) == pids, "no run on those that came later"
        assert words.startswith("workers that came later are not the same as here")
        (other,) = re.findall(r"(tcp://\S+): source \w+ instead of " + fingerprint()["source"], words)
        (without,) = re.findall(r"(tcp://\S+): it has no workbench", words)
        with pytest.raises(ValueError, match="no run was started") as error:
            sweep(waits, tmp_path / "two", **options)
        assert f"{other}: source" in str(error.value)
        assert f"{without}: it has no workbench" in str(error.value)
        assert not list((tmp_path / "two" / "runs").iterdir())
    finally:
        for process in others:
            process.kill()


def test_runs_of_killed_workers_are_computed_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    """One of two, then the other; a worker that comes later does the rest."""
    table = begin(waits, tmp_path / "out", engine=Dask(cluster.address), folder=[str(tmp_path)], seed=[-2, 1, 2, 3])
    first, second = {worker for seed, _, worker in begun(tmp_path, 3) if seed > 0}
    until(lambda: list((tmp_path / "out").glob("runs/*/*.json")))
    os.kill(first, signal.SIGKILL)
    until(lambda: not alive(first))
    os.kill(second, signal.SIGKILL)
    until(lambda: not alive(second))
    assert not table.done()
    third = cluster.worker()
    until(lambda: third.pid in {worker for _, _, worker in begun(tmp_path, 3)})
    (tmp_path / "go").touch()
    rows = table.result(SOON).set_index("seed")
    assert rows["square"].to_dict() == {-2: 4, 1: 1, 2: 4, 3: 9}
    assert set(rows["worker"][[1, 2, 3]]) == {third.pid}
    assert rows["worker"][-2] in (first, second), "what was done is not computed again"


def test_a_run_that_kills_four_workers_is_a_failed_row(tmp_path: Path) -> None:
    from concurrent.futures import Future

    from distributed.scheduler import KilledWorker

    from workbench.sweeps.cluster import _Session

    session = object.__new__(_Session)
    session._changing, session.address = threading.Lock(), "tcp://here:1"
    ends = [KilledWorker("name", "worker", 3), OSError("no file handles")]
    for error, why in zip(ends, ["each worker of the cluster that began it died", "OSError: no file"], strict=True):
        row, got = Future[Any](), Future[Any]()
        session._out = {row: (Task(waits, "0" * 16, {"seed": 1}),)}
        got.set_exception(error)
        session._back(row, got)
        (failed,) = row.result(0)
        assert why in failed["error"]
        assert failed["arguments"] == {"seed": 1}


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One worker, and a scheduler that falls silent, goes on, and is killed, in the order of the tests."""
    with started(tmp_path_factory.mktemp("lone"), 1) as one:
        yield one


def test_a_scheduler_that_falls_silent_is_an_error_after_the_stated_wait(lone: Cluster, tmp_path: Path) -> None:
    table = begin(waits, tmp_path / "out", engine=Dask(lone.address, wait=3), folder=[str(tmp_path)], seed=[1])
    ((_, pid, _),) = begun(tmp_path, 1)
    lone.scheduler.send_signal(signal.SIGSTOP)
    with pytest.raises(ConnectionError, match=rf"no scheduler answers at {lone.address} within 3 s"):
        table.result(SOON)
    lone.scheduler.send_signal(signal.SIGCONT)
    until(lambda: not alive(pid))


def test_a_killed_scheduler_ends_the_sweep_soon_and_keeps_its_rows(lone: Cluster, tmp_path: Path) -> None:
    options = {"folder": [str(tmp_path)], "seed": [-3, -2, 1]}
    table = begin(waits, tmp_path / "out", engine=Dask(lone.address), **options)
    runs = begun(tmp_path, 3)
    until(lambda: len(list((tmp_path / "out").glob("runs/*/*.json"))) == 2)
    lone.scheduler.kill()
    with pytest.raises(ConnectionError, match=f"{lone.address} is gone. The rows so far are on disk"):
        table.result(10)
    for _, pid, _ in runs:
        until(lambda pid=pid: not alive(pid))
    assert results(tmp_path / "out")["seed"].tolist() == [-3, -2]
    (tmp_path / "go").touch()
    done: list[int] = []
    rest = sweep(
        waits, tmp_path / "out", jobs=0, on_row=lambda row, *_: done.append(row["arguments"]["seed"]), **options
    )
    assert rest["square"].tolist() == [9, 4, 1]
    assert done == [1]


@pytest.mark.parametrize("kind", ["closed", "silent", "something else"])
def test_no_scheduler_is_an_error_after_the_stated_wait(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        if kind != "closed":
            port.listen()
        if kind == "something else":
            greeting = b"SSH-2.0-OpenSSH_9.6\r\n" * 5

            def greet() -> None:
                with port.accept()[0] as caller:
                    caller.send(greeting)
                    caller.recv(1000)

            threading.Thread(target=greet, daemon=True).start()
        address = f"tcp://127.0.0.1:{port.getsockname()[1]}"
        with pytest.raises(ConnectionError, match=rf"no scheduler answers at {address} within 0.5 s"):
            sweep(waits, tmp_path, engine=Dask(address, wait=0.5), folder=[str(tmp_path)], seed=[1])
    assert not list((tmp_path / "runs").iterdir())


# -- TLS ---------------------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> dict[str, str]:
    """A key and a certificate that vouches for itself, as Dask's options name them."""
    from distributed.security import Security

    made = Security.temporary()
    paths = {"ca-file": folder / f"{name}-ca.pem", "cert": folder / f"{name}.pem", "key": folder / f"{name}.key"}
    for path, text in zip(paths.values(), [made.tls_ca_file, made.tls_client_cert, made.tls_client_key], strict=True):
        path.write_text(str(text))
    return {option: str(path) for option, path in paths.items()}


def trusting(pem: dict[str, str]) -> Any:
    """Dask's configuration of a client with these files."""
    import dask

    place = "distributed.comm.tls"
    return dask.config.set(
        {f"{place}.ca-file": pem["ca-file"], f"{place}.client.cert": pem["cert"], f"{place}.client.key": pem["key"]}
    )


def test_tls_from_the_configuration_of_dask(tmp_path: Path) -> None:
    right, wrong = certificate(tmp_path, "right"), certificate(tmp_path, "wrong")
    options = [word for name, path in right.items() for word in (f"--tls-{name}", path)]
    axes = {"folder": [str(tmp_path)], "seed": [-1, -2]}
    with started(tmp_path, 1, *options, protocol="tls") as mine:
        with trusting(right):
            table = sweep(waits, tmp_path / "out", engine=Dask(mine.address), **axes)
        assert table["square"].tolist() == [1, 4]
        answer = rf"no scheduler answers at {mine.address} within 1 s .*TLS"
        with trusting(wrong), pytest.raises(ConnectionError, match=answer):
            sweep(waits, tmp_path / "two", engine=Dask(mine.address, wait=1), **axes)
        with pytest.raises(ConnectionError, match=answer):
            sweep(waits, tmp_path / "two", engine=Dask(mine.address, wait=1), **axes)
        plain = mine.address.replace("tls", "tcp")
        with pytest.raises(ConnectionError, match=rf"no scheduler answers at {plain} within 1 s"):
            sweep(waits, tmp_path / "two", engine=Dask(plain, wait=1), **axes)


# -- Slurm and Kubernetes ----------------------------------------------------------------------------------------

SBATCH = """#!{python}
import os, pathlib, subprocess, sys
folder = pathlib.Path({folder!r})
script = pathlib.Path(sys.argv[1]).read_text()
job = subprocess.Popen(["bash", "-c", script], start_new_session=True, stdout=open(folder / "log", "ab"), stderr=-2)
(folder / f"job-{{job.pid}}").write_text(script)
print("Submitted batch job", job.pid)
"""
SCANCEL = """#!{python}
import os, pathlib, signal, sys
pathlib.Path({folder!r}, f"cancelled-{{sys.argv[1]}}").touch()
os.killpg(int(sys.argv[1]), signal.SIGKILL)
"""

RUN = """
import os
def area(width, height=1):
    return {"area": width * height, "worker": os.getppid()}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A sweep over a function of a file."""
    (tmp_path / "own_runs.py").write_text(RUN)
    path = tmp_path / "spec.yaml"
    path.write_text(f"run: own_runs.py:area\nout: {tmp_path / 'out'}\ngrid: {{width: [1, 2, 3], height: [2, 5]}}\n")
    return path


def test_slurm(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that start a job's script here stand for Slurm's."""
    import dask
    import dask_jobqueue  # noqa: F401  (reads its configuration)

    for name, text in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (tmp_path / name).write_text(text.format(python=sys.executable, folder=str(tmp_path)))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    job = {"cores": 1, "processes": 1, "memory": "2GB", "queue": "night", "local-directory": str(tmp_path)}
    job |= {"scheduler-options": {"dashboard_address": ":0", "host": "127.0.0.1"}, "worker-extra-args": ["--no-nanny"]}
    with dask.config.set({f"jobqueue.slurm.{name}": value for name, value in job.items()}):
        assert main(["sweep", str(spec), "--slurm", "2"]) == 0
    assert results(tmp_path / "out")["area"].tolist() == [2, 5, 4, 10, 6, 15]
    scripts = list(tmp_path.glob("job-*"))
    assert len(scripts) == 2
    assert all("#SBATCH -p night" in path.read_text() for path in scripts)
    pids = {path.name.partition("-")[2] for path in scripts}
    assert {path.name.partition("-")[2] for path in tmp_path.glob("cancelled-*")} == pids
    for pid in pids:
        until(lambda pid=pid: not alive(int(pid)))


def test_slurm_that_is_not_there(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    options = {"cores": 1, "memory": "2GB", "scheduler_options": {"dashboard_address": ":0", "host": "127.0.0.1"}}
    with pytest.raises(ConnectionError, match=r"no cluster could be started: FileNotFoundError.*sbatch"):
        sweep(waits, tmp_path / "out", engine=Dask(slurm=1, **options), folder=[str(tmp_path)], seed=[-1])


def test_kubernetes(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of this machine stand for those of a cluster, which no test reaches."""
    import dask_kubernetes.operator
    from distributed.core import Status

    given: list[dict[str, Any]] = []

    class Stand:
        scheduler_address, status, security = cluster.address, Status.running, None

        def __init__(self, **options: Any):
            given.append(options)

        def __await__(self) -> Iterator[Any]:
            yield from ()

        def close(self) -> None:
            given.append({"closed": len(list((tmp_path / "out").glob("runs/*/*.json")))})

    monkeypatch.setattr(dask_kubernetes.operator, "KubeCluster", Stand)
    spec = tmp_path / "spec.yaml"
    told = "{kubernetes: 1, image: lab, namespace: night}"
    (tmp_path / "kube_runs.py").write_text(RUN)
    spec.write_text(f"run: kube_runs.py:area\nout: {tmp_path}/out\ngrid: {{width: [1, 2]}}\ncluster: {told}\n")
    assert main(["sweep", str(spec)]) == 0
    assert given == [{"n_workers": 1, "image": "lab", "namespace": "night"}, {"closed": 2}]
    rows = results(tmp_path / "out")
    assert rows["area"].tolist() == [1, 2]
    assert os.getpid() not in set(rows["worker"])


def test_kubernetes_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import dask_kubernetes.operator

    def fails(**options: Any) -> None:
        raise RuntimeError("no operator here")

    monkeypatch.setattr(dask_kubernetes.operator, "KubeCluster", fails)
    with pytest.raises(ConnectionError, match="no cluster could be started: RuntimeError: no operator here"):
        sweep(waits, tmp_path / "out", engine=Dask(kubernetes=1), folder=[str(tmp_path)], seed=[-1])


# -- what is asked -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, ValueError, "a cluster is one of scheduler=, slurm=, kubernetes=; got none"),
        ({"slurm": 1, "kubernetes": 2}, ValueError, "got slurm, kubernetes"),
        ({"scheduler": "localhost:8786"}, ValueError, "an address such as tcp://host:8786; got 'localhost:8786'"),
        ({"scheduler": 8786}, ValueError, "an address such as tcp://host:8786; got 8786"),
        ({"scheduler": "tcp://h:1", "cores": 1}, ValueError, "takes no options; got cores"),
        ({"scheduler": "tcp://h:1", "wait": 0}, ValueError, "more than 0; got 0"),
        ({"slurm": 0}, ValueError, "slurm"),
        ({"kubernetes": 1.5}, TypeError, "kubernetes is a whole number"),
    ],
)
def test_wrong_clusters_are_refused(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Dask(**given)


def test_a_finished_sweep_needs_no_cluster(spec: Path, tmp_path: Path) -> None:
    assert main(["sweep", str(spec), "--jobs", "0"]) == 0
    assert main(["sweep", str(spec), "--scheduler", "tcp://127.0.0.1:1"]) == 0


def test_a_spec_that_names_a_cluster_wrongly_is_refused(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = spec.read_text()
    for told, why in [
        ("[1]", "cluster holds scheduler: ADDRESS"),
        ("{scheduler: here}", "an address such as tcp://host:8786"),
        ("{}", "got none"),
    ]:
        spec.write_text(f"{text}cluster: {told}\n")
        with pytest.raises(ValueError, match=re.escape(why)):
            read_spec(spec)
    spec.write_text(text)
    assert main(["sweep", str(spec), "--scheduler", "nowhere"]) == 2
    assert "got 'nowhere'" in capsys.readouterr().err


def test_the_right_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.extras.find_spec", lambda name: None if name == "dask_kubernetes" else True)
    Dask("tcp://localhost:8786")
    Dask(slurm=1)
    with pytest.raises(ImportError, match=r"not installed: dask_kubernetes. Install the extra cluster: .*\[cluster\]"):
        Dask(kubernetes=1)
    monkeypatch.setattr("workbench.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"distributed, dask_jobqueue. Install the extra cluster"):
        Dask(slurm=1)
    with pytest.raises(ImportError, match=r"mlflow, papermill. Install the extra lab,mlflow: .*\[lab,mlflow\]"):
        check_lab("mlflow", "papermill")


# -- GPUs on this machine ----------------------------------------------------------------------------------------


def visible(seed: int) -> dict[str, Any]:
    return {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES", "any")}


def test_gpus_are_dealt_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    engine = _engine(None)
    assert engine.width == 2, "one run on each"
    (row,) = engine.submit(Task(visible, "", {"seed": 0})).result(SOON)
    assert row["metrics"]["gpu"] == "5"
    engine.close()
    monkeypatch.setattr("workbench.sweeps.workers.Worker", lambda environment: environment["CUDA_VISIBLE_DEVICES"])
    assert Local(4, ["5", "GPU-7"])._workers == ["5", "GPU-7", "5", "GPU-7"], "two on each"  # type: ignore[comparison-overlap]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)  # as torch says then
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setattr("workbench.sweeps.driver.Local", lambda jobs, dealt: (jobs, dealt))
    assert _engine(None) == (cores(), [])  # type: ignore[comparison-overlap]
