"""The report of a sweep: roles of columns, numbers by hand, hostile names, and what is not there yet."""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.cli import main
from workbench.intervals import compare, detectable, interval
from workbench.reports import changes, export, found, roles, sweep_so_far, write_report
from workbench.reports.pictures import ARMS, PICTURES, PLACES, pictures, splitting
from workbench.reports.tables import beside, lines_of, means, overlapping, reasons
from workbench.sweeps import sweep
from workbench.sweeps.files import Store
from workbench.sweeps.workers import Here


def prune(criterion: str, sparsity: float, seed: int = 0, lr: float = 0.1) -> dict[str, Any]:
    if criterion == "grasp" and sparsity == 0.9 and seed == 1:
        raise ValueError("<b>no</b> layer is left")
    lost = {"snip": 0.1, "grasp": 0.2}.get(criterion, 0.3)
    noise = (seed * 7 % 5) / 100
    return {"kept": 5, "accuracy": 1 - sparsity * lost + noise, "loss": None if seed == 2 else 0.5, "why": "text"}


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    with pytest.raises(RuntimeError):
        sweep(prune, tmp_path, jobs=0, criterion=["snip", "grasp", "own"], sparsity=[0.5, 0.9], seed=[0, 1, 2])
    return tmp_path


def text_of(path: Path) -> str:
    """A page without its pictures and tags."""
    page = path.read_text(encoding="utf-8").partition("<main>")[2]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r'src="data:[^"]*"', "", page)))


# -- which column is what


def test_roles_are_chosen_by_themselves(swept: Path) -> None:
    assert roles(found(swept)) == ("sparsity", "accuracy", ("criterion",), ())
    assert roles(found(swept), by=()) == ("sparsity", "accuracy", (), ("criterion",))
    assert roles(found(swept), x="seed", y="loss").by == ("criterion", "sparsity")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": "sparsty"}, r"--x \(a number that every run has\) is one of .*Did you mean 'sparsity'"),
        ({"x": "criterion"}, "--x .*; got 'criterion'"),
        ({"y": "why"}, r"--y .*accuracy.*; got 'why'"),
        ({"by": ["kept"]}, "--by is one of .*criterion.*; got 'kept'"),
    ],
)
def test_a_column_that_is_not_there_is_refused(swept: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        roles(found(swept), **given)


def test_x_is_the_number_with_most_values(tmp_path: Path) -> None:
    def area(width: int, height: int, seed: int) -> dict[str, Any]:
        return {"area": width * height}

    sweep(area, tmp_path, jobs=0, width=[1, 2], height=[1, 2, 3], seed=list(range(4)))
    assert roles(found(tmp_path)) == ("height", "area", ("width",), ())


def test_rounds_of_a_run_are_its_x(tmp_path: Path) -> None:
    def cut(lr: float, seed: int) -> Any:
        for k in range(3):
            yield {"round": k, "loss": lr * k + seed, "list": [1, 2]}

    sweep(cut, tmp_path, jobs=0, lr=[0.1, 0.2], seed=[0, 1])
    read = found(tmp_path)
    assert roles(read) == ("round", "loss", ("lr",), ())
    assert means(lines_of(read, roles(read)))["n"].tolist() == [2] * 6


def test_a_new_grid_with_another_argument_has_the_default_in_old_rows(tmp_path: Path) -> None:
    grids = [{"criterion": ["snip"], "sparsity": [0.5]}, {"criterion": ["snip"], "sparsity": [0.5], "lr": [0.2]}]
    sweep(prune, tmp_path, *grids, jobs=0)
    assert sorted(found(tmp_path).table["lr"]) == [0.1, 0.2]

    def named(width: int, kind: Any = 3) -> dict[str, Any]:
        return {"area": width}

    sweep(named, tmp_path / "b", {"width": [1]}, {"width": [1], "kind": ["box"]}, jobs=0)
    assert found(tmp_path / "b").table["kind"].tolist() == [3, "box"]


def test_runs_that_yield_nothing_are_counted(tmp_path: Path) -> None:
    def steps(k: int) -> Any:
        yield from ({"step": i, "loss": 1 / (i + 1)} for i in range(k))

    sweep(steps, tmp_path, jobs=0, k=[0])
    assert found(tmp_path).counts == "1 run done, 0 missing"
    assert "No metric is a number" in text_of(write_report(tmp_path))
    assert "1 run done" in sweep_so_far(tmp_path)[-1]
    sweep(steps, tmp_path, jobs=0, k=[0, 1, 2])
    assert found(tmp_path).counts == "3 runs done, 0 missing"
    assert "1 row without a number" in text_of(write_report(tmp_path))
    assert export(tmp_path, str(tmp_path / "rows.csv")).startswith("4 rows")


def test_a_default_that_is_a_list_is_not_missing_and_fills_old_rows(tmp_path: Path) -> None:
    def net(width: int, sizes: Any = (1, 2)) -> dict[str, Any]:
        return {"area": width}

    sweep(net, tmp_path, {"width": [1]}, {"width": [1], "sizes": [[1, 2], [3]]}, jobs=0)
    assert found(tmp_path).counts == "2 runs done, 0 missing"
    assert found(tmp_path).table["sizes"].tolist() == ["[1, 2]", "[3]"]


# -- numbers


def test_means_and_pairs_are_those_of_the_house(swept: Path) -> None:
    read = found(swept)
    lines = lines_of(read, roles(read))
    table = means(lines).set_index(["arm", "x"])
    values = read.table.query("criterion == 'snip' and sparsity == 0.5")["accuracy"].tolist()
    mean, _, high = interval(values)
    assert table.loc[("snip", 0.5), "mean"] == mean
    assert table.loc[("snip", 0.5), "half"] == pytest.approx(high - mean)
    assert table.loc[("grasp", 0.9), "n"] == 2, "one seed failed"
    pairs, count, total = overlapping(means(lines))
    assert count == len(pairs)
    assert total == 2 * 3
    (row,) = (one for one in beside(lines, pairs) if (one.a, one.b, one.x) == ("snip", "grasp", 0.9))
    both = read.table.query("sparsity == 0.9 and criterion in ['snip', 'grasp'] and seed != 1")
    by_hand = compare(both, "accuracy", "criterion", "snip", "grasp")["difference"].tolist()
    assert row.n == 2
    assert row.difference == pytest.approx(sum(by_hand) / 2)


def test_intervals_that_overlap_are_not_ranked_but_pairs_may_be_apart(tmp_path: Path) -> None:
    """Seeds that differ much, and a difference that is nearly the same at each: 0.01 at seeds 0 and 1, 0.02 at 2."""

    def noisy(arm: str, seed: int) -> dict[str, Any]:
        return {"accuracy": seed + (0.01 + 0.01 * (seed == 2)) * (arm == "better")}

    sweep(noisy, tmp_path, jobs=0, arm=["better", "worse"], seed=[0, 1, 2])
    read = found(tmp_path)
    lines = lines_of(read, roles(read))
    (row,) = beside(lines, overlapping(means(lines))[0])
    differences = [0.01, 0.01, 0.02]
    mean, low, high = interval(differences)
    assert (row.difference, row.half) == (pytest.approx(mean), pytest.approx(high - mean))
    assert row.least == pytest.approx(detectable(differences))
    assert row.apart == (low > 0)
    assert "The intervals of 1 of 1 pairs overlap" in text_of(write_report(tmp_path))


@pytest.mark.parametrize(("shift", "apart"), [(0.04, True), (0.0, False)])
def test_a_difference_that_is_the_same_at_every_seed_has_no_width(tmp_path: Path, shift: float, apart: bool) -> None:
    """The sums differ in their last bits, so do the differences."""

    def score(arm: str, seed: int) -> dict[str, Any]:
        return {"accuracy": 0.1 * seed + 0.7 + (shift if arm == "a" else 0.0)}

    sweep(score, tmp_path, jobs=0, arm=["a", "b"], seed=[0, 1, 2])
    read = found(tmp_path)
    lines = lines_of(read, roles(read))
    (row,) = beside(lines, overlapping(means(lines))[0])
    assert row.difference == pytest.approx(shift)
    assert (row.half, row.n, row.least, row.apart) == (0, 3, 0, apart)
    assert f"the same in all 3 seeds 3 {'yes' if apart else 'no'}" in text_of(write_report(tmp_path))


def test_a_sum_of_seeds_never_hides_an_overlap() -> None:
    """All pairs by brute force."""

    @given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 3)), min_size=2, max_size=8))
    @settings(max_examples=60)
    def check(arms: list[tuple[float, float]]) -> None:
        rows = [
            {"picture": "", "arm": str(i), "x": 0.0, "low": m - h, "high": m + h, "n": 2}
            for i, (m, h) in enumerate(arms)
        ]
        pairs, count, total = overlapping(pd.DataFrame(rows))
        assert count == len(pairs)
        slow = [
            ("", a["arm"], b["arm"], 0.0)
            for i, a in enumerate(rows)
            for b in rows[i + 1 :]
            if not (a["low"] > b["high"] or b["low"] > a["high"])
        ]
        assert sorted(pairs) == sorted(slow)
        assert total == len(rows) * (len(rows) - 1) // 2

    check()


# -- the page


def test_the_page_says_all(swept: Path) -> None:
    store = Store(swept)
    sweep(prune, swept, jobs=0, criterion=["snip"], sparsity=[0.5, 0.99], seed=[0])
    next(swept.glob("runs/*/*.json")).rename(swept / "gone.json")
    row = json.loads((one := next(swept.glob("runs/*/*.json"))).read_text())
    one.write_text(json.dumps(row | {"versions": {**row["versions"], "processor": "an old one"}}))
    words = text_of(write_report(swept))
    assert len(list(store.files())) == 18
    assert "17 runs done, 1 failed, 1 missing of 19 in the grid" in words
    assert "ValueError: &lt;b&gt;no&lt;/b&gt; layer is left" in words
    assert "criterion=&#39;grasp&#39;, sparsity=0.9, seed=1" in words
    assert "1 of 19 runs of the grid have no row" in words
    assert "Mixed: 2 processors" in words
    assert "an old one" in words
    assert "Other metrics, which --y shows: kept, loss." in words


def test_metrics_without_a_number_are_counted(swept: Path) -> None:
    assert "6 rows without a number for loss or sparsity are left out" in text_of(write_report(swept, y="loss"))


def test_a_folder_without_rows(tmp_path: Path) -> None:
    Store(tmp_path).open()
    words = text_of(write_report(tmp_path))
    assert "0 runs done" in words
    assert "No run has finished yet" in words
    with pytest.raises(ValueError, match="there is none at"):
        write_report(tmp_path / "other")


def test_one_seed_has_no_interval_and_words_have_no_curve(tmp_path: Path) -> None:
    def answer(name: str) -> dict[str, Any]:
        return {"answer": name.upper()}

    def length(name: str) -> dict[str, Any]:
        return {"length": len(name)}

    sweep(answer, tmp_path / "words", jobs=0, name=["a", "b"])
    assert "No metric is a number" in text_of(write_report(tmp_path / "words"))
    sweep(length, tmp_path / "lengths", jobs=0, name=["a", "bc"])
    words = text_of(write_report(tmp_path / "lengths"))
    assert "No number varies that could be an x" in words
    assert "a 1 none 1 bc 2 none 1" in words


NAMES = ["$x$", "$", "<script>alert(1)</script>", "_hidden", "a\nb", "", " ", "é漢字", "{{ 1 }}", "%s", "nan"]


def test_hostile_names_are_letters(tmp_path: Path) -> None:
    def score(name: str, seed: int, **rest: Any) -> dict[str, Any]:
        return {"$y$ <i>": seed, "<b>": 1.5}

    sweep(score, tmp_path, jobs=0, **{"name": NAMES, "seed": [0, 1], "_x$ </td>": [1, 2]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = write_report(tmp_path, y="$y$ <i>").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "$y$ &lt;i&gt; against _x$ &lt;/td&gt;" in page


def test_hundreds_of_arms_are_shown_in_part(tmp_path: Path) -> None:
    def score(a: int, b: int, kind: str, seed: int) -> dict[str, Any]:
        return {"score": a + b + seed}

    grid = {"a": [0, 1], "b": list(range(2, 16)), "kind": [f"kind{k}" for k in range(15)], "seed": [0]}
    sweep(score, tmp_path, jobs=0, **grid)
    read = found(tmp_path)
    chosen = roles(read, x="a")
    drawn, more = pictures(read, chosen)
    assert (len(drawn), more) == (PICTURES, len(grid["b"]) - PICTURES)
    assert [one.arms for one in drawn] == [15 - ARMS] * PICTURES
    words = text_of(write_report(tmp_path, x="a"))
    assert "5 arms. The table has them" in words
    assert "8 more pictures are left out" in words
    assert "220 more lines are left out" in words
    pairs = 2 * len(grid["b"]) * (15 * 14 // 2)
    assert f"The intervals of {pairs:,} of {pairs:,} pairs of one picture overlap" in words, "one seed has no interval"


def test_of_very_many_places_a_picture_takes_steps(tmp_path: Path) -> None:
    """As in a random search: each run has an x of its own, and each second one another arm."""

    def score(x: float, arm: int) -> dict[str, Any]:
        return {"score": x * arm}

    grids = [{"x": [k / 1000], "arm": [k % 40]} for k in range(400)]
    sweep(score, tmp_path, *grids, jobs=0)
    (one,), _ = pictures(found(tmp_path), roles(found(tmp_path)))
    assert (one.arms, one.places) == (30, 100 - PLACES)
    (one,), _ = pictures(found(tmp_path), roles(found(tmp_path), by=()))
    assert (one.arms, one.places) == (0, 400 - PLACES)
    assert f"Left out of the picture: {400 - PLACES} values of x" in text_of(write_report(tmp_path, by=()))


def test_two_functions_in_a_folder_are_arms(tmp_path: Path) -> None:
    def other(width: int) -> dict[str, Any]:
        return {"area": width}

    sweep(prune, tmp_path, jobs=0, criterion=["snip", "own"], sparsity=[0.5, 0.9])
    sweep(other, tmp_path, jobs=0, width=[1, 2])
    assert "6 runs done" in text_of(write_report(tmp_path))
    assert "6 runs done" in sweep_so_far(tmp_path)[-1]


def test_a_running_sweep_is_followed_until_it_is_complete(tmp_path: Path) -> None:
    out, seen = tmp_path / "rows", []
    assert changes(out) == ()

    def look(row: Any, done: int, total: int) -> None:
        seen.append((changes(out), sweep_so_far(out)[-1]))

    grid: dict[str, Any] = {"criterion": ["snip"], "sparsity": [0.5, 0.7, 0.9]}

    def begun(*_: Any) -> Any:
        seen.append((changes(out), sweep_so_far(out)))
        raise KeyboardInterrupt

    engine = Here()
    engine.submit = begun  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        sweep(prune, out, engine=engine, **grid)
    token, words = seen.pop()
    assert token, "it has begun, before a row is there"
    assert words == ("prune: 0 runs done, 1 running, 2 missing",)
    sweep(prune, out, jobs=0, on_row=look, **grid)
    assert [words for _, words in seen] == [
        f"prune: {n}, {3 - k} missing" for k, n in ((1, "1 run done"), (2, "2 runs done"), (3, "3 runs done"))
    ]
    tokens = [token for token, _ in seen]
    assert len(set(tokens)) == 3
    assert changes(out) is None
    sweep(prune, out, jobs=0, criterion=["own"], sparsity=[0.5])
    assert sweep_so_far(out)[-1] == "prune: 4 runs done, 0 missing"
    packed = tmp_path / "packed.jsonl"
    sweep(prune, packed, jobs=0, **grid)
    assert changes(packed) is None
    assert sweep_so_far(packed)[-1] == "prune: 3 runs done"


def test_the_grid_is_known_from_the_first_run_on(tmp_path: Path) -> None:
    """Arms, x and the ends of its axis are those of the end."""
    seen = []

    def look(row: Any, done: int, total: int) -> None:
        read = found(tmp_path)
        (one,), _ = pictures(read, roles(read))
        names = [text.get_text().partition(" (")[0] for text in one.axes.get_legend().get_texts()]
        colours = [handle.get_color() for handle in one.axes.get_legend().legend_handles]
        seen.append((roles(read), names, colours, [tick.get_text() for tick in one.axes.get_xticklabels()]))

    grid: dict[str, Any] = {"criterion": ["snip", "own"], "sparsity": [0.5, 0.9, 0.99], "lr": [0.1], "seed": [0, 1]}
    sweep(prune, tmp_path, jobs=0, on_row=look, **grid)
    assert seen == [seen[-1]] * 12
    assert seen[0][0] == ("sparsity", "accuracy", ("criterion",), ())
    assert seen[0][1] == ["snip", "own"]
    assert seen[0][3] == ["0.5", "0.9", "0.99"]


def test_runs_without_a_number_are_counted_for_each_arm(swept: Path) -> None:
    """Seed 2 has no loss, and one run of grasp failed."""
    read = found(swept)
    table = means(lines_of(read, roles(read, y="loss"))).set_index(["arm", "x"])
    assert table["n"].tolist() == [2, 2, 2, 1, 2, 2]
    assert table["of"].tolist() == [3] * 6
    words = text_of(write_report(swept, y="loss"))
    assert "the means of these arms are of the others and may look better: snip 2; grasp 3; own 2." in words
    assert "grasp 0.9 0.5 none 1 of 3" in words


def test_a_line_ends_where_all_runs_of_an_arm_failed(tmp_path: Path) -> None:
    def score(arm: str, x: int, seed: int) -> dict[str, Any]:
        if (arm, x) == ("b", 2):
            raise ValueError("no")
        return {"score": x + seed}

    with pytest.raises(RuntimeError):
        sweep(score, tmp_path, jobs=0, arm=["a", "b"], x=[1, 2, 3], seed=[0, 1])
    read = found(tmp_path)
    (one,), _ = pictures(read, roles(read))
    whole, broken = (line.get_ydata().tolist() for line in one.axes.lines[:2])
    assert whole == [1.5, 2.5, 3.5]
    assert (broken[0], math.isnan(broken[1]), broken[2]) == (1.5, True, 3.5)
    assert means(lines_of(read, roles(read))).query("arm == 'b'")["n"].tolist() == [2, 0, 2]


def test_failures_of_one_place_are_one_reason(tmp_path: Path) -> None:
    def fails(k: int, seed: int) -> dict[str, Any]:
        if k == 2:
            raise ValueError(f"other at {seed}")
        raise ValueError(f"no layer at {k},\nseed {seed}") if k else KeyError(seed)

    with pytest.raises(RuntimeError):
        sweep(fails, tmp_path, jobs=0, k=[0, 1, 2, 3], seed=[0, 1])
    made = reasons(found(tmp_path).failed)
    assert [(one.line, one.many) for one in made] == [
        ("ValueError: no layer at 1,", 4),
        ("KeyError: 0", 2),
        ("ValueError: other at 0", 2),
    ]
    assert made[0].runs[-1] == ("k=3, seed=1", "ValueError: no layer at 3,")
    assert made[0].error.rstrip().endswith("seed 0")
    killed = [{"arguments": {"k": k}, "error": f"f(k={k})\nits process ended with code 9"} for k in range(3)]
    assert [(one.line, one.many) for one in reasons(killed)] == [("its process ended with code 9", 3)]


def test_pairs_are_of_one_picture_and_pictures_have_one_scale(tmp_path: Path) -> None:
    def score(network: str, arm: int, x: int, seed: int) -> dict[str, Any]:
        return {"score": seed + arm + x * (100 if network == "vgg" else 1)}

    grid: dict[str, Any] = {"network": ["vgg", "mlp"], "arm": list(range(6)), "x": [1, 2], "seed": [0, 1]}
    sweep(score, tmp_path, jobs=0, **grid)
    read = found(tmp_path)
    drawn, more = pictures(read, chosen := roles(read, x="x"))
    assert (len(drawn), more) == (2, 0)
    assert drawn[0].axes.get_ylim() == drawn[1].axes.get_ylim()
    lines = lines_of(read, chosen, splitting(read, chosen))
    pairs, count, total = overlapping(means(lines))
    assert total == 2 * 2 * (6 * 5 // 2)
    assert {pair[0] for pair in pairs} == {"vgg", "mlp"}
    assert len(beside(lines, pairs)) == len(pairs)
    assert all(row.picture == pair[0] for row, pair in zip(beside(lines, pairs), pairs, strict=True))
    assert count == total, "two seeds have wide intervals"


def test_a_folder_of_sweeps_is_none(tmp_path: Path, capsys: Any) -> None:
    for name in ("a", "deep/b"):
        sweep(prune, tmp_path / name, jobs=0, criterion=["snip"], sparsity=[0.5])
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path)]) == 2
    assert f"but these do: {tmp_path / 'a'}, {tmp_path / 'deep/b'}. Name one" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()
    for wrong in (tmp_path / "empty", tmp_path / "a" / "runs"):
        with pytest.raises(ValueError, match="holds no sweep: it has no folder runs"):
            export(wrong, str(tmp_path / "rows.csv"))


# -- the command, and other programs


def test_the_command_writes_the_page_and_refuses_in_one_line(swept: Path, capsys: Any) -> None:
    assert main(["report", str(swept), "--page", str(swept / "a" / "b.html"), "--by", "criterion, seed"]) == 0
    assert capsys.readouterr().out.strip() == str(swept / "a" / "b.html")
    for wrong in (["--x", "sparsty"], ["--export", "rows.xlsx"], ["--page", str(next(swept.glob("runs/*/*")) / "x")]):
        assert main(["report", str(swept), *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_csv_and_parquet_are_read_back(tmp_path: Path) -> None:
    def odd(kind: Any, seed: int) -> dict[str, Any]:
        if seed == 1:
            raise ValueError('no, "never"\n')
        return {"list": [1, 2.5], "mixed": kind, "none": None, "flag": True}

    with pytest.raises(RuntimeError):
        sweep(odd, tmp_path / "rows", jobs=0, kind=["a,\nb", 1, 2.5, None, True], seed=[0, 1])
    assert export(tmp_path / "rows", str(tmp_path / "a.csv")).startswith("10 rows")
    assert export(tmp_path / "rows", str(tmp_path / "a.parquet")).startswith("10 rows")
    frames = [pd.read_csv(tmp_path / "a.csv"), pd.read_parquet(tmp_path / "a.parquet")]
    for frame in frames:
        assert len(frame) == 10
        assert frame["error"].notna().sum() == 5
        assert sorted(map(str, frame["kind"].dropna().unique())) == sorted(
            ["a,\nb", "1", "2.5", "true"] if frame is frames[1] else ["a,\nb", "1", "2.5", "True"]
        )
    assert frames[1]["list"].dropna().iloc[0].tolist() == [1.0, 2.5]
    assert frames[0].sort_values("key")["key"].tolist() == frames[1].sort_values("key")["key"].tolist()


def test_an_export_has_the_order_of_the_grid_and_whole_numbers(swept: Path) -> None:
    for name in ("rows.csv", "rows.parquet"):
        export(swept, str(swept / name))
    text = pd.read_csv(swept / "rows.csv", dtype=str)
    points = [(c, s, k) for c in ("snip", "grasp", "own") for s in ("0.5", "0.9") for k in "012"]
    assert list(zip(text["criterion"], text["sparsity"], text["seed"], strict=True)) == points
    assert text["kept"].fillna("").tolist() == ["" if point == ("grasp", "0.9", "1") else "5" for point in points]
    kept = pd.read_parquet(swept / "rows.parquet")["kept"]
    assert (kept.dtype, int(kept.isna().sum()), int(kept.sum())) == ("Int64", 1, 17 * 5)


def test_mlflow_reads_what_was_written(swept: Path, monkeypatch: Any) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    target = f"mlflow:{swept / 'ml runs'}"
    assert export(swept, target).startswith("18 runs, 0 were there")
    assert export(swept, target).startswith("0 runs, 18 were there")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = tracking.MlflowClient(tracking_uri=(swept / "ml runs").as_uri())
    home = client.get_experiment_by_name("prune").experiment_id

    def runs() -> dict[str, Any]:
        return {run.data.tags["workbench.key"]: run for run in client.search_runs([home], max_results=100)}

    found_runs = runs()
    assert len(found_runs) == 18
    table = found(swept).table.set_index("key")
    for key, run in found_runs.items():
        if key in table.index:
            assert run.info.status == "FINISHED"
            assert run.data.metrics["accuracy"] == table.loc[key, "accuracy"]
            assert run.data.params["criterion"] == table.loc[key, "criterion"]
            assert run.data.tags["why"] == "text"
            assert ("loss" in run.data.metrics) == (not math.isnan(table.loc[key, "loss"]))
    (failed,) = (run for key, run in found_runs.items() if key not in table.index)
    assert failed.info.status == "FAILED"
    assert failed.data.params == {"criterion": "grasp", "sparsity": "0.9", "seed": "1"}
    assert failed.data.tags["error"].rstrip().endswith("ValueError: <b>no</b> layer is left")
    path = Store(swept).path(table.index[0])  # a row that changed takes the place of the old run
    path.write_text(path.read_text().replace('"kept": 5', '"kept": 6'))
    assert export(swept, target).startswith("1 runs, 17 were there")
    assert runs()[table.index[0]].data.metrics["kept"] == 6
    assert len(runs()) == 18
