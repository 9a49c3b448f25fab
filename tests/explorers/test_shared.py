"""What all explorers share: the worker, the page for any of them, and that none of it knows the playground."""

import ast
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from workbench import explorers
from workbench.explorers import page
from workbench.explorers.playground.still import SCRIPTS
from workbench.explorers.worker import Worker
from workbench.plots.looks import LOOKS, looks

FOLDER = Path(explorers.__file__).parent
SHARED = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")


def until(condition: Any, seconds: float = 30) -> None:
    """Wait for another thread."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@pytest.mark.parametrize("path", SHARED, ids=lambda path: path.stem)
def test_what_is_shared_knows_nothing_of_the_playground(path: Path) -> None:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names += [getattr(node, "module", "") or "", *(alias.name for alias in node.names)]
    assert not any("playground" in name for name in names)


def test_scripts_join_to_one_module_without_imports() -> None:
    joined = page.module(*SCRIPTS)
    assert re.findall(r"^(?:import|export)\b.*", joined, flags=re.M) == ["export default {"]
    for name in SCRIPTS:
        source = (page.STATIC / f"{name}.js").read_text(encoding="utf-8")
        for asked in re.findall(r'^import [^;]* from "./(\w+)\.js";', source, flags=re.M):
            assert SCRIPTS.index(asked) < SCRIPTS.index(name)


def test_the_page_can_draw_every_marker_of_a_look() -> None:
    table = re.search(r"const MARKERS = \{(.*?)\n\};", (page.STATIC / "pen.js").read_text(encoding="utf-8"), re.S)
    known = {a or b for a, b in re.findall(r'(?:"(.)"|\b(\w)): "M', table[1])}  # type: ignore[index]
    assert {look.marker for look in [*LOOKS.values(), *looks(f"own {i}" for i in range(40)).values()]} <= known


def test_an_element_carries_any_explorer() -> None:
    shown = page.element({"word": "</script>"}, "a < b", "export default { render() {} };", ".x {}")
    assert shown.count("</script>") == 1
    assert "<pre>a &lt; b</pre>" in shown
    assert "const exported = { render() {} };" in shown
    assert '"status":{"busy":""' in shown


def test_the_worker_lets_urgent_jobs_between_the_steps_of_others() -> None:
    log, gate, done = [], threading.Event(), threading.Event()

    def slow(stale: Any) -> Any:
        log.append("slow 1")
        gate.wait(10)
        yield
        log.append("slow 2")
        yield
        done.set()

    def quick(stale: Any) -> Any:
        log.append("quick")
        yield

    worker = Worker(["first", "second"], failed=pytest.fail)
    worker.submit("second", slow)
    until(lambda: log)
    worker.submit("first", quick)
    gate.set()
    assert done.wait(10)
    assert log == ["slow 1", "quick", "slow 2"]
    worker.close()


def test_a_job_may_rest_before_it_starts_and_holds_nobody_up() -> None:
    log: list[str] = []

    def job(name: str) -> Any:
        def steps(stale: Any) -> Any:
            log.append(name)
            yield

        return steps

    worker = Worker(["first", "second"], failed=pytest.fail)
    start = time.monotonic()
    worker.submit("first", job("dropped"), delay=0.05)
    worker.submit("first", job("late"), delay=0.2)
    worker.submit("second", job("soon"))
    until(lambda: "late" in log)
    assert log == ["soon", "late"]
    assert time.monotonic() - start >= 0.2
    worker.close()


def test_a_dropped_job_ends_at_its_next_yield_and_its_failure_is_not_news() -> None:
    failures: list[BaseException] = []
    started, gate, ended = threading.Event(), threading.Event(), threading.Event()

    def job(stale: Any) -> Any:
        started.set()
        gate.wait(10)
        assert stale()
        raise RuntimeError("too late")
        yield

    def last(stale: Any) -> Any:
        ended.set()
        yield

    def failing(stale: Any) -> Any:
        raise RuntimeError("news")
        yield

    worker = Worker(["only"], failed=failures.append)
    worker.submit("only", job)
    assert started.wait(10)
    worker.submit("only", last)
    gate.set()
    assert ended.wait(10)
    assert failures == []
    worker.submit("only", failing)
    until(lambda: failures)
    assert str(failures[0]) == "news"
    worker.close()
    until(lambda: not worker._thread.is_alive())


LEAVING = """
import threading
import torch
from workbench.explorers.worker import Worker
started = threading.Event()
def job(stale):
    layer, images = torch.nn.Conv2d(64, 64, 3), torch.randn(32, 64, 32, 32)
    for _ in range(10):
        layer(images).sum().backward()
        started.set()
    yield
Worker(["only"], failed=print).submit("only", job)
started.wait()
"""


def test_python_ends_in_good_order_while_a_worker_computes() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
