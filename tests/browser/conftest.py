"""What the browser tests share: a fresh page whose errors fail the test, and axe-core's source."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
from chromium import unavailable

AXE_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pruning-workbench" / "axe-core"


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh page as large as a notebook's cell; an uncaught JavaScript error fails the test."""
    context = browser.new_context(viewport={"width": 900, "height": 700})
    fresh = context.new_page()
    errors: list[str] = []
    fresh.on("pageerror", lambda error: errors.append(str(error)))
    yield fresh
    context.close()
    assert errors == []


@pytest.fixture(scope="session")
def axe() -> Callable[..., list[str]]:
    """`axe(page, root=".wb-root")` lists what axe-core 4 calls serious or critical; npm fetches it once."""
    source = AXE_CACHE / "package" / "axe.min.js"
    if not source.exists():
        npm = shutil.which("npm")
        if npm is None:
            unavailable("no npm to fetch axe-core with")
        AXE_CACHE.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [str(npm), "pack", "axe-core@4", "--silent"], cwd=AXE_CACHE, capture_output=True, text=True, timeout=120
        )
        packed = sorted(AXE_CACHE.glob("axe-core-*.tgz"))
        if done.returncode or not packed:
            unavailable(f"npm could not fetch axe-core: {done.stderr.strip()[-300:]}")
        with tarfile.open(packed[-1]) as archive:
            archive.extractall(AXE_CACHE, filter="data")
    script = source.read_text(encoding="utf-8")

    def findings(page: Any, root: str = ".wb-root") -> list[str]:
        page.evaluate(script)
        result = page.evaluate("root => axe.run(root, {resultTypes: ['violations']})", root)
        return [
            f"{found['impact']}: {found['id']}: {node['html'][:160]}: {node['failureSummary'][:300]}"
            for found in result["violations"]
            if found["impact"] in ("serious", "critical")
            for node in found["nodes"]
        ]

    return findings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the notebooks of one file's tests lie."""
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def lab(folder: Path, browser: Any) -> Iterator[str]:
    """The address of a JupyterLab on `folder`."""
    with servers.lab(folder) as address:
        yield address


@pytest.fixture
def notebook(lab: str, folder: Path, page: Any) -> Callable[..., Any]:
    """Open a notebook with these cells in JupyterLab, run it, and wait for the explorer."""

    def run(name: str, *cells: str) -> Any:
        servers.notebook(cells, folder / f"{name}.ipynb")
        page.set_viewport_size({"width": 1280, "height": 900})
        servers.open_lab(page, lab, f"{name}.ipynb")
        servers.run_all(page)
        page.wait_for_selector(".wb-root[data-drawn]", timeout=60_000)
        return page

    return run
