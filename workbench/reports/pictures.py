"""Pictures of a sweep: trade-off curves, as many as a reader takes in."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, NamedTuple

from workbench import plots
from workbench.reports.columns import Roles
from workbench.reports.reading import Found
from workbench.reports.tables import lines_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ARMS, PICTURES = 10, 6
"""Lines of a picture, and pictures of a report; what is beyond is counted."""
PLACES = 60
"""Values of x that a picture shows with their intervals; where there are more, it takes steps."""


class Drawn(NamedTuple):
    """A picture, its title, how many arms it leaves out, and how many values of x."""

    axes: Axes
    title: str
    arms: int
    places: int


def pictures(found: Found, chosen: Roles, most: int = PICTURES) -> tuple[list[Drawn], int]:
    """y against x for each arm, every seed a dot; and how many pictures more there would be.

    Where arms of several arguments are more than a picture holds, each value of the argument that has the fewest has a
    picture of its own, on one scale of y. Without an x, each arm is a line of dots. Arms, and places on the axis, are
    those of the grid, also where no run has finished yet.
    """
    lines = lines_of(found, chosen, splitting(found, chosen))
    groups = [(title, group) for title, group in lines.groupby("picture", sort=False) if group["y"].notna().any()]
    drawn = [_drawn(group, chosen, str(title)) for title, group in groups[:most]]
    along = "ylim" if chosen.x else "xlim"
    ends = [getattr(one.axes, f"get_{along}")() for one in drawn]
    for one in drawn if len(drawn) > 1 else ():
        one.axes.set(**{along: (min(low for low, _ in ends), max(high for _, high in ends))})
    return drawn, max(0, len(groups) - most)


def splitting(found: Found, chosen: Roles) -> list[str]:
    """Arguments whose values have pictures of their own."""
    count = {name: found.every[name].nunique(dropna=False) for name in chosen.by}
    rest, split = sorted(chosen.by, key=lambda name: count[name]), list[str]()
    while len(rest) > 1 and math.prod(count[name] for name in rest) > ARMS:
        split.append(rest.pop(0))
    return [name for name in chosen.by if name in split]


def _drawn(lines: pd.DataFrame, chosen: Roles, title: str) -> Drawn:
    import numpy as np
    import pandas as pd

    arms = list(dict.fromkeys(lines["arm"]))
    shown = lines[lines["arm"].isin(arms[:ARMS])]
    places = np.unique(shown["x"])
    at = places[np.linspace(0, len(places) - 1, min(PLACES, len(places))).round().astype(int)]
    shown = shown[shown["x"].isin(at)]
    x, y = _plain(chosen.x), _plain(chosen.y)
    arm = next(name for name in ("arm", "arms", "all arms") if name not in (x, y))
    shown = pd.DataFrame({arm: shown["arm"].map(_plain), x: shown["x"], y: shown["y"]})
    ladder = functools.partial(plots.ladder, shown.dropna(), x=y, log=False)
    axes = plots.curves(shown, x=x, y=y, arm=arm) if chosen.x else ladder(arm=arm)
    axes.set_title(_plain(title) if title else "")
    return Drawn(axes, title, max(0, len(arms) - ARMS), len(places) - len(at))


def _plain(name: str) -> str:
    """A name as matplotlib shows it letter by letter: no formula, no control characters, in the legend whatever it is.

    >>> _plain("$a$"), _plain("_hidden")
    ('\\\\$a\\\\$', ' _hidden')
    """
    text = "".join(c if c.isprintable() else " " for c in name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") or not text.strip() else text
