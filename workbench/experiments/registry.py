"""Experiments and readings by name: a run with its grids of arguments, and what its rows say about a claim."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from workbench.claims import Claim, load_claims
from workbench.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

Rows: TypeAlias = "pd.DataFrame"
Effects: TypeAlias = "pd.Series | pd.DataFrame | dict[str, pd.Series] | dict[str, pd.DataFrame]"
Run = TypeVar("Run", bound=Callable[..., Mapping[str, Any]])
Read = TypeVar("Read", bound=Callable[..., Effects])


class Experiment(NamedTuple):
    """A run (a function of plain arguments) and the grids of arguments it is run on; own rows lie in `folder`."""

    function: Callable[..., Mapping[str, Any]]
    grids: tuple[Mapping[str, Sequence[Any]], ...]
    folder: Path | None = None


class Reading(NamedTuple):
    """How one number per seed, and per part of a claim, is read off the rows of experiments."""

    claim: Claim
    function: Callable[..., Effects]
    of: tuple[str, ...]

    def __call__(self, *rows: Rows) -> Any:
        import pandas as pd

        for name, table in zip(self.of, rows, strict=True):
            if "seed" not in table:
                raise ValueError(f"a claim is judged by seeds; the run of experiment {name!r} has no argument 'seed'")
        found = self.function(*(table.set_index("seed").sort_index() for table in rows))
        columns = isinstance(found, dict) and found and all(hasattr(part, "index") for part in found.values())
        return pd.concat(found, axis=1) if columns else found


EXPERIMENTS: Registry[Experiment] = Registry("experiment")
READINGS: Registry[Reading] = Registry("claim")


def experiment(
    name: str, grids: Sequence[Mapping[str, Sequence[Any]]], folder: str | Path | None = None
) -> Callable[[Run], Run]:
    """Register a run as an experiment: each grid gives a list of values for some of its arguments.

    Each combination of a grid's values is a row, found by the function's name and its arguments (`sweeps.key`). Your
    own experiment needs a `folder` for its rows; if you register it again, as a cell does that runs twice, it replaces
    the old one. If several experiments share a run, put several decorators above it.

    >>> import tempfile
    >>> @experiment("areas", [{"width": [1, 2], "seed": [0]}], folder=tempfile.mkdtemp())
    ... def area(width, seed): return {"area": width * width}
    >>> from workbench.experiments import compute, recorded
    >>> compute("areas")["area"].tolist(), recorded("areas")["width"].tolist()
    ([1, 4], [1, 2])
    >>> EXPERIMENTS.remove("areas")
    """
    if isinstance(grids, Mapping) or not all(isinstance(axes, Mapping) for axes in grids):
        raise TypeError(f"grids is a list of grids, each a dict of lists; got {grids!r}. Write grids=[{{'seed': [0]}}]")

    def register(function: Run) -> Run:
        own = None if folder is None else Path(folder)
        if own is None and not function.__module__.startswith("workbench."):
            raise ValueError(
                f"experiment {name!r} needs a folder for its rows, because it is your own. Pass folder='rows'"
            )
        EXPERIMENTS.add(name, Experiment(function, tuple(grids), own), own=own is not None)
        return function

    return register


def reading(claim: str | Claim, of: str | Sequence[str], **settings: Any) -> Callable[[Read], Read]:
    """Register how to read a claim from the rows of the experiments `of`.

    The function takes one table of rows per experiment, with the seeds as their index, and `settings` by name. It
    returns one number per seed, or a column for each part of the claim (a table, or a dict of columns; `claims.judge`).
    `claim` is an id of `data/claims.yaml`, or your own `Claim`; if you register that one again, it replaces the old
    one.

    >>> mine = Claim("falls", "7.2", "SynFlow's scores fall with size.", "me", "vgg", "slope", "below", 0, exact=True)
    >>> @reading(mine, of="sizes", network="vgg")
    ... def slope(rows, network): return rows[rows["network"] == network]["slope"]
    >>> from workbench.experiments import verdict
    >>> verdict("falls").verdict
    'holds'
    >>> READINGS.remove("falls")
    """
    names = (of,) if isinstance(of, str) else tuple(of)
    own, about = isinstance(claim, Claim), claim if isinstance(claim, Claim) else load_claims().get(claim)
    if about is None:
        raise ValueError(f"{claim!r} is not a claim of data/claims.yaml. Write its entry there, or pass your own Claim")
    for name in names if own else ():  # the files that hold the workbench's own may be imported in any order
        EXPERIMENTS[name]

    def register(function: Read) -> Read:
        READINGS.add(about.id, Reading(about, functools.partial(function, **settings), names), own=own)
        return function

    return register
