"""Pictures of how criteria agree and predict: heat maps, score maps, predicted and measured; nothing trains here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from workbench.plots import COLOURS, CRITERION_LOOKS, MARKERS, axes, style
from workbench.types import check_choice

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def matrix(
    table: pd.DataFrame, *, low: float = 0.0, high: float = 1.0, label: str = "", ax: Axes | None = None
) -> Axes:
    """A table of numbers as a heat map in cividis, every number written into its cell; NaN is "none" on grey.

    >>> import pandas as pd
    >>> matrix(pd.DataFrame([[1.0, 0.5], [0.5, 1.0]], index=["a", "b"], columns=["a", "b"])).texts[1].get_text()
    '.50'
    """
    rows, columns = table.shape
    ax = axes(2.4 + 0.5 * columns, 1.6 + 0.42 * rows) if ax is None else ax
    with style():
        image = ax.imshow(table.to_numpy(float), cmap="cividis", vmin=low, vmax=high, aspect="auto")
        ax.set_facecolor("#cccccc")
        for i, values in enumerate(table.to_numpy(float)):
            for j, value in enumerate(values):
                bright = math.isnan(value) or value > low + 0.55 * (high - low)
                text = "none" if math.isnan(value) else f"{round(value, 2) + 0.0:.2f}".replace("0.", ".", 1)
                ax.text(j, i, text, ha="center", va="center", fontsize=10.5, color="#000000" if bright else "#ffffff")
        ax.set_xticks(range(columns), list(table.columns), rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(rows), list(table.index))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.grid(visible=False)
        ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)
    return ax


def maps(
    pictures: Mapping[str, Tensor],
    *,
    columns: int = 5,
    side: float = 1.55,
    shape: float = 1.0,
    low: float = 0.0,
    high: float = 1.0,
    label: str = "",
) -> Figure:
    """Pictures `[rows, columns]` side by side under one colour scale from `low` to `high`, cividis, bright = high.

    `side` is the width of one in inches, `shape` its height / width.

    >>> import torch
    >>> len(maps({"one": torch.rand(3, 3), "two": torch.rand(3, 3)}).axes)  # and the scale
    3
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(len(pictures) / columns)
    with style():
        figure = Figure(figsize=(columns * side + 0.9, rows * (side * shape + 0.34)))
        FigureCanvasAgg(figure)
        made = [figure.add_subplot(rows, columns, i + 1) for i in range(len(pictures))]
        for ax, (name, picture) in zip(made, pictures.items(), strict=True):
            image = ax.imshow(picture.detach().cpu().numpy(), cmap="cividis", vmin=low, vmax=high, aspect="auto")
            ax.set_title(name, fontsize=12.5)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.grid(visible=False)
        figure.colorbar(image, ax=made, label=label, shrink=0.9)
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for column in (predicted, measured, arm):
        check_choice("column", column, df.columns)
    groups = list(df.groupby(arm, sort=False))
    drawn = df[(df[predicted] > 0) & (df[measured] > 0)]
    ends = [f(f(drawn[predicted]), f(drawn[measured])) for f in (min, max)] if len(drawn) else [0.1, 1.0]
    span = ends[0] / 2, ends[1] * 2
    rows = math.ceil(len(groups) / columns)
    with style():
        figure = Figure(figsize=(8.4, 2.75 * rows + 0.35))
        FigureCanvasAgg(figure)
        for i, (name, group) in enumerate(groups):
            ax = figure.add_subplot(rows, columns, i + 1)
            fit = group[(group[predicted] > 0) & (group[measured] > 0)]
            ax.plot(span, span, color="#555555", linestyle="--", linewidth=1.2)
            ax.scatter(fit[predicted], fit[measured], s=20, color=COLOURS[0], alpha=0.6, linewidths=0)
            missing = len(group) - len(fit)
            ax.set_title(f"{name} ({missing} not drawn)" if missing else str(name), fontsize=13)
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xlim(span)
            ax.set_ylim(span)
            ticks = [10.0**e for e in range(math.ceil(math.log10(span[0])), math.floor(math.log10(span[1])) + 1, 2)]
            ax.set_xticks(ticks)
            ax.set_yticks(ticks)
            ax.tick_params(labelsize=11)
            ax.minorticks_off()
            if i % columns:
                ax.set_yticklabels([])
            if i + columns < len(groups):
                ax.set_xticklabels([])
        figure.supxlabel(predicted, fontsize=14)
        figure.supylabel(measured, fontsize=14)
    return figure


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

    The arms stand a little apart from each other along x. `reference` is a dashed line: its name and its height.
    Values below `floor`, negative ones too, are drawn at it: a log axis has no place for them.

    >>> import pandas as pd
    >>> ax = rises(pd.DataFrame({"criterion": ["snip"] * 2, "sparsity": [0.1, 0.2], "rise": [1e-9, 0.1]}))
    >>> [float(value) for value in ax.lines[0].get_ydata()]
    [1e-05, 0.1]
    """
    import numpy as np

    for column in (x, y, arm):
        check_choice("column", column, df.columns)
    ax = axes(8.4, 5.0) if ax is None else ax
    names = list(df[arm].unique())
    taken = {CRITERION_LOOKS[str(name)][0] for name in names if name in CRITERION_LOOKS}
    free = [look for look in zip(COLOURS, MARKERS, strict=True) if look[0] not in taken]
    gaps = np.diff(np.unique(df[x].to_numpy(float)))
    apart = 0.5 * float(gaps.min()) / len(names) if len(gaps) else 0.0
    with style():
        for i, (name, rows) in enumerate(df.groupby(arm, sort=False)):
            colour, marker = CRITERION_LOOKS.get(str(name)) or free.pop(0)
            places = rows[x].to_numpy(float) + (i - (len(names) - 1) / 2) * apart
            values = np.maximum(rows[y].to_numpy(float), floor)
            levels = np.unique(places)
            means = [float(10 ** np.log10(values[places == level]).mean()) for level in levels]
            ax.plot(levels, means, color=colour, marker=marker, markersize=7, label=str(name))
            ax.scatter(places, values, color=colour, marker=marker, s=14, alpha=0.45, linewidths=0, zorder=3)
        if reference is not None:
            ax.axhline(reference[1], color="#555555", linestyle="--", linewidth=1.5, label=reference[0])
        ax.set_yscale("log")
        if df[x].nunique() <= 10:
            ax.set_xticks(sorted(df[x].unique()))
        ax.set_xlabel(f"{x} (removed / prunable weights)" if x == "sparsity" else x)
        ax.set_ylabel(y)
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax
