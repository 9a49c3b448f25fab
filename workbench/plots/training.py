"""Pictures of a training: what is alive when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.plots.figures import arms_of, drawing, legend_beside
from workbench.plots.looks import Looks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

WORDS = {
    "at": "step of the whole training",
    "spent": "multiply-adds of training so far",
    "density": "density (kept / prunable weights)",
}
NAMED = 8
"""Arms that a legend names; of more it says how many."""


def timeline(
    df: pd.DataFrame,
    *,
    x: str = "at",
    y: str = "density",
    arm: str = "timing",
    looks: Looks | None = None,
    ax: Axes | None = None,
) -> Axes:
    """`y` along a training, a line for each arm that jumps where masks change; density has a log axis.

    `df` has the rows of `Recording.steps` of several runs, with a column that names the run. `x="spent"`, the sum of
    the column macs, compares them by what they cost. The legend names the first eight arms.

    >>> import pandas as pd
    >>> rows = pd.DataFrame({"at": [1, 2, 3], "density": [1.0, 0.5, 0.1], "timing": "gradual"})
    >>> timeline(rows).get_yscale()
    'log'
    """
    parts = arms_of(df, arm, x, y, own=looks)
    with drawing(ax) as ax:
        for place, (name, look, rows) in enumerate(parts):
            every = max(1, len(rows) // 8)
            style: dict[str, Any] = dict(color=look.colour, marker=look.marker, markevery=every, drawstyle="steps-post")
            ax.plot(rows[x], rows[y], label=name if place < NAMED else f"_{name}", **style)
        if len(parts) > NAMED:
            ax.plot([], [], " ", label=f"and {len(parts) - NAMED} more")
        ax.set(xlabel=WORDS.get(x, x), ylabel=WORDS.get(y, y))
        if y == "density":
            ax.set_yscale("log")
        legend_beside(ax)
    return ax
