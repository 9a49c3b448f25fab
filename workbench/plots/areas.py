"""Pictures made of areas: tables as heat maps, weights by place, the regions that a network decides for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from workbench.plots.figures import bare, drawing, panels, style
from workbench.plots.looks import looks

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
    import numpy as np
    import seaborn as sns

    (rows, columns), values = table.shape, table.to_numpy(float)
    texts = [[f"{round(value, 2) + 0.0:.2f}".replace("0.", ".", 1) for value in row] for row in values]
    look: dict[str, Any] = {"vmin": low, "vmax": high, "cmap": "cividis", "annot_kws": {"fontsize": 10.5}, "fmt": ""}
    with drawing(ax, 2.4 + 0.5 * columns, 1.6 + 0.42 * rows) as ax:
        sns.heatmap(table, annot=np.array(texts), cbar_kws={"label": label, "shrink": 0.8}, **look, ax=ax)
        ax.set_facecolor("#cccccc")
        for row, column in np.argwhere(np.isnan(values)):
            ax.text(column + 0.5, row + 0.5, "none", ha="center", va="center", fontsize=10.5)
        ax.set_xticklabels(table.columns, rotation=45, ha="right", rotation_mode="anchor")
        ax.tick_params(axis="y", rotation=0)
        ax.tick_params(length=0)
        ax.grid(visible=False)
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

    `side`: the width of one in inches; `shape`: its height / width; `across`, `down`: what runs to the right and down.

    >>> import torch
    >>> len(maps({"one": torch.rand(3, 3), "two": torch.rand(3, 3)}, columns=2).axes)  # and the scale
    3
    """
    rows = math.ceil(len(pictures) / columns)
    figure, made = panels(len(pictures), columns, columns * side + 0.9, rows * (side * shape + 0.34))
    with style():
        for ax, (name, picture) in zip(made, pictures.items(), strict=True):
            image = ax.imshow(picture.detach().cpu().numpy(), cmap="cividis", vmin=low, vmax=high, aspect="auto")
            ax.set_title(name, fontsize=12.5)
            bare(ax)
        figure.colorbar(image, ax=made, label=label, shrink=0.9)
        figure.supxlabel(across, fontsize=14)
        figure.supylabel(down, fontsize=14)
    return figure


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

    left, right, bottom, top = extent
    points, labels = inputs.cpu().numpy(), targets.cpu().numpy()
    large = np.isin(np.arange(len(points)), [] if seen is None else seen.cpu().numpy())
    figure, made = panels(len(outputs), len(outputs), side * len(outputs), side + 0.35)
    with style():
        for ax, (name, logits) in zip(made, outputs.items(), strict=True):
            grid = logits.detach().cpu().double().numpy()
            xs, ys = np.linspace(left, right, grid.shape[1]), np.linspace(bottom, top, grid.shape[0])
            for label, (colour, marker) in enumerate(looks(range(grid.shape[2])).values()):
                ahead = grid[:, :, label] - np.delete(grid, label, 2).max(2)  # of the best other class
                if (ahead > 0).any():
                    ax.contourf(xs, ys, ahead, levels=[0, ahead.max()], colors=[colour], alpha=0.28)
                look: dict[str, Any] = {"color": colour, "marker": marker, "edgecolors": "#000000"}
                for chosen, size, edge in ((~large, 9, 0.0), (large, 75, 1.4)):
                    at = points[(labels == label) & chosen]
                    ax.scatter(at[:, 0], at[:, 1], s=size, linewidths=edge, zorder=2 + int(edge > 0), **look)
            ax.set_title(name, fontsize=13)
            ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
            bare(ax)
    return figure
