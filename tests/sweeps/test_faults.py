"""What goes wrong in a sweep, with real processes: nothing done is lost or counted twice, and the others go on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import workbench as wb
from workbench.sweeps.claims import Claims
from workbench.sweeps.files import Store
from workbench.sweeps.workers import Worker

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and process groups")

HEAD = """
import os, resource, sys, time
from pathlib import Path
import workbench as wb
def note(width):
    with open("calls", "a") as file:
        file.write(f"{width}\\n")
"""
"""Of a script: where a sweep runs that a test kills. Each run leaves a line in the file `calls`."""


def script(text: str, folder: Path, **options: Any) -> subprocess.Popen[str]:
    """A Python process in a folder, which also sees the package."""
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HEAD + text]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True, **options)


def calls(folder: Path) -> list[int]:
    path = folder / "calls"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def until(true: Any, seconds: float = 60) -> None:
    """Wait for something, which must come."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    except FileNotFoundError:
        if not Path("/proc/self").exists():
            os.kill(pid, 0)
        return False


def hungry() -> bytes:
    """Ask for more memory than this process may have."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    return b"x" * 2**34


def unwell(kind: str, folder: str) -> dict[str, Any]:
    """A run of each kind of trouble; each says which process computes it."""
    Path(folder, f"pid {kind}").write_text(str(os.getpid()))
    if kind == "raises":
        raise ZeroDivisionError("planted")
    if kind == "leaves":
        sys.exit("nothing to do")
    if kind == "exits":
        os._exit(7)
    if kind == "is killed":
        time.sleep(600)
    if kind == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "hangs":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        time.sleep(600)
    if kind == "has no memory":
        hungry()
    if kind == "fills the disk":
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)
    if kind == "gives an object":
        return {"model": object()}
    if kind == "cannot come back":
        raise type("Own", (Exception,), {"__reduce__": lambda self: 1 / 0})()
    return {"length": len(kind)}


TROUBLE = {
    "raises": "ZeroDivisionError: planted",
    "leaves": "SystemExit: nothing to do",
    "has no memory": "MemoryError",
    "fills the disk": "No space left on device",
    "gives an object": "metric 'model' of unwell is a finite number",
    "cannot come back": "Own",
    "hangs": "it ran longer than its limit of 2 s and was stopped",
    "exits": "its process died: exit code 7",
    "is killed": "its process died: killed; often that is the system, out of memory",
    "crashes": "its process died: signal SIGSEGV",
}


def kill_from_outside(path: Path) -> None:
    """As the system does it where memory ends."""
    until(lambda: path.exists() and path.read_text())
    os.kill(int(path.read_text()), signal.SIGKILL)


def test_each_trouble_is_a_row_with_its_arguments_and_reason_and_keeps_no_other_run_back(tmp_path: Path) -> None:
    """A process that ended is replaced, and none lives on after the sweep."""
    trouble = {k: v for k, v in TROUBLE.items() if k != "fills the disk" or os.path.exists("/dev/full")}
    out, grid = tmp_path / "out", {"folder": [str(tmp_path)]}
    threading.Thread(target=kill_from_outside, args=[tmp_path / "pid is killed"], daemon=True).start()
    with pytest.raises(RuntimeError, match=f"{len(trouble)} of {len(trouble) + 2} runs failed") as error:
        wb.sweep(unwell, out, jobs=2, limit=2, kind=["well", *trouble, "at last"], **grid)
    assert sorted(wb.results(out)["kind"]) == ["at last", "well"]
    failed = wb.results(out, errors=True).set_index("kind")
    assert sorted(failed.index) == sorted(trouble)
    for kind, why in trouble.items():
        name = f"unwell(kind={kind!r}, folder={str(tmp_path)!r})"
        assert failed.loc[kind, "error"].startswith(f"{name}\n")
        assert why in failed.loc[kind, "error"]
        assert name in str(error.value)
    assert failed.loc["hangs", "seconds"] >= 2
    pids = {kind: int((tmp_path / f"pid {kind}").read_text()) for kind in ["well", *trouble, "at last"]}
    assert os.getpid() not in pids.values()
    assert pids["at last"] not in {pids[kind] for kind in ("hangs", "exits", "is killed", "crashes")}
    until(lambda: not any(map(alive, pids.values())))

    with pytest.raises(RuntimeError, match="1 of 3 runs failed"):  # kept, and not run again
        wb.sweep(unwell, out, jobs=0, retry=False, kind=["exits", "well", "also well"], **grid)


def test_a_run_that_failed_is_tried_again_and_its_row_is_replaced(tmp_path: Path) -> None:
    flag = tmp_path / "flag"

    def moody(width: int) -> dict[str, Any]:
        if not flag.exists():
            raise OSError("not now")
        return {"value": width}

    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="2 of 2 runs failed"):
        wb.sweep(moody, out, jobs=0, width=[1, 2])
    flag.touch()
    assert wb.sweep(moody, out, jobs=0, width=[1, 2])["value"].tolist() == [1, 2]
    assert len(wb.results(out, errors=True)) == 0
    assert len(list(out.glob("runs/*/*.json"))) == 2


def test_a_limit_counts_the_run_and_not_the_start_of_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(2)")
    monkeypatch.syspath_prepend(str(tmp_path))
    worker = Worker()
    start = time.monotonic()
    assert worker.call(pow, (2, 10), limit=2) == 1024
    assert time.monotonic() - start >= 2
    worker.close()


SLOW = """
import subprocess
def slow(width):
    note(width)
    child = subprocess.Popen(["sleep", "600"])
    Path(f"pids{width}").write_text(f"{os.getpid()} {child.pid}")
    while width > 2 and not Path("go").exists():
        time.sleep(0.01)
    child.kill()
    child.wait()
    return {"value": width}
"""


def test_nothing_lives_on_after_a_killed_driver_and_the_next_sweep_does_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = script(SLOW + 'wb.sweep(slow, "out", jobs=2, width=[1, 2, 3, 4])', tmp_path)
    until(lambda: (tmp_path / "pids3").exists() and (tmp_path / "pids4").exists())
    until(lambda: all(len((tmp_path / f"pids{i}").read_text().split()) == 2 for i in (3, 4)))
    process.kill()
    process.communicate()
    pids = [int(pid) for i in (3, 4) for pid in (tmp_path / f"pids{i}").read_text().split()]
    until(lambda: not any(map(alive, pids)), 20)
    assert wb.results(tmp_path / "out")["value"].tolist() == [1, 2]
    (tmp_path / "go").touch()
    rest(SLOW, "slow", tmp_path, monkeypatch, width=[1, 2, 3, 4])
    assert wb.results(tmp_path / "out")["value"].tolist() == [1, 2, 3, 4]
    assert sorted(calls(tmp_path)) == [1, 2, 3, 3, 4, 4]


def rest(text: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, out: str = "out", **grid: Any) -> None:
    """A sweep over a function of a script, in this process."""
    monkeypatch.chdir(folder)
    exec(HEAD + text, space := {})
    wb.sweep(space[name], out, jobs=0, **grid)


LONG = """
def long(width, seed):
    time.sleep(0 if Path("go").exists() else 0.05)
    return {"text": "x" * 20000, "value": width * 10 + seed}
"""


@pytest.mark.parametrize("out", ["out", "out.jsonl"])
def test_killed_anywhere_and_started_again_gives_the_same_rows(
    tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid: dict[str, Any] = {"width": list(range(1, 60)), "seed": [0, 1, 2]}
    process = script(f"{LONG}wb.sweep(long, {out!r}, jobs=0, **{grid})", tmp_path)
    until(lambda: len(list(tmp_path.glob("out/runs/*/*.json"))) >= 4)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the process ended before its kill: the test proved nothing"
    assert 4 <= len(wb.results(tmp_path / out)) < 177
    (tmp_path / "go").touch()
    rest(LONG, "long", tmp_path, monkeypatch, out, **grid)
    rows = wb.results(tmp_path / out)
    assert sorted(rows["value"]) == [10 * width + seed for width in grid["width"] for seed in grid["seed"]]


def test_two_sweeps_on_one_folder_share_the_work(tmp_path: Path) -> None:
    """Into a folder, then into one file. Each waits for the other before its first row is on disk."""
    text = """
def first(width):
    return slow(width)
def second(width):
    return slow(width + 100)
def slow(width):
    note(width)
    Path(f"{width // 100} {os.getpid()}").touch()
    while len(list(Path(".").glob(f"{width // 100} *"))) < 2:
        time.sleep(0.01)
    time.sleep(0.02)
    return {"value": width, "pid": os.getpid()}
widths = list(range(24))
for run, out in [(first, "out"), (second, "packed.jsonl")]:
    print(wb.sweep(run, out, jobs=0, width=widths)["value"].tolist())
"""
    both = [script(text, tmp_path) for _ in range(2)]
    ends = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert {words for words, _ in ends} == {f"{list(range(24))}\n{list(range(100, 124))}\n"}
    assert sorted(calls(tmp_path)) == [*range(24), *range(100, 124)], "no run is done twice"
    for out in ("out", "packed.jsonl"):
        assert len(wb.results(tmp_path / out)) == 24
        assert set(wb.results(tmp_path / out)["pid"]) == {process.pid for process in both}
    assert (tmp_path / "packed.jsonl").read_text().count("\n") == 24
    assert not (tmp_path / "packed").exists()


def test_a_claim_is_free_when_the_process_that_held_it_is_gone(tmp_path: Path) -> None:
    text = """
from workbench.sweeps.claims import Claims
with Claims(Path(".")) as claims:
    print(claims.take("2b929a940d787bad"), flush=True)
    time.sleep(600)
"""
    process = script(text, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    left: list[str] = []
    with Claims(tmp_path, last=lambda: left.append("early")):
        pass
    assert left == [], "the process has not left"
    with Claims(tmp_path, last=lambda: left.append("outer")) as claims:
        assert not claims.take("2b929a940d787bad")
        assert claims.take("3b929a940d787bad")
        with Claims(tmp_path, last=lambda: left.append("inner")):
            pass
        process.kill()
        process.communicate()
        assert claims.take("2b929a940d787bad")
    assert left == ["outer"], "the last one that leaves"


def test_a_full_disk_ends_the_sweep_with_all_earlier_rows(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    text = """
def wide(width):
    return {"text": "x" * (100 if width < 3 else 100_000)}
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
wb.sweep(wide, "out", jobs=0, width=[1, 2, 3, 4])
"""
    process = script(text, tmp_path)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(r"OSError: .* all earlier rows are on disk. Make room there, then run the sweep again", words)
    assert wb.results(tmp_path / "out")["width"].tolist() == [1, 2]


def area(width: float, height: float = 1) -> dict[str, Any]:
    return {"area": width * height}


def test_a_file_that_is_cut_short_is_said_and_computed_again(tmp_path: Path) -> None:
    whole = wb.sweep(area, tmp_path, jobs=0, width=[1, 2, 3])
    path = Store(tmp_path).path(whole["key"][1])
    text = path.read_bytes()
    for length in (0, 1, 30, len(text) // 2, len(text) - 3):
        path.write_bytes(text[:length])
        with pytest.warns(UserWarning, match=f"{re.escape(str(path))} is cut short, so it counts as missing"):
            assert wb.results(tmp_path)["width"].tolist() == [1, 3]
        with pytest.warns(UserWarning, match="cut short"):
            again = wb.sweep(area, tmp_path, jobs=0, width=[1, 2, 3])
        assert again["area"].tolist() == [1, 2, 3]


def test_a_file_that_is_cut_short_stays_out_of_the_packed_one(tmp_path: Path) -> None:
    torn = Store(tmp_path / "rows.jsonl").path("0123456789abcdef")
    torn.parent.mkdir(parents=True)
    torn.write_text('{"key": "0123456789abcdef", "function": "ar')
    with pytest.warns(UserWarning, match="cut short"):
        assert wb.sweep(area, tmp_path / "rows.jsonl", jobs=0, width=[1, 2])["area"].tolist() == [1, 2]
    assert (tmp_path / "rows.jsonl").read_text().count("\n") == 2
    assert torn.exists()


def test_a_row_of_another_version_counts_and_says_so(tmp_path: Path) -> None:
    whole = wb.sweep(area, tmp_path, jobs=0, width=[1, 2])
    path = Store(tmp_path).path(whole["key"][0])
    row = json.loads(path.read_text())
    path.write_text(json.dumps(row | {"versions": {"workbench": "99"}, "metrics": {"area": 7}, "more": [1]}))
    again = wb.sweep(area, tmp_path, jobs=0, width=[1, 2])
    assert again["area"].tolist() == [7, 2]
    assert again["versions"][0] == "workbench 99"


@pytest.mark.parametrize(
    ("text", "why"), [("{}", "it has no 'key'"), ("notes", "no JSON"), ("[1]", "list instead of an object")]
)
def test_what_is_no_row_is_named_and_stays(tmp_path: Path, text: str, why: str) -> None:
    whole = wb.sweep(area, tmp_path, jobs=0, width=[1, 2])
    path = Store(tmp_path).path(whole["key"][0])
    path.write_text(text)
    for use in (lambda: wb.results(tmp_path), lambda: wb.sweep(area, tmp_path, jobs=0, width=[1, 2])):
        with pytest.raises(ValueError, match=f"{re.escape(str(path))} is not a row of a sweep: {why}.*Delete it"):
            use()
    assert path.read_text() == text


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    wb.sweep(area, tmp_path, jobs=0, width=[1])
    for name in ("notes.txt", "runs/notes.txt", "runs/ab/readme.json", "runs/ab/.hidden.json", "runs/abc/x.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    assert len(wb.results(tmp_path)) == 1
    assert len(wb.sweep(area, tmp_path, jobs=0, width=[1, 2])) == 2
    assert (tmp_path / "runs/ab/readme.json").read_text() == "mine"
