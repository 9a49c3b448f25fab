"""A sweep in a file: which run, over which grid, into which folder."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
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
    grids: list[dict[str, Sequence[Any]]]
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
        why = " ".join(str(error).split()).replace('in "<unicode string>", ', "")
        raise ValueError(f"{path} is not YAML: {why}") from None
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
    lists = [columns(run, {name: _values(name, value) for name, value in grid.items()}) for grid in grids]
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
    if (path := folder / where).suffix == ".py" and not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        module = _file(path.parent.resolve() / path.name) if path.suffix == ".py" else importlib.import_module(where)
    except (Exception, SystemExit) as error:
        told = f"{name!r} cannot be imported: {_last(error)}"
        raise ValueError(told if path.suffix == ".py" else f"{told}. For a file write {where}.py:...") from None
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"{where} has no function {function!r}")
    if module.__name__ not in sys.modules:
        _check_travels(found, path)
    return found


def _file(path: Path) -> Any:
    """A file as a module that other processes import, too; if its name is another module's, its code travels."""
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # at the end: a random.py there must not take the place of Python's
    importlib.invalidate_caches()
    with contextlib.suppress(ValueError, OSError):  # a module without a spec, or without a file
        place = None if "." in path.stem else importlib.util.find_spec(path.stem)
        if place and place.origin and path.samefile(place.origin):
            return importlib.import_module(path.stem)
    return _alone(path)


@functools.cache
def _alone(path: Path) -> Any:
    """The module of a file that no import finds. It is known to no import, so cloudpickle sends its functions whole."""
    spec: Any = importlib.util.spec_from_file_location(str(path), path)
    sys.modules[str(path)] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[str(path)]
    return module


def _check_travels(function: Any, path: Path) -> None:
    import cloudpickle

    try:
        cloudpickle.dumps(function)
    except Exception as error:
        told = f"{path.name} has the name of another module or a dot in its name, so its code must travel to processes"
        raise ValueError(f"{told}, but {error}. Give the file another name") from None


def _last(error: BaseException) -> str:
    """What an error says, and the line of the imported file at which it came up."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    ours = [(file, line) for file, line in frames if file not in (__file__, importlib.__file__) and file[0] != "<"]
    if isinstance(error, SyntaxError):
        ours = [(error.filename or "", error.lineno)]
    words = " ".join("".join(traceback.format_exception_only(error)[-1:]).split())
    return f"{words} (line {ours[0][1]} of {ours[0][0]})" if ours else words


def _values(name: Any, value: Any) -> Sequence[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping):
        return [value]
    ends: Any = value.get("range")
    ends = [ends] if isinstance(ends, int) else ends
    whole = isinstance(ends, list) and 1 <= len(ends) <= 3 and all(type(end) is int for end in ends)
    if set(value) != {"range"} or not whole or ends[2:] == [0]:
        raise ValueError(f"{name} is a list of values, or {{range: 10}} for 0 to 9; got {dict(value)!r}")
    return range(*ends)


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
