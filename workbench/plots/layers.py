"""Pictures of layers, side by side: how dense, how much of the score, how large."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from workbench.plots.figures import GUIDE, apart, arms_of, drawing, hues, legend_beside
from workbench.plots.looks import Looks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

DEAD = "#8f2d00"


def ending(name: str, letters: int = 30) -> str:
    """A long name of a layer cut: its end says more than its beginning.

    >>> ending("encoder.layers.11.attention.output.dense")
    '…ers.11.attention.output.dense'
    """
    return name if len(name) <= letters else f"…{name[1 - letters :]}"


def layer_densities(
    df: pd.DataFrame, *, arm: str | None = None, looks: Looks | None = None, ax: Axes | None = None
) -> Axes:
    """Density of every layer on a log axis; a layer with no kept weight is named in words, if there is room.

    `df` has the columns layer, weights and kept (a layer table, `wb.layers`); with `arm` several tables side by side.
    `looks` gives arms a colour (and a marker, of which bars have none) of their own.
    """
    import numpy as np

    parts = arms_of(df, arm, "layer", "kept", "weights", own=looks, one_a_layer=True)
    names = list(dict.fromkeys(df["layer"]))
    floor = 10.0 ** math.floor(math.log10(min((df["kept"] / df["weights"])[df["kept"] > 0], default=0.1)) - 0.5)
    thick = 0.8 / len(parts)
    with drawing(ax, height=1.3 + 0.38 * len(names)) as ax:
        points = 72 * ax.get_window_extent().height / ax.figure.dpi / (len(names) + 1)  # of a layer
        size, every = min(11, 0.7 * points / len(parts)), math.ceil(7 / points)
        for (name, look, rows), aside in zip(parts, apart(len(parts), thick), strict=True):
            rows, at = rows.set_index("layer").reindex(names), np.arange(len(names)) + aside
            density = (rows["kept"] / rows["weights"]).to_numpy()
            long = np.maximum(density, floor) - floor
            ax.barh(at, long, 0.9 * thick, left=floor, color=look.colour, label=name or None)
            if size < 6:  # lines of text would cover each other
                ax.plot([1.3 * floor] * sum(density == 0), at[density == 0], "x", color=DEAD, markersize=4)
                continue
            for y, kept, value in zip(at, rows["kept"], density, strict=True):
                text = "dead: no weight left" if kept == 0 else f"{value:.2g}  ({int(kept):,})"
                colour = DEAD if kept == 0 else "#333333"
                ax.text(max(value, floor) * 1.08, y, text, va="center", fontsize=size, color=colour)
        ticks = [t for t in 10.0 ** np.arange(0, math.log10(floor) - 1, -1) if t >= floor]
        ax.set(xscale="log", xlim=(floor, 8.0), xlabel="density (kept weights)", ylabel="layer")
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])  # plain numbers are drawn much faster than powers
        ax.set_yticks(range(0, len(names), every), [ending(name.removesuffix(".weight")) for name in names[::every]])
        ax.tick_params(axis="y", labelsize=min(ax.yaxis.get_ticklabels()[0].get_fontsize(), 0.9 * points * every))
        ax.minorticks_off()
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        if arm:
            ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(parts))
    return ax


def by_layer(
    df: pd.DataFrame, *, y: str = "density", arm: str = "criterion", log: bool = True, ax: Axes | None = None
) -> Axes:
    """`y` of every layer in the network's order, a line for each arm; `df` has one row per arm and layer.

    On a log axis a value of 0 has no place: it is drawn below all others, at a tick that says "none".

    >>> import pandas as pd
    >>> ax = by_layer(pd.DataFrame({"layer": ["a", "b"], "density": [0.5, 0.0], "criterion": "snip"}))
    >>> [tick.get_text() for tick in ax.get_yticklabels()][0]
    'none'
    """
    import seaborn as sns

    parts, layers = arms_of(df, arm, "layer", y, one_a_layer=True), list(dict.fromkeys(df["layer"]))
    least = float(df.loc[df[y] > 0, y].min()) if log and (df[y] > 0).any() else 1.0
    none = {least / 4: "none"} if log and (df[y] == 0).any() else {}
    with drawing(ax, 9.6, 4.8) as ax:
        _name_layers(ax, layers, y)
        if log:
            ax.set_yscale("log")
            ax.minorticks_off()
            ticks = _log_ticks(least, max(least, float(df[y].max())))
            ax.set_yticks([*none, *ticks], [*none.values(), *(f"{tick:g}" for tick in ticks)])
        shown = df[y].replace(0, *none) if none else df[y]
        look = hues(df, arm, parts) | {"dashes": False, "markersize": 9}
        sns.lineplot(x=df["layer"].map(layers.index), y=shown, **look, estimator=None, ax=ax)
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=min(len(parts), 4))
    return ax


def layer_bars(df: pd.DataFrame, *, y: str = "share", arm: str = "criterion", ax: Axes | None = None) -> Axes:
    """`y` of every layer as bars, the arms side by side, in the network's order, told apart by hatching too.

    >>> import pandas as pd
    >>> ax = layer_bars(pd.DataFrame({"layer": ["a", "b"], "share": [1.0, 1.0], "criterion": "synflow"}))
    >>> [float(patch.get_height()) for patch in ax.patches]
    [1.0, 1.0]
    """
    import seaborn as sns

    parts, layers = arms_of(df, arm, "layer", y, one_a_layer=True), list(dict.fromkeys(df["layer"]))
    look = {name: value for name, value in hues(df, arm, parts).items() if name in ("hue", "hue_order", "palette")}
    with drawing(ax, 9.6, 4.4) as ax:
        _name_layers(ax, layers, y)
        places = df["layer"].map(layers.index)
        sns.barplot(x=places, y=df[y], **look, saturation=1, edgecolor="white", errorbar=None, legend=False, ax=ax)
        for group, (name, _, _), hatch in zip(ax.containers, parts, itertools.cycle(("", "//", "..", "xx"))):
            group.set_label(name)
            for bar in group:
                bar.set_hatch(hatch)
        _name_layers(ax, layers, y)
        if len(parts) > 1:
            legend_beside(ax)
        elif parts[0][0]:
            ax.set_title(parts[0][0])
    return ax


def against_size(df: pd.DataFrame, *, y: str = "mean score", arm: str = "criterion", ax: Axes | None = None) -> Axes:
    """`y` against a layer's number of weights, on log axes; a line is 1 / size with the first arm's mean layer sum.

    >>> import pandas as pd
    >>> ax = against_size(pd.DataFrame({"weights": [10, 100], "mean score": [1.0, 0.1], "criterion": "synflow"}))
    >>> [round(float(value), 9) for value in ax.lines[-1].get_ydata()]
    [1.0, 0.1]
    """
    import seaborn as sns

    parts = arms_of(df, arm, "weights", y)
    with drawing(ax, 8.4, 4.8) as ax:
        ax.set(xscale="log", yscale="log", xlabel="weights of the layer", ylabel=y)
        ax.minorticks_off()
        sns.scatterplot(df, x="weights", y=y, **hues(df, arm, parts), s=75, zorder=3, ax=ax)
        ends = [float(df["weights"].min()), float(df["weights"].max())]
        top = float((parts[0][2]["weights"] * parts[0][2][y]).mean())
        ax.plot(ends, [top / end for end in ends], label="slope -1", **GUIDE)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        legend_beside(ax)
    return ax


def _name_layers(ax: Axes, layers: list[Any], y: str) -> None:
    """The layers' names along x, aslant if they are too long for its width, and what is drawn along y."""
    names = [str(name).removesuffix(".weight") for name in layers]
    ax.set_xticks(range(len(layers)), names)
    ax.set(xlabel="layer", ylabel=y)
    if 0.13 * sum(map(len, names)) > ax.get_window_extent().width / ax.figure.dpi:  # inches
        ax.tick_params(axis="x", rotation=60, labelsize=11)


def _log_ticks(low: float, high: float) -> list[float]:
    """The decades, with 2 and 5 between where there are few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(decades) <= 3 else (1,)
    return [f * 10.0**d for d in decades for f in factors if low / 1.5 <= f * 10.0**d <= high * 1.5]
