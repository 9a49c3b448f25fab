"""The folder of a sweep: one file for each run, whole or not there."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

from workbench.files import PART, results_folder, writable, write_whole
from workbench.sweeps.rows import Row, parsed

T = TypeVar("T")
NAME = 16
"""Characters of a key."""
BEGIN = b'{"key": "0123456789abcdef", "function": "'


class Store:
    """Rows on disk: `out/runs/2b/2b929a940d787bad.json`, and in `out/grids` what was asked for.

    A name that ends in .jsonl is one file of rows, a line each; `pack` moves the files of its folder (the name without
    the end) into it. Only rows are ever replaced: a file that holds anything else is a ValueError with its name.
    """

    def __init__(self, out: str | Path):
        path = results_folder(out)
        self.packed = path if path.suffix == ".jsonl" else None
        self.folder = path.with_suffix("") if self.packed else path
        self.name = str(out)
        if self.packed and self.packed.is_dir():
            raise ValueError(f"{out} is a folder; a name that ends in .jsonl is one file of rows. Name another")
        if self.folder.is_file():
            raise ValueError(f"rows are in a folder, or in a file whose name ends in .jsonl; {self.folder} is a file")

    def path(self, key: str) -> Path:
        """The file of a run."""
        return self.folder / "runs" / key[:2] / f"{key}.json"

    def there(self) -> bool:
        """Whether there is such a folder or packed file."""
        return self.folder.is_dir() or (self.packed is not None and self.packed.exists())

    def open(self) -> None:
        """Make the folders."""
        with writable(self.folder):
            for name in ("runs", "grids"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)

    def write(self, row: Row) -> None:
        """Put a row on disk in one step."""
        path = self.path(row["key"])
        try:
            path.parent.mkdir(exist_ok=True)
            write_whole(path, json.dumps(row, allow_nan=False) + "\n")
        except OSError as error:
            told = f"{error.strerror}; all earlier rows are on disk. Make room there, then run the sweep again"
            raise OSError(error.errno, told, str(path)) from None

    def read(self, key: str) -> Row | None:
        """The row of a run, if its file is there and whole."""
        try:
            text = self.path(key).read_bytes()
        except FileNotFoundError:
            return None
        return _whole(self.path(key), text)

    def rows(self) -> Iterator[Row]:
        """All rows, those of failed runs among them: first the packed ones, then by key. A key may come twice."""
        length = yield from self._packed(0)
        for path in self.files():
            with contextlib.suppress(FileNotFoundError), open(path, "rb", buffering=0) as file:
                row = _whole(path, file.read())
                if row is not None:
                    yield row
        yield from self._packed(length)  # a sweep has packed meanwhile

    def _packed(self, known: int) -> Generator[Row, None, int]:
        """The packed rows, if their file is longer than it was."""
        length = self.packed.stat().st_size if self.packed and self.packed.exists() else 0
        if self.packed and length > known:
            yield from packed_rows(self.packed)[0]
        return length

    def files(self) -> Iterator[str]:
        """The files of runs, in the order of their keys."""
        for shard in _names(self.folder / "runs"):
            if len(shard) == 2:
                folder = self.folder / "runs" / shard
                yield from (
                    os.path.join(folder, name)
                    for name in _names(folder)
                    if len(name) == NAME + 5 and name.endswith(".json")
                )

    def remember(self, grid: Mapping[str, Any]) -> None:
        """Keep what a sweep was asked for: a report then knows what is missing."""
        import hashlib

        text = json.dumps(grid, indent=1)
        write_whole(self.folder / "grids" / f"{hashlib.sha256(text.encode()).hexdigest()[:NAME]}.json", text + "\n")

    def grids(self) -> list[dict[str, Any]]:
        """What sweeps into this folder were asked for. ValueError with the name of a file that does not say it."""
        found = list[dict[str, Any]]()
        for path in sorted((self.folder / "grids").glob("*.json")):
            with contextlib.suppress(FileNotFoundError):  # packed in this moment
                found.append(_grid(path))
        return found

    def pack(self) -> None:
        """Move the finished rows of the folder, in which no sweep works now, into the packed file; remove the folder if
        it is empty then."""
        if self.packed is None:
            return
        rows, length = packed_rows(self.packed) if self.packed.exists() else ([], 0)
        known = {row["key"] for row in rows}
        moved = []
        with open(self.packed, "ab+") as file:
            file.truncate(length)  # without the start of a row that a killed sweep left
            if length and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                file.write(b"\n")  # a whole row that lacks its line end
            for path in self.files():
                row = _whole(path, text := Path(path).read_bytes())
                if row and "error" not in row:
                    moved.append(path)
                    file.write(b"" if row["key"] in known else text)
            file.flush()
            os.fsync(file.fileno())
        for path in moved:
            os.unlink(path)
        if next(self.files(), None):
            return
        parts = self.folder.glob(f"runs/*/.*{PART}")
        for rest in [*self.folder.glob("grids/*.json"), *self.folder.glob(f"grids/.*{PART}"), *parts]:
            rest.unlink(missing_ok=True)
        (self.folder / "in-flight").unlink(missing_ok=True)
        for folder in [*self.folder.glob("runs/*"), self.folder / "runs", self.folder / "grids", self.folder]:
            with contextlib.suppress(OSError):  # something else lies in it
                folder.rmdir()


def _grid(path: Path) -> dict[str, Any]:
    """A grid that `remember` kept."""
    try:
        grid = json.loads(path.read_bytes())
        parts = {name: type(part) for name, part in grid.items()} if isinstance(grid, dict) else {}
        if parts != {"function": str, "defaults": dict, "axes": dict}:
            raise ValueError("it has other parts than function, defaults and axes")
        if not all(isinstance(values, list) for values in grid["axes"].values()):
            raise ValueError("an axis is no list")
    except ValueError as error:
        remedy = "Delete it, and start the sweep again for what is missing"
        raise ValueError(f"{path} is not a grid of a sweep: {error}. {remedy}") from None
    return grid


def _names(folder: Path) -> list[str]:
    """What lies in a folder; nothing where it is none, or is gone."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _whole(path: str | Path, text: bytes) -> Row | None:
    """The row in a file; None, with a warning, where the file was cut short: its run is computed again."""
    row, fault = parsed(text)
    if not fault:
        return row
    if row is None and _begins(text):
        warnings.warn(f"{path} is cut short, so it counts as missing. Run the sweep again", stacklevel=2)
        return None
    raise ValueError(f"{path} is not a row of a sweep: {fault}. Delete it, then the sweep computes its run again")


def packed_rows(path: Path) -> tuple[list[Row], int]:
    """The rows of a packed file and its length, without the start of a row at its end, which a killed sweep left."""
    rows: list[Row] = []
    lines = (text := path.read_bytes()).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row, fault = parsed(line)
        if fault and row is None and number == len(lines) and _begins(line):
            return rows, len(text) - len(line)
        if fault:
            told = f"line {number} of {path} is not a row of a sweep: {fault}"
            raise ValueError(f"{told}. Delete the line, then the sweep computes its run again; or name another file.")
        rows.append(row)
    return rows, len(text)


def _begins(text: bytes) -> bool:
    """Whether a text is the start of a row that was not written to its end."""
    import re

    return bool(re.match(rb'\{"key": "[0-9a-f]{16}", "function": "', text + BEGIN[len(text) :]))


@overload
def unique(rows: Iterable[Row]) -> list[Row]: ...
@overload
def unique(rows: Iterable[Row], keep: Callable[[Row], T]) -> list[T]: ...
def unique(rows: Iterable[Row], keep: Callable[[Row], Any] = lambda row: row) -> list[Any]:
    """Of rows with one key the last, a finished run before a failed one; `keep` says what to hold of each."""
    found: dict[str, tuple[bool, Any]] = {}
    for row in rows:
        failed = "error" in row
        if not failed or found.get(row["key"], (True, None))[0]:
            found[row["key"]] = failed, keep(row)
    return [one for _, one in found.values()]
