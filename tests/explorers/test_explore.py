"""`wb.explore`: any picture function becomes an explorer, with three faces; its controls, its state, its end."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from PIL import Image

import workbench as wb
from workbench.explorers.controls import Slider, control
from workbench.explorers.explore import still
from workbench.explorers.explore.shown import shown

WIDE_WORDS = "Table of 5 rows: " + "; ".join(f"x {x}, 0 0, 1 1, 2 2, 3 3, 4 4, 5 5, 6 6, ..." for x in "klm") + "; ..."


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def square(k: int, sign: bool = False) -> str:
    return f"{k} squared is {-(k**2) if sign else k**2}"


@pytest.fixture
def opened() -> Iterator[list[Any]]:
    explorers: list[Any] = []
    yield explorers
    for explorer in explorers:
        explorer.close()


@pytest.fixture
def face(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda name: monkeypatch.setenv("WORKBENCH_FACE", name)


def texts(explorer: Any) -> list[str]:
    return [part["text"] for part in explorer.frame["parts"]]


# controls


@pytest.mark.parametrize(
    ("short", "default", "kind", "value"),
    [
        ((0, 10), None, Slider, 5),
        ((0, 10, 2), None, Slider, 4),
        ((0, 10), 3, Slider, 3),
        ((0.0, 1.0), None, Slider, 0.5),
        (7, None, Slider, 7),
        (0, None, Slider, 0),
        (-2.0, None, Slider, -2.0),
        (True, False, ipywidgets.Checkbox, True),
        ("text", None, ipywidgets.Text, "text"),
        (["a", "b"], None, ipywidgets.Dropdown, "a"),
        (["a", "b"], "b", ipywidgets.Dropdown, "b"),
        ({"one": 1, "two": 2}, 2, ipywidgets.Dropdown, 2),
    ],
)
def test_what_stands_for_a_control(short: Any, default: Any, kind: type, value: Any) -> None:
    made = control("k", short, default)
    assert isinstance(made, kind)
    assert made.value == value
    assert made.description == "k"


@pytest.mark.parametrize("short", [None, (), [], {}, (5, 1), (0, 1, 0), (0, 10**6, 1)])
def test_what_stands_for_none(short: Any) -> None:
    with pytest.raises(ValueError, match=r"a control is|a slider (goes|has)"):
        control("k", short)


def test_a_slider_goes_to_its_stops() -> None:
    slider = Slider([1, 10, 100], 12)
    assert (slider.value, slider.index, slider.words) == (10, 1, ["1", "10", "100"])
    slider.value = 60
    assert (slider.value, slider.index) == (100, 2)
    slider.index = 0
    assert slider.value == 1
    with pytest.raises(TypeError, match="a slider's value is a number near its stops, 1 to 100; got 'a'"):
        slider.value = "a"


def test_sparsity_says_both() -> None:
    slider = wb.controls.sparsity(0.95, most=1000)
    assert slider.value == 0.95
    assert slider.words[slider.index] == "95 % removed, 20x"
    assert (slider.words[0], slider.words[-1]) == ("0 % removed, 1x", "99.9 % removed, 1,000x")
    odd = wb.controls.sparsity(0.973)
    assert odd.value == 0.973
    assert odd.words[odd.index] == "97.3 % removed, 37.04x"
    assert odd.stops == sorted(odd.stops)
    for wrong in (1.0, "0.9", -0.1):
        with pytest.raises((TypeError, ValueError), match="fraction removed"):
            wb.controls.sparsity(wrong)
    with pytest.raises(ValueError, match="most is the highest compression"):
        wb.controls.sparsity(0.5, most=1)


def test_menus_follow_registries_and_each_other() -> None:
    data, criterion = wb.controls.data("digits"), wb.controls.criterion("snip")
    network = wb.controls.network("vgg", data=data)
    layer = wb.controls.layer(network=network, data=data)
    assert "conv1.weight" in layer.options
    data.value = "moons"
    assert network.options == ("lenet-300-100",)
    assert layer.options == ("fc1.weight", "fc2.weight", "fc3.weight")
    try:
        wb.register_criterion("mine")(lambda model: {})
        criterion.refresh()
        assert "mine" in criterion.options
        assert criterion.value == "snip"
    finally:
        from workbench.criteria.registry import unregister_criterion

        unregister_criterion("mine")
    with pytest.raises(ValueError, match=r"criterion is one of .*got 'snap'. Did you mean 'snip'"):
        wb.controls.criterion("snap")
    assert set(wb.controls.allocation().options) == {"global", *wb.controls.allocation().options}
    assert wb.controls.step(total=10, every=4).stops == [0, 4, 8, 10]


def test_controls_go_into_boxes_and_links(opened: list[Any]) -> None:
    one, two = wb.controls.seed(1), wb.controls.seed(2)
    ipywidgets.link((one, "value"), (two, "value"))
    assert ipywidgets.HBox([one, two]).children == (one, two)
    opened.append(wb.explore(square, k=one))
    opened.append(wb.explore(square, k=two))
    one.value = 4
    until(lambda: all(texts(explorer) == ["4 squared is 16"] for explorer in opened))
    opened[0].close()
    assert two.comm is not None


# the live face


def test_the_first_picture_is_there_and_the_newest_choice_wins(opened: list[Any]) -> None:
    seen: list[int] = []

    def slow(k: int) -> str:
        seen.append(k)
        time.sleep(0.05)
        return str(k)

    explorer = wb.explore(slow, k=(0, 100))
    opened.append(explorer)
    assert texts(explorer) == ["50"]
    for k in range(51, 100):
        explorer.choices.controls["k"].value = k
    until(lambda: texts(explorer) == ["99"])
    assert len(seen) < 20
    assert explorer.errors == []
    assert explorer.frame["words"] == "k 99: 99"


def test_an_error_is_in_sight_and_the_next_picture_clears_it(opened: list[Any]) -> None:
    def picky(k: int) -> str:
        if k > 6:
            raise ValueError(f"k is at most 6; got {k}")
        return str(k)

    explorer = wb.explore(picky, k=(0, 10))
    opened.append(explorer)
    explorer.choices.controls["k"].value = 9
    until(lambda: explorer.status["error"] == "ValueError: k is at most 6; got 9")
    assert "picky" in explorer.errors[0]
    assert texts(explorer) == ["5"]
    explorer.choices.controls["k"].value = 2
    until(lambda: texts(explorer) == ["2"])
    assert explorer.status["error"] == ""
    with pytest.raises(ValueError, match="k is at most 6"):  # the first picture: the cell fails, in every face
        wb.explore(picky, k=(8, 10))


def test_a_slow_picture_says_so(opened: list[Any]) -> None:
    gate = threading.Event()

    def slow(k: int) -> str:
        if k != 5:
            gate.wait(20)
        return str(k)

    explorer = wb.explore(slow, k=(0, 10))
    opened.append(explorer)
    explorer.choices.controls["k"].value = 6
    until(lambda: explorer.status["busy"] == "drawing")
    gate.set()
    until(lambda: texts(explorer) == ["6"])
    until(lambda: explorer.status["busy"] == "")


def test_stages_run_and_stop(opened: list[Any]) -> None:
    gate, ended = threading.Event(), threading.Event()

    def staged(k: int) -> Iterator[Any]:
        try:
            yield 0.25
            yield f"{k}, half way"
            gate.wait(20)
            yield f"{k}, done"
        finally:
            ended.set()

    explorer = wb.explore(staged, k=(0, 10))
    opened.append(explorer)
    assert (texts(explorer), explorer.status["message"]) == ([], "Press Run")
    explorer.on_run()
    until(lambda: texts(explorer) == ["5, half way"])
    explorer.on_cancel()
    assert explorer.status["message"] == "Cancelled"
    gate.set()
    until(ended.is_set)
    assert texts(explorer) == ["5, half way"]
    explorer.choices.controls["k"].value = 7
    assert explorer.status["message"] == "Press Run for this setting"
    explorer.on_run()
    until(lambda: texts(explorer) == ["7, done"])
    until(lambda: explorer.status["busy"] == "")
    assert explorer.errors == []


def test_state_goes_out_and_in_as_json(opened: list[Any]) -> None:
    explorer = wb.explore(square, state={"k": 3, "sign": True}, k=(0, 10), sign=False)
    opened.append(explorer)
    assert texts(explorer) == ["3 squared is -9"]
    state = json.loads(json.dumps(explorer.state()))
    assert state == {"k": 3, "sign": True}
    explorer.from_state({"k": 4})
    until(lambda: texts(explorer) == ["4 squared is -16"])
    assert explorer.choices.code() == "square(k=4, sign=True)"
    with pytest.raises(ValueError, match="control is one of k, sign; got 'j'"):
        explorer.from_state({"j": 4})
    with pytest.raises(TypeError, match="a state is a dict"):
        explorer.from_state([4])
    menu = wb.explore(lambda of: str(of), of={"first": len, "second": max})
    opened.append(menu)
    assert menu.state() == {"of": "first"}
    menu.from_state({"of": "second"})
    until(lambda: texts(menu) == [str(max)])
    with pytest.raises(ValueError, match="of is one of first, second; got 'third'"):
        menu.from_state({"of": "third"})


@pytest.mark.parametrize(
    ("controls", "words"),
    [({"j": 1, "k": 1}, "control is one of k, sign; got 'j'"), ({"sign": True}, "'k' has none")],
)
def test_controls_are_those_of_the_function(controls: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wb.explore(square, **controls)


def test_as_decorator_and_with_fixed_values(opened: list[Any]) -> None:
    @wb.explore(k=(0, 4), sign=ipywidgets.fixed(True))
    def shown_at_once(k: int, sign: bool) -> str:
        return square(k, sign)

    opened.append(shown_at_once)
    assert texts(shown_at_once) == ["2 squared is -4"]
    assert shown_at_once.state() == {"k": 2}


def test_running_again_leaves_nothing_behind() -> None:
    def once() -> Any:
        return wb.explore(square, k=(0, 10), sign=False, name="again")

    first = once()
    threads, widgets = threading.active_count(), len(_instances)
    for _ in range(20):
        last = once()
    assert len(_instances) == widgets
    until(lambda: threading.active_count() <= threads)
    assert first.comm is None
    last.close()


def test_a_control_of_the_user_s_own_stays() -> None:
    mine = ipywidgets.IntSlider(3, 0, 9)
    explorer = wb.explore(square, k=mine)
    explorer.close()
    assert mine.comm is not None
    mine.value = 5
    assert texts(explorer) == ["3 squared is 9"]


def test_saved_is_what_is_seen(opened: list[Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def both(k: int) -> tuple[Any, ...]:
        return wb.plots.axes(), pd.DataFrame({"k": [k]}), f"k is {k}"

    explorer = wb.explore(both, k=(0, 4))
    opened.append(explorer)
    explorer.on_save()
    until(lambda: len(list(tmp_path.iterdir())) == 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both-k-2.csv", "both-k-2.png", "both-k-2.txt"]
    assert pd.read_csv("both-k-2.csv")["k"].tolist() == [2]


def test_frames_made_ahead(opened: list[Any]) -> None:
    explorer = wb.explore(square, k=(0, 4), sign=False, ahead=True)
    opened.append(explorer)
    until(lambda: len(explorer.frames) == 10)
    assert explorer.frames["3,1"]["parts"][0]["text"] == "3 squared is -9"


# what can be shown


def test_what_a_picture_may_be() -> None:
    figure, made = plt.subplots(1, 2)
    made[0].plot([0, 1], [1, 2])
    for value, kinds in (
        (made[0], ["image"]),
        (made, ["image"]),
        (figure, ["image"]),
        ([figure, made[1]], ["image"]),
        ("text", ["text"]),
        (3.25, ["text"]),
        (pd.DataFrame({"a": [1]}), ["html"]),
        (pd.DataFrame({"a": [1]}).style, ["html"]),
        ((made[0], pd.DataFrame({"a": [1]}), "text"), ["image", "html", "text"]),
    ):
        found = shown(value)
        assert [part["kind"] for part in found.parts] == kinds
        assert found.words
    assert plt.get_fignums() == []
    assert shown(pd.DataFrame({"a": [1]})).tables == [[{"index": 0, "a": 1}]]
    for other, text in (
        (np.int64(3), repr(np.int64(3))),
        ({"a": 1}, "{'a': 1}"),
        (pd.DataFrame({"a": []}), "Table of 0 rows."),
        (pd.DataFrame({"a": [0.25]}, ["x"]), "Table of 1 row: index x, a 0.25."),
        (pd.DataFrame([range(9)] * 5, ["k", *"lmno"]).rename_axis("x"), WIDE_WORDS),
        (pd.Series([1], name="a"), "Table of 1 row: a 1."),
    ):
        assert shown(other).words == text
    assert shown(Image.new("RGB", (5, 4))).words == "Image of 5 by 4 pixels."
    with pytest.raises(TypeError, match=r"a picture function returns what it shows: .*; got None"):
        shown(None)


def test_figures_left_open_in_pyplot_are_shown_where_nothing_is_returned(opened: list[Any]) -> None:
    outside = plt.figure()

    def draws(k: int) -> None:
        plt.figure()
        plt.plot(range(k))

    opened.append(wb.explore(draws, k=(5, 9)))
    assert [part["kind"] for part in opened[0].frame["parts"]] == ["image"]
    assert plt.get_fignums() == [outside.number]
    plt.close(outside)


def test_an_image_is_as_sharp_as_the_screen() -> None:
    ax = wb.plots.axes(4, 3)
    for ratio in (1, 2):
        part = shown(ax, ratio).parts[0]
        png = base64.b64decode(part["data"])
        assert int.from_bytes(png[16:20], "big") == round(4 * 96 * ratio)
        assert part["width"] == 384


# the other faces


def test_the_picture_face_carries_everything(face: Callable[[str], None]) -> None:
    face("picture")

    def table(k: int) -> tuple[Any, Any]:
        return wb.plots.axes(), pd.DataFrame({"k": [k]})

    found = wb.explore(table, k=(0, 4))
    assert found.state() == {"k": 2}
    bundle = found._repr_mimebundle_()
    assert {"text/html", "image/png", "text/plain", wb.claims.NUMBERS_MIME} <= set(bundle)
    assert bundle[wb.claims.NUMBERS_MIME]["tables"] == [[{"index": 0, "k": 2}]]
    assert "<script" not in bundle["text/html"]

    def staged(k: int) -> Iterator[Any]:
        yield 0.5
        yield f"{k} done"
        yield 1.0

    assert wb.explore(staged, k=(0, 4)).sentence == "k 2: 2 done"


def test_the_live_bundle_shows_without_widgets(opened: list[Any]) -> None:
    explorer = wb.explore(lambda k: (wb.plots.axes(), k), k=(0, 4))
    opened.append(explorer)
    data = explorer._repr_mimebundle_()[0]
    assert "application/vnd.jupyter.widget-view+json" in data
    assert {"text/html", "image/png"} <= set(data)
    assert data["text/plain"].startswith("explorer: k 2.")


def test_the_page_stores_what_the_budget_allows(face: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    face("site")
    drawn: list[tuple[int, bool]] = []

    def counted(k: int, sign: bool) -> str:
        drawn.append((k, sign))
        return square(k, sign)

    def traits(found: Any) -> dict[str, Any]:
        html = found._repr_mimebundle_()["text/html"]
        return json.JSONDecoder().raw_decode(html.split("const traits = ")[1])[0]

    few = traits(wb.explore(counted, k=(0, 4), sign=False))
    assert len(few["frames"]) == 10
    assert few["menu"]["stored"] == [[0, 1, 2, 3, 4], [0, 1]]
    many = traits(wb.explore(counted, k=(0, 200), sign=False))
    assert len(many["frames"]) <= still.FRAMES
    assert many["menu"]["stored"][1] == [0]
    assert {0, 100, 200} <= set(many["menu"]["stored"][0])
    assert (
        many["menu"]["told"]
        == "K moves through stored pictures; the others stay as chosen. Run the notebook to change all."
    )
    monkeypatch.setattr(still, "BYTES", 0)
    one = traits(wb.explore(counted, k=(0, 200), sign=True))
    assert one["menu"]["stored"] == [[100], [1]]
    assert len(drawn) < 100


def test_pictures_of_numpy_and_labels_are_words(opened: list[Any]) -> None:
    explorer = wb.explore(lambda k: f"{k:.2f}", k=np.linspace(0, 1, 5))
    opened.append(explorer)
    assert texts(explorer) == ["0.00"]
    explorer.from_state({"k": 0.25})
    until(lambda: texts(explorer) == ["0.25"])


def test_the_page_s_code_runs(face: Callable[[str], None]) -> None:
    face("picture")
    page = (Path(__file__).parents[2] / "docs" / "explorers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    exec(blocks[0], space := {})
    assert space["explorer"].sentence.endswith("29,403 weights kept")
    exec(blocks[1].replace("\nwb.explore(", "\nshown = wb.explore("), space)
    assert re.search(r"compression 10: \d+\.\d% of the validation digits", space["shown"].sentence)


def test_what_ran_keeps_the_setting_that_it_ran_with(opened: list[Any]) -> None:
    gate = threading.Event()

    def staged(k: int) -> Iterator[Any]:
        yield 0.5
        gate.wait(20)
        yield f"{k} done"

    explorer = wb.explore(staged, k=(0, 10))
    opened.append(explorer)
    explorer.on_run()
    until(lambda: explorer.status["progress"] == 0.5)
    explorer.choices.controls["k"].value = 8
    gate.set()
    until(lambda: texts(explorer) == ["5 done"])
    assert explorer.frame["words"] == "k 5: 5 done"
    assert explorer.numbers()["state"] == {"k": 5}


def test_generators_of_any_kind_run_and_say_something(opened: list[Any], face: Callable[[str], None]) -> None:
    class Called:
        def __call__(self, k: int) -> Iterator[Any]:
            yield f"{k} called"

    def wrapped(k: int) -> Any:
        return Called()(k)

    explorer = wb.explore(Called(), k=(0, 4))
    opened.append(explorer)
    assert explorer.status["message"] == "Press Run"
    opened.append(wb.explore(wrapped, k=(0, 4)))
    assert texts(opened[1]) == ["2 called"]
    face("picture")

    def silent(k: int) -> Iterator[Any]:
        yield k / 10

    with pytest.raises(TypeError, match=r"a generator yields what it shows; got only numbers"):
        wb.explore(silent, k=(0, 4))


def test_a_setting_that_cannot_be_drawn_is_not_stored(face: Callable[[str], None]) -> None:
    face("site")
    html = wb.explore(lambda k: f"{6 / (k - 3)}", k=(0, 8))._repr_mimebundle_()["text/html"]
    found = json.JSONDecoder().raw_decode(html.split("const traits = ")[1])[0]
    assert found["menu"]["stored"] == [[0, 1, 2, 4, 5, 6, 7, 8]]


def test_tables_of_any_shape_are_read(face: Callable[[str], None]) -> None:
    face("picture")
    rows = pd.DataFrame({"a": [1, 1, 2], "b": [1.0, 2.0, 3.0]})
    wide = rows.groupby("a").agg({"b": ["mean", "max"]})
    named = rows.set_index("a", drop=False)
    tables = wb.explore(lambda k: (wide, named), k=(0, 4)).numbers["tables"]
    assert tables[0] == [{"a": 1, "b mean": 1.5, "b max": 2.0}, {"a": 2, "b mean": 3.0, "b max": 3.0}]
    assert tables[1][0] == {"a (index)": 1, "a": 1, "b": 1.0}


def test_states_may_name_menus_before_what_they_follow(opened: list[Any]) -> None:
    data = wb.controls.data("digits")
    network = wb.controls.network("vgg", data=data)
    explorer = wb.explore(lambda network, data: f"{network} {data}", network=network, data=data)
    opened.append(explorer)
    explorer.from_state({"network": "lenet-300-100", "data": "moons"})
    until(lambda: texts(explorer) == ["lenet-300-100 moons"])
    explorer.from_state({"network": "resnet-20", "data": "digits"})
    until(lambda: texts(explorer) == ["resnet-20 digits"])


def test_numbers_of_any_size_stand_for_sliders() -> None:
    assert control("k", 0.01).value == 0.01
    assert min(control("k", 0.01).stops) == -0.01
    assert len(control("k", 0.01).stops) > 20
    assert control("k", 1000).value == 1000
    assert control("k", (np.int64(0), np.int64(10))).value == 5
    assert len(set(control("k", (10**6, 10**6 + 10)).words)) == 11
    tables = {"one": pd.DataFrame({"a": [1]}), "two": pd.DataFrame({"a": [2]})}
    assert control("k", tables, tables["two"]).index == 1


def test_frames_made_ahead_follow_the_menus(opened: list[Any]) -> None:
    from workbench.criteria.registry import unregister_criterion

    explorer = wb.explore(lambda criterion: criterion, criterion=wb.controls.criterion("snip"), ahead=True)
    opened.append(explorer)
    until(lambda: len(explorer.frames) == len(wb.criteria()))
    try:
        wb.register_criterion("aaa")(lambda model: {})
        explorer._cell_ran(None)
        until(lambda: len(explorer.frames) == len(wb.criteria()))
        for place, name in enumerate(explorer.choices.controls["criterion"].options):
            assert explorer.frames[str(place)]["parts"][0]["text"] == name
    finally:
        unregister_criterion("aaa")


def test_a_menu_that_ends_follows_no_longer() -> None:
    data = wb.controls.data("digits")
    before = len(data._trait_notifiers["value"]["change"])
    for _ in range(3):
        wb.explore(lambda network: network, network=wb.controls.network("vgg", data=data)).close()
    assert len(data._trait_notifiers["value"]["change"]) == before


def test_nan_in_a_table_is_none(face: Callable[[str], None]) -> None:
    face("picture")
    found = wb.explore(lambda k: pd.DataFrame({"a": [float("nan"), 1.0]}), k=(0, 4))
    assert [row["a"] for row in found.numbers["tables"][0]] == [None, 1.0]


def test_a_cell_is_picked_from_a_raster_that_follows(opened: list[Any]) -> None:
    grids = {"wide": [[1.0, 2.0, 3.0], [4.0, 5.0, float("nan")]], "tall": torch.tensor([[0.0], [0.5], [1.0]])}
    grid = wb.controls.control("grid", list(grids))
    cell = wb.controls.pick(lambda grid: grids[grid], (1, 0), grid=grid)
    assert (cell.value, cell.words[3], cell.raster["columns"]) == ((1, 0), "row 1, column 0: 4", 3)
    assert [cell.raster["colours"][at] for at in (0, 4, 5)] == ["#00224e", "#fee838", "#9aa0a6"]
    explorer = wb.explore(lambda grid, cell: f"{grid} {cell}", grid=grid, cell=cell)
    opened.append(explorer)
    assert texts(explorer) == ["wide (1, 0)"]
    cell.index = 4
    until(lambda: texts(explorer) == ["wide (1, 1)"])
    cell.index = 5
    grid.value = "tall"  # which has no second column, and fewer cells than the page may still ask for
    cell.index = 5
    cell.index = 0
    until(lambda: texts(explorer) == ["tall (0, 0)"])
    explorer.from_state({"cell": [2, 0]})
    until(lambda: texts(explorer) == ["tall (2, 0)"])
    assert explorer.state() == {"grid": "tall", "cell": [2, 0]}
    for bad in ((3, 0), (0,), 5, "ab"):
        with pytest.raises(ValueError, match=r"from \(0, 0\) to \(2, 0\); got"):
            cell.value = bad


@pytest.mark.parametrize("values", [[1.0, 2.0], [[]], torch.zeros(40, 40)])
def test_what_is_no_raster(values: Any) -> None:
    with pytest.raises(
        ValueError, match=r"numbers \[rows, columns\], 1 to 1,000 of them and at most 100 a side; got the"
    ):
        wb.controls.pick(values)


def test_the_page_keeps_what_others_follow(face: Callable[[str], None]) -> None:
    """A raster on a page has the colours of one setting, so the control that it follows stays there."""
    face("site")
    size = wb.controls.control("size", [2, 3])
    cell = wb.controls.pick(lambda size: torch.eye(size), size=size)
    made = wb.explore(lambda size, cell: f"{size}: {cell}", size=size, cell=cell).bundle["text/html"]
    traits = json.JSONDecoder().raw_decode(made.split("const traits = ")[1])[0]
    assert sorted(traits["frames"]) == ["0,0", "0,1", "0,2", "0,3"]
    assert traits["menu"]["told"].startswith("Cell moves through stored pictures; the others stay as chosen.")


def test_criteria_are_those_that_can_score_the_network() -> None:
    """OBS takes 4,000 weights at most: those of one linear layer, not those of vgg."""
    from workbench.models.registry import NETWORKS, Architecture

    def tiny(shape: tuple[int, ...], classes: int, width: float) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes))

    network = wb.controls.control("network", ["vgg", "tiny"])
    try:
        NETWORKS.add("tiny", Architecture(tiny, lambda shape: shape == (1, 8, 8), "digits"), own=True)
        assert set(wb.criteria()) - set(wb.controls.criterion("snip", network="vgg").options) == {"obs"}
        menu = wb.controls.criterion("snip", network=network)
        assert "obs" in wb.controls.criterion("snip", network=torch.nn.Linear(3, 2)).options
        network.value = "tiny"
        assert set(menu.options) == set(wb.criteria())
        assert set(wb.criteria()) - set(wb.controls.criterion(network="resnet-20").options) == {"obs", "phew"}
        with pytest.raises(ValueError, match=r"criterion is one of .*got 'obs'"):
            wb.controls.criterion("obs", network="vgg")
    finally:
        NETWORKS.remove("tiny")


# refresh


def test_a_picture_is_drawn_again_when_what_it_depends_on_changes(opened: list[Any], monkeypatch: Any) -> None:
    """Drawn at the setting of now; not sent where it looks the same; the end of the changes is drawn, too."""
    from workbench.explorers.explore import live

    monkeypatch.setattr(live, "LOOK", 0.02)
    now: dict[str, Any] = {"depends": 0, "asked": 0}

    def depends() -> Any:
        now["asked"] += 1
        if now["depends"] == "broken":
            raise OSError("half written")
        return now["depends"]

    def picture(k: int) -> str:
        return f"{now['depends']} at {k}" if now["depends"] != 1 else "0 at 5"

    explorer = wb.explore(picture, k=(0, 10), refresh=depends)
    opened.append(explorer)
    assert texts(explorer) == ["0 at 5"]
    now["depends"] = 1
    asked = now["asked"]
    until(lambda: now["asked"] > asked + 2)
    assert explorer.frame["request"] == 0, "the same picture is not sent again"
    now["depends"] = 2
    until(lambda: texts(explorer) == ["2 at 5"])
    assert explorer.frame["again"]
    explorer.from_state({"k": 7})
    until(lambda: texts(explorer) == ["2 at 7"])
    now["depends"] = "broken"
    until(lambda: explorer.status["error"] == "OSError: half written")
    asked = now["asked"]
    until(lambda: now["asked"] > asked + 2)
    assert len(explorer.errors) == 1
    now["depends"] = None
    until(lambda: texts(explorer) == ["None at 7"])
    assert explorer.status["error"] == ""
    until(lambda: not explorer.worker.busy("looking"))


def test_a_slow_picture_rests_after_it_is_drawn_but_the_last_one_is_drawn_at_once(
    opened: list[Any], monkeypatch: Any
) -> None:
    from workbench.explorers.explore import live

    monkeypatch.setattr(live, "LOOK", 0.02)
    now: dict[str, Any] = {"depends": 0, "asked": 0}

    def depends() -> Any:
        now["asked"] += 1
        return now["depends"]

    def picture() -> str:
        return str(now["depends"])

    explorer = wb.explore(picture, refresh=depends)
    opened.append(explorer)
    now["depends"] = 1
    until(lambda: texts(explorer) == ["1"])
    explorer._rested = time.monotonic() + 1000  # as after a picture that took the processor for minutes
    now["depends"] = 2
    asked = now["asked"]
    until(lambda: now["asked"] > asked + 2)
    assert texts(explorer) == ["1"]
    now["depends"] = None
    until(lambda: texts(explorer) == ["None"])


def test_what_has_ended_is_not_looked_at_and_a_closed_explorer_looks_no_more(
    opened: list[Any], monkeypatch: Any
) -> None:
    from workbench.explorers.explore import live

    monkeypatch.setattr(live, "LOOK", 0.02)
    asked: list[int] = []
    ended = wb.explore(square, k=(0, 10), refresh=lambda: None)
    opened.append(ended)
    assert not ended.worker.busy("looking")
    going = wb.explore(square, k=(0, 10), refresh=lambda: asked.append(0) or len(asked))
    until(lambda: len(asked) > 3)
    going.close()
    until(lambda: not going.worker._thread.is_alive())
    seen = len(asked)
    time.sleep(0.1)
    assert len(asked) == seen


@pytest.mark.parametrize("other", ["picture", "site"])
def test_other_faces_are_drawn_once(other: str, face: Callable[[str], None]) -> None:
    face(other)
    asked: list[int] = []
    wb.explore(square, k=(0, 3), refresh=lambda: asked.append(0))
    assert not asked


def test_refresh_is_a_function_for_pictures_that_start_by_themselves() -> None:
    def staged(k: int) -> Iterator[str]:
        yield "one"

    with pytest.raises(TypeError, match=r"refresh is a function without arguments; got 2\.0"):
        wb.explore(square, k=(0, 10), refresh=2.0)
    with pytest.raises(ValueError, match="a generator function starts with Run"):
        wb.explore(staged, k=(0, 10), refresh=lambda: 0)
    with pytest.raises(ValueError, match="ahead=True draws pictures that do not change"):
        wb.explore(square, k=(0, 10), ahead=True, refresh=lambda: 0)
