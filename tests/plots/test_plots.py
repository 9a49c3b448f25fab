"""Pictures: on their own figure, with the right numbers in them, and no trace in matplotlib's global state."""

from __future__ import annotations

import base64
import itertools
import subprocess
import sys
from typing import Any

import matplotlib
import matplotlib.contour
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex

from workbench import plots
from workbench.plots.looks import LOOKS, SPARE


def rows(seeds: int = 5) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {
                "criterion": criterion,
                "compression": x,
                "seed": seed,
                "accuracy": 1 - 0.1 * i * np.log10(x) + draw.normal(0, 0.01),
            }
            for i, criterion in enumerate(["snip", "synflow"])
            for x in (1, 10, 100)
            for seed in range(seeds)
        ]
    )


def test_curves_draw_every_seed_the_mean_and_a_student_t_interval() -> None:
    df = rows()
    ax = plots.curves(df, dense=[0.98, 0.99, 0.985])
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "dense (n = 3)",
        "snip (n = 5)",
        "synflow (n = 5)",
    ]
    (dots,) = [c for c in ax.collections if isinstance(c, matplotlib.collections.PathCollection)]
    assert len(dots.get_offsets()) == 30
    snip = df[(df["criterion"] == "snip") & (df["compression"] == 10)]["accuracy"]
    assert ax.lines[1].get_ydata()[1] == pytest.approx(snip.mean())
    bars = next(c for c in ax.collections if isinstance(c, matplotlib.collections.LineCollection))
    (at, low), (_, high) = bars.get_segments()[1]
    assert 9 < at < 10  # beside the other arm
    assert high - low == pytest.approx(2 * 2.7764 * snip.std() / np.sqrt(5), rel=1e-3)


def test_curves_of_one_seed_have_no_interval_and_says_so() -> None:
    ax = plots.curves(rows(seeds=1))
    assert ax.get_legend().get_texts()[0].get_text() == "snip (n = 1)"
    with pytest.raises(ValueError, match="column is one of"):
        plots.curves(rows(), y="accurracy")


def test_layer_densities_says_which_layer_is_dead() -> None:
    df = pd.DataFrame({"layer": ["conv.weight", "fc.weight"], "kept": [5, 0], "weights": [50, 100]})
    texts = [t.get_text() for t in plots.layer_densities(df).texts]
    assert texts == ["0.1  (5)", "dead: no weight left"]


@pytest.mark.parametrize("layers", [1, 9, 100])
@pytest.mark.parametrize("arms", [["snip", "my own"], ["snip", "snip 20 rounds", "magnitude"], list("abcdefghij")])
def test_layer_densities_fit_the_room_there_is(layers: int, arms: list[str]) -> None:
    df = pd.DataFrame(
        {"arm": arm, "layer": f"block.{i}.weight", "kept": i % 3, "weights": 9} for arm in arms for i in range(layers)
    )
    room = plots.axes(height=4)
    ax = plots.layer_densities(df, arm="arm", looks={"my own": ("#123456", "o")}, ax=room)
    ax.figure.canvas.draw()
    places = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert all(not one.padded(-1).overlaps(two.padded(-1)) for one, two in itertools.pairwise(places))
    texts = [text.get_window_extent().padded(-1) for text in ax.texts[:layers]]
    assert all(not one.overlaps(two) for one, two in itertools.pairwise(texts))
    colours = {to_hex(patch.get_facecolor()) for patch in ax.get_legend().get_patches()}
    assert to_hex(LOOKS["snip"].colour) in colours or "snip" not in arms
    assert "#123456" in colours or "my own" not in arms
    assert len(colours) == min(len(arms), len(SPARE))


def test_score_histogram_counts_and_cut() -> None:
    scores = {"w": torch.tensor([0.0, 0.01, 0.1, 1.0, 10.0])}
    masks = {"w": torch.tensor([False, False, False, True, True])}
    labels = [t.get_text() for t in plots.score_histogram(scores, masks).get_legend().get_texts()]
    assert labels == ["removed: 3 (1 of score 0 not drawn)", "kept: 2", "cut at 1"]


def test_score_histogram_without_one_cut_draws_none() -> None:
    scores = {"w": torch.tensor([0.1, 1.0, 10.0])}
    labels = plots.score_histogram(scores, {"w": torch.tensor([True, False, True])}).get_legend().get_texts()
    assert not any("cut" in t.get_text() for t in labels)
    plots.score_histogram({"w": torch.zeros(4)})


def test_mask_picture_shows_block_means() -> None:
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[:2, :3] = True
    assert plots.mask_picture(mask).images[0].get_array().tolist() == mask.double().tolist()
    ax = plots.mask_picture(mask, cells=2)
    assert ax.images[0].get_array().tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert ax.get_title("left") == "6 of 24 kept; one cell = the mean of 2 x 3 weights"


def test_mask_overlap_says_who_keeps_what() -> None:
    a, b = {"w": torch.tensor([[True, True, False, False]])}, {"w": torch.tensor([[True, False, True, False]])}
    figure = plots.mask_overlap(a, b, ("snip", "synflow"))
    assert figure.get_suptitle() == "kept by both 1, snip alone 1, synflow alone 1, neither 1"
    (image,) = figure.axes[0].images
    shades = [to_hex(image.cmap(image.norm(kind))) for kind in image.get_array()[0]]
    assert shades[1:3] == [plots.palette(["snip", "synflow"])[name].lower() for name in ("snip", "synflow")]
    assert len({*shades}) == 4


def test_an_axes_of_the_users_own_is_drawn_on_and_returned() -> None:
    mine = plots.axes()
    assert plots.curves(rows(), ax=mine) is mine


def test_nothing_global_changes() -> None:
    code = (
        "import matplotlib, pandas as pd, sys\n"
        "settings = lambda: {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}\n"
        "before = settings()\n"
        "from workbench import plots\n"
        "ax = plots.curves(pd.DataFrame({'criterion': ['a', 'a'], 'compression': [1, 10], 'accuracy': [1.0, 0.9]}))\n"
        "plots.show(ax, alt='a', caption='b')\n"
        "assert settings() == before\n"
        "assert not sys.modules['matplotlib.pyplot'].get_fignums()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_show_gives_html_png_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    plots.show(plots.curves(rows()), alt='SNIP falls to 0.8 at 100x, "late"', caption="Five seeds & bands")
    bundle = shown[0]
    assert bundle["text/plain"] == 'SNIP falls to 0.8 at 100x, "late"'
    assert 'alt="SNIP falls to 0.8 at 100x, &#34;late&#34;"' in bundle["text/html"]
    assert "<figcaption>Five seeds &amp; bands</figcaption>" in bundle["text/html"]
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="alt is a text"):
        plots.show(plots.axes(), alt=" ", caption="x")


def test_a_picture_without_words_describes_itself() -> None:
    ax = plots.curves(rows())
    bundle = plots.bundle(ax)
    assert bundle["text/plain"] == plots.describe(ax)
    assert "<figcaption>accuracy against compression (prunable weights before / kept)" in bundle["text/html"]
    ax.set_title("SNIP and SynFlow", loc="left")
    assert "<figcaption>SNIP and SynFlow</figcaption>" in plots.bundle(ax)["text/html"]


def test_network_drawing_has_a_line_for_every_kept_weight_and_dashes_those_on_no_path() -> None:
    masks = {"a": torch.tensor([[1, 0], [1, 1]]).bool(), "b": torch.tensor([[1, 0]]).bool()}
    paths = {"a": torch.tensor([[1, 0], [0, 0]]).bool(), "b": masks["b"]}
    assert [line.get_linestyle() for line in plots.network_drawing(masks).lines] == ["-"] * 4
    assert [line.get_linestyle() for line in plots.network_drawing(masks, paths).lines] == ["-", "--", "--", "-"]


def test_network_drawing_refuses_layers_that_do_not_follow_each_other() -> None:
    for odd in ({}, {"bias": torch.ones(3).bool()}):
        with pytest.raises(ValueError, match="in a row"):
            plots.network_drawing(odd)
    with pytest.raises(ValueError, match="in a row"):
        plots.network_drawing({"a": torch.ones(3, 2).bool(), "b": torch.ones(1, 2).bool()})


def test_a_folded_figure_stands_under_its_words() -> None:
    made = plots.bundle(plots.curves(rows()), alt="a", caption="c", fold="Expected <picture>")
    assert made["text/html"].startswith("<details><summary>Expected &lt;picture&gt;</summary><figure")
    assert made["text/html"].endswith("</figure></details>")


def few(seeds: int = 5) -> pd.DataFrame:
    """Accuracies by samples of two data sets; "l1" needs no samples."""
    arms = [("lrp", 1.0), ("lrp", 5.0), ("taylor", 1.0), ("taylor", 5.0), ("l1", np.nan)]
    return pd.DataFrame(
        [
            {"data": data, "criterion": arm, "samples": n, "accuracy": 0.5 + 0.1 * i + 0.01 * seed, "dense": 0.98}
            for data in ("moons", "circles")
            for i, (arm, n) in enumerate(arms)
            for seed in range(seeds)
        ]
    )


def test_by_samples_draws_every_seed_the_mean_and_an_interval_and_sets_arms_without_samples_apart() -> None:
    figure = plots.by_samples(few(), levels=("dense",))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["moons", "circles"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense", "lrp", "taylor", "l1"]
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["none", "1", "5"]
    dense, through, lrp, taylor, l1 = ax.lines
    assert (dense.get_ydata()[0], through.get_ydata()[0]) == (pytest.approx(0.98), pytest.approx(0.92))
    assert lrp.get_ydata() == pytest.approx([0.52, 0.62])
    assert lrp.get_xdata()[0] < 1 < taylor.get_xdata()[0]  # beside each other, around their place
    assert list(l1.get_xdata()) == [0]
    (dots,) = [c for c in ax.collections if isinstance(c, matplotlib.collections.PathCollection)]
    assert len(dots.get_offsets()) == 25
    bars = next(c for c in ax.collections if isinstance(c, matplotlib.collections.LineCollection))
    (_, low), (_, high) = bars.get_segments()[0]
    assert high - low == pytest.approx(2 * 2.7764 * np.std([0, 0.01, 0.02, 0.03, 0.04], ddof=1) / 5**0.5, rel=1e-3)
    low, high = ax.get_ylim()
    assert low < 0.5
    assert high > 0.98
    with pytest.raises(ValueError, match="column is one of"):
        plots.by_samples(few(), panel="dataset")


def test_by_samples_of_one_seed_without_blind_arms() -> None:
    ax = plots.by_samples(few(seeds=1).dropna()).axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "5"]
    assert ax.lines[0].get_ydata() == pytest.approx([0.5, 0.6])


def test_regions_are_where_a_class_is_ahead_and_its_points_lie_in_them() -> None:
    xs = torch.linspace(-1, 1, 21)
    right = xs.expand(21, 21)  # class 1 is ahead on the right, class 0 on the left, class 2 nowhere
    logits = torch.stack([-right, right, torch.full_like(right, -9)], 2)
    points = torch.tensor([[-0.5, 0.0], [0.5, 0.5], [0.25, -0.5]])
    figure = plots.regions(
        {"one": logits, "two": logits}, (-1, 1, -1, 1), points, torch.tensor([0, 1, 1]), seen=torch.tensor([2])
    )
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["one", "two"]
    ax = figure.axes[0]
    areas = [c for c in ax.collections if isinstance(c, matplotlib.contour.ContourSet)]
    spans = [np.concatenate([path.vertices[:, 0] for path in area.get_paths() if len(path.vertices)]) for area in areas]
    assert [(span.min().round(2), span.max().round(2)) for span in spans] == [(-1, 0), (0, 1)]
    dots = [c for c in ax.collections if isinstance(c, matplotlib.collections.PathCollection) and len(c.get_offsets())]
    assert [np.asarray(d.get_offsets()).tolist() for d in dots] == [[[-0.5, 0.0]], [[0.5, 0.5]], [[0.25, -0.5]]]
    assert dots[2].get_sizes()[0] > dots[1].get_sizes()[0]  # the sample that was seen


def test_maps_name_what_runs_across_and_down() -> None:
    figure = plots.maps({"a": torch.rand(2, 3)}, across="inputs", down="units")
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("inputs", "units")


def test_a_timeline_names_eight_arms_and_counts_the_others() -> None:
    rows = pd.DataFrame({"at": [1, 2], "density": [1.0, 0.5]})
    many = pd.concat([rows.assign(timing=f"layer {arm}") for arm in range(12)])
    said = [text.get_text() for text in plots.timeline(many).get_legend().get_texts()]
    assert said == [*(f"layer {arm}" for arm in range(8)), "and 4 more"]
