"""What an explorer computes while a slider moves; in the playground, from a key press to the picture in a browser."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import workbench as wb
from benchmarks.measure import Row, in_turns, random_task
from tests.chromium import ARGS, CHROMIUM
from workbench.explorers.playground import ahead
from workbench.seeds import generator

SHOWN: Any = ("digits", "vgg", {"timing": "rigl", "step": 1})
"""Trained when it is opened, so that both sliders move."""
LIVE = f"import workbench as wb\np = wb.explorers.playground(*{SHOWN})\np"


def rows(quick: bool) -> Iterator[Row]:
    small = wb.score(wb.make("resnet-20", random_task((3, 32, 32), train=100)), None, "random")
    shapes = [(512, 512, 3, 3)] * (1 if quick else 11)
    large = {f"layer {i}": torch.rand(shape, generator=generator(i)) for i, shape in enumerate(shapes)}
    yield _look_up("272 k weights, 20 layers", small, quick)
    yield _look_up("26 M weights, 11 layers", large, quick)
    if not quick and CHROMIUM.exists():  # the browser tests see that this runs
        yield from _pressed()


def _look_up(what: str, scores: wb.Scores, quick: bool) -> Row:
    ranking, visible = wb.rank(scores), max(scores, key=lambda name: scores[name].numel())
    turns = iter(range(100))

    def moved() -> None:
        sparsity = 0.5 + 0.004 * next(turns)
        ranking.counts(sparsity)
        ranking.mask(visible, sparsity)

    seconds = in_turns(1 if quick else 50, moved=moved)["moved"]
    return Row(f"new sparsity from cached scores: counts and the largest layer, {what}", 1000 * seconds, "ms", 5.0)


def _pressed() -> Iterator[Row]:
    from playwright.sync_api import sync_playwright

    from tests.browser import servers

    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as play:
        folder = Path(temporary)
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        with mock.patch.dict(os.environ, WORKBENCH_FACE="site"), mock.patch.object(ahead, "SECONDS", 0.0):
            html = wb.explorers.playground(*SHOWN)._repr_mimebundle_()["text/html"]
        (folder / "page.html").write_text(f'<!doctype html><meta charset="utf-8"><body>{html}', encoding="utf-8")
        page.goto((folder / "page.html").as_uri())
        yield from _sliders(page, "static page", 16.0)
        servers.notebook([LIVE], folder / "live.ipynb")
        with servers.lab(folder) as address:
            servers.open_lab(page, address, "live.ipynb")
            servers.run_all(page)
            yield from _sliders(page, "JupyterLab", 100.0)
        browser.close()


def _sliders(page: Any, where: str, bound: float) -> Iterator[Row]:
    from tests.browser.timing import presses

    page.wait_for_function("() => document.querySelectorAll('input.wb-range')[1]?.disabled === false", timeout=120_000)
    page.wait_for_selector(".wb-root[data-waiting=false][data-busy='']")
    for slider, name in ((1, "Step"), (0, "compression")):  # another compression was not trained
        times = presses(page, 2 * (10 * ["ArrowRight"] + 10 * ["ArrowLeft"]), slider=slider)
        what = f"key press to picture, {where}, {name} of the playground: median of {len(times)}, vgg on digits, rigl"
        yield Row(what, statistics.median(times), "ms", bound)
