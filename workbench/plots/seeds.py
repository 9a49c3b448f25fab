"""Pictures of runs in which every seed is a dot: lines over compression, sparsity or samples, and predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench.claims import interval
from workbench.plots.figures import GUIDE, apart, arms_of, drawing, legend_beside, panels, style
from workbench.plots.looks import Look, Looks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Groups = Mapping[Any, list[float]]  # place on x -> the values there
WORDS = {
    "compression": "compression (prunable weights before / kept)",
    "sparsity": "sparsity (removed / prunable weights)",
}


def tradeoff(
    df: pd.DataFrame,
    *,
    x: str = "compression",
    y: str = "accuracy",
    arm: str = "criterion",
    dense: Sequence[float] | None = None,
    looks: Looks | None = None,
    ax: Axes | None = None,
) -> Axes:
    """`y` against `x` (log axis): every seed a dot, means a line, the 95 % Student-t interval a band; n in the legend.

    `df` has one row per seed, arm and x. `dense`: the dense network's values, one per seed, drawn as a dashed line with
    its band. `looks` gives arms a colour and a marker of their own. Bands are pointwise, and one seed has none; paired
    differences (`claims.compare`) see more.
    """
    from matplotlib.ticker import LogLocator

    parts, alone = arms_of(df, arm, x, y, own=looks), ax is None
    with drawing(ax, 9.6, 4.6) as ax:
        _dense(ax, dense)
        for name, look, rows in parts:
            _series(ax, {at: group[y].tolist() for at, group in rows.groupby(x)}, look, name, counted=True)
        ax.set(xscale="log", xlabel=WORDS.get(x, x), ylabel=y)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}x" if value >= 1 else f"{value:g}x")
        if df[x].max() < 100 * df[x].min():
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.minorticks_off()
        if alone:
            legend_beside(ax)  # where it covers nothing
        else:
            ax.legend(loc="best")
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
    """`tradeoff` for many arms that lie close together: they stand a little apart, with upright intervals for bands.

    The interval of few values near a bound may reach beyond it; the axis stays between 0 and 1 where all values do.

    >>> import pandas as pd
    >>> rows = pd.DataFrame({"arm": ["force"] * 4, "compression": [10, 10, 100, 100], "accuracy": [0.9, 0.8, 0.5, 0.3]})
    >>> curves(rows).get_legend().get_texts()[0].get_text()
    'force (n = 2)'
    """
    parts, levels = arms_of(df, arm, x, y), sorted(df[x].unique())
    with drawing(ax, 9.6, 5.0) as ax:
        _dense(ax, dense)
        for (name, look, rows), aside in zip(parts, apart(len(parts), min(0.55 / len(parts), 0.08)), strict=True):
            groups = {levels.index(at) + aside: group[y].tolist() for at, group in rows.groupby(x)}
            _series(ax, groups, look, name, upright=True, counted=True)
        ax.set_xticks(range(len(levels)), [f"{level:,g}x" for level in levels])
        if df[y].between(0, 1).all():
            ax.set_ylim(max(0.0, ax.get_ylim()[0]), min(1.02, ax.get_ylim()[1]))
        ax.set(xlabel=WORDS.get(x, x), ylabel=y)
        legend_beside(ax)
    return ax


def rises(
    df: pd.DataFrame,
    *,
    x: str = "sparsity",
    y: str = "rise",
    arm: str = "criterion",
    floor: float = 1e-5,
    reference: tuple[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A rise against sparsity on a log axis: every seed a dot, lines through the means of the logarithms.

    The arms stand a little apart along x. `reference` is a dashed line: its name and its height. Values below `floor`,
    negative ones too, are drawn at it: a log axis has no place for them.

    >>> import pandas as pd
    >>> ax = rises(pd.DataFrame({"criterion": ["snip"] * 2, "sparsity": [0.1, 0.2], "rise": [1e-9, 0.1]}))
    >>> [float(value) for value in ax.lines[0].get_ydata()]
    [1e-05, 0.1]
    """
    import numpy as np

    parts = arms_of(df, arm, x, y)
    gaps = np.diff(np.unique(df[x].to_numpy(float)))
    wide = 0.5 * float(min(gaps, default=0)) / len(parts)
    with drawing(ax, 8.4, 5.0) as ax:
        for (name, look, rows), aside in zip(parts, apart(len(parts), wide), strict=True):
            values = rows[y].clip(lower=floor).astype(float)
            groups = {at + aside: group.tolist() for at, group in values.groupby(rows[x])}
            means = [float(10 ** np.log10(group).mean()) for group in groups.values()]
            _line_and_dots(ax, groups, means, look, name)
        if reference is not None:
            ax.axhline(reference[1], label=reference[0], **GUIDE)
        ax.set(yscale="log", xlabel=WORDS.get(x, x), ylabel=y)
        if df[x].nunique() <= 10:
            ax.set_xticks(sorted(df[x].unique()))
        legend_beside(ax)
    return ax


def by_samples(
    df: pd.DataFrame,
    *,
    x: str = "samples",
    y: str = "accuracy",
    arm: str = "criterion",
    panel: str = "data",
    levels: Sequence[str] = (),
) -> Figure:
    """`y` against the samples of each class, panels side by side: every row a dot, means, 95 % Student-t bands.

    Numbers of samples stand at equal distances, arms a little apart. Rows without a number (NaN) stand at "none"; an
    arm that has only such rows has a thin line through the panel at its mean. `levels` are columns whose mean in a
    panel is a line, dashed and dotted in turn. The axis spans dots and lines; a wide band may reach beyond it.

    >>> import pandas as pd
    >>> rows = {"criterion": ["lrp", "l1"], "samples": [5, None], "accuracy": [0.9, 0.5], "data": ["moons", "moons"]}
    >>> [text.get_text() for text in by_samples(pd.DataFrame(rows)).axes[0].get_xticklabels()]
    ['none', '5']
    """
    arms = arms_of(df, arm, x, y, panel, *levels)
    steps, shift = sorted(df[x].dropna().unique()), int(df[x].isna().any())
    places, own = {step: i + shift for i, step in enumerate(steps)}, {name: look for name, look, _ in arms}
    blind = [name for name, _, rows in arms if rows[x].isna().all()]
    aside: dict[str, float] = {}
    for alike in (blind, [name for name in own if name not in blind]):  # those that share places stand a little apart
        aside |= zip(alike, apart(len(alike), 0.2), strict=True)
    parts = list(df.groupby(panel, sort=False))
    figure, made = panels(len(parts), len(parts), 1.4 + 3.3 * len(parts), 4.6, sharey=True)
    with style():
        for ax, (title, part) in zip(made, parts, strict=True):
            for i, column in enumerate(levels):
                ax.axhline(part[column].mean(), label=column, **GUIDE | {"linestyle": ("--", ":")[i % 2]})
            for name, rows in part.groupby(part[arm].astype(str), sort=False):
                at, look = rows[x].map(places).fillna(0) + aside[str(name)], own[str(name)]
                groups = {place: group[y].tolist() for place, group in rows.groupby(at)}
                if name in blind:
                    ax.axhline(rows[y].mean(), color=look.colour, linewidth=1.0)
                _series(ax, groups, look, str(name), thin=0.05 if name in blind else 0.0)
            ax.set(title=str(title), xlim=(-0.5, len(steps) + shift - 0.5))
            ax.set_xticks(range(len(steps) + shift), ["none"] * shift + [f"{step:g}" for step in steps])
        spans = df[[y, *levels]]
        low, high = float(spans.min().min()), float(spans.max().max())
        room = 0.05 * (high - low or 1)
        made[0].set(ylim=(low - room, high + room), ylabel=y)
        figure.supxlabel(f"{x} of each class that the criterion sees", fontsize=14)
        handles = {label: h for ax in made for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        wide = sum(0.1 * len(label) + 0.75 for label in handles)  # inches, by and large
        ncols = math.ceil(len(handles) / math.ceil(wide / figure.get_figwidth()))
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=ncols)
    return figure


def predictions(
    df: pd.DataFrame,
    *,
    predicted: str = "predicted",
    measured: str = "measured",
    arm: str = "criterion",
    columns: int = 3,
) -> Figure:
    """Measured against predicted values, log axes, one panel an arm, with the line on which they are equal.

    All panels have the scales of the first axis. Values that are not positive have no place; the panel counts them.

    >>> import pandas as pd
    >>> rows = pd.DataFrame({"criterion": ["a", "a"], "predicted": [0.1, 0.2], "measured": [0.1, -0.2]})
    >>> predictions(rows).axes[0].get_title(loc="left")
    'a (1 not drawn)'
    """
    groups = arms_of(df, arm, predicted, measured)
    drawn = df[(df[predicted] > 0) & (df[measured] > 0)]
    ends = [f(f(drawn[predicted]), f(drawn[measured])) for f in (min, max)] if len(drawn) else [0.1, 1.0]
    span = ends[0] / 2, ends[1] * 2
    ticks = [10.0**e for e in range(math.ceil(math.log10(span[0])), math.floor(math.log10(span[1])) + 1, 2)]
    figure, made = panels(len(groups), columns, 8.4, 2.75 * math.ceil(len(groups) / columns) + 0.35)
    with style():
        for i, (ax, (name, (colour, marker), group)) in enumerate(zip(made, groups, strict=True)):
            fit = group[(group[predicted] > 0) & (group[measured] > 0)]
            ax.plot(span, span, **GUIDE | {"linewidth": 1.2})
            ax.scatter(fit[predicted], fit[measured], s=20, color=colour, marker=marker, alpha=0.6, linewidths=0)
            missing = len(group) - len(fit)
            ax.set_title(f"{name} ({missing} not drawn)" if missing else name, fontsize=13)
            ax.set(xscale="log", yscale="log", xlim=span, ylim=span, xticks=ticks, yticks=ticks)
            ax.tick_params(labelsize=11, labelleft=i % columns == 0, labelbottom=i + columns >= len(groups))
            ax.minorticks_off()
        figure.supxlabel(predicted, fontsize=14)
        figure.supylabel(measured, fontsize=14)
    return figure


def _series(
    ax: Axes, groups: Groups, look: Look, label: str, upright: bool = False, thin: float = 0.0, counted: bool = False
) -> None:
    """One arm: every value a dot, means a line; intervals a band (of half the width `thin` at a single place), or
    upright lines. `counted`: the label says how many values a place has, "n = 5" or "n = 1 to 2"."""
    at, colour = list(groups), look.colour
    if counted:
        sizes = sorted({len(values) for values in groups.values()})
        label += f" (n = {' to '.join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))})"
    means, lows, highs = zip(*(interval(values) for values in groups.values()), strict=True)
    if upright:
        ax.vlines(at, lows, highs, color=colour, linewidth=1.4, alpha=0.6)
    elif thin:
        ax.fill_between([at[0] - thin, at[0] + thin], lows[0], highs[0], color=colour, alpha=0.25, linewidth=0)
    else:
        ax.fill_between(at, lows, highs, color=colour, alpha=0.15, linewidth=0)
    _line_and_dots(ax, groups, means, look, label)


def _line_and_dots(ax: Axes, groups: Groups, line: Sequence[float], look: Look, label: str) -> None:
    """A line with large markers through one value for each place, and a small marker for every value there."""
    ax.plot(list(groups), line, color=look.colour, marker=look.marker, markersize=7, label=label)
    places, values = zip(*((at, value) for at, group in groups.items() for value in group), strict=True)
    ax.scatter(places, values, color=look.colour, marker=look.marker, s=14, alpha=0.55, linewidths=0, zorder=3)


def _dense(ax: Axes, values: Sequence[float] | None) -> None:
    """The dense network's values, one per seed: their mean a dashed line, their interval a band."""
    if values is not None:
        mean, low, high = interval(list(values))
        ax.axhline(mean, label=f"dense (n = {len(values)})", **GUIDE)
        if len(values) > 1:
            ax.axhspan(low, high, color=GUIDE["color"], alpha=0.12, linewidth=0)
