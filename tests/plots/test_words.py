"""Words of pictures: what is drawn, said so that it can be checked by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import workbench as wb
from workbench import plots

ARMS = ["snip", "synflow", "my own"]
LAYERS = pd.DataFrame(
    {"criterion": arm, "layer": f"block.{i}.weight", "weights": 100 * (i + 1), "kept": 10 * i, "density": i / 10}
    | {"share": i / 3, "mean score": 0.5 + i}
    for arm in ARMS
    for i in range(12)
)
SEEDS = pd.DataFrame(
    {"criterion": arm, "compression": x, "accuracy": 1 - 0.1 * i - 0.01 * seed - x / 400, "arm": arm, "seed": seed}
    | {"difference": 0.01 * (seed - i), "samples": x, "data": data, "predicted": 0.1 * x, "measured": 0.2 * x}
    for i, arm in enumerate(ARMS)
    for x in (1, 10, 100)
    for seed in range(3)
    for data in ("moons", "circles")
)
SQUARE = pd.DataFrame(np.eye(3), index=ARMS, columns=ARMS)
GRID = torch.stack([torch.eye(4), 1 - torch.eye(4)], 2)
MASKS = {"a": torch.tensor([[1, 0], [1, 1]]).bool(), "b": torch.tensor([[1, 0]]).bool()}
PAIR = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
COSTS = pd.DataFrame({"form": ["dense", *ARMS], "batch": 4, "seconds": 0.2, "low": 0.1, "high": 0.3})
PICTURES: dict[str, Callable[[], Any]] = {
    "against_size": lambda: plots.against_size(LAYERS),
    "by_layer": lambda: plots.by_layer(LAYERS),
    "by_samples": lambda: plots.by_samples(SEEDS),
    "costs": lambda: plots.costs(COSTS),
    "curves": lambda: plots.curves(SEEDS, dense=[0.9, 0.8]),
    "differences": lambda: plots.differences(SEEDS),
    "group_members": lambda: plots.group_members(wb.groups(PAIR, torch.ones(1, 2))[0], unit=1),
    "ladder": lambda: plots.ladder(SEEDS, x="compression", arm="criterion", reference=("most", 100.0)),
    "layer_bars": lambda: plots.layer_bars(LAYERS),
    "layer_densities": lambda: plots.layer_densities(LAYERS, arm="criterion"),
    "maps": lambda: plots.maps(dict.fromkeys(ARMS, torch.rand(3, 3)), label="place", across="inputs", down="units"),
    "mask_overlap": lambda: plots.mask_overlap(MASKS, MASKS, (ARMS[0], ARMS[1])),
    "mask_picture": lambda: plots.mask_picture(MASKS["a"]),
    "matrix": lambda: plots.matrix(SQUARE, label="overlap"),
    "network_drawing": lambda: plots.network_drawing(MASKS),
    "predictions": lambda: plots.predictions(SEEDS),
    "regions": lambda: plots.regions(dict.fromkeys(ARMS, GRID), (0, 1, 0, 1), torch.rand(3, 2), torch.ones(3)),
    "score_histogram": lambda: plots.score_histogram({"w": torch.tensor([0.1, 1.0, 10.0])}),
    "timeline": lambda: plots.timeline(SEEDS, x="compression", y="accuracy", arm="criterion"),
}
NO_PICTURES = {"REMOVED", "axes", "bundle", "describe", "ending", "markers", "palette", "show", "student", "style"}


@pytest.mark.parametrize("name", sorted({*plots.__all__} - NO_PICTURES))
def test_every_picture_says_its_axes_and_its_arms(name: str) -> None:
    picture = PICTURES[name]()
    figure = picture.get_figure(root=True) if hasattr(picture, "get_figure") else picture
    words = plots.describe(picture)
    assert words == plots.describe(figure)
    assert len(words) <= 600
    assert len(re.findall(r"\d", words)) < 100
    labels = [label for ax in figure.axes for label in (ax.get_xlabel(), ax.get_ylabel())]
    labels += [figure.get_supxlabel(), figure.get_supylabel()]
    assert all(label.partition("\n")[0] in words for label in labels)
    if name == "mask_overlap":
        assert "kept by both 4, snip alone 0, synflow alone 0, neither 2" in words
    elif name not in ("group_members", "mask_picture", "network_drawing", "score_histogram"):
        assert all(arm in words for arm in ARMS)


def drawn(**labels: str) -> Any:
    ax = plots.axes()
    ax.set(**labels)
    return ax


def test_lines_say_where_they_start_and_end_and_what_lies_outside() -> None:
    ax = drawn(title="Digits", xlabel="compression", ylabel="accuracy")
    ax.plot([1, 10, 1000], [0.5, 0.9, 0.25], label="snip")
    ax.plot([1, 10], [1234.5, 2000], label="large")
    ax.axhline(0.75, label="dense")
    ax.axhline(0.1)
    assert plots.describe(ax) == (
        "Digits. accuracy against compression, from 1 to 1,000. snip: from 0.5 to 0.25, at most 0.9; "
        "large: from 1,234 to 2,000; dense: 0.75."
    )


def test_few_bars_have_all_their_values_and_many_the_first_the_largest_and_the_smallest() -> None:
    ax = drawn(xlabel="layer", ylabel="share")
    ax.bar(["a", "b"], [1, 0.5], label="snip")
    assert plots.describe(ax) == "share against layer. snip: a 1, b 0.5."
    ax = drawn(xlabel="share")
    ax.barh(list("abcdef"), [3, 1, 2, 9, 5, 4])
    assert plots.describe(ax) == "share. a 3, d 9, b 1 (6 bars)."


def test_images_say_their_size_and_their_range() -> None:
    ax = drawn(xlabel="inputs", ylabel="outputs")
    ax.imshow([[0.0, 0.5, 1.0], [0.25, float("nan"), 0.0]])
    assert plots.describe(ax) == "outputs against inputs. 2 x 3 cells, 0 to 1."


def test_dots_say_how_many_they_are_and_where() -> None:
    ax = drawn(xlabel="predicted", ylabel="measured")
    ax.scatter([1, 2, 4], [10, 30, 20], label="snip")
    ax.scatter([], [])
    assert plots.describe(ax) == "measured against predicted. snip: 3 dots, 10 to 30 at 1 to 4."


def test_rows_of_dots_say_their_medians() -> None:
    df = pd.DataFrame({"arm": ["snip"] * 3 + ["grasp"], "gain": [0.1, 0.5, 0.2, 0.3]})
    ax = plots.ladder(df, x="gain", arm="arm", log=False)
    assert plots.describe(ax) == "gain. snip: median 0.2, 0.1 to 0.5; grasp: 0.3."


def test_a_histogram_says_where_it_is_highest() -> None:
    ax = drawn(xlabel="score", ylabel="weights")
    ax.stairs([1, 7, 2], [0, 1, 2, 3], label="kept: 10")
    assert plots.describe(ax) == "weights against score. kept: 10, at most 7, from 1 to 2."


def test_pictures_that_seaborn_draws_are_told_by_its_legend() -> None:
    import seaborn as sns

    df = pd.DataFrame({"x": [1, 2, 1, 2], "y": [1.0, 3.0, 4.0, 2.0], "arm": ["snip", "snip", "erk", "erk"]})
    ax = plots.axes()
    sns.lineplot(df, x="x", y="y", hue="arm", ax=ax)
    assert plots.describe(ax) == "y against x, from 1 to 2. snip: from 1 to 3; erk: from 4 to 2."
    ax = plots.axes()
    sns.barplot(df, x="x", y="y", hue="arm", ax=ax)
    assert plots.describe(ax) == "y against x. snip: 1 1, 2 3; erk: 1 4, 2 2."
    ax = plots.axes()
    sns.scatterplot(df, x="x", y="y", hue="arm", ax=ax)
    assert plots.describe(ax) == "y against x. snip: 2 dots, 1 to 3 at 1 to 2; erk: 2 dots, 2 to 4 at 1 to 2."
    ax = plots.axes()
    sns.heatmap(pd.DataFrame([[1.0, 2.0]], index=["a"], columns=["b", "c"]), ax=ax)
    assert plots.describe(ax) == "colours: 1 to 2. 1 x 2 cells, 1 to 2; rows: a."


def test_too_much_is_told_in_short_then_by_name_then_cut() -> None:
    ax = drawn(xlabel="compression", ylabel="accuracy")
    for i in range(12):
        ax.plot([1, 2, 3], [i / 10, 2, 0.5], label=f"criterion number {i}")
    assert "criterion number 11: 1.1 to 0.5." in plots.describe(ax)
    for i in range(12, 22):
        ax.plot([1, 2, 3], [i / 10, 2, 0.5], label=f"criterion number {i}")
    assert plots.describe(ax).endswith("criterion number 20; criterion number 21.")
    for i in range(22, 90):
        ax.plot([1, 2, 3], [i / 10, 2, 0.5], label=f"criterion number {i}")
    words = plots.describe(ax)
    assert words.endswith(" …")
    assert len(words) <= 600


def test_a_figure_of_several_axes_says_each_thing_once() -> None:
    left, right = plots.axes(columns=2)
    for ax in (left, right):
        ax.set(xlabel="x", ylabel="y")
        ax.plot([1, 2], [3, 4], label="snip")
    left.figure.suptitle("Both")
    assert plots.describe(right) == "Both. y against x, from 1 to 2. snip: from 3 to 4."


def test_an_empty_picture_has_empty_words_and_needs_some_of_its_own() -> None:
    assert plots.describe(plots.axes()) == ""
    with pytest.raises(ValueError, match=r"alt is a text for readers of the figure; got an empty one"):
        plots.bundle(plots.axes())
