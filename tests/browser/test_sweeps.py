"""A sweep in JupyterLab: points appear while it runs elsewhere and in the same notebook; its bar; its page."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import servers

import workbench as wb

RUN = """
def prune(criterion, sparsity, seed=0):
    import time
    time.sleep({seconds})
    if criterion == "grasp" and sparsity > 0.8:
        raise ValueError("no layer is left")
    return {{"accuracy": 1 - sparsity**2 + seed / 100}}
"""
GRID = "criterion=['snip', 'grasp'], sparsity=[0.5, 0.7, 0.9], seed=[0, 1]"
WATCH = "import workbench as wb\ne = wb.explorers.watch({out!r})\ne"
SWEEP = """
try:
    wb.sweep(prune, {out!r}, jobs=0, {grid})
except RuntimeError as error:
    print("ended:", str(error).splitlines()[0])
"""


def shows(page: Any, words: str) -> None:
    page.locator(".wb-shown").get_by_text(re.compile(words)).wait_for(timeout=60_000)


def test_points_appear_while_a_sweep_runs_in_another_process(notebook: Any, axe: Any, folder: Path) -> None:
    page = notebook("elsewhere", WATCH.format(out="other"))
    shows(page, "other: no sweep has started here yet")
    (folder / "runs.py").write_text(
        f"import sys, workbench as wb\n{RUN.format(seconds=0.6)}\nwb.sweep(prune, sys.argv[1], jobs=1, {GRID})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(servers.ROOT)}
    sweep = subprocess.Popen(
        [sys.executable, str(folder / "runs.py"), str(folder / "other")],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    shows(page, r"prune: [1-9]\d* runs? done, 1 running(, 1 failed)?, [1-9]\d* missing")
    first = page.locator(".wb-shown img").get_attribute("src")
    shows(page, r"prune: 10 runs done, 2 failed, 0 missing")
    sweep.wait()
    assert page.locator(".wb-shown img").get_attribute("src") != first
    shows(page, r"2 failed: ValueError: no layer is left \(such as criterion='grasp', sparsity=0.9, seed=0\)")
    assert "snip" in page.locator(".wb-shown img").get_attribute("alt")
    last = page.locator(".wb-hush[role=status]", has_text="10 runs done, 2 failed, 0 missing")
    last.wait_for(state="attached", timeout=20_000)  # a screen reader hears the last one, too
    assert axe(page, ".wb-explore") == []
    assert page.locator(".wb-error").is_hidden()


def test_points_appear_while_the_next_cell_computes(notebook: Any) -> None:
    """The main thread is busy with the sweep; later the cell runs again, and looks no more at what is complete."""
    after = "print('looks', e.worker.busy('looking'), 'errors', len(e.errors))"
    out = {"out": "mine", "grid": GRID}
    page = notebook("same", WATCH.format(**out), RUN.format(seconds=0.5) + SWEEP.format(**out), after)
    shows(page, r"prune: [1-9] runs? done, .*[1-9]\d* missing")
    shows(page, "prune: 10 runs done, 2 failed, 0 missing")
    page.get_by_text(re.compile("ended: 2 of 12 runs failed")).wait_for()
    page.get_by_text(re.compile("looks (True|False) errors 0")).wait_for()
    page.get_by_text(re.compile(r"12/12")).first.wait_for()  # of the bar


def test_a_report_opens_from_disk(page: Any, axe: Any, tmp_path: Path) -> None:
    def prune(criterion: str, sparsity: float, seed: int) -> dict[str, Any]:
        if criterion == "grasp" and sparsity > 0.8:
            raise ValueError("<b>no</b> layer is left")
        return {"accuracy": 1 - sparsity**2 + seed / 100}

    with pytest.raises(RuntimeError):
        wb.sweep(prune, tmp_path, jobs=0, criterion=["snip", "grasp"], sparsity=[0.5, 0.7, 0.9], seed=[0, 1, 2])
    path = wb.reports.write_report(tmp_path)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert axe(page, "html") == [], scheme
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_role("heading", name="ValueError: <b>no</b> layer is left").wait_for()
    page.emulate_media(media="print")
    assert page.locator("img").bounding_box()["width"] <= 904
