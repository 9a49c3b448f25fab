"""Grids: rows on disk, resume after a kill, workers, errors."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workbench.criteria import register_criterion
from workbench.criteria.registry import unregister_criterion
from workbench.runs import grid, key, read_rows


def area(width: float, height: float = 1, kind: str = "box") -> dict[str, Any]:
    return {"area": width * height}


def numbers(df: pd.DataFrame) -> pd.DataFrame:
    return df.drop(columns=["seconds", "date"])


def test_keys_stay_what_they_are() -> None:
    """Golden: with other keys nobody would find their old rows again."""
    assert key(area, {"width": 2}) == "2b929a940d787bad"
    assert key(area, {"width": 2, "height": 3, "kind": "ball"}) == "df76d28f132ccdb6"


def test_key_leaves_out_defaults_and_number_types() -> None:
    assert key(area, {"width": 2.0, "height": 1.0, "kind": "box"}) == key(area, {"width": 2})
    assert key(area, {"width": 2, "height": 2}) != key(area, {"width": 2})


def test_grid_gives_every_combination_in_order(tmp_path: Path) -> None:
    df = grid(area, tmp_path / "rows.jsonl", width=[2, 3], height=[5.0, 7.0])
    assert df["area"].tolist() == [10, 14, 15, 21]
    assert df["width"].tolist() == [2, 2, 3, 3]
    row = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[0])
    assert row["arguments"] == {"width": 2, "height": 5.0}
    assert row["function"] == "area"
    assert "torch" in row["versions"]


def test_done_rows_are_not_computed_again(tmp_path: Path) -> None:
    calls = []

    def count(width: int) -> dict[str, Any]:
        calls.append(width)
        return {"double": 2 * width}

    path = tmp_path / "rows.jsonl"
    first = grid(count, path, width=[1, 2])
    seen: list[tuple[int, int]] = []
    again = grid(count, path, on_row=lambda row, done, total: seen.append((done, total)), width=[1, 2, 3])
    assert calls == [1, 2, 3]
    assert seen == [(3, 3)]
    pd.testing.assert_frame_equal(first, again.iloc[:2])
    assert len(read_rows(path)) == 3


def test_numpy_values_and_nan(tmp_path: Path) -> None:
    import numpy as np

    def ratio(width: float) -> dict[str, Any]:
        return {"ratio": np.float64(width) * 2, "loss": float("nan")}

    df = grid(ratio, tmp_path / "rows.jsonl", width=np.array([1, 2]))
    assert df["ratio"].tolist() == [2.0, 4.0]
    assert df["loss"].isna().all()


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_torn_last_line_is_dropped_and_computed_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "rows.jsonl"
    whole = grid(area, path, width=[1, 2, 3])
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(read_rows(path)) == 2
    pd.testing.assert_frame_equal(numbers(grid(area, path, width=[1, 2, 3])), numbers(whole))
    assert path.read_bytes().count(b"\n") == 3


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    grid(area, path, width=[1, 2])
    path.write_text("{not json}\n" + path.read_text())
    with pytest.raises(ValueError, match=r"line 1 of .* is no row"):
        read_rows(path)


SLOW = """
import sys, time
from workbench.runs import grid
def slow(width, seed):
    time.sleep(0.05)
    return {"text": "x" * 20000, "value": width * 10 + seed}
grid(slow, sys.argv[1], width=[1, 2, 3, 4], seed=[0, 1, 2], jobs=int(sys.argv[2]))
"""


@pytest.mark.parametrize(("jobs", "kills"), [(1, (1, 7)), (2, (4,))])
def test_killed_anywhere_and_started_again_gives_the_same_rows(
    tmp_path: Path, jobs: int, kills: tuple[int, ...]
) -> None:
    path = tmp_path / "rows.jsonl"
    command = [sys.executable, "-c", SLOW, str(path), str(jobs)]
    killed = 0
    for rows_before_the_kill in kills:
        process = subprocess.Popen(command)
        while process.poll() is None and not (path.exists() and path.read_bytes().count(b"\n") >= rows_before_the_kill):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed == len(kills), "a process ended before its kill: the test proved nothing"
    subprocess.run(command, check=True)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    values = [line["metrics"]["value"] for line in lines]
    assert sorted(values) == [10, 11, 12, 20, 21, 22, 30, 31, 32, 40, 41, 42]


def test_workers_take_the_users_criterion_and_give_the_same_rows(tmp_path: Path) -> None:
    @register_criterion("cubes", needs="nothing", source="a test")
    def cubes(model: Any, batch: Any, *, masks: Any = None, loss_fn: Any, generator: Any) -> Any:
        return {name: w.detach().abs() ** 3 for name, w in model.named_parameters() if w.ndim > 1}

    def total(criterion: str, seed: int) -> dict[str, Any]:
        import torch

        from workbench.criteria import score
        from workbench.seeds import seeded

        with seeded(seed):
            model = torch.nn.Linear(300, 200)
        return {"total": score(model, None, criterion)["weight"].sum().item(), "threads": torch.get_num_threads()}

    try:
        axes = {"criterion": ["cubes", "magnitude"], "seed": [0, 1, 2]}
        alone = grid(total, tmp_path / "one.jsonl", jobs=1, **axes)
        workers = grid(total, tmp_path / "two.jsonl", jobs=2, **axes)
    finally:
        unregister_criterion("cubes")
    pd.testing.assert_frame_equal(numbers(alone), numbers(workers))
    assert set(workers["threads"]) == {1}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failing_run_is_named_and_the_others_stay(tmp_path: Path, jobs: int) -> None:
    def fragile(width: int) -> dict[str, Any]:
        return {"inverse": 1 / width}

    path = tmp_path / "rows.jsonl"
    with pytest.raises(RuntimeError, match=r"(?s)1 of 4 runs failed.*fragile\(width=0\).*ZeroDivisionError"):
        grid(fragile, path, jobs=jobs, width=[1, 0, 2, 4])
    assert sorted(read_rows(path)["inverse"]) == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    ("axes", "error", "message"),
    [
        ({"width": 3}, TypeError, r"axis 'width' is a list of values; got 3. Pass width=\[3\]"),
        ({"width": [1], "kind": "box"}, TypeError, "axis 'kind' is a list"),
        ({"width": [1], "hight": [2]}, ValueError, "Did you mean 'height'"),
        ({"height": [1]}, TypeError, "area needs a value for width"),
        ({"width": [print]}, TypeError, "Pass names, not objects"),
        ({"width": [float("inf")]}, TypeError, "finite number"),
        ({"width": [1], "jobs": 0}, ValueError, "jobs is a whole number"),
    ],
)
def test_wrong_axes_are_refused(tmp_path: Path, axes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        grid(area, tmp_path / "rows.jsonl", **axes)


def test_lambdas_and_clashing_metrics_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Define it with def"):
        grid(lambda width: {"a": width}, tmp_path / "rows.jsonl", width=[1])

    def clash(width: int) -> dict[str, Any]:
        return {"width": width}

    with pytest.raises(RuntimeError, match="width of clash is an argument"):
        grid(clash, tmp_path / "rows.jsonl", width=[1])
