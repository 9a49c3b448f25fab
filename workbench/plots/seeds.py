"""Pictures of runs in which every seed is a dot: lines over compression, sparsity or samples, and predictions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.intervals import student
from workbench.plots.figures import GUIDE, apart, arms_of, drawing, legend_beside, panels, style
from workbench.plots.looks import Looks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORDS = {
    "compression": "compression (prunable weights before / kept)",
    "sparsity": "sparsity (removed / prunable weights)",
}


SIZES = {"*": 13, "P": 10, "X": 10, "d": 10, "p": 9}
"""Of markers that cover less than others of their size, so that they are seen on a line of their colour."""


def curves(
    df: pd.DataFrame,
    *,
    x: str = "compression",
    y: str = "accuracy",
    arm: str = "criterion",
    dense: Sequence[float] | None = None,
    reference: tuple[str, float] | None = None,
    floor: float | None = None,
    looks: Looks | None = None,
    ax: Axes | None = None,
) -> Axes:
    """`y` against `x`: every seed a dot, means a line, 95 % Student-t intervals upright lines; n in the legend.

    `df` has one row per seed, arm and x. Arms stand a little apart, as far as the typical gap of x leaves room;
    x has a log axis where it goes beyond 1, and sparsities that reach 0.95 stand at the log of their compression,
    1 / (1 - sparsity). Rows without a number count nowhere: where an arm has only such rows at an x, its line is
    broken, and an arm that has no others stands in the legend. `dense`: the dense network's values, one per seed, are a
    dashed line with a band; `reference` is another line, its name and its height. With a `floor`, y has a log axis,
    means are those of the logarithms, and values below it, negative ones too, are drawn at it. `looks` gives arms a
    colour and a marker of their own. Intervals end at 0 and 1 where all values lie between. They are pointwise, and one
    seed has none; paired differences (`claims.compare`) see more.

    >>> import pandas as pd
    >>> rows = pd.DataFrame({"compression": [10, 10, 100, 100], "accuracy": [0.9, 0.8, 0.5, 0.3], "criterion": "force"})
    >>> curves(rows).get_legend().get_texts()[0].get_text()
    'force (n = 2)'
    """
    import numpy as np
    from matplotlib.ticker import FixedLocator, NullLocator

    parts = arms_of(df, arm, x, y, own=looks)
    places = np.unique(df[x].dropna().to_numpy(float))
    scale = _scale(x, places)
    steps = scale.step(places)
    wide = steps[-1] - steps[0]
    near = min(float(np.median(np.diff(steps))) / (4 * len(parts)), wide / 80) if wide else 0.0
    aside = {name: shift for (name, _, _), shift in zip(parts, apart(len(parts), near), strict=True)}
    moves = df[arm].astype(str).map(aside).astype(float)
    rows = df.assign(**{x: scale.back(scale.step(df[x].to_numpy(float)) + moves), y: df[y].clip(lower=floor)})
    told = {name: f"{name} (n = {_sizes(part.loc[part[y].notna(), x])})" for name, _, part in parts}
    with drawing(ax, 9.6, 5.0) as ax:
        beside = "\narms of one tick stand side by side" if near > wide / 400 and len(parts) > 1 else ""
        ax.set(xlabel=WORDS.get(x, x) + scale.words + beside)
        ax.set(ylabel=y, yscale="linear" if floor is None else "log")
        ax.set_xscale(scale.kind, **scale.options)
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(lambda value, _: scale.write(value))
        ticks = _ticks(ax, places.tolist(), steps.tolist(), scale.write, max(map(len, told.values())))
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        _dense(ax, dense)
        _series(ax, rows, x, y, arm, {name: look for name, look, _ in parts}, told)
        if rows[y].isna().any():  # the axis has room for what is not there yet
            ax.update_datalim([(place, 0.0) for place in places[[0, -1]]], updatey=False)
            ax.autoscale_view(scaley=False)
        if reference is not None:
            ax.axhline(reference[1], label=reference[0], **GUIDE)
        legend_beside(ax)  # where it covers nothing
    return ax


class Scale(NamedTuple):
    """An axis: matplotlib's name of it and its options, where a value stands (`step`) and which value stands there
    (`back`), what a tick says, and what the axis is called besides."""

    kind: str
    options: dict[str, Any]
    step: Callable[[Any], Any]
    back: Callable[[Any], Any]
    write: Callable[[float], str]
    words: str = ""


def _scale(x: str, places: Any) -> Scale:
    """How values of x stand along their axis."""
    import numpy as np

    if "sparsity" in x.lower() and places[0] >= 0 and 0.95 <= places[-1] < 1:

        def step(sparsity: Any) -> Any:
            return -np.log(np.maximum(1 - np.asarray(sparsity, float), 1e-12))

        def back(place: Any) -> Any:
            return 1 - np.exp(-np.asarray(place))

        options = {"functions": (step, back)}
        return Scale("function", options, step, back, lambda value: f"{value:.8g}", ", log of compression")
    if places[0] > 0 and places[-1] > 1:
        times = "x" if "compression" in x.lower() else ""
        return Scale("log", {}, np.log, np.exp, lambda v: f"{v:,.0f}{times}" if v >= 100 else f"{v:.3g}{times}")
    return Scale("linear", {}, np.asarray, np.asarray, lambda value: f"{value:.6g}")


def _ticks(
    ax: Axes, places: list[float], steps: list[float], write: Callable[[float], str], legend: int
) -> list[float]:
    """The values that have a tick: all that have room for what it says, beside a legend of so many letters."""
    figure: Any = ax.get_figure(root=True)
    pixels = 96 * ax.get_position().width * figure.get_figwidth() - 8 * legend - 40
    letter = 11 * (steps[-1] - steps[0]) / max(pixels, 200)  # what one takes of the axis
    ticks, end = list[float](), -math.inf
    for place, step in zip(places, steps, strict=True):
        half = letter * len(write(place)) / 2
        if step - half >= end:
            ticks.append(place)
            end = step + half + letter / 2
    return ticks


def by_samples(
    df: pd.DataFrame,
    *,
    x: str = "samples",
    y: str = "accuracy",
    arm: str = "criterion",
    panel: str = "data",
    levels: Sequence[str] = (),
) -> Figure:
    """`y` against the samples of each class, panels side by side: every row a dot, means, 95 % Student-t intervals.

    Numbers of samples stand at equal distances, arms a little apart. Rows without a number (NaN) stand at "none"; an
    arm that has only such rows has a thin line through the panel at its mean. `levels` are columns whose mean in a
    panel is a line, dashed and dotted in turn. The axis spans dots and lines; a wide interval may reach beyond it.

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
        aside |= zip(alike, apart(len(alike), 0.4 / max(len(alike), 2)), strict=True)
    parts = list(df.groupby(panel, sort=False))
    figure, made = panels(len(parts), len(parts), 1.4 + 3.3 * len(parts), 4.2, sharey=True)
    with style():
        for ax, (title, part) in zip(made, parts, strict=True):
            ax.set(
                title=str(title),
                xlabel=f"{x} a class\narms side by side",
                ylabel=y,
                xlim=(-0.5, len(steps) + shift - 0.5),
            )
            ax.set_xticks(range(len(steps) + shift), ["none"] * shift + [f"{step:g}" for step in steps])
            for i, column in enumerate(levels):
                ax.axhline(part[column].mean(), label=column, **GUIDE | {"linestyle": ("--", ":")[i % 2]})
            rows = part.assign(**{x: part[x].map(places).fillna(0) + part[arm].astype(str).map(aside).astype(float)})
            for name in blind:
                ax.axhline(rows.loc[rows[arm].astype(str) == name, y].mean(), color=own[name].colour, linewidth=1.0)
            _series(ax, rows, x, y, arm, own)
            ax.label_outer()
        spans = df[[y, *levels]]
        low, high = float(spans.min().min()), float(spans.max().max())
        room = 0.05 * (high - low or 1)
        made[0].set_ylim(low - room, high + room)
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
    low, high = math.ceil(math.log10(span[0])), math.floor(math.log10(span[1]))
    ticks = [10.0**e for e in range(low, high + 1, max(2, math.ceil((high - low) / 4)))]
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
    ax: Axes, df: pd.DataFrame, x: str, y: str, arm: str, own: Looks, told: Mapping[str, str] | None = None
) -> None:
    """Every value a small dot, the means of an arm a line with markers, upright lines their intervals.

    `told`: what the legend says for an arm.
    """
    import seaborn as sns

    every = df[[x, y, arm]].dropna(subset=[x, arm]).sort_values(x)
    df = every.dropna()
    names, first = df[arm].astype(str), len(ax.lines)
    palette = {name: look[0] for name, look in own.items() if name in set(names)}
    cut = student if ax.get_yscale() == "log" else _interval(df[y])  # of logarithms
    bars: dict[str, Any] = {"errorbar": cut, "err_style": "bars", "err_kws": {"fmt": "none", "elinewidth": 1.2}}
    look: dict[str, Any] = {"hue_order": palette, "palette": palette, "legend": False, "markersize": 8}
    if len(df):
        sns.lineplot(df, x=x, y=y, hue=names, **look, **bars, sort=False, ax=ax)
        ax.scatter(df[x], df[y], color=names.map(palette), s=14, alpha=0.55, linewidth=0, zorder=3)
    lines = dict(zip(palette, ax.lines[first:], strict=True))
    for name, (colour, marker) in own.items():
        line = lines.get(name) or ax.plot([], [], color=colour)[0]
        line.set(label=(told or {}).get(name, name), marker=marker, markersize=SIZES.get(marker, 8))
        line.set(markeredgecolor="white", markeredgewidth=0.7)
        if name in lines:
            _break(line, every.loc[every[arm].astype(str) == name].groupby(x)[y].count())


def _break(line: Any, counts: pd.Series) -> None:
    """End a line before the places (the index, in order) that have no number, and begin it behind them."""
    import numpy as np

    if not counts.all():
        values = np.full(len(counts), np.nan)
        values[counts.to_numpy() > 0] = line.get_ydata()
        line.set_data(counts.index.to_numpy(), values)


def _interval(values: Iterable[float]) -> Callable[[Sequence[float]], tuple[float, float]]:
    """Student's interval; of shares, where all values lie between 0 and 1, it ends there."""
    share = all(0 <= value <= 1 for value in values)
    return functools.partial(student, bounds=(0, 1)) if share else student


def _sizes(places: pd.Series) -> str:
    """How many values a place has: "5", or "1 to 2"."""
    sizes = places.value_counts().tolist() or [0]
    return " to ".join(map(str, dict.fromkeys((min(sizes), max(sizes)))))


def _dense(ax: Axes, values: Sequence[float] | None) -> None:
    """The dense network's values, one per seed: their mean a dashed line, their interval a band."""
    if values is not None:
        ax.axhline(sum(values) / len(values), label=f"dense (n = {len(values)})", **GUIDE)
        if len(values) > 1:
            ax.axhspan(*_interval(values)(values), color=GUIDE["color"], alpha=0.12, linewidth=0)
