"""Pictures of how criteria agree, what they predict and what is left after them; nothing trains here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from workbench.claims import interval
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
                bright = math.isnan(value) or value > low + 0.47 * (high - low)
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
    across: str = "",
    down: str = "",
) -> Figure:
    """Pictures `[rows, columns]` side by side under one colour scale from `low` to `high`, cividis, bright = high.

    `side` is the width of one in inches, `shape` its height / width; `across` and `down` name what runs in each of
    them from left to right and from top to bottom.

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
            ax.spines[:].set_visible(False)
            ax.grid(visible=False)
        figure.colorbar(image, ax=made, label=label, shrink=0.9)
        figure.supxlabel(across, fontsize=14)
        figure.supylabel(down, fontsize=14)
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
    looks = _looks(names)
    gaps = np.diff(np.unique(df[x].to_numpy(float)))
    apart = 0.5 * float(gaps.min()) / len(names) if len(gaps) else 0.0
    with style():
        for i, (name, rows) in enumerate(df.groupby(arm, sort=False)):
            colour, marker = looks[name]
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

    The numbers of samples stand at equal distances, the arms a little apart. Rows without one (NaN) are of arms that
    need no samples: they stand at "none", and a thin line carries their mean through the panel. `levels` are columns
    whose mean in a panel is a horizontal line, dashed and dotted in turn. The axis spans dots and lines; a wide band
    may reach beyond it.

    >>> import pandas as pd
    >>> rows = {"criterion": ["lrp", "l1"], "samples": [5, None], "accuracy": [0.9, 0.5], "data": ["moons", "moons"]}
    >>> [text.get_text() for text in by_samples(pd.DataFrame(rows)).axes[0].get_xticklabels()]
    ['none', '5']
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for column in (x, y, arm, panel, *levels):
        check_choice("column", column, df.columns)
    steps = sorted(df[x].dropna().unique())
    shift = int(df[x].isna().any())
    place = {step: i + shift for i, step in enumerate(steps)}
    names = list(df[arm].unique())
    blind = [name for name in names if df.loc[df[arm] == name, x].isna().all()]
    seeing = [name for name in names if name not in blind]
    looks = _looks(names)
    panels = list(df.groupby(panel, sort=False))
    with style():
        figure = Figure(figsize=(1.4 + 3.3 * len(panels), 4.6))
        FigureCanvasAgg(figure)
        made: Any = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (title, part) in zip(made, panels, strict=True):
            for column, line in zip(levels, ("--", ":") * len(names), strict=False):
                ax.axhline(part[column].mean(), color="#555555", linestyle=line, linewidth=1.5, label=column)
            for name in names:
                rows = part[part[arm] == name]
                alike = blind if name in blind else seeing  # arms that share places stand a little apart
                if len(rows):
                    aside = 0.2 * (alike.index(name) - (len(alike) - 1) / 2)
                    _arm(ax, rows.assign(at=rows[x].map(place)), y, str(name), looks[name], aside)
            ax.set_title(str(title))
            ax.set_xlim(-0.5, len(steps) + shift - 0.5)
            ax.set_xticks(range(len(steps) + shift), ["none"] * shift + [f"{step:g}" for step in steps])
        spans = df[[y, *levels]].to_numpy(float)
        low, high = float(spans.min()), float(spans.max())
        made[0].set_ylim(low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1))
        made[0].set_ylabel(y)
        figure.supxlabel(f"{x} of each class that the criterion sees", fontsize=14)
        handles = {label: h for ax in made for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        wide = sum(0.1 * len(label) + 0.75 for label in handles)  # inches, by and large
        ncols = math.ceil(len(handles) / math.ceil(wide / figure.get_figwidth()))
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=ncols)
    return figure


def _arm(ax: Axes, rows: pd.DataFrame, y: str, name: str, look: tuple[str, str], aside: float) -> None:
    """One arm of a panel; the column `at` is the place on x, NaN where the arm needs no samples."""
    colour, marker = look
    with_samples = rows["at"].notna().any()
    groups = {float(at) + aside: group[y].tolist() for at, group in rows.fillna({"at": 0.0}).groupby("at")}  # type: ignore[arg-type]
    bands = [interval(values) for values in groups.values()]
    means, lows, highs = zip(*bands, strict=True)
    if with_samples:
        ax.fill_between(list(groups), lows, highs, color=colour, alpha=0.13, linewidth=0)
    else:
        ax.axhline(means[0], color=colour, linewidth=1.0)
        ax.fill_between([aside - 0.05, aside + 0.05], lows[0], highs[0], color=colour, alpha=0.25, linewidth=0)
    ax.plot(list(groups), means, color=colour, marker=marker, markersize=7, label=name)
    for at, values in groups.items():
        ax.scatter([at] * len(values), values, color=colour, marker=marker, s=14, alpha=0.55, linewidths=0, zorder=3)


def _looks(names: Iterable[Any]) -> dict[Any, tuple[str, str]]:
    """Colour and marker of each arm: a criterion's own where it has one, else the first that is free."""
    own = {name: CRITERION_LOOKS[str(name)] for name in names if str(name) in CRITERION_LOOKS}
    taken = {colour for colour, _ in own.values()}
    free = [look for look in zip(COLOURS, MARKERS, strict=True) if look[0] not in taken]
    return {name: own.get(name) or free.pop(0) for name in names}


def regions(
    outputs: Mapping[str, Tensor],
    extent: tuple[float, float, float, float],
    inputs: Tensor,
    targets: Tensor,
    *,
    seen: Tensor | None = None,
    side: float = 2.7,
) -> Figure:
    """Where networks of two inputs decide for which class: a map for each, in the order of their names.

    `outputs` holds each network's logits on a grid, `[rows, columns, classes]`, that spans `extent`: left, right,
    bottom, top, the first row at the bottom. The points `inputs [n, 2]` have the shape and colour of their class in
    `targets [n]`; those with an index in `seen` are drawn large.

    >>> import torch
    >>> grid = torch.stack([torch.eye(4), 1 - torch.eye(4)], 2)
    >>> regions({"dense": grid}, (0, 1, 0, 1), torch.rand(3, 2), torch.tensor([0, 1, 1])).axes[0].get_title(loc="left")
    'dense'
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    left, right, bottom, top = extent
    points, labels = inputs.cpu().numpy(), targets.cpu().numpy()
    large = np.isin(np.arange(len(points)), [] if seen is None else seen.cpu().numpy())
    with style():
        figure = Figure(figsize=(side * len(outputs), side + 0.35))
        FigureCanvasAgg(figure)
        for i, (name, logits) in enumerate(outputs.items()):
            ax = figure.add_subplot(1, len(outputs), i + 1)
            grid = logits.detach().cpu().double().numpy()
            xs, ys = np.linspace(left, right, grid.shape[1]), np.linspace(bottom, top, grid.shape[0])
            for label in range(grid.shape[2]):
                ahead = grid[:, :, label] - np.delete(grid, label, 2).max(2)  # of the best other class
                if (ahead > 0).any():
                    ax.contourf(xs, ys, ahead, levels=[0, ahead.max()], colors=[COLOURS[label]], alpha=0.28)
                for chosen, size, edge in ((~large, 9, 0.0), (large, 75, 1.4)):
                    at = points[(labels == label) & chosen]
                    look: dict[str, Any] = {"color": COLOURS[label], "marker": MARKERS[label], "edgecolors": "#000000"}
                    ax.scatter(at[:, 0], at[:, 1], s=size, linewidths=edge, zorder=2 + int(edge > 0), **look)
            ax.set_title(name, fontsize=13)
            ax.set_xlim(left, right)
            ax.set_ylim(bottom, top)
            ax.set_aspect("equal", adjustable="box")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.grid(visible=False)
            ax.spines[:].set_visible(False)
    return figure
