"""Take the pictures of the playground that stand in `docs/` and in the README, from a real JupyterLab.

PYTHONPATH=tests python tests/browser/screenshots.py [folder]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import servers
from chromium import ARGS, CHROMIUM

CELL = """
import workbench as wb
p = wb.explorers.playground("digits", "vgg", rows=wb.experiments.recorded("headline"))
p
"""


def choose(page: Any, **fields: str) -> None:
    for label, value in fields.items():
        page.get_by_label(label, exact=True).select_option(value)
    settled(page)


def slide(page: Any, compression: float) -> None:
    """Move the slider to the stop nearest to a compression, as a hand would: with the keyboard."""
    stops = page.evaluate("() => document.querySelector('input.wb-range').max")
    place = page.locator("input.wb-range").first
    place.focus()
    page.keyboard.press("Home")
    for _ in range(int(stops)):
        text = place.get_attribute("aria-valuetext")
        if float(text.split("x")[0].replace(",", "")) >= compression:
            break
        page.keyboard.press("ArrowRight")
    settled(page)
    place.evaluate("node => node.blur()")


def settled(page: Any) -> None:
    page.wait_for_timeout(500)
    page.wait_for_selector(".wb-root[data-waiting=false]", timeout=300_000)
    page.wait_for_timeout(1000)


def dense(page: Any) -> None:
    slide(page, 1)


def at_95(page: Any) -> None:
    slide(page, 20)


def collapsed(page: Any) -> None:
    choose(page, Criterion="snip")
    slide(page, 1000)


def training(page: Any) -> None:
    choose(page, Criterion="magnitude")
    slide(page, 100)
    page.get_by_role("button", name="Train").click()
    page.wait_for_function("() => /[4-9]\\d %/.test(document.querySelector('.wb-message').textContent)", timeout=60_000)


def steps(page: Any) -> None:
    page.wait_for_selector(".wb-root[data-busy='']", timeout=300_000)
    choose(page, Timing="gradual")
    page.get_by_role("button", name="Train").click()
    step = page.get_by_label("Step of the training")
    page.wait_for_function("() => !document.querySelectorAll('input.wb-range')[1].disabled", timeout=300_000)
    for _ in range(10):
        step.press("PageDown")
    settled(page)
    step.evaluate("node => node.blur()")


def compare(page: Any) -> None:
    choose(page, Timing="before", Criterion="synflow")
    page.get_by_role("button", name="Pin", exact=True).click()
    slide(page, 500)
    choose(page, Rounds="100")


def dark(page: Any) -> None:
    page.get_by_role("button", name="Unpin").click()
    choose(page, Rounds="1", Criterion="magnitude")
    slide(page, 50)
    page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    page.wait_for_timeout(1500)


STATES: dict[str, Callable[[Any], None]] = {
    "playground-dense.png": dense,
    "playground.png": at_95,
    "playground-collapsed.png": collapsed,
    "playground-training.png": training,
    "playground-steps.png": steps,
    "playground-compare.png": compare,
    "playground-dark.png": dark,
}


def main(out: Path) -> None:
    """One picture a state, cropped to the explorer, at twice the pixels."""
    from playwright.sync_api import sync_playwright

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as play:
        folder = Path(temporary)
        servers.notebook([CELL], folder / "playground.ipynb")
        with servers.lab(folder) as address:
            browser = play.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
            page = browser.new_page(viewport={"width": 1280, "height": 960}, device_scale_factor=2)
            servers.open_lab(page, address, "playground.ipynb")
            servers.run_all(page)
            page.wait_for_selector(".wb-root[data-drawn]", timeout=120_000)
            for name, reach in STATES.items():
                reach(page)
                page.locator(".wb-root").screenshot(path=str(out / name))
                print(out / name)
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else servers.ROOT / "docs")
