"""How long an explorer takes to answer, in a real browser.

Times are printed beside what is promised; a quiet machine keeps the promises themselves:
`BROWSER_SLACK=1 python -m pytest -s tests/browser`.
"""

import os
import statistics
from typing import Any

from playwright.sync_api import expect

SLACK = float(os.environ.get("BROWSER_SLACK", "3"))
"""How many times longer than promised an answer may take, as other work may go on beside the tests."""

TIMER = """
(root) => {
  window.untimed?.();
  window.times = [];
  let pressed = null, before = "";
  const onkey = () => { pressed = performance.now(); before = root.dataset.drawn; }, seen = new MutationObserver(() => {
    if (pressed !== null && root.dataset.drawn !== before && root.dataset.waiting !== "true") {
      const start = pressed, images = [...root.querySelectorAll("img")].map((image) => image.decode());
      pressed = null;
      Promise.all(images).then(() => requestAnimationFrame(() => window.times.push(performance.now() - start)));
    }
  });
  window.addEventListener("keydown", onkey, true);
  seen.observe(root, { attributes: true, attributeFilter: ["data-drawn"] });
  window.untimed = () => { window.removeEventListener("keydown", onkey, true); seen.disconnect(); };
}
"""


def presses(page: Any, keys: list[str], root: str = ".wb-root[data-drawn]", slider: int = 0) -> list[float]:
    """Press keys on a slider (the first one) one after another; milliseconds from each key press to its picture."""
    page.locator(root).first.evaluate(TIMER)
    moved = page.locator("input.wb-range").nth(slider)
    expect(moved).to_be_enabled(timeout=20_000)  # a disabled one takes no focus, and a key would go nowhere
    moved.focus()
    for count, key in enumerate(keys, start=1):
        page.keyboard.press(key)
        page.wait_for_function(f"() => window.times.length >= {count}", timeout=20_000)
    times: list[float] = page.evaluate("() => window.times")
    return times


def said(name: str, times: list[float], promised: float) -> None:
    """Print the median beside what is promised, and hold it to that, with slack."""
    median = statistics.median(times)
    print(f"\n{name}: median {median:.0f} ms, slowest {max(times):.0f} ms of {len(times)} (promised {promised:.0f} ms)")
    assert median <= SLACK * promised
