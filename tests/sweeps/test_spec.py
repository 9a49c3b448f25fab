"""A sweep in a YAML file: what it means, and one clear line for each mistake."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from workbench.cli import main
from workbench.headless.spec import find_run, read_spec
from workbench.sweeps import results
from workbench.sweeps.sealed import Sealed

ROOT = Path(__file__).parents[2]
RUNS = """
def area(width, height=1):
    return {"area": width * height}
def positive(width, height=1):
    if width <= 0:
        raise ValueError(f"width is more than 0; got {width}")
limit = 3
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a spec beside a file of functions that no other test has imported; its path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = f"runs_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(RUNS)

    def write(text: str) -> str:
        path = tmp_path / "first.yaml"
        path.write_text(text.replace("RUNS", f"{name}.py"), encoding="utf-8")
        return str(path)

    yield write
    sys.modules.pop(name, None)


def refused(capsys: Any, *arguments: str) -> str:
    """The one line of complaint."""
    assert main(["sweep", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    return str(captured.err)


WHOLE = """
run: RUNS:area
out: rows
grid:
  - {width: {range: [1, 4]}, height: [1e-3, 2]}
  - width: 10
jobs: 0
check: RUNS:positive
"""


def test_every_key(file: Any, tmp_path: Path, capsys: Any) -> None:
    path = file(WHOLE)
    assert main(["sweep", path]) == 0
    assert capsys.readouterr().out == "7 runs in rows\n"
    df = results(tmp_path / "rows")
    assert sorted(df["area"]) == [0.001, 0.002, 0.003, 2, 4, 6, 10]
    assert main(["sweep", path, "-o", "others", "--jobs", "1", "--limit", "60"]) == 0
    assert sorted(results(tmp_path / "others")["area"]) == sorted(df["area"])


def test_a_run_that_two_grids_ask_for_is_counted_once(file: Any, capsys: Any) -> None:
    grids = "[{width: [1, 2]}, {width: [1, 2.0], height: 1}]"
    assert main(["sweep", file(f"run: RUNS:area\nout: rows\njobs: 0\ngrid: {grids}")]) == 0
    assert capsys.readouterr().out == "2 runs in rows\n"


def test_the_folder_is_named_after_the_file(file: Any) -> None:
    spec = read_spec(file("run: RUNS:area\ngrid: {width: {range: 3}}"))
    assert (spec.out, spec.grids, spec.options) == (str(Path("out/first")), [{"width": range(3)}], {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WHOLE.replace("out:", "folder:"), "a key of a sweep is one of .*; got 'folder'"),
        (WHOLE.replace("jobs:", "job:"), "Did you mean 'jobs'"),
        (WHOLE.replace("height", "hight"), "axis of area is one of .*Did you mean 'height'"),
        (WHOLE.replace("- width: 10", "- height: 10"), "area needs a value for width"),
        (WHOLE.replace("width: 10", "width: []"), r"an axis of area has at least one value; got width=\[\]"),
        (WHOLE.replace("width: 10", "width: {range: 0}"), r"at least one value; got width=\[\]"),
        ("run: RUNS:area\ngrid: []", "grid holds a list of values for each argument"),
        ("run: RUNS:area\ngrid: 3", "grid holds a list of values for each argument; got 3"),
        ("run: RUNS:area\ngrid:\n", "grid holds a list of values for each argument; got None"),
        ("run: RUNS:area\ngrid: {}", "area needs a value for width"),
        ("grid: {width: 1}", "a sweep has a run and a grid; got no run"),
        ("run: RUNS:area", "got no grid"),
        ("", "a sweep has the keys run, out, grid"),
        ("- run", "a sweep has the keys"),
        ("run: [", "is not YAML"),
        ("run: RUNS:area\nrun: RUNS:area\ngrid: {width: 1}", "'run' is given twice"),
        ("run: RUNS:area\ngrid: {width: 1, width: 2}", "'width' is given twice"),
        (WHOLE.replace("jobs: 0", "jobs: many"), "jobs is a whole number; got 'many'"),
        (WHOLE.replace("jobs: 0", "jobs: yes"), "jobs is a whole number; got True"),
        (WHOLE.replace("jobs: 0", "jobs: -1"), "jobs is a whole number of at least 0; got -1"),
        (WHOLE.replace("jobs: 0", "together: 1.5"), "together is a whole number; got 1.5"),
        (WHOLE.replace("jobs: 0", "together: 4"), "area has no batched form"),
        (WHOLE.replace("jobs: 0", "jobs: 1.5"), "jobs is a whole number; got 1.5"),
        (WHOLE.replace("jobs: 0", "jobs: 1\nlimit: 0"), "limit is how many seconds a run may take"),
        (WHOLE.replace("jobs: 0", "jobs: 0\nlimit: 5"), "jobs=0 takes no limit"),
        (WHOLE.replace("width: 10", "width: {from: 1, to: 3}"), "width is a list of values, or {range: 10}"),
        (WHOLE.replace("width: 10", "width: {range: x}"), "width is a list of values, or {range: 10}"),
        (WHOLE.replace("width: 10", "width: {range: [0, 5, 0]}"), "width is a list of values"),
        (WHOLE.replace("width: 10", "width: {range: [0, five]}"), "width is a list of values"),
        (WHOLE.replace("width: 10", "width: [.inf]"), "finite number"),
        (WHOLE.replace("width: 10", "width: 2026-11-27"), "Pass names, not objects"),
        (WHOLE.replace("RUNS:area", "RUNS:aera"), "has no function 'aera'"),
        (WHOLE.replace("RUNS:area", "RUNS:limit"), "has no function 'limit'"),
        (WHOLE.replace("RUNS:area", "none.py:area"), "there is no file .*none.py"),
        (
            WHOLE.replace("RUNS:area", "no_such:area"),
            "cannot be imported: ModuleNotFoundError: No module named 'no_such'. For a file write no_such.py",
        ),
        (WHOLE.replace("RUNS:area", "broken.py:area"), r"SyntaxError: invalid syntax \(line 2 of .*broken.py\)"),
        (WHOLE.replace("RUNS:area", "lacking.py:area"), r"No module named 'no_such' \(line 3 of .*lacking.py\)"),
        (WHOLE.replace("RUNS:area", "exits.py:area"), r"SystemExit: 3 \(line 1 of .*exits.py\)"),
        (WHOLE.replace("RUNS:area", "random.py:area"), "random.py has the name of another module.*another name"),
        (WHOLE.replace("RUNS:area", "prune_then_trian"), "Did you mean 'prune_then_train'"),
        (WHOLE.replace("RUNS:area", "3"), "run is a name such as"),
        (WHOLE.replace("width: 10", "width: -10"), "1 of 7 runs are refused, none was started.*width is more than 0"),
        ("run: !!python/object:os.system {}\n", "is not YAML"),
        ("{1: 2}: 3", "is not YAML"),
        (WHOLE.replace("out: rows", "out: [rows]"), "out is the name of a folder; got"),
        (WHOLE.replace("out: rows", "out:"), "out is the name of a folder; got None"),
    ],
)
def test_a_mistake_is_told_and_nothing_starts(file: Any, tmp_path: Path, capsys: Any, text: str, message: str) -> None:
    (tmp_path / "broken.py").write_text("\ndef area(:\n")
    (tmp_path / "lacking.py").write_text("import os\n\nimport no_such\n")
    (tmp_path / "exits.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "random.py").write_text("import functools\n@functools.cache\ndef area(width, height=1): ...\n")
    assert main(["sweep", file(text)]) == 2
    said = str(capsys.readouterr().err)
    assert re.search(f"(?s)^workbench: .*{message}", said), said
    assert not list(tmp_path.rglob("*.json"))


BESIDE = """
from __future__ import annotations
import dataclasses, numpy
from own_helper import TWO
@dataclasses.dataclass
class Box:
    width: int
def run(width):
    import random
    return {"twice": Box(width).width * TWO, "seeded": random.Random(0).random()}
"""


@pytest.mark.parametrize(("name", "jobs"), [("random", 1), ("lenet.v2", 0), ("own", 0), ("json", 0)])
def test_a_file_may_have_any_name(file: Any, tmp_path: Path, name: str, jobs: int) -> None:
    """Also that of a module of Python, which all processes must still find as it is; they start in its folder, too."""
    import random

    (tmp_path / f"{name}.py").write_text(BESIDE)
    (tmp_path / "own_helper.py").write_text("TWO = 2")
    assert main(["sweep", file(f"run: {name}.py:run\nout: rows\ngrid: {{width: [1, 2]}}\njobs: {jobs}")]) == 0
    table = results(tmp_path / "rows")
    assert table["twice"].tolist() == [2, 4]
    assert set(table["seeded"]) == {random.Random(0).random()}
    for module in ("own", "own_helper"):
        sys.modules.pop(module, None)


def test_files_of_one_name_in_two_folders_are_two(file: Any, tmp_path: Path) -> None:
    for place, value in (("one", 1), ("two", 2)):
        (tmp_path / place).mkdir()
        (tmp_path / place / "same_name.py").write_text(f"def run(width):\n    return {value}\n")
    first, second = (find_run("same_name.py:run", tmp_path / place) for place in ("one", "two"))
    sys.modules.pop("same_name")
    assert (first(width=0), second(width=0)) == (1, 2)
    assert pickle.loads(Sealed(second, None)._text)[0](width=0) == 2  # as a cluster's worker opens it


@pytest.mark.parametrize("count", [3_000_000_000, 10**30])
def test_a_range_is_counted_before_it_is_made(file: Any, capsys: Any, monkeypatch: Any, count: int) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    told = refused(capsys, file(f"run: RUNS:area\ngrid: {{width: {{range: {count}}}, height: [1, 2]}}"))
    assert f"grids of {2 * count:,} combinations may be a mistake" in told


@pytest.mark.parametrize("name", ["none.yaml", ".", "latin.yaml"])
def test_a_file_that_cannot_be_read(file: Any, tmp_path: Path, capsys: Any, name: str) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"run: \xe9")
    assert f"a sweep is described in a YAML file; {name} cannot be read" in refused(capsys, name)


@pytest.mark.parametrize("place", ["first.yaml", "first.yaml/rows", "/proc/no/rows", ""])
def test_a_folder_that_cannot_be_written(file: Any, capsys: Any, place: str) -> None:
    if place.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("no /proc")
    said = refused(capsys, file("run: RUNS:area\ngrid: {width: 1}\njobs: 0"), "-o", place)
    assert any(words in said for words in ("results need a folder", "is a file", "its name is empty"))


MILLION = "run: RUNS:area\nout: rows\ngrid:\n  width: {range: 1000}\n  height: {range: 1000}\n"


def test_a_million_runs_are_a_mistake_where_nobody_can_say_yes(file: Any, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert "grids of 1,000,000 combinations may be a mistake. Shorten their lists, or pass --yes" in refused(
        capsys, file(MILLION)
    )


@pytest.mark.skipif(os.name != "posix", reason="a terminal of POSIX")
@pytest.mark.parametrize(
    ("answer", "told"), [(b"n\n", "combinations may be a mistake"), (b"yes\n", "1 of 20001 runs are refused")]
)
def test_many_runs_are_asked_about_in_a_terminal(file: Any, tmp_path: Path, answer: bytes, told: str) -> None:
    """20,001 runs; after a yes `check` refuses the first of them, so that none starts."""
    import pty

    grid = "{width: {range: 20001}, height: [1]}"
    path = file(f"run: RUNS:area\nout: rows\ngrid: {grid}\ncheck: RUNS:positive\n")
    command = [sys.executable, "-m", "workbench.cli", "sweep", path]
    child, terminal = pty.fork()
    if not child:
        os.execvpe(command[0], command, {**os.environ, "PYTHONPATH": str(ROOT)})
    said = b""
    with contextlib.suppress(OSError):  # the command has ended
        while b"[y/N]" not in said:
            said += os.read(terminal, 1024)
        os.write(terminal, answer)
        while True:
            said += os.read(terminal, 1024)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    os.close(terminal)
    words = said.decode()
    assert "20,001 combinations? [y/N]" in words
    assert told in words
    assert not (tmp_path / "rows").exists()
