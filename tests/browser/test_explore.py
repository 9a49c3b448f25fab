"""`wb.explore` where its users have it: JupyterLab, Voila and a page on disk, driven by keys and clicks."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import servers
import torch
from timing import presses, said

import workbench as wb

DENSITY = """
import workbench as wb
from ipywidgets.widgets.widget import _instances
task = wb.load("digits")
model = wb.make("vgg", task)
scores = {c: wb.score(model, task.batch(64), c) for c in ("magnitude", "synflow")}

def density(sparsity, criterion):
    return wb.plots.layer_densities(wb.layers(model, wb.keep_top(scores[criterion], sparsity)))

e = wb.explore(density, sparsity=wb.controls.sparsity(0.9, most=100), criterion=["magnitude", "synflow"])
e
"""
LINES = """
import pandas as pd, seaborn as sns, workbench as wb
rows = pd.DataFrame({"x": list(range(50)) * 2, "y": [i / 50 for i in range(100)], "arm": ["a"] * 50 + ["b"] * 50})

def lines(last):
    ax = wb.plots.axes()
    sns.lineplot(rows[rows["x"] <= last], x="x", y="y", hue="arm", errorbar=None, ax=ax)
    return ax

e = wb.explore(lines, last=(10, 49))
e
"""
STAGED = """
import time, workbench as wb

def staged(steps):
    for k in range(steps):
        time.sleep(0.02)
        yield k / steps
        if k % 10 == 9:
            yield f"after {k + 1} of {steps} steps"
    yield f"all {steps} steps"

e = wb.explore(staged, steps=(40, 400, 40))
e
"""
PICKY = """
import time, workbench as wb

def picky(k):
    if k > 7:
        raise ValueError(f"k is at most 7; got {k}")
    time.sleep(2 if k == 7 else 0)
    return f"k is {k}"

e = wb.explore(picky, k=(0, 10))
e
"""
RASTER = """
import workbench as wb, torch
e = wb.explore(lambda cell: f"the cell {cell}", cell=wb.controls.pick(torch.arange(12.0).reshape(3, 4)))
e
"""
COUNT = "print('widgets', len(_instances), 'errors', len(e.errors))"
ROOT = ".wb-explore[data-drawn]"
ROOT_FOLDER = Path(__file__).parents[2]


def shows(page: Any, text: str) -> None:
    page.locator(".wb-shown").get_by_text(text, exact=True).wait_for()


def test_a_picture_of_layers_answers_a_key_within_150_ms(notebook: Any, axe: Any) -> None:
    page = notebook("density", DENSITY, COUNT)
    page.wait_for_selector(f"{ROOT} img")
    said("key press to new picture, layer densities", presses(page, ["ArrowRight"] * 15, ROOT), 150)
    assert "sparsity" in page.locator(".wb-explore [role=status]").inner_text()
    page.get_by_label("criterion").select_option("synflow")
    page.wait_for_function("() => document.querySelector('.wb-explore [role=status]').textContent.includes('synflow')")
    assert page.locator("input.wb-range").get_attribute("aria-valuetext").endswith("x")
    assert axe(page, ".wb-explore") == []
    assert page.locator(".wb-error").is_hidden()
    page.get_by_text(re.compile(r"widgets \d+ errors 0")).wait_for()


def test_a_line_plot_of_seaborn_answers_within_150_ms(notebook: Any) -> None:
    pytest.importorskip("seaborn")
    page = notebook("lines", LINES)
    page.wait_for_selector(f"{ROOT} img")
    said("key press to new picture, seaborn lines", presses(page, ["ArrowRight", "ArrowLeft"] * 8, ROOT), 150)


def test_pictures_made_ahead_answer_within_a_display_frame(notebook: Any) -> None:
    ready = "import time\nwhile not e.frames:\n    time.sleep(0.05)\nprint('frames', 'made')"
    ahead = DENSITY.replace("criterion=[", "ahead=True, criterion=[").replace("most=100", "most=10")
    page = notebook("ahead", ahead, ready)
    page.get_by_text("frames made").wait_for(timeout=120_000)
    said("key press to new picture, made ahead", presses(page, ["ArrowLeft"] * 15, ROOT), 16)


def picks(page: Any) -> None:
    """A cell by click, then by keys, which end at the edge."""
    raster = page.get_by_role("slider", name="cell")
    box = raster.bounding_box()
    raster.click(position={"x": box["width"] * 0.6, "y": box["height"] * 0.5})
    shows(page, "the cell (1, 2)")
    for key, now in [
        ("ArrowUp", (0, 2)),
        ("ArrowUp", (0, 2)),
        ("ArrowRight", (0, 3)),
        ("End", (2, 3)),
        ("Home", (0, 0)),
        ("End", (2, 3)),
        ("ArrowUp", (1, 3)),
    ]:
        raster.press(key)
        shows(page, f"the cell {now}")
    assert raster.get_attribute("aria-valuetext") == "row 1, column 3: 7"


def test_a_cell_is_picked_by_click_and_by_key(notebook: Any, axe: Any) -> None:
    page = notebook("raster", RASTER)
    shows(page, "the cell (0, 0)")
    picks(page)
    assert axe(page, ".wb-explore") == []


def test_stages_run_show_progress_and_stop(notebook: Any) -> None:
    page = notebook("staged", STAGED, COUNT.replace("len(_instances)", "0"))
    assert page.locator(".wb-message").inner_text() == "Press Run"
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text(re.compile(r"Running: \d+ %")).wait_for()
    page.get_by_text(re.compile(r"after \d0 of 200 steps")).first.wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled").wait_for()
    page.locator("input.wb-range").press("Home")
    page.get_by_text("Press Run for this setting").wait_for()
    page.get_by_role("button", name="Run", exact=True).click()
    shows(page, "all 40 steps")
    page.get_by_text("widgets 0 errors 0").wait_for()


def test_slow_and_broken_pictures_say_so(notebook: Any) -> None:
    page = notebook("picky", PICKY)
    slider = page.locator("input.wb-range")
    slider.focus()
    page.keyboard.press("ArrowRight")
    shows(page, "k is 6")
    page.keyboard.press("ArrowRight")
    page.get_by_text("Drawing").wait_for()
    shows(page, "k is 7")
    page.keyboard.press("End")
    page.get_by_text("ValueError: k is at most 7; got 10").wait_for()
    assert page.get_attribute(".wb-explore", "data-failed") == "true"
    page.keyboard.press("Home")
    shows(page, "k is 0")
    assert page.locator(".wb-error").is_hidden()


def test_state_and_code_go_out_and_in(notebook: Any) -> None:
    page = notebook("state", PICKY)
    page.get_by_role("button", name="Show code").click()
    assert page.locator(".wb-panel textarea").input_value() == "picky(k=5)"
    page.keyboard.press("Escape")
    page.get_by_role("button", name="State").click()
    page.locator(".wb-panel textarea").fill('{"k": 2}')
    page.get_by_role("button", name="Apply").click()
    shows(page, "k is 2")
    assert page.locator("input.wb-range").get_attribute("aria-valuetext") == "2"
    page.get_by_role("button", name="State").click()
    page.locator(".wb-panel textarea").fill('{"j": 2}')
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("control is one of k; got 'j'").wait_for()
    assert page.locator(".wb-panel textarea").input_value() == '{"j": 2}'  # to be mended


def test_explorers_answer_while_a_long_cell_runs(notebook: Any, folder: Path) -> None:
    enough = folder / "enough"
    wait = f"import pathlib, time\nend = time.monotonic() + 60\nwhile not pathlib.Path({str(enough)!r}).exists() and "
    page = notebook("busy", PICKY, f"{wait}time.monotonic() < end:\n    time.sleep(0.05)")
    page.locator("input.wb-range").press("ArrowLeft")
    shows(page, "k is 4")
    assert page.evaluate("[...document.querySelectorAll('.jp-InputPrompt')].at(-1).textContent") == "[*]:"
    enough.touch()


def test_without_subshells_the_main_thread_answers(tmp_path: Path, page: Any) -> None:
    with servers.lab(tmp_path, subshells=False) as address:
        where = "import threading\n\ndef seen(k):\n    return f'{k} {main}'\n\nmain = ''\n"
        watch = "import workbench as wb\ne = wb.explore(seen, k=(0, 9))\ne.choices.controls['k'].observe("
        watch += (
            "lambda change: globals().update(main=threading.current_thread() is threading.main_thread()), 'value')\ne"
        )
        servers.notebook([where, watch], tmp_path / "plain.ipynb")
        servers.open_lab(page, address, "plain.ipynb")
        servers.run_all(page)
        page.wait_for_selector(ROOT, timeout=60_000)
        page.locator("input.wb-range").press("ArrowRight")
        page.locator("input.wb-range").press("ArrowRight")
        shows(page, "6 True")


def test_fifty_runs_of_the_cell_leave_one_explorer(notebook: Any) -> None:
    counting = "import threading\n" + COUNT.replace("e.errors)", "e.errors), 'threads', threading.active_count()")
    page = notebook("again", DENSITY, counting)
    lab, count = "window.jupyterapp", ".jp-OutputArea-output"
    run = f"() => {lab}.commands.execute('notebook:run-cell')"

    def counted() -> str:
        page.evaluate(f"() => {{ {lab}.shell.currentWidget.content.activeCellIndex = 1; }}")
        page.locator(".jp-OutputArea-output", has_text="widgets").evaluate_all(
            "nodes => nodes.forEach((n) => n.remove())"
        )
        page.evaluate(run)
        text: str = page.locator(count, has_text="widgets").inner_text()
        return text

    first = counted()
    page.evaluate(f"() => {{ {lab}.shell.currentWidget.content.activeCellIndex = 0; }}")
    for _ in range(50):
        before = page.evaluate("() => document.querySelector('.jp-InputPrompt').textContent")
        page.evaluate(run)
        page.wait_for_function(
            "before => !['[*]:', before].includes(document.querySelector('.jp-InputPrompt').textContent)", arg=before
        )
    assert counted() == first
    page.wait_for_function("() => document.querySelectorAll('.wb-explore').length === 1")


def test_the_explorer_that_notebook_00_builds(notebook: Any) -> None:
    cells = json.loads((ROOT_FOLDER / "notebooks" / "00-start-here.ipynb").read_text(encoding="utf-8"))["cells"]
    own = next("".join(cell["source"]) for cell in cells if cell["id"] == "own-explorer")
    assert len(own.splitlines()) <= 13
    start = 'network, criterion, seed = "vgg", "magnitude", 0'
    page = notebook("own", f'import workbench as wb\ntask = wb.load("digits")\n{start}', own)
    page.wait_for_selector(f"{ROOT} img")
    page.get_by_label("criterion").select_option("synflow")
    page.wait_for_function("() => document.querySelector('.wb-explore img').alt.length > 20")
    presses(page, ["ArrowRight", "ArrowRight"], ROOT)
    assert page.locator(".wb-error").is_hidden()


def test_voila_shows_and_answers_it(folder: Path, page: Any, axe: Any) -> None:
    path = servers.notebook([DENSITY], folder / "voila.ipynb")
    with servers.voila(path) as address:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(address)
        page.wait_for_selector(f"{ROOT} img", timeout=60_000)
        said("key press to new picture, Voila", presses(page, ["ArrowRight"] * 10, ROOT), 150)
        assert axe(page, ".wb-explore") == []


def opened(page: Any, folder: Path, still: Any) -> None:
    """Show an explorer on a page from disk, without a network."""
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    shown = still._repr_mimebundle_()["text/html"]
    (folder / "page.html").write_text(f"{head}<title>one</title><body>{shown}", encoding="utf-8")
    page.context.set_offline(True)
    page.goto((folder / "page.html").as_uri())


@pytest.mark.parametrize("width", [390, 1280])
def test_a_page_from_disk_moves_without_kernel_or_network(
    width: int, page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axe: Any
) -> None:
    monkeypatch.setenv("WORKBENCH_FACE", "site")

    def both(k: int, letter: str) -> tuple[Any, str]:
        return wb.plots.axes(), f"{letter} {k}"

    page.set_viewport_size({"width": width, "height": 800})
    opened(page, tmp_path, wb.explore(both, k=(0, 5), letter=["a", "b"]))
    shows(page, "a 2")
    said("key press to new picture, page from disk", presses(page, ["ArrowRight"] * 3, ROOT), 16)
    shows(page, "a 5")
    page.get_by_label("letter").select_option("b")
    shows(page, "b 5")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert axe(page, ".wb-explore") == []


def test_a_cell_is_picked_on_a_page_from_disk(
    page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axe: Any
) -> None:
    monkeypatch.setenv("WORKBENCH_FACE", "site")
    cell = wb.controls.pick(torch.arange(12.0).reshape(3, 4))
    opened(page, tmp_path, wb.explore(lambda cell: f"the cell {cell}", cell=cell))
    shows(page, "the cell (0, 0)")
    picks(page)
    assert axe(page, ".wb-explore") == []
