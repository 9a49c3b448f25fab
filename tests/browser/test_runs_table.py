"""The list of runs in a real browser: sorted, filtered, read without JavaScript, printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nbformat.v4 import new_notebook
from notebook_maker import record

from workbench.headless import runs_table
from workbench.headless.record import Run, read_record

FAILURE = "cell 4 of 5 failed\nTraceback\nZeroDivisionError: division by zero"

RUNS = {
    "a-1": {"title": "Lesson 10", "given": {"rate": 0.9}, "seconds": 9.5},
    "a-2": {"title": "Lesson 9", "given": {"rate": 1e-05}, "seconds": 100.0, "problems": [FAILURE]},
    "a-3": {"title": "Lesson 9", "given": {"rate": None}, "seconds": 20.0, "page": ["cell 3: no picture"]},
    "a-4": {"title": "Lesson 9", "given": {}, "seconds": 7.0},
    "b-1": {"title": "Other", "given": {"n": 3}, "seconds": 9.5},
}
SHARED = {"profile": "smoke", "seed": 7}


def write(folder: Path, name: str, **facts: Any) -> None:
    """An executed notebook that holds nothing but its record, and a page beside it."""
    (folder / f"{name}.ipynb").write_text(json.dumps(new_notebook(metadata={"workbench": record(**facts)})))
    (folder / f"{name}.html").write_text(f"<!DOCTYPE html><title>{name}</title>")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of a folder of five runs of two notebooks."""
    folder = tmp_path_factory.mktemp("results")
    for name, facts in RUNS.items():
        rate = {"rate": 0.95} if name.startswith("a") else {}
        given = {"seed": 7, **facts["given"]}
        write(folder, name, **facts | {"parameters": {**SHARED, **rate, "n": 2, **given}, "given": given})
    (folder / "index.html").write_text(runs_table.runs_table(folder)([]))
    return folder


@pytest.fixture
def index(results: Path, page: Any) -> Any:
    """That index, opened from disk without a network."""
    page.context.set_offline(True)
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto((results / "index.html").as_uri())
    return page


def column(page: Any, number: int) -> list[str]:
    """The texts of a column, of the rows that are shown."""
    cells = page.locator(f"tbody tr:not([hidden]) > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def heads(page: Any) -> list[str]:
    return page.locator("thead th").all_inner_texts()


def test_what_the_table_holds(index):
    assert heads(index) == ["Picture", "Notebook", "profile", "rate", "n", "Seconds", "Finished (UTC)", "State"]
    assert index.locator(".lead").inner_text() == ("5 runs, 1 failed. The same in all runs that take them: seed = 7.")
    assert column(index, 4) == ["0.9", "1e-05", "None", "0.95", ""]
    assert [text.split("\n")[0] for text in column(index, 8)] == [
        "finished", "failed", "page incomplete", "finished", "finished",
    ]  # fmt: skip
    assert not index.get_by_text("ZeroDivisionError").is_visible()
    index.get_by_text("cell 4 of 5 failed").first.press("Enter")
    assert index.get_by_text("ZeroDivisionError").is_visible()


def test_a_row_leads_to_its_page_and_its_notebook(index, results):
    index.get_by_role("link", name="Lesson 10").click()
    assert index.url == (results / "a-1.html").as_uri()
    index.go_back()
    assert index.get_by_role("link", name="a-1.ipynb").get_attribute("href") == "a-1.ipynb"


def test_sorted_with_the_keyboard(index):
    index.get_by_role("button", name="Notebook").focus()
    for _ in range(2):
        index.keyboard.press("Tab")
    assert index.evaluate("document.activeElement.textContent") == "rate"
    head = index.get_by_role("columnheader", name="rate")
    index.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(index, 4) == ["1e-05", "0.9", "0.95", "None", ""]
    index.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    assert column(index, 4) == ["None", "0.95", "0.9", "1e-05", ""]  # nothing comes last both ways
    assert index.evaluate("document.activeElement.textContent") == "rate"
    index.get_by_role("button", name="Seconds").press("Enter")
    assert column(index, 6) == ["7.0", "9.5", "9.5", "20.0", "100.0"]
    assert [text.split("\n")[0] for text in column(index, 2)][1:3] == ["Lesson 10", "Other"]  # equal ones as they were
    assert index.locator("[aria-sort]").count() == 1
    index.get_by_role("button", name="Notebook").press("Enter")
    assert [text.split("\n")[0] for text in column(index, 2)] == ["Lesson 9"] * 3 + ["Lesson 10", "Other"]


def test_filtered_with_the_keyboard_and_kept_when_loaded_again(index):
    field, said = index.get_by_label("Filter"), index.get_by_role("status")
    assert said.inner_text() == "5 of 5 shown"
    field.press_sequentially("LESSON 9.5")  # both words, wherever they stand
    assert column(index, 6) == ["9.5"]
    assert said.inner_text() == "1 of 5 shown"
    field.fill("zerodivision")
    assert [text.split("\n")[-1] for text in column(index, 2)] == ["a-2.ipynb"]
    for words, rates in {
        "rate 0.9": ["0.9"],  # not 0.95
        "RATE=0.90 lesson": ["0.9"],
        "rate = 1e-5": ["1e-05"],
        "rate none": ["None"],
        "n 3": [""],
        "seed 7 n=2 rate": ["0.9", "1e-05", "None", "0.95"],
        "seed 8": [],
        "a-2": [],  # the name of a file, which ends in a hash
        "2026": [],  # nor when it ended
    }.items():
        field.fill(words)
        assert column(index, 4) == rates, words
    field.fill("lesson")
    index.keyboard.press("Tab")
    index.keyboard.press("p")  # the state whose name begins so
    assert column(index, 6) == ["20.0"]
    index.get_by_label("State").select_option("finished")
    index.get_by_role("button", name="Seconds").press("Enter")
    assert column(index, 6) == ["7.0", "9.5"]
    index.reload()
    assert column(index, 6) == ["7.0", "9.5"]
    assert index.get_by_role("columnheader", name="Seconds").get_attribute("aria-sort") == "ascending"
    field.fill("no such run")
    assert said.inner_text() == "0 of 5 shown"


@pytest.mark.parametrize("address", ["#state=x&sort=y&down=1", "#%", "#words=%20&sort="])
def test_an_address_that_says_something_else_shows_all(index, results, address):
    index.goto("about:blank")
    index.goto((results / "index.html").as_uri() + address)
    assert column(index, 4) == ["0.9", "1e-05", "None", "0.95", ""]


@pytest.fixture
def plain(results: Path, browser: Any) -> Iterator[Any]:
    """The index in a browser that runs no script."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((results / "index.html").as_uri())
    yield page
    context.close()


def test_whole_without_javascript(plain):
    assert len(column(plain, 2)) == 5
    assert heads(plain)[-1] == "State"
    assert plain.get_by_role("button").count() == 0
    assert not plain.get_by_role("search").is_visible()
    plain.get_by_text("cell 4 of 5 failed").first.click()
    assert plain.get_by_text("ZeroDivisionError").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_that_axe_finds(index: Any, axe: Callable[..., list[str]], scheme: str) -> None:
    index.emulate_media(color_scheme=scheme)
    index.get_by_role("button", name="rate").click()
    index.locator("details").first.click()
    assert axe(index, "html") == []


@pytest.mark.parametrize("width", [1280, 390])
def test_only_the_table_scrolls_sideways(index, width):
    index.set_viewport_size({"width": width, "height": 720})
    assert index.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    fits = index.locator(".scroll").evaluate("e => e.scrollWidth <= e.clientWidth")
    assert fits == (width == 1280)
    index.get_by_role("button", name="State").press("Enter")  # what is off the screen comes into view
    box = index.get_by_role("button", name="State").bounding_box()
    assert 0 <= box["x"] <= width - box["width"]


def test_printed_without_controls(index):
    index.get_by_label("State").select_option("failed")
    index.emulate_media(media="print")
    assert not index.get_by_role("search").is_visible()
    assert column(index, 6) == ["100.0"]
    assert index.locator(".scroll").evaluate("e => getComputedStyle(e).overflowX") == "visible"


def test_a_thousand_runs_are_read_once_each(tmp_path, page, monkeypatch):
    read = []
    monkeypatch.setattr(runs_table, "read_record", lambda path: read.append(path.stem) or read_record(path))
    for number in range(999):
        given = {"seed": number}
        write(tmp_path, f"run-{number}", parameters=given, given=given, seconds=float(-number % 1000))
    table = runs_table.runs_table(tmp_path)
    table([])
    own = Run(tmp_path / "run-9.ipynb", tmp_path / "run-9.html", record(parameters={"seed": 9}, key=""))
    new = Run(tmp_path / "new.ipynb", tmp_path / "new.html", record(parameters={"seed": 5000}, given={"seed": 5000}))
    write(tmp_path, "run-3", problems=["changed"], parameters={"seed": 3}, given={"seed": 3})
    (tmp_path / "run-4.ipynb").unlink()
    (tmp_path / "index.html").write_text(table([own, new]))
    assert sorted(read) == sorted([f"run-{number}" for number in range(999)] + ["run-3"])
    page.goto((tmp_path / "index.html").as_uri())
    assert page.locator(".lead").inner_text() == "999 runs, 1 failed."
    page.get_by_role("button", name="seed").click()
    page.get_by_role("button", name="seed").click()
    seeds = column(page, 3)
    assert seeds == [str(number) for number in (5000, *range(998, 4, -1), 3, 2, 1, 0)]
    page.get_by_label("Filter").fill("changed")
    assert column(page, 3) == ["3"]
