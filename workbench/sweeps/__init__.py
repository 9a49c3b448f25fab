"""Runs of a function over grids of arguments: rows on disk, processes and clusters, tables."""

from workbench.sweeps.batching import Point, batched, batches, worth_it
from workbench.sweeps.cluster import Dask
from workbench.sweeps.driver import MOST, sweep
from workbench.sweeps.points import OWN, checked, key
from workbench.sweeps.rows import Row
from workbench.sweeps.tables import results

__all__ = [
    "MOST",
    "OWN",
    "Dask",
    "Point",
    "Row",
    "batched",
    "batches",
    "checked",
    "key",
    "results",
    "sweep",
    "worth_it",
]
