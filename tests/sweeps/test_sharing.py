"""Several sweeps and readers on one folder at once: each run is done once, no row is lost, and nobody stumbles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import workbench as wb
from workbench.sweeps.claims import Claims
from workbench.sweeps.files import Store, packed_rows
from workbench.sweeps.rows import Task

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")


def area(width: int, height: int = 1) -> dict[str, Any]:
    return {"area": width * height}


def row(width: int) -> dict[str, Any]:
    return Task(area, wb.sweeps.key(area, {"width": width}), {"width": width}).row(area(width), 0.1)


def filled(out: Path, number: int) -> Store:
    """A sweep that was killed after so many runs."""
    store = Store(out)
    store.open()
    for width in range(number):
        store.write(row(width))
    return store


AT_ONCE = r"""
import os, sys, time
import workbench as wb
def area(width): return {"area": width}
wb.sweep(area, "first", jobs=0, progress=False, width=[1])  # all is imported
for turn in range(6):
    out, go, children = f"{turn}{sys.argv[1]}", time.time() + 0.1, []
    for _ in range(4):
        if not (child := os.fork()):
            while time.time() < go: pass
            try:
                found = wb.sweep(area, out, jobs=0, progress=False, width=[1, 2, 3])["area"].tolist()
            except BaseException as error:
                found = error
            os.write(1, f"{found}\n".encode())
            os._exit(0)
        children.append(child)
    for child in children: os.waitpid(child, 0)
"""


@pytest.mark.parametrize("end", ["", ".jsonl"])
def test_sweeps_that_start_at_the_same_moment(tmp_path: Path, end: str) -> None:
    """As the jobs of an array do: four at a time into a folder that is not there yet, six times."""
    root = str(Path(wb.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", AT_ONCE, end]
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == ["[1, 2, 3]"] * 24
    assert all(len(wb.results(tmp_path / f"{turn}{end}")) == 3 for turn in range(6))
    if end:
        assert all(len(packed_rows(tmp_path / f"{turn}{end}")[0]) == 3 for turn in range(6)), "the last one packs"
        assert not any((tmp_path / f"{turn}").exists() for turn in range(6))


def test_threads_that_start_at_the_same_moment(tmp_path: Path) -> None:
    def one(turn: int) -> list[int]:
        table = wb.sweep(area, tmp_path / f"{turn // 4}.jsonl", jobs=0, progress=False, width=[1, 2, 3])
        return list(table["area"])

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(one, range(40))) == [[1, 2, 3]] * 40
    assert all(len(packed_rows(tmp_path / f"{turn}.jsonl")[0]) == 3 for turn in range(10))


@pytest.fixture
def packing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A sweep into a packed file that stands still when all rows are in it, before it removes their files."""
    reached, go = threading.Event(), threading.Event()
    unlink = os.unlink

    def stand(path: Any, *rest: Any, **options: Any) -> None:
        if threading.current_thread() is thread and not reached.is_set():
            reached.set()
            assert go.wait(60)
        unlink(path, *rest, **options)

    monkeypatch.setattr(os, "unlink", stand)
    out = tmp_path / "rows.jsonl"
    filled(out, 20)
    thread = threading.Thread(
        target=lambda: wb.sweep(area, out, jobs=0, progress=False, width=list(range(21))), daemon=True
    )
    thread.start()
    assert reached.wait(60)
    yield out, go
    go.set()
    thread.join(60)
    assert not thread.is_alive()
    assert len(packed_rows(out)[0]) == 21
    assert not out.with_suffix("").exists()


def test_a_sweep_that_starts_while_another_packs_waits_and_loses_nothing(packing: Any) -> None:
    out, go = packing
    with ThreadPoolExecutor(1) as threads:
        later = threads.submit(wb.sweep, area, out, jobs=0, progress=False, width=[0, 30])
        text = out.read_bytes()
        assert not later.done()
        go.set()
        assert later.result(60)["area"].tolist() == [0, 30]
    rows, _ = packed_rows(out)
    assert out.read_bytes().startswith(text)
    assert sorted(row["metrics"]["area"] for row in rows) == [*range(21), 30]
    out.write_bytes(text)  # as the first left it: the fixture looks


def test_results_are_whole_at_each_moment_of_packing(packing: Any) -> None:
    out, go = packing
    assert sorted(wb.results(out)["area"]) == list(range(21)), "each row is in two places"
    rows = Store(out).rows()
    first = next(rows)
    go.set()
    while out.with_suffix("").exists():
        pass
    assert {row["key"] for row in (first, *rows)} == {row(width)["key"] for width in range(21)}


def test_rows_that_are_packed_while_the_folder_is_read_are_not_missed(tmp_path: Path) -> None:
    store = filled(tmp_path / "rows.jsonl", 20)
    rows = store.rows()
    seen = [next(rows)]
    store.pack()
    assert {one["key"] for one in (*seen, *rows)} == {row(width)["key"] for width in range(20)}
    assert len(packed_rows(tmp_path / "rows.jsonl")[0]) == 20


def test_the_start_of_a_row_at_the_end_of_a_packed_file_goes_when_more_is_packed(tmp_path: Path) -> None:
    store = filled(tmp_path / "rows.jsonl", 2)
    store.pack()
    assert store.packed is not None
    with open(store.packed, "a") as file:
        file.write(json.dumps(row(5))[:60])
    assert wb.sweep(area, tmp_path / "rows.jsonl", jobs=0, progress=False, width=[0, 5])["area"].tolist() == [0, 5]
    assert sorted(one["metrics"]["area"] for one in packed_rows(store.packed)[0]) == [0, 1, 5]


def test_a_run_that_failed_in_another_sweep_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ask for the same run while one of them does it: it fails once, in both."""
    begun, go, waits, calls = threading.Event(), threading.Event(), threading.Event(), list[int]()
    take = Claims.take

    def taken(claims: Claims, key: str) -> bool:
        if not (mine := take(claims, key)):
            waits.set()
        return mine

    monkeypatch.setattr(Claims, "take", taken)

    def broken(width: int) -> dict[str, Any]:
        calls.append(width)
        begun.set()
        assert go.wait(60)
        raise ZeroDivisionError("one by nothing")

    def one() -> str:
        with pytest.raises(RuntimeError, match="one by nothing") as caught:
            wb.sweep(broken, tmp_path, jobs=0, progress=False, width=[1])
        return str(caught.value)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(one)
        assert begun.wait(60)
        second = threads.submit(one)
        assert waits.wait(60)
        go.set()
        assert first.result(60) == second.result(60)
    assert calls == [1]
    one()
    assert calls == [1, 1], "a later sweep tries it again"


def test_a_folder_that_cannot_be_claimed_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "in-flight").mkdir()
    for _ in range(2):
        with pytest.raises(ValueError, match="results need a folder that can be written to"), Claims(tmp_path):
            pass
    (tmp_path / "in-flight").rmdir()
    with Claims(tmp_path) as claims:
        assert claims.take("2b929a940d787bad")


@pytest.mark.parametrize("name", ["runs", "grids"])
def test_a_file_in_the_place_of_a_folder_of_the_sweep(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match="results need a folder that can be written to"):
        wb.sweep(area, tmp_path, jobs=0, progress=False, width=[1])


def test_rows_from_before_a_default_was_changed_are_not_taken_for_new_ones(tmp_path: Path) -> None:
    wb.sweep(area, tmp_path, jobs=0, progress=False, width=[2])
    before = area

    def changed(width: int, height: int = 5) -> dict[str, Any]:
        return before(width, height)

    changed.__name__ = "area"
    with pytest.raises(ValueError, match="rows of area that have height=1 as the default; now it is 5"):
        wb.sweep(changed, tmp_path, jobs=0, progress=False, width=[2])

    def wider(width: int, height: int = 1, depth: int = 1) -> dict[str, Any]:
        return before(width, height * depth)

    wider.__name__ = "area"
    assert wb.sweep(wider, tmp_path, jobs=0, progress=False, width=[2], depth=[1, 3])["area"].tolist() == [2, 6]
