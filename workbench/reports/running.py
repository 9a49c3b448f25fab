"""A sweep as it is now, read again only where its files changed."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from workbench.reports.columns import Roles, roles
from workbench.reports.pictures import pictures
from workbench.reports.reading import Found, gathered, light
from workbench.reports.tables import reasons
from workbench.sweeps.claims import in_flight
from workbench.sweeps.files import Store, packed_rows, unique
from workbench.sweeps.rows import Row
from workbench.sweeps.tables import asked


def sweep_so_far(
    out: str | Path, x: str | None = None, y: str | None = None, by: Sequence[str] | None = None
) -> tuple[Any, ...]:
    """The trade-off curve of a sweep that may still run, its counts in words, and why runs failed.

    x, y and by are those of `write_report`. Before the first run has ended, only words.

    >>> sweep_so_far("no-such-folder")
    ('no-such-folder: no sweep has started here yet',)
    """
    if not (read := _folder(os.path.abspath(out)).found()):
        return (f"{out}: no sweep has started here yet",)
    chosen = roles(read, x, y, by) if read.runs else Roles("", "", (), ())
    drawn, more = pictures(read, chosen, most=2)
    words = [f"{read.name}: {read.counts}"]
    words += [f"{more} more pictures: workbench report {out}"] if more else []
    for one in reasons(read.failed, shown=1)[:3]:
        words.append(f"{one.many} failed: {one.line} (such as {one.runs[0][0]})")
    return (*(one.axes for one in drawn), "\n".join(words))


def changes(out: str | Path) -> Any:
    """A value that is another one when `sweep_so_far` would show something else; None when the sweep is complete.

    >>> changes("no-such-folder")
    ()
    """
    return _folder(os.path.abspath(out)).changes()


@functools.lru_cache(maxsize=8)
def _folder(path: str) -> _Folder:
    return _Folder(path)


class _Folder:
    """The rows of a folder, by file: one that did not change is not read again."""

    def __init__(self, path: str):
        self._store = Store(path)
        self._rows: dict[str, tuple[int, list[Row]]] = {}
        self._asked: tuple[list[str], set[str]] = ([], set())

    def changes(self) -> Any:
        """The number of files, the newest, what is asked for and what runs; None when all of that has an end."""
        times, running = self._times(), in_flight(self._store.folder)
        grids = sorted(map(str, self._store.folder.glob("grids/*.json")))
        if not times and not grids:
            return ()
        if not running and not self._missing(times, grids):
            return None
        return len(times), max(times.values(), default=0), tuple(grids), running

    def found(self) -> Found | None:
        """What is there; None before the start."""
        if not self._store.there():
            return None
        rows = {}
        for path, time in self._times().items():
            known = self._rows.get(path)
            rows[path] = known if known and known[0] == time else (time, self._read(path))
        self._rows = rows
        return gathered(self._store, unique(row for _, each in rows.values() for row in each))

    def _is_packed(self) -> bool:
        return self._store.packed is not None and self._store.packed.exists()

    def _times(self) -> dict[str, int]:
        """When each file was written, the packed one first."""
        times = {}
        for path in [str(self._store.packed)] * self._is_packed() + [*self._store.files()]:
            with contextlib.suppress(FileNotFoundError):  # it was packed in this moment
                times[path] = os.stat(path).st_mtime_ns
        return times

    def _read(self, path: str) -> list[Row]:
        if path == str(self._store.packed):
            return [*map(light, packed_rows(Path(path))[0])]
        row = self._store.read(Path(path).stem)
        return [light(row)] if row else []

    def _missing(self, times: Iterable[str], grids: list[str]) -> bool:
        """Whether a run of the grids has no file; where no grid is kept, the sweep was packed at its end."""
        if grids != self._asked[0]:
            self._asked = grids, set(asked(self._store))
        there = {Path(path).stem for path in times}
        there |= {row["key"] for row in self._rows.get(str(self._store.packed), (0, []))[1]}
        return not self._asked[1] <= there
