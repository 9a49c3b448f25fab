"""Pictures of rows, scores and masks: functions that draw on Axes and return them; nothing trains here."""

from __future__ import annotations

import base64
import html
import io
import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workbench.claims import interval
from workbench.extras import lab
from workbench.types import Masks, Scores, check_choice

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours that stand out on white (yellow does not), each with a marker of its own.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# The criteria look the same in every picture, as they do in the playground; other arms take the looks above in order.
CRITERION_LOOKS = {
    "random": ("#5c6370", "o"),
    "magnitude": ("#0072B2", "s"),
    "snip": ("#D55E00", "^"),
    "grasp": ("#CC79A7", "D"),
    "synflow": ("#009E73", "v"),
}
STYLE = {
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.size": 14,
    "axes.titlesize": 15,
    "axes.titlelocation": "left",
    "axes.labelsize": 14,
    "xtick.labelsize": 13,
    "ytick.labelsize": 13,
    "legend.fontsize": 12.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "savefig.facecolor": "white",
}
KEPT, REMOVED = COLOURS[0], "#9a9a9a"


@contextmanager
def style() -> Iterator[None]:
    """The pictures' common look, for the drawing inside this block only.

    >>> import matplotlib
    >>> before = matplotlib.rcParams["font.size"]
    >>> with style():
    ...     matplotlib.rcParams["font.size"]
    14.0
    >>> matplotlib.rcParams["font.size"] == before
    True
    """
    import matplotlib

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def axes(width: float = 8.0, height: float = 4.6, columns: int = 1) -> Any:
    """New Axes (a list of them for `columns` > 1) on a figure of its own, outside pyplot's state; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        made = [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
    return made[0] if columns == 1 else made


def dense_line(ax: Axes, values: Sequence[float]) -> None:
    """The dense network's values, one per seed: their mean a dashed line, their interval a band."""
    mean, low, high = interval(list(values))
    ax.axhline(mean, color="#555555", linestyle="--", linewidth=1.5, label=f"dense (n = {len(values)})")
    if len(values) > 1:
        ax.axhspan(low, high, color="#555555", alpha=0.12, linewidth=0)


def counted(groups: Iterable[Sequence[float]]) -> str:
    """How many values the groups have, for a legend.

    >>> counted([[0.9, 0.8], [0.7]])
    '1 to 2'
    """
    sizes = sorted({len(values) for values in groups})
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def tradeoff(
    df: pd.DataFrame,
    *,
    x: str = "compression",
    y: str = "accuracy",
    arm: str = "criterion",
    dense: Sequence[float] | None = None,
    looks: Mapping[str, tuple[str, str]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """`y` against `x` (log axis): every seed a dot, means a line, the 95 % Student-t interval a band; n in the legend.

    `df` has one row per seed, arm and x. `dense` holds the dense network's values, one per seed: a dashed line with its
    band. One seed has no band. Bands of several x are pointwise; paired differences (`claims.compare`) see more.
    `looks` gives arms a colour and a marker.
    """
    from matplotlib.ticker import LogLocator

    for column in (x, y, arm):
        check_choice("column", column, df.columns)
    ax = axes() if ax is None else ax
    with style():
        if dense is not None:
            dense_line(ax, dense)
        for i, (name, rows) in enumerate(df.groupby(arm, sort=False)):
            plain = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            criterion = CRITERION_LOOKS.get(str(name).partition(" ")[0], plain)
            colour, marker = (looks or {}).get(str(name), criterion)
            groups = {float(at): group[y].tolist() for at, group in rows.groupby(x)}  # type: ignore[arg-type]
            bands = [interval(values) for values in groups.values()]
            means, lows, highs = zip(*bands, strict=True)
            n = counted(groups.values())
            ax.fill_between(list(groups), lows, highs, color=colour, alpha=0.15, linewidth=0)
            ax.plot(list(groups), means, color=colour, marker=marker, markersize=7, label=f"{name} (n = {n})")
            ax.scatter(rows[x], rows[y], color=colour, marker=marker, s=14, alpha=0.55, linewidths=0, zorder=3)
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}x" if value >= 1 else f"{value:g}x")
        if df[x].max() < 100 * df[x].min():
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.minorticks_off()
        ax.set_xlabel(f"{x} (prunable weights before / kept)" if x == "compression" else x)
        ax.set_ylabel(y)
        ax.legend(loc="lower left")
    return ax


def ending(name: str, letters: int = 30) -> str:
    """A long name of a layer cut: its end says more than its beginning.

    >>> ending("encoder.layers.11.attention.output.dense")
    '…ers.11.attention.output.dense'
    """
    return name if len(name) <= letters else f"…{name[1 - letters :]}"


def layer_densities(
    df: pd.DataFrame,
    *,
    arm: str | None = None,
    looks: Mapping[str, tuple[str, str]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Density of every layer on a log axis; a layer with no kept weight is named in words, if there is room.

    `df` has the columns layer, weights and kept (a layer table, `wb.layers`); with `arm` several tables side by side.
    `looks` gives arms a colour (and a marker, of which bars have none).
    """
    import numpy as np

    for column in ("layer", "kept", "weights", *([arm] if arm else [])):
        check_choice("column", column, df.columns)
    parts = list(df.groupby(arm, sort=False)) if arm else [("", df)]
    names = list(dict.fromkeys(df["layer"]))
    ax = axes(height=1.4 + 0.42 * len(names)) if ax is None else ax
    floor = 10.0 ** math.floor(math.log10(min((df["kept"] / df["weights"])[df["kept"] > 0], default=0.1)) - 0.5)
    thick = 0.8 / len(parts)
    points = 72 * ax.get_window_extent().height / ax.figure.dpi / (len(names) + 1)  # of a layer
    size = min(11, 0.7 * points / len(parts))
    every = math.ceil(7 / points)
    own = {name: colour for name, (colour, _) in (CRITERION_LOOKS | dict(looks or {})).items()}
    taken = {own.get(str(name)) for name, _ in parts}
    spare = itertools.cycle(colour for colour in COLOURS if colour not in taken)
    with style():
        for i, (name, rows) in enumerate(parts):
            rows = rows.set_index("layer").reindex(names)
            at = np.arange(len(names)) + (i - (len(parts) - 1) / 2) * thick
            density = (rows["kept"] / rows["weights"]).to_numpy()
            colour = own.get(str(name)) or next(spare)
            ax.barh(at, np.maximum(density, floor) - floor, 0.9 * thick, left=floor, color=colour, label=name or None)
            if size < 6:  # lines of text would cover each other
                dead = at[density == 0]
                ax.plot([1.3 * floor] * len(dead), dead, "x", color="#8f2d00", markersize=4)
                continue
            for y, kept, value in zip(at, rows["kept"], density, strict=True):
                text = "dead: no weight left" if kept == 0 else f"{value:.2g}  ({int(kept):,})"
                ax.text(
                    max(value, floor) * 1.08,
                    y,
                    text,
                    va="center",
                    fontsize=size,
                    color="#8f2d00" if kept == 0 else "#333333",
                )
        ax.set_xscale("log")
        ax.set_xlim(floor, 8.0)
        ax.set_xticks([t for t in 10.0 ** np.arange(0, math.log10(floor) - 1, -1) if t >= floor])
        ax.set_yticks(range(0, len(names), every), [ending(name.removesuffix(".weight")) for name in names[::every]])
        ax.tick_params(axis="y", labelsize=min(ax.yaxis.get_ticklabels()[0].get_fontsize(), 0.9 * points * every))
        ax.minorticks_off()
        ax.invert_yaxis()
        ax.set_ylabel("layer")
        ax.grid(visible=False, axis="y")
        ax.set_xlabel("density (kept weights)")
        if arm:
            ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(parts))
    return ax


def score_histogram(scores: Scores, masks: Masks | None = None, *, bins: int = 60, ax: Axes | None = None) -> Axes:
    """Histogram of log10 |score| over all weights, kept and removed apart where `masks` are given.

    Under a global cut of nonnegative scores the two meet at one line, which is drawn; with a budget per layer they
    overlap. Scores of 0 have no logarithm: the legend counts them.
    """
    values = torch.cat([s.detach().flatten() for s in scores.values()]).double().abs().cpu()
    kept = (
        torch.cat([masks[name].flatten() for name in scores]).cpu()
        if masks
        else torch.ones(len(values), dtype=torch.bool)
    )
    logs = values.log10()
    live = values > 0
    edges = torch.linspace(*_ends(logs[live]), bins + 1, dtype=torch.float64)
    ax = axes() if ax is None else ax
    with style():
        for part, colour, label in ((~kept, REMOVED, "removed"), (kept, KEPT, "kept")):
            if not part.any():
                continue
            counts = torch.histogram(logs[part & live], edges).hist
            zeros = int((part & ~live).sum())
            text = f"{label}: {int(part.sum()):,}" + (f" ({zeros:,} of score 0 not drawn)" if zeros else "")
            ax.stairs(counts.numpy(), edges.numpy(), fill=True, color=colour, alpha=0.6, label=text)
        above, below = logs[kept & live], logs[~kept & live]
        if len(above) and len(below) and above.min() >= below.max():
            ax.axvline(
                float(above.min()), color="#000000", linestyle="--", linewidth=1.5, label=f"cut at 1e{above.min():.2f}"
            )
        ax.set_xlabel("log10 |score|")
        ax.set_ylabel("weights")
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        ax.set_ylim(top=1.35 * ax.get_ylim()[1])  # room for the legend
        ax.legend(loc="upper left")
    return ax


def mask_picture(mask: Tensor, *, cells: int = 256, ax: Axes | None = None) -> Axes:
    """A mask as a picture `[out, in * kernel]` in cividis, bright = kept.

    A mask of more than `cells` rows or columns is shown by means over blocks: the title says of how many weights.
    """
    flat = mask.detach().reshape(mask.shape[0], -1).double().cpu()
    block = [math.ceil(side / cells) for side in flat.shape]
    shown = torch.nn.functional.avg_pool2d(flat[None, None], block, ceil_mode=True, count_include_pad=False)[0, 0]
    ax = axes(height=4.2) if ax is None else ax
    with style():
        ax.imshow(shown.numpy(), cmap="cividis", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        cell = "one cell = one weight" if block == [1, 1] else f"one cell = the mean of {block[0]} x {block[1]} weights"
        ax.set_title(f"{int(flat.sum()):,} of {flat.numel():,} kept; {cell}")
        ax.set_xlabel("inputs" if mask.dim() == 2 else "inputs x kernel positions")
        ax.set_ylabel("outputs")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(visible=False)
    return ax


def network_drawing(masks: Masks, paths: Masks | None = None, *, ax: Axes | None = None) -> Axes:
    """A small network of linear layers: units as dots, inputs on the left, a line for every kept weight.

    With `paths` (`wb.effective`) kept weights on no input-output path are dashed. For networks of few units.
    """
    layers = list(masks.values())
    sizes = [layers[0].shape[1], *[mask.shape[0] for mask in layers]]
    shapes = [tuple(mask.shape) for mask in layers]
    if shapes != [(size, before) for before, size in itertools.pairwise(sizes)]:
        raise ValueError(
            f"a drawing takes masks of linear layers in a row, [out, in] with in = out before; got {shapes}"
        )
    ax = axes(6.0, 3.4) if ax is None else ax
    places = [[(at, (size - 1) / 2 - unit) for unit in range(size)] for at, size in enumerate(sizes)]
    with style():
        for at, (name, mask) in enumerate(masks.items()):
            for out, into in mask.nonzero().tolist():
                alive = paths is None or bool(paths[name][out, into])
                look = {"color": KEPT, "linewidth": 3.0} if alive else {"color": COLOURS[1], "linestyle": "--"}
                ax.plot(*zip(places[at][into], places[at + 1][out], strict=True), zorder=1, **look)
        for at, column in enumerate(places):
            for unit, (x, y) in enumerate(column):
                ax.scatter(x, y, s=620, color="white", edgecolors="black", linewidths=1.5, zorder=2)
                ax.text(x, y, str(unit + 1), ha="center", va="center", zorder=3)
            head = "inputs" if at == 0 else "outputs" if at == len(layers) else "hidden"
            ax.text(at, max(sizes) / 2 + 0.15, head, ha="center", va="bottom")
        ax.set_xlim(-0.35, len(layers) + 0.35)
        ax.set_ylim(-max(sizes) / 2, max(sizes) / 2 + 0.4)
        ax.axis("off")
    return ax


def show(picture: Figure | Axes, *, alt: str, caption: str, fold: str = "") -> None:
    """Display a figure with alternative text and caption, as HTML, PNG and text (`alt`), and close it.

    `alt` says in words what the picture shows, with its numbers: it is all that some readers get. With `fold` the
    figure is folded away under these words, such as "Expected picture".
    """
    lab("IPython.display").display(bundle(picture, alt=alt, caption=caption, fold=fold), raw=True)


def bundle(picture: Figure | Axes, *, alt: str, caption: str, fold: str = "") -> dict[str, str]:
    """A figure in the formats that `show` displays, by MIME type; closes the figure."""
    for name, text in (("alt", alt), ("caption", caption)):
        if not text.strip():
            raise ValueError(f"{name} is a text for readers of the figure; got an empty one")
    figure: Any = picture.get_figure(root=True) if hasattr(picture, "get_figure") else picture
    file = io.BytesIO()
    with style():
        figure.savefig(file, format="png", dpi=144)
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(figure)
    image = base64.b64encode(file.getvalue()).decode()
    width = round(figure.get_figwidth() * 96)
    text = (
        f'<figure style="margin:0"><img alt="{html.escape(alt)}" width="{width}" style="max-width:100%" '
        f'src="data:image/png;base64,{image}"><figcaption>{html.escape(caption)}</figcaption></figure>'
    )
    if fold:
        text = f"<details><summary>{html.escape(fold)}</summary>{text}</details>"
    return {"text/html": text, "image/png": image, "text/plain": alt}


def _ends(values: Tensor) -> tuple[float, float]:
    """Ends of a histogram's axis, apart even where all values are one or there is none."""
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)
