"""Which runs of a sweep's folder are in flight, here and elsewhere."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from workbench.files import writable


class Claims:
    """Which runs are in flight: a sweep holds one byte of `in-flight` for each, at the place that its key names.

    The system lets go of a byte when the process that holds it ends, however that happens. So several sweeps on one
    folder, also on several computers with a shared disk, share the work, and one that was killed holds up nobody. Where
    the system has no such locks (Windows), sweeps on one folder do some runs twice. `last` is called when the last
    sweep leaves; one that comes then waits for its end.

    >>> import tempfile
    >>> with Claims(Path(tempfile.mkdtemp())) as claims:
    ...     claims.take("2b929a940d787bad"), claims.take("2b929a940d787bad")
    (True, False)
    """

    def __init__(self, folder: Path, last: Callable[[], object] = lambda: None):
        self._last = last
        self.path = str(folder / "in-flight")
        self.mine: set[str] = set()

    def __enter__(self) -> Claims:
        with _changing:
            held = _held.get(self.path) or _Held(self._opened())
            held.users += 1
            self._held = _held[self.path] = held
        return self

    def _opened(self) -> IO[bytes]:
        """The file, locked as one that a sweep works with; the folder is made for it."""
        folder = Path(self.path).parent
        while True:
            with writable(folder):
                with contextlib.suppress(FileExistsError):  # made, or a file: then no other can be opened in it
                    folder.mkdir(parents=True)
                with contextlib.suppress(FileNotFoundError):  # another sweep has packed, and it is gone
                    file = open(self.path, "ab+")  # noqa: SIM115
                    _lock(file, _ALL, shared=True, wait=True)  # while another sweep packs
                    if self._is_there(file):
                        return file
                    file.close()

    def _is_there(self, file: IO[bytes]) -> bool:
        """Whether it is still the file of that name: another sweep that packs removes it."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False

    def __exit__(self, *_: object) -> None:
        for key in tuple(self.mine):
            self.release(key)
        with _changing:
            self._held.users -= 1
            if self._held.users:
                return
            del _held[self.path]
            try:
                _unlock(self._held.file, _ALL)  # first: of two that leave at one moment, one must be the last
                if _lock(self._held.file, _ALL) and self._is_there(self._held.file):
                    self._last()
            finally:
                self._held.file.close()

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

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.users = file, 0
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
