"""A picture of the page of costs: a bar for each form of a pruned network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.plots.figures import drawing
from workbench.plots.looks import KEPT, REMOVED
from workbench.types import check_choice

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MEASURES = {
    "seconds": (1e3, "milliseconds of a forward pass"),
    "bytes": (1e-3, "kilobytes on disk"),
    "activation_bytes": (1e-3, "kilobytes that a forward pass holds"),
    "macs": (1e-6, "million multiply-adds of one sample"),
    "parameters": (1e-3, "thousand parameters kept"),
}


def costs(table: pd.DataFrame, *, measure: str = "seconds", batch: int | None = None, ax: Axes | None = None) -> Axes:
    """One measure of a table of `wb.costs`: a bar for each form that has it, and what it is as a multiple of dense.

    Seconds have their intervals. `batch`: whose rows; by default the first of the table.

    >>> import pandas as pd
    >>> rows = [{"form": "dense", "batch": 1, "bytes": 4000}, {"form": "removed", "batch": 1, "bytes": 1000}]
    >>> ax = costs(pd.DataFrame(rows), measure="bytes")
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['dense', 'removed, x 0.25']
    """
    scale, label = MEASURES[check_choice("measure", measure, MEASURES.keys() & {*table.columns})]
    batches = table["batch"].unique().tolist()
    batch = batches[0] if batch is None and batches else batch
    if batch not in batches or "dense" not in set(table["form"]):
        told = f"a picture of costs is of one batch size, beside dense; this table has {', '.join(map(str, batches))}"
        raise ValueError(f"{told}, got batch={batch!r}. Pass batch= and a whole table of wb.costs")
    rows = table[(table["batch"] == batch) & table[measure].notna()]
    values, forms = rows[measure].to_numpy() * scale, rows["form"].tolist()
    dense = values[forms.index("dense")]
    label += f", batch of {batch}" if measure in ("seconds", "activation_bytes") else ""
    with drawing(ax, height=1.6 + 0.42 * len(rows)) as ax:
        colours = [REMOVED if form == "dense" else KEPT for form in forms]
        ax.barh(range(len(rows)), values, 0.7, color=colours, label=measure)
        if measure == "seconds":
            label += "; lines: 95 % intervals"
            ax.hlines(range(len(rows)), rows["low"] * scale, rows["high"] * scale, color="#000000")
        names = [f if f == "dense" else f"{f}, x {v / dense:.2g}" for f, v in zip(forms, values, strict=True)]
        ax.set_yticks(range(len(rows)), names)
        ax.set(title="What each form costs", xlabel=label)
        ax.invert_yaxis()
        ax.grid(visible=True, axis="x")
        ax.grid(visible=False, axis="y")
    return ax
