"""A picture of a coupled group: where its units are in each parameter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from workbench.plots.figures import drawing, legend_beside
from workbench.plots.layers import ending
from workbench.plots.looks import KEPT, OFF_PATH

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from workbench.removal import Group


def group_members(group: Group, unit: int | None = None, *, ax: Axes | None = None) -> Axes:
    """Where one of `wb.groups` is written and read, a row for each weight: the indices of all units, and of one `unit`.

    What stands along the units, biases and norms, is left out: it follows what writes them.

    >>> import torch
    >>> import workbench as wb
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 3))
    >>> ax = group_members(wb.groups(model, torch.zeros(1, 1, 4, 4))[0], unit=1)
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['writes 0.weight, dim 0', 'reads 2.weight, dim 1']
    """
    if unit is not None and not 0 <= unit < group.units:
        raise ValueError(f"a unit of {group.name!r} is a number from 0 to {group.units - 1}; got {unit}")
    members = [member for member in group.members if member.role != "along"]
    parts = [("all units", KEPT, range(group.units))]
    parts += [] if unit is None else [(f"unit {unit}", OFF_PATH, range(unit, unit + 1))]
    each = max(0.15, min(0.3, 3 / len(members)))  # inches of a row: many rows come closer
    with drawing(ax, height=1.5 + each * len(members)) as ax:
        for label, colour, units in parts:
            bars = [(y, *run) for y, m in enumerate(members) for run in _runs(i for u in units for i in m.at[u])]
            rows, starts, lengths = zip(*bars, strict=True)
            ax.barh(rows, lengths, 0.7, left=starts, color=colour, label=label, linewidth=0)
        names = [f"{m.role} {ending(m.parameter)}, dim {m.dim}" for m in members]
        ax.set_yticks(range(len(names)), names, fontsize=min(12, 58 * each))
        ax.set(title=ending(group.name, 60), xlabel="index along the dimension", ylabel="member")
        ax.set_ylim(len(members) - 0.5, -0.5)
        ax.grid(visible=False, axis="y")
        legend_beside(ax)
    return ax


def _runs(indices: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Start and length of each run of neighbours.

    >>> list(_runs([4, 1, 2, 5, 9]))
    [(1, 2), (4, 2), (9, 1)]
    """
    start = last = None
    for index in sorted(indices):
        if last is None or index > last + 1:
            if last is not None and start is not None:
                yield start, last + 1 - start
            start = index
        last = index
    if last is not None and start is not None:
        yield start, last + 1 - start
