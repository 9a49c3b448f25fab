"""A sweep in a file: which run, over which grid, into which folder."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from workbench.headless.notebook_sweep import NotebookRun
from workbench.sweeps.cluster import Dask
from workbench.sweeps.points import columns
from workbench.types import check_choice

KEYS = ("run", "out", "grid", "jobs", "limit", "together", "check", "cluster")


class Spec(NamedTuple):
    """What a file asks for: the function, its grids, and the options of `sweep`."""

    run: Callable[..., Any]
    out: str
    grids: list[dict[str, list[Any]]]
    options: dict[str, Any]


def read_spec(path: str | Path) -> Spec:
    """Read and check a YAML file such as

        run: prune_then_train        # a run of an experiment, module:function, file.py:function, or a notebook.ipynb
        out: out/first-sweep
        grid:                        # or a list of grids
          criterion: [snip, synflow]
          compression: [10, 100]
          seed: {range: 10}          # 0 to 9
        jobs: 2                      # processes; limit: seconds a run may take; together: runs of one batch
        check: module:function       # checks each point before the first run starts
        cluster: {scheduler: "tcp://host:8786"}   # or what else wb.sweeps.Dask takes

    A single value stands for a list of one. Raises ValueError with the file's name for what it cannot mean.
    """
    path = Path(path)
    try:
        told = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        return _spec(told, path)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"a sweep is described in a YAML file; {path} cannot be read: {why}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def _spec(told: Any, path: Path) -> Spec:
    if not isinstance(told, dict):
        raise ValueError(f"a sweep has the keys {', '.join(KEYS)}; got {told!r}")
    for name in told:
        check_choice("a key of a sweep", name, KEYS)
    if missing := [name for name in ("run", "grid") if name not in told]:
        raise ValueError(f"a sweep has a run and a grid; got no {missing[0]}. Write {missing[0]}: ...")
    grids = told["grid"] if isinstance(told["grid"], list) else [told["grid"]]
    if not grids or not all(isinstance(grid, dict) for grid in grids):
        raise ValueError(f"grid holds a list of values for each argument; got {told['grid']!r}. Write seed: [0, 1]")
    run = find_run(told["run"], path.parent)
    lists = [{name: _values(name, value) for name, value in grid.items()} for grid in grids]
    for grid in lists:
        columns(run, grid)
    options = {name: told[name] for name in ("jobs", "limit", "together") if name in told}
    for name, value in options.items():
        kind, words = (int | float, "a number") if name == "limit" else (int, "a whole number")
        if isinstance(value, bool) or not isinstance(value, kind):
            raise ValueError(f"{name} is {words}; got {value!r}")
    if not isinstance(out := told.get("out", str(Path("out") / path.stem)), str):
        raise ValueError(f"out is the name of a folder; got {out!r}. Leave it out for out/{path.stem}")
    if "check" in told:
        options["check"] = find_run(told["check"], path.parent)
    if "cluster" in told:
        options["engine"] = _cluster(told["cluster"])
    return Spec(run, out, lists, options)


def _cluster(told: Any) -> Dask:
    if not isinstance(told, dict) or not all(isinstance(name, str) for name in told):
        raise ValueError(f"cluster holds scheduler: ADDRESS, slurm: N or kubernetes: N; got {told!r}")
    return Dask(**told)


def find_run(name: Any, folder: Path) -> Callable[..., Any]:
    """The run of that name: `module:function`, `file.py:function` or a notebook (beside the spec), or an experiment's.

    >>> find_run("math:sqrt", Path("."))(16)
    4.0
    """
    from workbench.experiments import EXPERIMENTS

    if not isinstance(name, str):
        raise ValueError(f"run is a name such as prune_then_train or module:function; got {name!r}")
    if name.endswith(".ipynb"):
        return NotebookRun(folder / name)
    where, colon, function = name.rpartition(":")
    if not colon:
        known = {found.function.__name__: found.function for found in EXPERIMENTS.values()}
        return known[check_choice("a run without module: is of an experiment, so it", name, sorted(known))]
    module = _file(folder / where) if where.endswith(".py") else _module(where, name)
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"{where} has no function {function!r}")
    return found


def _module(where: str, name: str) -> Any:
    try:
        return importlib.import_module(where)
    except ImportError as error:
        raise ValueError(f"run {name!r} cannot be imported: {error}. For a file write {where}.py:...") from None


def _file(path: Path) -> Any:
    """A file as a module that other processes can import, too."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        return importlib.import_module(path.stem)
    finally:
        importlib.invalidate_caches()


def _values(name: Any, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping):
        return [value]
    ends: Any = value.get("range")
    ends = [ends] if isinstance(ends, int) else ends
    whole = isinstance(ends, list) and 1 <= len(ends) <= 3 and all(type(end) is int for end in ends)
    if set(value) != {"range"} or not whole or ends[2:] == [0]:
        raise ValueError(f"{name} is a list of values, or {{range: 10}} for 0 to 9; got {dict(value)!r}")
    return list(range(*ends))


class _Loader(yaml.SafeLoader):
    """YAML's safe types, with 1e-3 as a number, and without a key that is given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [self.construct_object(key, deep) for key, _ in node.value]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is given twice")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
