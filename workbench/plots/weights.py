"""Pictures of single weights: their scores, the mask of a layer, a network small enough to draw."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workbench.plots.figures import bare, drawing, panels, style
from workbench.plots.looks import KEPT, OFF_PATH, REMOVED, palette
from workbench.types import Masks, Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def score_histogram(scores: Scores, masks: Masks | None = None, *, bins: int = 60, ax: Axes | None = None) -> Axes:
    """Histogram of log10 |score| over all weights, kept and removed apart where `masks` are given.

    Under a global cut of nonnegative scores the two meet at one line, which is drawn; with a budget per layer they
    overlap. Scores of 0 have no logarithm: the legend counts them.
    """
    if not scores:
        raise ValueError("a histogram takes the scores of one layer at least; got none")
    values = torch.cat([s.detach().flatten() for s in scores.values()]).double().abs().cpu()
    kept = torch.cat([masks[name].flatten() for name in scores]).cpu() if masks else torch.ones_like(values).bool()
    logs, live = values.log10(), values > 0
    edges = torch.linspace(*_ends(logs[live]), bins + 1, dtype=torch.float64)
    with drawing(ax) as ax:
        for part, colour, label in ((~kept, REMOVED, "removed"), (kept, KEPT, "kept")):
            if part.any():
                counts, zeros = torch.histogram(logs[part & live], edges).hist, int((part & ~live).sum())
                text = f"{label}: {int(part.sum()):,}" + (f" ({zeros:,} of score 0 not drawn)" if zeros else "")
                ax.stairs(counts.numpy(), edges.numpy(), fill=True, color=colour, alpha=0.6, label=text)
        above, below = logs[kept & live], logs[~kept & live]
        if len(above) and len(below) and above.min() >= below.max():
            cut = float(above.min())
            look: dict[str, Any] = {"color": "#000000", "linestyle": "--", "linewidth": 1.5, "ymax": 0.75}
            ax.axvline(cut, label=f"cut at {10.0**cut:.2g}", **look)
        ax.set(xlabel="log10 |score|", ylabel="weights", ylim=(0, 1.35 * ax.get_ylim()[1]))  # room for the legend
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        ax.legend(loc="upper left")
    return ax


def mask_picture(mask: Tensor, *, cells: int = 256, ax: Axes | None = None) -> Axes:
    """A mask as a picture `[out, in * kernel]` in cividis, bright = kept.

    A mask of more than `cells` rows or columns is shown by means over blocks: the title says of how many weights.
    """
    flat = mask.detach().reshape(mask.shape[0], -1).double().cpu()
    block = [math.ceil(side / cells) for side in flat.shape]
    shown = torch.nn.functional.avg_pool2d(flat[None, None], block, ceil_mode=True, count_include_pad=False)[0, 0]
    with drawing(ax, height=4.2) as ax:
        ax.imshow(shown.numpy(), cmap="cividis", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        cell = "one cell = one weight" if block == [1, 1] else f"one cell = the mean of {block[0]} x {block[1]} weights"
        ax.set_title(f"{int(flat.sum()):,} of {flat.numel():,} kept; {cell}")
        ax.set(xlabel="inputs" if mask.dim() == 2 else "inputs x kernel positions", ylabel="outputs")
        bare(ax)
    return ax


def mask_overlap(a: Masks, b: Masks, names: tuple[str, str] = ("a", "b")) -> Figure:
    """Two masks in one picture, a panel for each layer: kept by both, by one alone (its colour), or by neither (light).

    For layers of few weights: one cell is one weight, `[out, in * kernel]`; the title counts the whole network.

    >>> mask = {"w": torch.tensor([[True, False]])}
    >>> mask_overlap(mask, mask).get_suptitle()
    'kept by both 1, a alone 0, b alone 0, neither 1'
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    flat = {name: [side[name].detach().flatten(1).long().cpu() for side in (a, b)] for name in a}
    kinds = {name: 3 - first * 2 - second for name, (first, second) in flat.items()}  # 0 both, 1 a, 2 b, 3 neither
    colours = ["#222222", *palette(names).values(), "#e6e6e6"]
    widths = [max(kind.shape[1], 12) for kind in kinds.values()]
    figure, made = panels(len(kinds), len(kinds), 11, 3.2, width_ratios=widths)
    with style():
        for ax, (name, kind) in zip(made, kinds.items(), strict=True):
            look: dict[str, Any] = {"vmin": 0, "vmax": 3, "interpolation": "nearest", "aspect": "auto"}
            ax.imshow(kind.numpy(), cmap=ListedColormap(colours), **look)
            ax.set_title(name.removesuffix(".weight"))
            ax.set(xlabel="inputs" if a[name].dim() == 2 else "inputs x kernel")
            bare(ax)
        made[0].set_ylabel("outputs")
        words = ["both", *(f"{name} alone" for name in names), "neither"]
        counts = [sum(int((kind == i).sum()) for kind in kinds.values()) for i in range(4)]
        told = ", ".join(f"{word} {count:,}" for word, count in zip(words, counts, strict=True))
        figure.suptitle(f"kept by {told}", fontsize=15)
        figure.legend([Patch(color=colour) for colour in colours], words, loc="outside lower center", ncols=4)
    return figure


def network_drawing(masks: Masks, paths: Masks | None = None, *, ax: Axes | None = None) -> Axes:
    """A small network of linear layers: units as dots, inputs on the left, a line for every kept weight.

    With `paths` (`wb.effective`) kept weights on no input-output path are dashed. For networks of few units.
    """
    shapes = [tuple(mask.shape) for mask in masks.values()]
    sizes = [*(shapes[0][1:2] if shapes else []), *[shape[0] for shape in shapes]]
    if not shapes or shapes != [(size, before) for before, size in itertools.pairwise(sizes)]:
        rule = "a drawing takes masks of linear layers in a row, [out, in] with in = out before"
        raise ValueError(f"{rule}; got {shapes}")
    places = [[(at, (size - 1) / 2 - unit) for unit in range(size)] for at, size in enumerate(sizes)]
    with drawing(ax, 6.0, 3.4) as ax:
        for at, (name, mask) in enumerate(masks.items()):
            for out, into in mask.nonzero().tolist():
                alive = paths is None or bool(paths[name][out, into])
                look = {"color": KEPT, "linewidth": 3.0} if alive else {"color": OFF_PATH, "linestyle": "--"}
                ax.plot(*zip(places[at][into], places[at + 1][out], strict=True), zorder=1, **look)
        for at, column in enumerate(places):
            for unit, (x, y) in enumerate(column):
                ax.scatter(x, y, s=620, color="white", edgecolors="black", linewidths=1.5, zorder=2)
                ax.text(x, y, str(unit + 1), ha="center", va="center", zorder=3)
            head = "inputs" if at == 0 else "outputs" if at == len(masks) else "hidden"
            ax.text(at, max(sizes) / 2 + 0.15, head, ha="center", va="bottom")
        ax.set(xlim=(-0.35, len(masks) + 0.35), ylim=(-max(sizes) / 2, max(sizes) / 2 + 0.4))
        ax.axis("off")
    return ax


def _ends(values: Tensor) -> tuple[float, float]:
    """Ends of a histogram's axis, apart even where all values are one or there is none."""
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)
