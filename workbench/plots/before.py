"""Pictures of pruning before training: layers side by side, ladders of seeds, paired differences; no training here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.claims import interval
from workbench.plots import CRITERION_LOOKS, axes, counted, dense_line, style
from workbench.types import check_choice

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Looks of what is no criterion of the playground; those of the five stay as they are everywhere.
LOOKS = CRITERION_LOOKS | {
    "force": ("#E69F00", "P"),
    "ntk-sap": ("#56B4E9", "X"),
    "prospr": ("#000000", "*"),
    "erk": ("#8a5a00", "h"),
    "smart-ratio": ("#7b3fa0", "<"),
    "layer": ("#3b3b3b", ">"),
    "igq": ("#0072B2", "p"),
    "uniform+": ("#CC79A7", "d"),
}
# Tol's muted colours for arms of other names, none of which looks like a criterion.
SPARE = (("#332288", "o"), ("#882255", "s"), ("#44AA99", "^"), ("#999933", "D"), ("#CC6677", "v"), ("#117733", "P"))


def look(name: object, place: int = 0) -> tuple[str, str]:
    """Colour and marker of an arm, by the first word of its name; the looks of `SPARE` in order for other names.

    >>> look("snip, 20 rounds") == look("snip")
    True
    """
    words = str(name).replace(",", " ").split()
    return LOOKS.get(words[0] if words else "", SPARE[place % len(SPARE)])


def by_layer(
    df: pd.DataFrame, *, y: str = "density", arm: str = "criterion", log: bool = True, ax: Axes | None = None
) -> Axes:
    """`y` of every layer in the network's order, one line with a marker of its own for each arm.

    `df` has one row per arm and layer (columns layer, `y`, `arm`). On a log axis a value of 0 has no place: it is drawn
    below all others as a dot without a line, at a tick that says "none".

    >>> import pandas as pd
    >>> ax = by_layer(pd.DataFrame({"layer": ["a", "b"], "density": [0.5, 0.0], "criterion": "snip"}))
    >>> [tick.get_text() for tick in ax.get_yticklabels()][0]
    'none'
    """
    import numpy as np

    for column in ("layer", y, arm):
        check_choice("column", column, df.columns)
    layers = list(dict.fromkeys(df["layer"]))
    ax = axes(9.6, 4.8) if ax is None else ax
    least = float(df.loc[df[y] > 0, y].min()) if log and (df[y] > 0).any() else 1.0
    floor = least / 4
    with style():
        for i, (name, rows) in enumerate(df.groupby(arm, sort=False)):
            colour, marker = look(name, i)
            values = rows.set_index("layer")[y].reindex(layers).to_numpy(float)
            lines = np.where(values > 0, values, np.nan) if log else values
            ax.plot(range(len(layers)), lines, color=colour, marker=marker, markersize=8, linewidth=1.8, label=name)
            if log and (values == 0).any():
                empty = np.flatnonzero(values == 0)
                ax.scatter(empty, [floor] * len(empty), color=colour, marker=marker, s=70, zorder=3)
        if log:
            _log_axis(ax.yaxis, least, float(df[y].max()), floor if (df[y] == 0).any() else None)
        ax.set_xticks(range(len(layers)), [str(name).removesuffix(".weight") for name in layers])
        if len(layers) > 12:
            ax.tick_params(axis="x", rotation=60, labelsize=11)
        ax.set_ylabel(y)
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def layer_bars(df: pd.DataFrame, *, y: str = "share", arm: str = "criterion", ax: Axes | None = None) -> Axes:
    """`y` of every layer as bars, the arms side by side, in the network's order, told apart by hatching too.

    >>> import pandas as pd
    >>> ax = layer_bars(pd.DataFrame({"layer": ["a", "b"], "share": [1.0, 1.0], "criterion": "synflow"}))
    >>> [float(patch.get_height()) for patch in ax.patches]
    [1.0, 1.0]
    """
    import numpy as np

    for column in ("layer", y, arm):
        check_choice("column", column, df.columns)
    layers, parts = list(dict.fromkeys(df["layer"])), list(df.groupby(arm, sort=False))
    ax = axes(9.6, 4.4) if ax is None else ax
    wide = 0.82 / len(parts)
    with style():
        for i, (name, rows) in enumerate(parts):
            at = np.arange(len(layers)) + (i - (len(parts) - 1) / 2) * wide
            values = rows.set_index("layer")[y].reindex(layers).to_numpy(float)
            hatch = ("", "//", "..", "xx")[i % 4]
            ax.bar(at, values, 0.92 * wide, color=look(name, i)[0], hatch=hatch, edgecolor="white", label=str(name))
        ax.set_xticks(range(len(layers)), [str(name).removesuffix(".weight") for name in layers])
        ax.set_ylabel(y)
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def against_size(df: pd.DataFrame, *, y: str = "mean score", arm: str = "criterion", ax: Axes | None = None) -> Axes:
    """`y` against the number of weights of a layer, both on log axes.

    A line shows 1 / size with the mean layer sum of the first arm.

    >>> import pandas as pd
    >>> ax = against_size(pd.DataFrame({"weights": [10, 100], "mean score": [1.0, 0.1], "criterion": "synflow"}))
    >>> [round(float(value), 9) for value in ax.lines[-1].get_ydata()]
    [1.0, 0.1]
    """
    for column in ("weights", y, arm):
        check_choice("column", column, df.columns)
    ax = axes(8.4, 4.8) if ax is None else ax
    with style():
        for i, (name, rows) in enumerate(df.groupby(arm, sort=False)):
            colour, marker = look(name, i)
            ax.scatter(rows["weights"], rows[y], color=colour, marker=marker, s=75, label=str(name), zorder=3)
        ends = [float(df["weights"].min()), float(df["weights"].max())]
        top = float((df["weights"] * df[y]).groupby(df[arm], sort=False).mean().iloc[0])
        ax.plot(ends, [top / end for end in ends], color="#555555", linestyle="--", linewidth=1.5, label="slope -1")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.minorticks_off()
        ax.set_xlabel("weights of the layer")
        ax.set_ylabel(y)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def ladder(
    df: pd.DataFrame,
    *,
    x: str,
    arm: str,
    reference: tuple[str, float] | None = None,
    unit: str = "x",
    log: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """One line of dots for each arm, every seed a dot, a bar at their median; `reference` is a dashed line with a name.

    The arms stand in the order of `df`, the first on top. Arms whose names begin with the same word share their look.

    >>> import pandas as pd
    >>> ax = ladder(pd.DataFrame({"arm": ["snip"] * 3, "critical": [10.0, 100.0, 20.0]}), x="critical", arm="arm")
    >>> [float(value) for value in ax.lines[0].get_xdata()]
    [20.0, 20.0]
    """
    for column in (x, arm):
        check_choice("column", column, df.columns)
    names = list(dict.fromkeys(df[arm]))
    ax = axes(8.4, 1.5 + 0.33 * len(names)) if ax is None else ax
    with style():
        for place, name in enumerate(names):
            colour, marker = look(name, place)
            values = df.loc[df[arm] == name, x].to_numpy(float)
            spread = [place + 0.22 * (k / max(len(values) - 1, 1) - 0.5) for k in range(len(values))]
            median = float(df.loc[df[arm] == name, x].median())
            ax.plot([median, median], [place - 0.36, place + 0.36], color="#222222", linewidth=2.2, zorder=2)
            ax.scatter(values, spread, color=colour, marker=marker, s=46, alpha=0.8, linewidths=0, zorder=3)
            if place and str(name).split(",")[0] != str(names[place - 1]).split(",")[0]:
                ax.axhline(place - 0.5, color="#dddddd", linewidth=0.8)
        if reference is not None:
            ax.axvline(reference[1], color="#555555", linestyle="--", linewidth=1.5)
            ax.annotate(
                reference[0],
                (reference[1], 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(-3, 3),
                textcoords="offset points",
                ha="right",
                fontsize=12,
            )
        if log:
            ax.set_xscale("log")
            ax.minorticks_off()
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}{unit}")
        ax.set_yticks(range(len(names)), [str(name) for name in names])
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.grid(visible=False, axis="y")
        ax.grid(visible=True, axis="x")
        ax.set_xlabel(x)
    return ax


def differences(
    df: pd.DataFrame,
    *,
    x: str = "difference",
    arm: str = "arm",
    margin: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Paired differences: every seed a dot, the mean a bar, its 95 % Student-t interval a line, and a line at 0.

    `margin` is drawn as a dotted line: the loss that a claim allows, such as -0.01. One row of `df` per arm and seed.

    >>> import pandas as pd
    >>> ax = differences(pd.DataFrame({"arm": ["snip"] * 2, "difference": [0.0, 0.02]}))
    >>> round(float(ax.lines[1].get_xdata()[0]), 3)
    -0.117
    """
    from matplotlib.ticker import MaxNLocator

    for column in (x, arm):
        check_choice("column", column, df.columns)
    names = list(dict.fromkeys(df[arm]))
    ax = axes(8.4, 1.5 + 0.36 * len(names)) if ax is None else ax
    with style():
        ax.axvline(0, color="#222222", linewidth=1.2, zorder=1)
        for place, name in enumerate(names):
            colour, marker = look(name, place)
            values = [float(value) for value in df.loc[df[arm] == name, x]]
            mean, low, high = interval(values)
            if low == low:  # one seed has no interval
                ax.plot([low, high], [place, place], color=colour, linewidth=6, alpha=0.3, solid_capstyle="butt")
            ax.plot([mean, mean], [place - 0.3, place + 0.3], color=colour, linewidth=2.5)
            spread = [place + 0.3 * (k / max(len(values) - 1, 1) - 0.5) for k in range(len(values))]
            ax.scatter(values, spread, color=colour, marker=marker, s=34, alpha=0.85, linewidths=0, zorder=3)
        if margin is not None:
            ax.axvline(margin, color="#555555", linestyle=":", linewidth=1.5)
        ax.set_yticks(range(len(names)), [str(name) for name in names])
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.xaxis.set_major_locator(MaxNLocator(5))  # the numbers have many digits
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(x)
    return ax


def curves(
    df: pd.DataFrame,
    *,
    x: str = "compression",
    y: str = "accuracy",
    arm: str = "arm",
    dense: Sequence[float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """`y` at each `x`: every seed a dot, means a line, 95 % Student-t intervals upright; arms a little apart.

    For many arms that lie close together, where the bands of `tradeoff` would cover each other. The interval of few
    values near a bound may reach beyond it; the axis stays between 0 and 1 where all values do.

    >>> import pandas as pd
    >>> rows = pd.DataFrame({"arm": ["force"] * 4, "compression": [10, 10, 100, 100], "accuracy": [0.9, 0.8, 0.5, 0.3]})
    >>> curves(rows).get_legend().get_texts()[0].get_text()
    'force (n = 2)'
    """
    for column in (x, y, arm):
        check_choice("column", column, df.columns)
    ax = axes(9.6, 5.0) if ax is None else ax
    names, levels = list(dict.fromkeys(df[arm])), sorted(df[x].unique())
    apart = min(0.55 / max(len(names), 1), 0.08)
    with style():
        if dense is not None:
            dense_line(ax, dense)
        for i, name in enumerate(names):
            colour, marker = look(name, i)
            groups: dict[float, list[float]] = {
                levels.index(at) + (i - (len(names) - 1) / 2) * apart: rows[y].tolist()
                for at, rows in df[df[arm] == name].groupby(x)
            }
            n = counted(groups.values())
            means, lows, highs = zip(*(interval(values) for values in groups.values()), strict=True)
            plain: dict[str, Any] = {"color": colour, "marker": marker}
            ax.plot(list(groups), means, markersize=8, linewidth=1.6, label=f"{name} (n = {n})", **plain)
            ax.vlines(list(groups), lows, highs, color=colour, linewidth=1.4, alpha=0.6)
            for at, values in groups.items():
                ax.scatter([at] * len(values), values, s=14, alpha=0.5, linewidths=0, zorder=3, **plain)
        ax.set_xticks(range(len(levels)), [f"{level:,g}x" for level in levels])
        if df[y].between(0, 1).all():
            ax.set_ylim(max(0.0, ax.get_ylim()[0]), min(1.02, ax.get_ylim()[1]))
        ax.set_xlabel("compression (prunable weights before / kept)" if x == "compression" else x)
        ax.set_ylabel(y)
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def _log_axis(axis: Any, low: float, high: float, floor: float | None) -> None:
    """Ticks at the decades (with 2 and 5 between where there are few); `floor` is where "none" stands."""
    import math

    axis.axes.set_yscale("log")
    axis.axes.minorticks_off()
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(decades) <= 3 else (1,)
    ticks = [f * 10.0**d for d in decades for f in factors if low / 1.5 <= f * 10.0**d <= high * 1.5]
    labels = [f"{tick:g}" for tick in ticks]
    if floor is not None:
        ticks, labels = [floor, *ticks], ["none", *labels]
    axis.set_ticks(ticks, labels)
