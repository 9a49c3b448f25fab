"""Pictures of layers and of seeds: the numbers in them are those of the rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from workbench import plots
from workbench.plots.looks import LOOKS


def dots(ax: Any) -> list[Any]:
    """The places of all dots, one array a group."""
    return [np.asarray(c.get_offsets()) for c in ax.collections if isinstance(c, matplotlib.collections.PathCollection)]


def test_by_layer_keeps_the_order_of_the_layers_and_shows_an_empty_one() -> None:
    df = pd.DataFrame(
        {"layer": ["z.weight", "a.weight", "m.weight"] * 2, "density": [0.5, 0.1, 0.01, 0.2, 0.0, 0.02]}
    ).assign(criterion=["snip"] * 3 + ["grasp"] * 3)
    ax = plots.by_layer(df)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["z", "a", "m"]
    assert ax.get_yscale() == "log"
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.5, 0.1, 0.01])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [0.2, 0.0025, 0.02])
    assert ax.get_yticklabels()[0].get_text() == "none"
    assert ax.get_yticks()[0] == pytest.approx(0.0025)  # a quarter of the least


def test_by_layer_on_a_plain_axis_draws_zero_where_it_is() -> None:
    df = pd.DataFrame({"layer": [f"layer {i}" for i in range(15)], "share": [1.0] * 14 + [0.0], "at": "1x"})
    ax = plots.by_layer(df, y="share", arm="at", log=False)
    assert ax.get_yscale() == "linear"
    assert ax.lines[0].get_ydata()[-1] == 0
    assert ax.get_xticklabels()[0].get_rotation() == 60  # long names, and little room
    assert plots.by_layer(df[:3], y="share", arm="at").get_xticklabels()[0].get_rotation() == 0


def test_layer_bars_have_the_heights_of_the_rows() -> None:
    df = pd.DataFrame(
        {"layer": ["a", "b"] * 2, "share": [1.0, 1.0, 0.5, 1.5], "criterion": ["synflow"] * 2 + ["snip"] * 2}
    )
    ax = plots.layer_bars(df)
    assert [patch.get_height() for patch in ax.patches] == [1.0, 1.0, 0.5, 1.5]
    assert ax.patches[0].get_hatch() != ax.patches[2].get_hatch()
    assert ax.patches[0].get_x() < ax.patches[2].get_x() < ax.patches[1].get_x()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["synflow", "snip"]
    alone = plots.layer_bars(df[:2])
    assert (alone.get_legend(), alone.get_title()) == (None, "") != (None, alone.get_title(loc="left"))


def test_against_size_draws_the_slope_through_the_first_criterion() -> None:
    weights = [10, 100, 1000]
    df = pd.DataFrame(
        {
            "weights": weights * 2,
            "mean score": [0.3, 0.03, 0.003, 1.0, 1.0, 1.0],
            "criterion": ["synflow"] * 3 + ["snip"] * 3,
        }
    )
    ax = plots.against_size(df)
    np.testing.assert_allclose(ax.lines[-1].get_xdata(), [10, 1000])
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), [0.3, 0.003])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["synflow", "snip", "slope -1"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_ladder_shows_every_seed_and_the_median_of_each_arm() -> None:
    df = pd.DataFrame(
        {"arm": ["snip, 1 round"] * 3 + ["snip, 5 rounds"] * 3, "critical": [1.0, 10.0, 100.0, 5.0, 6.0, 700.0]}
    )
    ax = plots.ladder(df, x="critical", arm="arm", reference=("maximum", 1000.0))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["snip, 1 round", "snip, 5 rounds"]
    assert [sorted(group[:, 0]) for group in dots(ax)] == [[1, 10, 100], [5, 6, 700]]
    assert [float(line.get_xdata()[0]) for line in ax.lines] == [10, 6, 1000]
    low, high = ax.get_ylim()
    assert low > high  # the first arm is on top
    assert "maximum" in [text.get_text() for text in ax.texts]


def test_differences_have_a_student_t_interval_and_one_seed_has_none() -> None:
    values = [0.01, -0.02, 0.0, 0.03, -0.01]
    df = pd.DataFrame({"arm": ["snip, shuffle"] * 5 + ["grasp, shuffle"], "difference": [*values, 0.5]})
    ax = plots.differences(df, margin=-0.01)
    zero, interval, mean, single, margin = ax.lines
    half = 2.7764 * np.std(values, ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(np.diff(interval.get_xdata()), 2 * half, rtol=1e-4)
    assert [line.get_xdata()[0] for line in (zero, mean, single, margin)] == pytest.approx(
        [0, np.mean(values), 0.5, -0.01]
    )
    assert [len(group) for group in dots(ax)] == [5, 1]


def test_curves_show_seeds_means_and_intervals_and_keep_accuracy_in_its_bounds() -> None:
    df = pd.DataFrame(
        {
            "arm": ["force"] * 4 + ["erk, random"] * 2,
            "compression": [10, 10, 100, 100, 10, 10],
            "accuracy": [0.99, 1.0, 0.1, 0.9, 0.98, 0.97],
        }
    )
    ax = plots.curves(df, arm="arm", dense=[0.98, 1.0])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "dense (n = 2)",
        "force (n = 2)",
        "erk, random (n = 2)",
    ]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [0.995, 0.5])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["10x", "100x"]
    assert sum(len(group) for group in dots(ax)) == 6
    ends = [y for c in ax.collections if hasattr(c, "get_segments") for (_, low), (_, y) in c.get_segments() if y == y]
    assert max(ends) == pytest.approx(1)  # where the interval of force at 10x would go beyond
    places = [line.get_xdata()[0] for line in ax.lines[1:]]
    assert 9.5 < places[0] < 10 < places[1] < 10.5  # apart, around the tick, and near it
    assert ax.get_xlabel().endswith("arms of one tick stand side by side")
    assert not plots.curves(df[:4], arm="arm").get_xlabel().endswith("side by side")


def test_sparsities_near_one_stand_at_the_log_of_their_compression() -> None:
    places = [0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999]
    df = pd.DataFrame({"sparsity": places * 2, "accuracy": [1 - s for s in places] * 2, "arm": ["a"] * 8 + ["b"] * 8})
    ax = plots.curves(df, x="sparsity", arm="arm")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [f"{place}" for place in places]
    at = ax.transData.transform([(place, 0.5) for place in places])[:, 0]
    wanted = np.log([1 / (1 - place) for place in places])
    np.testing.assert_allclose((at - at[0]) / (at[-1] - at[0]), (wanted - wanted[0]) / (wanted[-1] - wanted[0]))
    first, second = (ax.transData.transform(line.get_xydata())[:, 0] for line in ax.lines)
    np.testing.assert_allclose(second - first, (second - first)[0])  # as far apart everywhere, and to be seen
    assert (second - first)[0] > 1
    low = plots.curves(df[df["sparsity"] < 0.95], x="sparsity", arm="arm")
    assert low.get_xscale() == "linear"
    whole = df.replace({"sparsity": {0.999: 1.0}})  # whose compression has no place
    assert plots.curves(whole, x="sparsity", arm="arm").get_xscale() == "linear"


def test_one_small_gap_does_not_put_all_arms_on_one_place() -> None:
    df = pd.DataFrame({"compression": [10, 10.01, 100, 1000] * 2, "accuracy": [0.9] * 8, "arm": ["a"] * 4 + ["b"] * 4})
    ax = plots.curves(df, arm="arm")
    first, second = (ax.transData.transform(line.get_xydata())[:, 0] for line in ax.lines)
    assert min(second - first) > 1
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["10x", "100x", "1,000x"]


def test_a_line_is_broken_where_an_arm_has_no_number_and_an_arm_without_any_stands_in_the_legend() -> None:
    df = pd.DataFrame(
        {
            "arm": ["a"] * 4 + ["b"] * 2,
            "compression": [1, 10, 10, 100, 1, 1000],
            "accuracy": [0.9, math.nan, math.nan, 0.5, math.nan, math.nan],
        }
    )
    ax = plots.curves(df, arm="arm")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.9, math.nan, 0.5])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a (n = 1)", "b (n = 0)"]
    assert ax.get_xlim()[0] < 1 < 1000 < ax.get_xlim()[1]
    assert plots.describe(ax).endswith("from 1x to 100x. a (n = 1): from 0.9 to 0.5; 2 dots.")
    empty = plots.curves(df[df["arm"] == "b"], arm="arm")
    assert [text.get_text() for text in empty.get_legend().get_texts()] == ["b (n = 0)"]


def test_curves_with_a_floor_have_means_of_logarithms_and_draw_what_is_lower_at_it() -> None:
    df = pd.DataFrame({"criterion": ["snip"] * 3, "sparsity": [0.1, 0.2, 0.2], "rise": [-1.0, 0.1, 0.001]})
    ax = plots.curves(df, x="sparsity", y="rise", floor=1e-5)
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "log")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1e-5, 0.01])


def test_a_student_calls_seaborn_and_gets_the_looks_and_the_interval_of_the_house() -> None:
    import seaborn as sns

    df = pd.DataFrame({"arm": ["snip"] * 3, "x": [1] * 3, "accuracy": [0.8, 0.9, 1.0]})
    ax = plots.axes()
    sns.lineplot(
        df, x="x", y="accuracy", hue="arm", style="arm", palette=plots.palette(df["arm"]),
        markers=plots.markers(df["arm"]), errorbar=plots.student, err_style="bars", ax=ax,
    )  # fmt: skip
    line = ax.lines[0]
    assert (line.get_color(), line.get_marker()) == LOOKS["snip"]
    ((_, low), (_, high)) = next(c for c in ax.collections if hasattr(c, "get_segments")).get_segments()[0]
    assert (low, high) == pytest.approx(plots.student([0.8, 0.9, 1.0]))
    assert plots.student([0.8, 0.9, 1.0], (0, 1)) == (low, 1)


@pytest.mark.parametrize(
    "draw", [plots.by_layer, plots.layer_bars, plots.against_size, plots.curves, plots.differences]
)
def test_a_missing_column_is_named(draw: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="column is one of"):
        draw(pd.DataFrame({"other": [1.0]}))


def test_rows_of_no_arm_and_layers_that_come_twice_are_refused() -> None:
    df = pd.DataFrame({"layer": ["a", "a"], "kept": [1, 2], "weights": [4, 4], "density": [0.25, 0.5]})
    for draw in (plots.layer_densities, plots.by_layer):
        with pytest.raises(ValueError, match=r"'a' has several. Choose one setting first"):
            draw(df.assign(criterion="snip"))
    with pytest.raises(ValueError, match=r"every row has a name in 'arm'; 1 of 2 have none"):
        plots.curves(pd.DataFrame({"arm": ["snip", None], "compression": [1, 10], "accuracy": [1.0, 0.9]}), arm="arm")
    with pytest.raises(ValueError, match="this table has none"):
        plots.by_layer(df.assign(criterion="snip")[:0])


def test_a_name_looks_the_same_in_every_picture() -> None:
    seeds = {"arm": ["erk, random", "snip"], "compression": [10.0, 10.0], "accuracy": [0.9, 0.8], "difference": [0, 1]}
    layers = {"layer": ["a", "a"], "weights": [4, 4], "kept": [1, 2], "density": [0.25, 0.5], "arm": ["erk", "snip"]}
    df, of_layers = pd.DataFrame(seeds), pd.DataFrame(layers)
    lines = [plots.curves(df, arm="arm"), plots.by_layer(of_layers, arm="arm")]
    for ax in lines:
        shown = {str(line.get_label()).partition(" ")[0]: (line.get_color(), line.get_marker()) for line in ax.lines}
        assert shown["snip"] == LOOKS["snip"]
        assert (shown.get("erk,") or shown.get("erk")) == LOOKS["erk"]
    bars = [plots.layer_densities(of_layers, arm="arm"), plots.layer_bars(of_layers, y="density", arm="arm")]
    for ax in bars:
        assert [to_hex(bar.get_facecolor()) for bar in ax.patches] == [
            LOOKS[name].colour.lower() for name in ("erk", "snip")
        ]
    for ax in (plots.ladder(df, x="accuracy", arm="arm"), plots.differences(df)):
        colours = [to_hex(c.get_facecolor()[0][:3]) for c in ax.collections if hasattr(c, "get_sizes")]
        assert colours[-2:] == [LOOKS[name].colour.lower() for name in ("erk", "snip")]


def test_rows_are_their_arms_whatever_their_index_and_categories() -> None:
    arm = pd.Categorical(["snip", "grasp"], categories=["grasp", "none of these", "snip"])
    df = pd.DataFrame({"criterion": arm, "predicted": [1.0, 1.0], "measured": [1.0, -1.0]}, index=[0, 0])
    titles = [ax.get_title(loc="left") for ax in plots.predictions(df).axes]
    assert titles == ["snip", "grasp (1 not drawn)"]
