"""What a sweep tells on its way, where nobody watches and where somebody does."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from workbench.sweeps import progress, sweep
from workbench.sweeps.claims import Claims, in_flight
from workbench.sweeps.progress import Progress


def area(width: int) -> dict[str, Any]:
    if width == 13:
        raise ValueError("thirteen")
    return {"area": width * width}


@pytest.fixture(autouse=True)
def face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBENCH_FACE", raising=False)


def test_a_log_has_a_line_for_each_tenth(tmp_path: Path, capsys: Any) -> None:
    sweep(area, tmp_path, jobs=0, width=list(range(50, 60)))
    assert capsys.readouterr().err == "", "nobody asked"
    with pytest.raises(RuntimeError):
        sweep(area, tmp_path, jobs=0, progress=True, width=list(range(100)))
    lines = capsys.readouterr().err.splitlines()
    assert "failed: area(width=13): ValueError: thirteen" in lines
    told = [line for line in lines if "runs" in line]
    assert [int(re.findall(r"area: (\d+) of 100 runs", line)[0]) for line in told] == [*range(20, 101, 10)]
    assert re.fullmatch(r"area: 90 of 100 runs, 1 failed, [\d.e+]+ a second, about 0:00:00 left", told[-2])
    sweep(area, tmp_path, jobs=0, progress=True, width=[50])
    assert capsys.readouterr().err == "", "nothing was to be done"


@pytest.mark.parametrize(("face", "asked"), [("picture", True), ("site", True), ("live", False)])
def test_quiet(face: str, asked: bool, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("WORKBENCH_FACE", face)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    sweep(area, tmp_path, jobs=0, progress=asked, width=[1, 2])
    assert capsys.readouterr().err == ""


def test_the_rate_counts_new_runs_only(monkeypatch: Any, capsys: Any) -> None:
    """900 of 1000 were there: 10 new ones in 30.5 s are 0.328 a second, and 90 are left. A line comes each 30 s."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = Progress("area", 900, 1000, asked=True)
    for now[0], done in ((1.0, 902), (4.0, 908), (29.0, 910), (30.5, 910), (40.0, 911), (61.0, 911)):
        shown.tell(done, 2, [])
    shown.close()
    assert capsys.readouterr().err.splitlines() == [
        "area: 910 of 1,000 runs, 2 running, 0.328 a second, about 0:04:34 left",
        "area: 911 of 1,000 runs, 2 running, 0.18 a second, about 0:08:14 left",
    ]


def test_a_bar_in_a_terminal_has_the_rate_of_new_runs(monkeypatch: Any) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            return 2

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(progress.os, "get_terminal_size", lambda _: progress.os.terminal_size((0, 0)))
    shown = Progress("area", 900, 1000)
    shown.tell(950, 3, [{"error": "area(width=1)\nTraceback\nValueError: no"}])
    shown.close()
    said = terminal.getvalue()
    assert "failed: area(width=1): ValueError: no" in said
    assert re.search(r"area: +95%.* 950/1000 \[.*run/s, 3 running, 1 failed\]", said.split("\r")[-1])


OTHER = """
import sys
from pathlib import Path
from workbench.sweeps.claims import Claims
with Claims(Path(sys.argv[1])) as claims:
    for line in sys.stdin:
        print([claims.take(key) for key in line.split()], flush=True)
"""


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="locks that the system tells of")
def test_runs_in_flight_are_counted_here_and_elsewhere(tmp_path: Path) -> None:
    """Also of neighbours, whose locks the system joins; and the look lets go of no lock of this process."""
    import subprocess

    keys = ["0b929a940d780000", "0b929a940d790000", "0b929a940d7a0000", "ffffffffffff0000", "0000000000000000"]
    assert in_flight(tmp_path) == 0
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write(f"{' '.join(keys[:4])}\n")
        assert other.stdout.readline() == "[True, True, True, True]\n"
        assert in_flight(tmp_path) == 4
        with Claims(tmp_path) as claims:
            assert claims.take(keys[4])
            assert not claims.take(keys[0])
            assert in_flight(tmp_path) == 5
            other.stdin.write(f"{keys[4]}\n")
            assert other.stdout.readline() == "[False]\n"
        assert in_flight(tmp_path) == 4
        other.stdin.close()
    assert in_flight(tmp_path) == 0
