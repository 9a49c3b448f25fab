"""Pictures with a line of dots for each arm, one dot a seed, below each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from workbench.claims import interval
from workbench.plots.figures import GUIDE, arms_of, drawing
from workbench.plots.looks import Look, looks, name_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


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

    The arms stand in the order of `df`, the first on top. Arms of one criterion share its look: each has its own line.

    >>> import pandas as pd
    >>> ax = ladder(pd.DataFrame({"arm": ["snip"] * 3, "critical": [10.0, 100.0, 20.0]}), x="critical", arm="arm")
    >>> [float(value) for value in ax.lines[0].get_xdata()]
    [20.0, 20.0]
    """
    parts, before = arms_of(df, arm, x), ""
    with drawing(ax, 8.4, 1.5 + 0.33 * len(parts)) as ax:
        for place, name, values, _ in _lines_of_dots(ax, parts, x, apart=0.22, s=46, alpha=0.8):
            median = float(values.median())
            ax.plot([median, median], [place - 0.36, place + 0.36], color="#222222", linewidth=2.2, zorder=2)
            if place and name.split(",")[0] != before.split(",")[0]:
                ax.axhline(place - 0.5, color="#dddddd", linewidth=0.8)
            before = name
        if reference is not None:
            ax.axvline(reference[1], **GUIDE)
            at: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            ax.annotate(reference[0], (reference[1], 1.0), xytext=(-3, 3), ha="right", fontsize=12, **at)
        if log:
            ax.set_xscale("log")
            ax.minorticks_off()
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}{unit}")
        ax.grid(visible=True, axis="x")
    return ax


def differences(
    df: pd.DataFrame, *, x: str = "difference", arm: str = "arm", margin: float | None = None, ax: Axes | None = None
) -> Axes:
    """Paired differences: every seed a dot, the mean a bar, its 95 % Student-t interval a line, and a line at 0.

    `margin` is drawn as a dotted line: the loss that a claim allows, such as -0.01. One row of `df` per arm and seed.

    >>> import pandas as pd
    >>> ax = differences(pd.DataFrame({"arm": ["snip"] * 2, "difference": [0.0, 0.02]}))
    >>> round(float(ax.lines[1].get_xdata()[0]), 3)
    -0.117
    """
    from matplotlib.ticker import MaxNLocator

    parts = arms_of(df, arm, x)
    with drawing(ax, 8.4, 1.5 + 0.36 * len(parts)) as ax:
        ax.axvline(0, color="#222222", linewidth=1.2, zorder=1)
        for place, _, values, look in _lines_of_dots(ax, parts, x, apart=0.3, s=34, alpha=0.85):
            mean, low, high = interval(values.tolist())
            if low == low:  # one seed has no interval
                ax.plot([low, high], [place] * 2, color=look.colour, linewidth=6, alpha=0.3, solid_capstyle="butt")
            ax.plot([mean, mean], [place - 0.3, place + 0.3], color=look.colour, linewidth=2.5)
        if margin is not None:
            ax.axvline(margin, **GUIDE | {"linestyle": ":"})
        ax.xaxis.set_major_locator(MaxNLocator(5))  # the numbers have many digits
    return ax


def _lines_of_dots(
    ax: Axes, parts: list[tuple[str, Look, pd.DataFrame]], x: str, apart: float, **dots: Any
) -> Iterator[tuple[int, str, pd.Series, Look]]:
    """Give each arm a line of dots, the first on top, and yield its place, its name, its values and its look."""
    names = [name for name, _, _ in parts]
    shared = looks(map(name_of, names))
    for place, (name, _, rows) in enumerate(parts):
        values, look = rows[x].astype(float), shared[name_of(name)]
        last = len(values) - 1
        upright = [place + apart * (k - last / 2) / max(last, 1) for k in range(len(values))]
        ax.scatter(values, upright, color=look.colour, marker=look.marker, linewidths=0, zorder=3, **dots)
        yield place, name, values, look
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel(x)
