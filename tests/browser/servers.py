"""Real servers for the browser tests and the screenshots: JupyterLab and Voila, each in folders of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def notebook(cells: Sequence[str], path: Path) -> Path:
    """Write a notebook of code cells."""
    made: dict[str, Any] = {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{i}",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": cell,
            }
            for i, cell in enumerate(cells)
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(made), encoding="utf-8")
    return path


@contextlib.contextmanager
def serve(command: Sequence[str], folder: Path, ready: str) -> Iterator[str]:
    """Run a server in `folder` with settings of its own; yields its address once the path `ready` answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    environment = {
        **os.environ,
        **own,
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_PLATFORM_DIRS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "WORKBENCH_FACE": "live",
    }
    address = f"http://127.0.0.1:{port}"
    log = (folder / f"{command[0]}.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", *command, f"--port={port}"], cwd=folder, env=environment, stdout=log, stderr=log
    )
    try:
        for _ in range(600):
            if server.poll() is not None:
                raise RuntimeError(f"{command[0]} ended: {Path(log.name).read_text()[-2000:]}")
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(address + ready, timeout=5).close()
                break
            time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        log.close()


def lab(folder: Path, subshells: bool = True) -> contextlib.AbstractContextManager[str]:
    """JupyterLab on the notebooks of `folder`, without a token, with its application reachable from the page.

    Without `subshells` a widget's messages take the kernel's main thread, as VS Code's and Voila's do.
    """
    if not subshells:
        settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "kernels-settings.jupyterlab-settings").write_text('{"commsOverSubshells": "disabled"}')
    command = ["jupyterlab", "--allow-root", "--no-browser", "--expose-app-in-browser", "--IdentityProvider.token="]
    return serve([*command, f"--ServerApp.root_dir={folder}", "--ServerApp.port_retries=0"], folder, "/api")


def voila(path: Path) -> contextlib.AbstractContextManager[str]:
    """Voila showing one notebook."""
    return serve(["voila", str(path), "--no-browser", "--Voila.ip=127.0.0.1"], path.parent, "/voila/static/voila.js")


def open_lab(page: Any, address: str, name: str, timeout: float = 60) -> None:
    """Open a notebook in JupyterLab, alone on the screen, and wait until it can be run."""
    page.goto(f"{address}/doc/tree/{name}?reset", wait_until="domcontentloaded")
    page.wait_for_function(
        "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady", timeout=1000 * timeout
    )
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'",
        timeout=1000 * timeout,
    )


def run_all(page: Any) -> None:
    """Run all cells; returns at once."""
    # braces: a promise that is returned would be waited for
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
