"""A sweep while it runs: points appear as they are computed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench import plots
from workbench.explorers.explore import explore
from workbench.explorers.faces import face
from workbench.extras import check_lab
from workbench.reports import changes, sweep_so_far


def watch(
    out: str | Path,
    *,
    x: str | None = None,
    y: str | None = None,
    by: Sequence[str] | None = None,
    name: str | None = None,
) -> Any:
    """An explorer of a sweep's folder (or .jsonl file) that follows it: its trade-off curve, how many runs are done,
    running, failed and missing, and why runs failed.

    The sweep may run in another cell, in a terminal or on a cluster: what is in the folder is shown, and it does not
    have to be there yet. It is looked at every second until no run is missing and none is computed. x, y and by are
    those of `wb.reports.write_report`, `name` that of `wb.explore`.

    >>> import os
    >>> os.environ["WORKBENCH_FACE"] = "picture"
    >>> print(watch("no-such-folder").sentence)
    no-such-folder: no sweep has started here yet
    >>> del os.environ["WORKBENCH_FACE"]
    """
    check_lab("ipywidgets")
    from ipywidgets import fixed

    given = {"out": str(out), "x": x, "y": y, "by": None if by is None else list(by)}
    controls = {argument: fixed(value) for argument, value in given.items() if value is not None}
    if face() == "live":
        _warm_up()
    return explore(sweep_so_far, refresh=functools.partial(changes, out), name=name, **controls)


def _warm_up() -> None:
    """Draw a small picture, which loads all that draws. So the cell waits for it, not the sweep's first picture."""
    import pandas as pd

    from workbench.explorers.explore.shown import shown

    shown(plots.curves(pd.DataFrame({"x": [0, 1], "y": [0, 1], "arm": ["a", "a"]}), x="x", y="y", arm="arm"))
