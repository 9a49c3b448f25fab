"""Rows on disk as tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workbench.sweeps.files import Store, unique
from workbench.sweeps.points import Points, combinations, key_of
from workbench.sweeps.rows import flat, table

if TYPE_CHECKING:
    import pandas as pd


def results(out: str | Path, *more: str | Path, errors: bool = False) -> pd.DataFrame:
    """The table of the rows in folders and packed files: arguments, metrics, then seconds, versions, revision,
    processor, date, key; in the order of the grids, as far as these are known. Of rows with one key the last counts.

    `errors=True` gives the failed runs instead, with the column `error`. Raises ValueError with the name of what is not
    a row, and where there is no such folder or file.

    >>> import tempfile, workbench as wb
    >>> def area(width, height=1): return {"area": width * height}
    >>> _ = wb.sweep(area, out := tempfile.mkdtemp(), jobs=0, width=[2, 3])
    >>> results(out)["area"].tolist()
    [2, 3]
    """
    stores, order = [opened(one) for one in (out, *more)], dict[str, int]()
    for store in stores:
        for point in asked(store):
            order.setdefault(point, len(order))
    found = unique((row for store in stores for row in store.rows()), flat)
    wanted = sorted((row for row in found if row.failed is errors), key=lambda row: order.get(row.key, len(order)))
    return table(wanted)


def opened(out: str | Path) -> Store:
    """The folder or packed file of a sweep; ValueError where there is none."""
    if not (store := Store(out)).there():
        told = f"the rows of a sweep are in a folder or a .jsonl file; there is none at {out}"
        raise ValueError(f"{told}. Correct the name, or start the sweep")
    return store


def asked(store: Store) -> Points:
    """The points of all grids that sweeps into a folder were asked for; what is not among its rows is missing."""
    return {
        key_of(grid["function"], grid["defaults"], point): point
        for grid in store.grids()
        for point in combinations(grid["axes"])
    }
