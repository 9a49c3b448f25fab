"""The folder of a sweep: one file for each run, whole or not there, and who works on which."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar, overload

from workbench.files import make_folder, results_folder, write_whole
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
            raise ValueError(f"rows are in a folder, or in a file whose name ends in .jsonl; {out} is a file")

    def path(self, key: str) -> Path:
        """The file of a run."""
        return self.folder / "runs" / key[:2] / f"{key}.json"

    def open(self) -> None:
        """Make the folder, without the start of a row at the end of a packed file, which a killed sweep left."""
        make_folder(self.folder)
        (self.folder / "runs").mkdir(exist_ok=True)
        if self.packed and self.packed.exists():
            _, length = packed_rows(self.packed)
            os.truncate(self.packed, length)

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
        if self.packed and self.packed.exists():
            yield from packed_rows(self.packed)[0]
        for path in self.files():
            with open(path, "rb", buffering=0) as file:
                row = _whole(path, file.read())
            if row is not None:
                yield row

    def files(self) -> Iterator[str]:
        """The files of runs, in the order of their keys."""
        runs = self.folder / "runs"
        for shard in sorted(os.scandir(runs), key=lambda e: e.name) if runs.is_dir() else ():
            if len(shard.name) == 2 and shard.is_dir():
                names = sorted(e.name for e in os.scandir(shard.path))
                yield from (
                    os.path.join(shard.path, name) for name in names if len(name) == NAME + 5 and name.endswith(".json")
                )

    def remember(self, grid: Mapping[str, Any]) -> None:
        """Keep what a sweep was asked for: a report then knows what is missing."""
        import hashlib

        text = json.dumps(grid, indent=1)
        (self.folder / "grids").mkdir(exist_ok=True)
        write_whole(self.folder / "grids" / f"{hashlib.sha256(text.encode()).hexdigest()[:NAME]}.json", text + "\n")

    def grids(self) -> list[dict[str, Any]]:
        """What sweeps into this folder were asked for."""
        return [json.loads(path.read_text("utf-8")) for path in sorted((self.folder / "grids").glob("*.json"))]

    def pack(self) -> None:
        """Move the finished rows of the folder into the packed file, and remove the folder if it is then empty."""
        if self.packed is None:
            return
        known = {row["key"] for row in packed_rows(self.packed)[0]} if self.packed.exists() else set()
        moved = []
        with open(self.packed, "ab+") as file:
            if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
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
        for rest in [*self.folder.glob("grids/*.json"), self.folder / "in-flight"]:
            rest.unlink(missing_ok=True)
        for folder in [*self.folder.glob("runs/*"), self.folder / "runs", self.folder / "grids", self.folder]:
            with contextlib.suppress(OSError):  # something else lies in it
                folder.rmdir()


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


class Claims:
    """Which runs are in flight: a sweep holds one byte of `in-flight` for each, at the place that its key names.

    The system lets go of a byte when the process that holds it ends, however that happens. So several sweeps on one
    folder, also on several computers with a shared disk, share the work, and nobody waits for the dead. Where the
    system has no such locks (Windows), sweeps on one folder do some runs twice.

    >>> import tempfile
    >>> with Claims(Path(tempfile.mkdtemp())) as claims:
    ...     claims.take("2b929a940d787bad"), claims.take("2b929a940d787bad")
    (True, False)
    """

    def __init__(self, folder: Path):
        self.path = str(folder / "in-flight")
        self.mine: set[str] = set()

    def __enter__(self) -> Claims:
        with _changing:
            held = _held.setdefault(self.path, _Held())
            held.users += 1
            while held.file is None:
                file = open(self.path, "ab+")
                _lock(file, _ALL, shared=True, wait=True)  # while another sweep packs
                if os.path.exists(self.path) and os.path.samestat(os.fstat(file.fileno()), os.stat(self.path)):
                    held.file = file
                else:  # packed, and gone
                    file.close()
            self._held = held
        return self

    def __exit__(self, *_: object) -> None:
        for key in tuple(self.mine):
            self.release(key)
        with _changing:
            self._held.users -= 1
            if not self._held.users:
                self._held.file.close()
                del _held[self.path]

    def take(self, key: str) -> bool:
        """Whether this sweep may do a run: nobody else does it now."""
        with _changing:
            if key in self._held.keys or not _lock(self._held.file, int(key[:12], 16)):
                return False
            self._held.keys.add(key)
            self.mine.add(key)
            return True

    def release(self, key: str) -> None:
        """Let others have it."""
        with _changing:
            _unlock(self._held.file, int(key[:12], 16))
            self._held.keys.discard(key)
            self.mine.discard(key)

    def alone(self) -> bool:
        """Whether no other sweep works in the folder; if so, one that comes now waits for the end of this one."""
        with _changing:
            return self._held.users == 1 and _lock(self._held.file, _ALL)


def in_flight(folder: Path) -> int | None:
    """How many runs sweeps compute in a folder now, here and elsewhere; None where the system does not tell.

    It only asks: a lock that is taken for a look would disturb the sweeps, and closing a handle of the file lets go of
    those of this process.
    """
    path, places = str(folder / "in-flight"), _form()
    if places is None:
        return None
    with _changing:
        if held := _held.get(path):
            return len(held.keys) + sum(1 for _ in _elsewhere(held.file, *places))
        try:
            with open(path, "rb") as file:
                return sum(1 for _ in _elsewhere(file, *places))
        except OSError:
            return 0


def _form() -> tuple[str, int] | None:
    """How the system packs a lock that it is asked for, with the place of its start; None where that is not known."""
    import sys

    return {"linux": ("hhqqi", 2), "darwin": ("qqihh", 0)}.get(sys.platform)


def _elsewhere(file: IO[bytes], form: str, start: int) -> Iterator[int]:
    """The bytes in front of `_ALL` that other processes have locked."""
    import fcntl
    import struct

    at = 0
    while at < _ALL:
        ends = [at, _ALL - at]
        asked = [fcntl.F_RDLCK, os.SEEK_SET, *ends, 0] if start else [*ends, 0, fcntl.F_RDLCK, os.SEEK_SET]
        told = struct.unpack(form, fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(form, *asked)))
        if told[0 if start else 3] == fcntl.F_UNLCK:
            return
        at = max(at, told[start])  # of neighbours the system keeps one lock
        yield at
        at += 1


class _Held:
    """The locks of this process on one folder: they go when any handle of the file is closed, so there is one."""

    def __init__(self) -> None:
        self.file: Any = None
        self.users = 0
        self.keys: set[str] = set()


_held: dict[str, _Held] = {}
_changing = threading.Lock()
_ALL = 1 << 52
"""A byte behind those of all keys: a sweep that works shares it."""


def _lock(file: IO[bytes], place: int, shared: bool = False, wait: bool = False) -> bool:
    """Whether a byte of a file could be locked for this process."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB), 1, place)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _unlock(file: IO[bytes], place: int) -> None:
    with contextlib.suppress(ImportError):
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_UN, 1, place)


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
