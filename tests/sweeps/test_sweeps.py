"""Grids: rows on disk, resume, workers, errors."""

from __future__ import annotations

import asyncio
import builtins
import functools
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.criteria import register_criterion
from workbench.criteria.registry import unregister_criterion
from workbench.reports import export, found, sweep_so_far
from workbench.seeds import versions
from workbench.sweeps import batched, key, results, sweep
from workbench.sweeps.files import Store
from workbench.sweeps.points import combinations, defaults, points, size
from workbench.sweeps.tables import asked

here = functools.partial(sweep, jobs=0)
"""Without processes."""


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
    df = here(area, tmp_path / "rows.jsonl", width=[2, 3], height=[5.0, 7.0])
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
    first = here(count, path, width=[1, 2])
    seen: list[tuple[int, int]] = []
    again = here(count, path, on_row=lambda row, done, total: seen.append((done, total)), width=[1, 2, 3])
    assert calls == [1, 2, 3]
    assert seen == [(3, 3)]
    pd.testing.assert_frame_equal(first, again.iloc[:2])
    assert len(results(path)) == 3


def test_numpy_values_and_nan(tmp_path: Path) -> None:
    def ratio(width: float) -> dict[str, Any]:
        return {"ratio": np.float64(width) * 2, "loss": float("nan")}

    df = here(ratio, tmp_path / "rows.jsonl", width=np.array([1, 2]))
    assert df["ratio"].tolist() == [2.0, 4.0]
    assert df["loss"].isna().all()


@pytest.mark.parametrize("cut", range(2, 600, 37))
def test_torn_last_line_is_dropped_and_computed_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "rows.jsonl"
    whole = here(area, path, width=[1, 2, 3])
    last = path.read_bytes().splitlines(keepends=True)[-1]
    path.write_bytes(path.read_bytes()[: -min(cut, len(last) - 1)])
    assert len(results(path)) == 2
    pd.testing.assert_frame_equal(numbers(here(area, path, width=[1, 2, 3])), numbers(whole))
    assert path.read_bytes().count(b"\n") == 3


def test_a_whole_last_line_without_its_end_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    whole = here(area, path, width=[1, 2])
    path.write_bytes(path.read_bytes()[:-1])
    pd.testing.assert_frame_equal(results(path), whole)
    here(area, path, on_row=lambda row, done, total: None, width=[1, 2, 3])
    assert results(path)["area"].tolist() == [1, 2, 3]


ROW = (
    b'{"key": "2b929a940d787bad", "function": "area", "arguments": {"width": 2}, "metrics": {"area": 2}, '
    b'"seconds": 0.1, "versions": {"torch": "2"}, "date": "2026-01-01"}'
)


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        (b"remember the milk", 1, "no JSON"),
        (b"a,b\n1,2\n3,4", 1, "no JSON"),
        (b"1,2\n3,4\n", 1, "no JSON"),
        (ROW + b"\nremember the milk", 2, "no JSON"),
        (ROW + b"\n{not json}\n" + ROW + b"\n", 2, "no JSON"),
        (b"17\n", 1, "int instead of an object"),
        (b"[1, 2]\n" + ROW, 1, "list instead of an object"),
        (b"null", 1, "NoneType instead of an object"),
        (b'{"lr": 0.1}\n', 1, "it has no 'key'"),
        (b'{"key": "2b929a940d787bad", "function": "area"}', 1, "it has no 'arguments'"),
        (b'{"key": "secret", "value": "torn', 1, "no JSON"),
        (b"{", None, ""),
        (ROW.replace(b'{"area": 2}', b"2") + b"\n", 1, "its 'metrics' is 2"),
        (ROW.replace(b'{"area": 2}', b'{"date": 2}') + b"\n", 1, "date is a column that the table adds"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", 1, "no JSON"),
        (ROW + b"\n" + b"\x00" * 20, 2, "no JSON"),
    ],
)
def test_only_a_file_of_rows_is_touched(tmp_path: Path, text: bytes, line: int | None, why: str) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(text)
    if line is None:
        assert len(here(area, path, width=[1])) == 1
        return
    for use in (lambda: here(area, path, width=[1]), lambda: results(path), lambda: found(path)):
        with pytest.raises(ValueError, match=f"line {line} of {re.escape(str(path))} is not a row of a sweep: .*{why}"):
            use()
    assert path.read_bytes() == text


def test_of_rows_with_one_key_the_last_counts(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_bytes(ROW + b"\n\n" + ROW.replace(b'"area": 2', b'"area": 3') + b"\n")
    two.write_bytes(ROW.replace(b'"area": 2', b'"area": 4') + b"\r\n")
    assert here(area, one, width=[2])["area"].tolist() == results(one)["area"].tolist() == [3]
    assert results(one, two)["area"].tolist() == [4]
    assert results(two, one)["area"].tolist() == [3]


def test_a_row_says_where_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROW + b"\n")
    df = here(area, path, width=[2, 3])
    assert df["processor"].tolist() == ["not recorded", versions()["processor"]]
    assert df["versions"].tolist()[0] == "torch 2"
    assert "processor" not in df["versions"].tolist()[1]


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
        alone = sweep(total, tmp_path / "one.jsonl", jobs=0, **axes)
        workers = sweep(total, tmp_path / "two.jsonl", jobs=2, **axes)
    finally:
        unregister_criterion("cubes")
    pd.testing.assert_frame_equal(numbers(alone), numbers(workers))
    assert set(workers["threads"]) == {1}


def fragile(width: int) -> dict[str, Any]:
    if width == -2:
        sys.exit("nothing to do")
    return {"inverse": 1 / width}


def test_a_failing_run_is_named_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(
        RuntimeError, match=r"(?s)2 of 5 runs failed.*fragile\(width=0\).*ZeroDivisionError.*SystemExit"
    ):
        here(fragile, path, width=[1, 0, -2, 2, 4])
    assert sorted(results(path)["inverse"]) == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    ("axes", "error", "message"),
    [
        ({"width": 3}, TypeError, r"axis 'width' is a list of values; got 3. Pass width=\[3\]"),
        ({"width": [1], "kind": "box"}, TypeError, "axis 'kind' is a list"),
        ({"width": [1], "hight": [2]}, ValueError, "Did you mean 'height'"),
        ({"height": [1]}, TypeError, "area needs a value for width"),
        ({"width": [print]}, TypeError, "Pass names, not objects"),
        ({"width": [float("inf")]}, TypeError, "finite number"),
        ({"width": [1], "jobs": -1}, ValueError, "jobs is a whole number"),
        ({"width": [1], "seconds": [1]}, ValueError, "axis of area is one of"),
        ({"width": np.array(3)}, TypeError, "axis 'width' is a list of values; got array"),
        ({"width": [10**5000]}, TypeError, "axis 'width' of area is a number up to 1.8e308"),
    ],
)
def test_wrong_axes_are_refused(tmp_path: Path, axes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sweep(area, tmp_path / "rows.jsonl", **{"jobs": 0, **axes})


def test_a_grid_is_a_dict(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"a grid is a dict with a list for each argument; got \[1\]"):
        here(area, tmp_path, [1])  # type: ignore[arg-type]

    def any_axis(**axes: int) -> dict[str, Any]: ...  # type: ignore[empty-body]

    with pytest.raises(TypeError, match="an axis of any_axis has the name of an argument; got 3"):
        here(any_axis, tmp_path, {3: [1]})  # type: ignore[dict-item]


def test_functions_that_cannot_be_called_by_names_are_refused_before_a_run_starts(tmp_path: Path) -> None:
    def placed(width: int, /, height: int = 1) -> dict[str, Any]: ...  # type: ignore[empty-body]
    def many(*widths: int) -> dict[str, Any]: ...  # type: ignore[empty-body]
    def more(*widths: int, seed: int = 0) -> dict[str, Any]: ...  # type: ignore[empty-body]
    async def late(width: int) -> dict[str, Any]: ...  # type: ignore[empty-body]
    async def drop(width: int) -> Any:
        yield {}

    for run, axes, why in [
        (placed, {"width": [1]}, "placed takes width by position only. Remove its /"),
        (placed, {"height": [1]}, "placed takes width by position only"),
        (many, {"widths": [1]}, "many takes no named arguments; got the axis 'widths'"),
        (more, {"widths": [1]}, "axis of more is one of seed; got 'widths'"),
        (late, {"width": [1]}, "late is async"),
        (drop, {"width": [1]}, "drop is async"),
    ]:
        with pytest.raises((TypeError, ValueError), match=why):
            here(run, tmp_path / "out", **axes)
    assert not (tmp_path / "out").exists()


def test_an_axis_may_be_an_iterator(tmp_path: Path) -> None:
    assert here(area, tmp_path, width=map(int, "23"), height=(h for h in [5, 7]))["area"].tolist() == [10, 14, 15, 21]
    assert list(asked(Store(tmp_path)).values()) == [
        {"width": width, "height": height} for width in (2, 3) for height in (5, 7)
    ]


THREE, ONES = np.int64(3), np.ones(2)


def sizes(sizes: Any = (1, 2), scale: Any = THREE, mask: Any = ONES, start: Any = math.nan) -> dict[str, Any]:
    return {"whole": len(sizes) * scale}


def test_a_default_that_is_a_list_or_of_numpy_is_that_of_the_row_and_of_the_grid(tmp_path: Path) -> None:
    assert defaults(sizes) == {"sizes": [1, 2], "scale": 3}
    usual = key(sizes, {})
    assert usual == key(sizes, {"sizes": [1, 2.0]}) == key(sizes, {"sizes": (1, 2), "scale": 3.0})
    assert len({usual, key(sizes, {"sizes": [2, 1]}), key(sizes, {"mask": [1, 1]}), key(sizes, {"start": None})}) == 4
    table = here(sizes, tmp_path, sizes=[(5,), [1, 2]], scale=[3, 4])
    assert table["whole"].tolist() == [3, 4, 6, 8]
    pd.testing.assert_frame_equal(results(tmp_path), table)
    assert asked(Store(tmp_path)).keys() == set(table["key"])


def test_lambdas_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Define it with def"):
        here(lambda width: {"a": width}, tmp_path / "rows.jsonl", width=[1])


@pytest.mark.parametrize("name", ["date", "key", "processor", "seconds", "versions", "width"])
def test_nothing_in_a_row_is_overwritten(tmp_path: Path, name: str) -> None:
    def clash(**axes: int) -> dict[str, Any]:
        return {name: 5}

    path = tmp_path / "rows.jsonl"
    why = "width is an argument and a metric" if name == "width" else f"{name} is a column that the table adds"
    with pytest.raises(RuntimeError, match=f"metrics of clash: {why}"):
        here(clash, path, width=[1])
    assert path.read_bytes() == b""
    if name != "width":
        with pytest.raises(ValueError, match=f"axes of clash: {why}"):
            here(clash, path, **{name: [1]})


def curve(width: int) -> Any:
    for step in range(width):
        yield {"step": step, "loss": 1 / (step + 1)}


def test_a_run_that_yields_has_several_rows_in_one_file(tmp_path: Path) -> None:
    df = here(curve, tmp_path, width=[1, 3])
    assert df["width"].tolist() == [1, 3, 3, 3]
    assert df["step"].tolist() == [0, 0, 1, 2]
    assert df["key"].nunique() == len(list(tmp_path.glob("runs/*/*.json"))) == 2
    pd.testing.assert_frame_equal(results(tmp_path), df)


def nothing(width: int) -> Any:
    yield from ({"step": 0} for _ in range(width))


def test_a_run_that_yields_nothing_is_a_line_without_metrics(tmp_path: Path) -> None:
    table = here(nothing, tmp_path, width=[0, 1])
    assert table["width"].tolist() == [0, 1]
    assert table["step"].isna().tolist() == [True, False]
    pd.testing.assert_frame_equal(results(tmp_path), table)


def odd(kind: str) -> dict[Any, Any]:
    if kind in ("CancelledError", "KeyboardInterrupt", "GeneratorExit"):
        raise {"CancelledError": asyncio.CancelledError}.get(kind) or getattr(builtins, kind)
    return {
        "a tuple": {("a", "b"): 1},
        "a number": {1: 2},
        "half a character": {"\ud800": 1},
        "too large": {"value": 10**5000},
    }.get(kind, {"value": 1.0})


@pytest.mark.parametrize("jobs", [0, 1])
def test_no_run_stops_the_others(tmp_path: Path, jobs: int) -> None:
    trouble = {
        "a tuple": "the name of a metric of odd is a string; got ('a', 'b')",
        "a number": "the name of a metric of odd is a string; got 1. Write '1'",
        "half a character": "a metric's name of odd is a string with half a character",
        "too large": "metric 'value' of odd is a number up to 1.8e308",
        "CancelledError": "CancelledError",
        "GeneratorExit": "GeneratorExit",
    } | ({"KeyboardInterrupt": "KeyboardInterrupt"} if jobs else {})  # here it is a Ctrl-C
    with pytest.raises(RuntimeError, match=f"{len(trouble)} of {len(trouble) + 1} runs failed"):
        sweep(odd, tmp_path, jobs=jobs, kind=[*trouble, "well"])
    assert results(tmp_path)["kind"].tolist() == ["well"]
    told = results(tmp_path, errors=True).set_index("kind")["error"]
    assert sorted(told.index) == sorted(trouble)
    assert all(why in told[kind].splitlines()[-1] for kind, why in trouble.items())


def test_a_metric_that_is_infinite_is_missing(tmp_path: Path) -> None:
    def loss(seed: int) -> dict[str, Any]:
        return {"loss": float("inf"), "each": [1.0, float("-inf")], "kept": seed}

    (row,) = here(loss, tmp_path, seed=[3])[["loss", "each", "kept"]].to_dict("records")
    assert row == {"loss": None, "each": [1.0, None], "kept": 3}


def test_a_folder_holds_one_file_for_each_run_named_by_its_key(tmp_path: Path) -> None:
    df = here(area, tmp_path, width=[2, 3], height=[1, 5])
    assert sorted(path.stem for path in tmp_path.glob("runs/*/*.json")) == sorted(df["key"])
    assert (tmp_path / "runs" / "2b" / "2b929a940d787bad.json").exists()
    row = json.loads(Store(tmp_path).path(df["key"][0]).read_text())
    assert list(row) == ["key", "function", "arguments", "metrics", "seconds", "versions", "revision", "date"]
    assert row["versions"] == versions()


def test_a_row_names_the_git_revision_of_its_function(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        me = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        done = subprocess.run(["git", "-C", str(tmp_path), *me, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    (tmp_path / "own_run.py").write_text("def own(width):\n    return {'value': width}\n")
    sys.path.insert(0, str(tmp_path))
    try:
        from own_run import own  # type: ignore[import-not-found]

        assert here(own, tmp_path / "none", width=[1])["revision"].tolist() == [""]
        git("init", "-q")
        git("add", "own_run.py")
        git("commit", "-qm", "first")
        first = git("rev-parse", "--short", "HEAD")
        assert here(own, tmp_path / "first", width=[1])["revision"].tolist() == [first]
        (tmp_path / "own_run.py").write_text("def own(width):\n    return {'value': 2 * width}\n")
        assert here(own, tmp_path / "second", width=[1])["revision"].tolist() == [f"{first}-dirty"]
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("own_run", None)


def test_every_point_is_checked_before_the_first_starts(tmp_path: Path) -> None:
    def positive(width: int, height: int = 1) -> None:
        if width * height <= 0:
            raise ValueError("a box has a size")

    with pytest.raises(
        ValueError, match=r"(?s)2 of 4 runs are refused, none was started\narea\(width=0, height=3\): a"
    ):
        here(area, tmp_path / "out", check=positive, width=[1, 0], height=[3, 4])
    assert not (tmp_path / "out").exists()
    assert len(here(area, tmp_path / "out", check=positive, width=[1], height=[3, 4])) == 2


def test_more_runs_than_most_are_refused_before_they_are_counted_out(tmp_path: Path) -> None:
    many = list(range(10**4))
    with pytest.raises(ValueError, match=r"grids of 100,000,000 combinations are more than most=20,000"):
        here(area, tmp_path, width=many, height=many)
    with pytest.raises(ValueError, match=r"grids of 3,000,000,000,000,000,000,000 combinations are more than"):
        here(area, tmp_path, width=range(0, 3 * 10**21, 2), height=[1, 2])
    assert len(here(area, tmp_path, most=2, width=[1, 2])) == 2


def test_an_empty_axis_and_a_limit_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"an axis of area has at least one value; got width=\[\]"):
        here(area, tmp_path, width=[])
    for limit in (0, "5", float("inf"), float("nan"), 1e12):
        with pytest.raises(ValueError, match=f"limit is how many seconds .*; got {limit!r}. Leave it out for none"):
            sweep(area, tmp_path, jobs=1, limit=limit, width=[1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="jobs=0 takes no limit"):
        here(area, tmp_path, limit=1, width=[1])


def test_results_of_nothing_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("no", "no.jsonl"):
        for use in (results, found, lambda path: export(path, "rows.csv")):
            with pytest.raises(ValueError, match=f"there is none at {re.escape(str(tmp_path / name))}. Correct the"):
                use(tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        results(tmp_path / "file")
    (tmp_path / "odd.jsonl").mkdir()
    with pytest.raises(ValueError, match="is a folder; a name that ends in"):
        results(tmp_path / "odd.jsonl")


def test_grids_and_named_axes_are_one_sweep(tmp_path: Path) -> None:
    def named(limit: int, seed: int = 0) -> dict[str, Any]:
        return {"area": limit + seed}

    table = sweep(named, tmp_path, {"limit": [3, 4]}, {"limit": [4], "seed": [0, 10]}, jobs=0)
    assert table["area"].tolist() == [3, 4, 14]
    assert sweep(area, tmp_path / "b", {"width": [2]}, jobs=0, width=[3], height=[5])["area"].tolist() == [2, 15]
    with pytest.raises(TypeError, match="needs a value for limit"):
        sweep(named, tmp_path / "c", jobs=0)


def test_what_was_asked_for_is_known_without_the_function(tmp_path: Path) -> None:
    grids = [{"width": [1, 2], "height": [1, 3]}, {"width": [2, 5]}]
    sweep(area, tmp_path, *grids, jobs=0)
    assert asked(Store(tmp_path)).keys() == points(area, grids).keys()
    assert len(asked(Store(tmp_path))) == 5  # width=2 twice


GRID = '{"function": "area", "defaults": {}, "axes": {"width": [1]}}'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (GRID[:20], "Expecting property name"),
        ("\xff", "Expecting value"),
        ("[1]", "it has other parts"),
        ("{}", "it has other parts"),
        (GRID.replace('"area"', "3"), "it has other parts"),
        (GRID.replace("[1]", "1"), "an axis is no list"),
    ],
)
def test_a_file_that_is_no_grid_is_told_by_name(tmp_path: Path, text: str, why: str) -> None:
    here(area, tmp_path, width=[1])
    path = tmp_path / "grids" / "notes.json"
    path.write_text(text)
    for use in (results, found, sweep_so_far):
        with pytest.raises(ValueError, match=f"{re.escape(str(path))} is not a grid of a sweep: {why}.* Delete it"):
            use(tmp_path)
    path.write_text(GRID)
    assert len(results(tmp_path)) == 1


VALUES = st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.text(max_size=3), st.floats(-9, 9))


@given(VALUES, VALUES)
def test_runs_have_one_key_where_their_arguments_are_equal(one: Any, other: Any) -> None:
    def run(value: Any) -> None: ...

    alike = one == other and isinstance(one, bool) == isinstance(other, bool)
    assert (key(run, {"value": one}) == key(run, {"value": other})) == alike


@given(st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(), min_size=1, max_size=3), min_size=1))
def test_combinations_are_the_product_of_the_axes(axes: dict[str, list[int]]) -> None:
    made = list(combinations(axes))
    assert len(made) == size(axes) == math.prod(map(len, axes.values()))
    assert all(point[name] in axes[name] for point in made for name in axes)
    assert made[0] == {name: values[0] for name, values in axes.items()}
    assert made[-1] == {name: values[-1] for name, values in axes.items()}


def test_a_misspelt_name_is_refused_before_a_run_starts(tmp_path: Path) -> None:
    from workbench.experiments.before import prune_then_train

    for axes, why in [
        ({"criterion": ["snip", "snpi"]}, "'snpi'. Did you mean 'snip'"),
        ({"criterion": ["snip"], "network": ["vg"]}, "network is one of"),
        ({"criterion": ["snip"], "data": ["digit"]}, "data is one of"),
        ({"criterion": ["snip"], "allocation": ["erg"]}, "allocation is one of"),
        ({"criterion": ["snip"], "compression": [0.5]}, "at least 1; got 0.5"),
    ]:
        with pytest.raises(ValueError, match=r"of \d runs are refused, none was started") as error:
            here(prune_then_train, tmp_path / "out", **{"compression": [10], "seed": [0], **axes})
        assert why in str(error.value)
    assert not (tmp_path / "out").exists()


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="half a character"):
        here(area, tmp_path, width=["\ud800"])


CALLS: list[list[dict[str, Any]]] = []


def square(width: int, kind: str = "plain") -> dict[str, Any]:
    CALLS.append([{"width": width, "kind": kind}])
    if width == 7:
        raise ValueError("not seven")
    return {"square": width**2}


@batched(square, over=["width"])
def squares(points: list[dict[str, Any]]) -> list[Any]:
    CALLS.append(points)
    if any(point["width"] == 100 for point in points):
        raise MemoryError("too many")
    return [ValueError("in a batch") if point["width"] == 7 else {"square": point["width"] ** 2} for point in points]


def test_runs_with_a_batched_form_are_computed_in_one_call(tmp_path: Path) -> None:
    CALLS.clear()
    with pytest.raises(RuntimeError, match=r"(?s)2 of 10 runs failed.*not seven"):
        here(square, tmp_path, together=3, width=[1, 2, 3, 4, 7], kind=["plain", "fast"])
    assert [len(call) for call in CALLS] == [3, 3, 2, 1, 2, 1], "batches of one kind each; what failed, alone"
    assert all(len({point.get("kind") for point in call}) == 1 for call in CALLS)
    rows = results(tmp_path)
    assert (rows["square"] == rows["width"] ** 2).all()
    told = [json.loads(path.read_text()).get("together") for path in tmp_path.glob("runs/*/*.json")]
    assert sorted(told, key=str) == [2, 2, 3, 3, 3, 3, 3, 3, None, None]


def test_a_batch_that_fails_as_a_whole_is_computed_run_by_run(tmp_path: Path) -> None:
    CALLS.clear()
    rows = sweep(square, tmp_path, jobs=1, together=4, width=[1, 2, 100])
    assert rows["square"].tolist() == [1, 4, 10_000]
    assert not any("together" in json.loads(path.read_text()) for path in tmp_path.glob("runs/*/*.json"))
    assert CALLS == []  # in a process of its own


def test_batches_are_asked_for_where_they_can_be_had(tmp_path: Path) -> None:
    CALLS.clear()
    here(square, tmp_path / "one", width=[1, 2])
    assert [len(call) for call in CALLS] == [1, 1], "on a CPU nobody chose them"
    with pytest.raises(ValueError, match="area has no batched form"):
        here(area, tmp_path / "two", together=2, width=[1])
