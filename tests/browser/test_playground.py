"""The playground where its users have it: JupyterLab, Voila and a page on disk, driven by keys and clicks.

Times are printed beside what is promised; a quiet machine keeps the promises themselves:
`BROWSER_SLACK=1 python -m pytest -s tests/browser/test_playground.py`.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import servers
from timing import presses, said

import workbench as wb
from workbench.explorers.playground import ahead

RESNET = """
import workbench as wb
p = wb.explorers.playground("digits", "resnet-20", {"criterion": "snip"})
p
"""
SMALL = """
import workbench as wb
from ipywidgets.widgets.widget import _instances
from workbench.recipes import RECIPES, Recipe
RECIPES["moons", "lenet-300-100"] = Recipe(epochs=EPOCHS, batch_size=64)
p = wb.explorers.playground("moons", precompute=AHEAD)
p
"""
BROKEN = """
@wb.register_criterion("broken", needs="nothing")
def broken(model, batch, **_):
    raise ZeroDivisionError("planted")
q = wb.explorers.playground("circles")
q
"""
BUSY = """
import time
from pathlib import Path
end = time.monotonic() + 60
while not Path("enough").exists() and time.monotonic() < end:
    time.sleep(0.05)
"""
COUNT = "print('widgets', len(_instances), 'errors', len(p.errors))"


def test_cached_scores_of_resnet_20_answer_a_key_within_100_ms(notebook: Any, axe: Any) -> None:
    page = notebook("resnet", RESNET)
    times = presses(page, ["ArrowRight"] * 20 + ["ArrowLeft"] * 5)
    said("key press to new picture, resnet-20", times, 100)
    box = page.locator(".wb-root").bounding_box()
    room = page.locator(".wb-root").evaluate("root => root.parentElement.clientWidth")
    assert box["width"] == room > 1000  # of a window of 1280
    assert axe(page) == []
    assert page.locator(".wb-error").is_hidden()


def test_precomputed_frames_answer_within_a_display_frame(notebook: Any) -> None:
    ready = "import time\nwhile not p.frames:\n    time.sleep(0.05)\nprint('frames', 'computed')"
    page = notebook("ahead", SMALL.replace("EPOCHS", "2").replace("AHEAD", "True"), ready)
    page.get_by_text("frames computed").wait_for(timeout=60_000)
    said("key press to new picture, computed ahead", presses(page, ["ArrowRight"] * 20), 16)
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_function("() => !document.querySelectorAll('input.wb-range')[1].disabled", timeout=60_000)
    said("key press to new picture, a step of a training", presses(page, ["ArrowLeft"] * 20, slider=1), 100)


def test_the_slider_answers_while_training_and_cancel_stops_it(notebook: Any) -> None:
    page = notebook("training", SMALL.replace("EPOCHS", "3000").replace("AHEAD", "False"), COUNT)
    page.get_by_role("button", name="Train").click()
    page.wait_for_selector(".wb-root[data-busy=training]")
    said("key press to new picture, while training", presses(page, ["ArrowRight"] * 15), 100)
    assert page.get_attribute(".wb-root", "data-busy") == "training"
    waited = page.evaluate(
        """() => new Promise((done) => {
          const root = document.querySelector(".wb-root"), start = performance.now();
          new MutationObserver(() => { if (root.dataset.busy === "") done(performance.now() - start); })
            .observe(root, { attributes: true });
          [...root.querySelectorAll("button")].find((b) => b.textContent.trim() === "Cancel").click();
        })"""
    )
    said("Cancel", [waited], 200)
    page.get_by_text("widgets 2 errors 0").wait_for()


def test_explorers_answer_while_a_long_cell_below_them_runs(lab: str, folder: Path, page: Any) -> None:
    enough = folder / "enough"
    servers.notebook([SMALL.replace("EPOCHS", "2").replace("AHEAD", "False"), BROKEN, BUSY], folder / "busy.ipynb")
    page.set_viewport_size({"width": 1280, "height": 1500})
    servers.open_lab(page, lab, "busy.ipynb")
    roots = page.locator(".wb-root")
    prompts = "[...document.querySelectorAll('.jp-InputPrompt')].map((node) => node.textContent)"

    def run_all_and_move_both() -> None:
        enough.unlink(missing_ok=True)
        page.evaluate("() => document.querySelectorAll('.wb-root').forEach((root) => { root.dataset.drawn = 'old'; })")
        servers.run_all(page)
        page.wait_for_function("() => document.querySelectorAll('.wb-root[data-drawn=\"0\"]').length === 2")
        for i in range(2):
            picture = roots.nth(i).locator("canvas.wb-mask")
            before = picture.evaluate("node => node.toDataURL()")
            roots.nth(i).locator("input.wb-range").first.press("PageUp")
            page.wait_for_function(f"() => document.querySelectorAll('.wb-root')[{i}].dataset.drawn === '1'")
            assert picture.evaluate("node => node.toDataURL()") != before
            assert roots.nth(i).locator(".wb-error").is_hidden()

    def still_runs() -> bool:
        return bool(page.evaluate(f"() => {prompts}.at(-1) === '[*]:'"))

    def ended() -> None:
        enough.touch()
        page.wait_for_function(f"() => !{prompts}.includes('[*]:')")

    run_all_and_move_both()
    roots.first.get_by_role("button", name="Train").click()
    roots.first.get_by_text("validation accuracy").wait_for()
    roots.last.get_by_label("Criterion", exact=True).select_option("broken")
    roots.last.get_by_text("ZeroDivisionError: planted").wait_for()
    assert still_runs()
    ended()
    run_all_and_move_both()  # the cells run again
    assert still_runs()
    ended()
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    roots.first.locator("input.wb-range").first.press("PageUp")
    roots.first.get_by_text("The kernel was restarted").wait_for()
    run_all_and_move_both()
    assert still_runs()
    ended()


def test_fifty_runs_of_the_cell_leave_one_explorer(notebook: Any) -> None:
    page = notebook("again", SMALL.replace("EPOCHS", "2").replace("AHEAD", "False"), COUNT)
    page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex = 0")
    for _ in range(50):
        before = page.evaluate("() => document.querySelector('.jp-InputPrompt').textContent")
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
        page.wait_for_function(
            "before => !['[*]:', before].includes(document.querySelector('.jp-InputPrompt').textContent)", arg=before
        )
    page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    page.locator(".jp-OutputArea-output", has_text="widgets").evaluate("node => node.remove()")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
    page.get_by_text("widgets 2 errors 0").wait_for()
    page.wait_for_function("() => document.querySelectorAll('.wb-root').length === 1")
    presses(page, ["ArrowRight", "ArrowRight"])


def test_controls_change_the_view(notebook: Any) -> None:
    page = notebook("controls", "import workbench as wb\np = wb.explorers.playground()\np")
    page.get_by_label("Criterion", exact=True).select_option("snip")
    page.get_by_role("button", name="Pin", exact=True).press("Enter")
    page.get_by_label("Criterion", exact=True).select_option("synflow")
    page.get_by_label("Rounds", exact=True).select_option("5")
    page.locator("input.wb-range").first.focus()
    page.keyboard.press("End")
    page.wait_for_function("() => document.querySelector('.wb-alarm').textContent.includes('no weight left')")
    page.wait_for_function("() => document.querySelector('.wb-sentence').innerText.split('layers alive').length === 3")
    page.get_by_role("button", name="Show code").click()
    code = page.locator(".wb-panel textarea").input_value()
    assert code.index("# synflow-5") < code.index("rounds=5") < code.index("# snip") < code.index("wb.keep_top(scores")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Unpin").click()
    page.get_by_label("Data").select_option("moons")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.wb-root select')].some((s) => s.value === 'lenet-300-100')"
    )
    page.wait_for_selector(".wb-root[data-waiting=false]")
    assert page.locator(".wb-error").is_hidden()


def test_voila_shows_and_answers_it(folder: Path, page: Any, axe: Any) -> None:
    path = servers.notebook([SMALL.replace("EPOCHS", "2").replace("AHEAD", "False")], folder / "voila.ipynb")
    with servers.voila(path) as address:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(address, timeout=90_000)
        page.wait_for_selector(".wb-root[data-drawn]", timeout=60_000)
        said("key press to new picture, Voila", presses(page, ["ArrowRight"] * 10), 100)
        page.get_by_label("Timing", exact=True).select_option("rigl")
        page.get_by_role("button", name="Train").click()
        page.get_by_text("validation accuracy").wait_for()
        said("key press to new picture, Voila, a step of RigL", presses(page, ["ArrowLeft"] * 10, slider=1), 100)
        assert axe(page) == []


def test_voila_opens_the_app_of_two_cells_in_seconds(tmp_path: Path, page: Any) -> None:
    app = servers.ROOT / "docs" / "app.ipynb"
    assert len(json.loads(app.read_text(encoding="utf-8"))["cells"]) == 2
    with servers.voila(Path(shutil.copy(app, tmp_path))) as address:  # a server writes into the folder it serves
        page.set_viewport_size({"width": 1280, "height": 720})
        start = time.monotonic()
        page.goto(address, timeout=90_000)
        page.wait_for_selector(".wb-root[data-drawn]", timeout=60_000)
        said("request to first picture, Voila's app", [1000 * (time.monotonic() - start)], 10_000)
        assert page.get_by_role("heading", name="The pruning playground").count() == 1
        assert page.locator(".wb-error").is_hidden()
        presses(page, ["ArrowRight"])


def test_two_explorers_on_a_page_from_disk_answer_without_kernel_or_network(
    page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_FACE", "site")
    monkeypatch.setattr(ahead, "SECONDS", 2.0)
    states = [{"criterion": "snip"}, {"criterion": "synflow", "rounds": 5}]
    shown = [wb.explorers.playground("moons", state=state)._repr_mimebundle_()["text/html"] for state in states]
    (tmp_path / "page.html").write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>two</title><body>{"".join(shown)}',
        encoding="utf-8",
    )
    page.context.set_offline(True)
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector(".wb-root[data-drawn]")
    assert page.locator(".wb-root").count() == 2
    first, second = page.locator(".wb-sentence").all_inner_texts()
    said("key press to new picture, page from disk", presses(page, ["ArrowRight"] * 10), 16)
    now = page.locator(".wb-sentence").all_inner_texts()
    assert now[0] != first
    assert now[1] == second
