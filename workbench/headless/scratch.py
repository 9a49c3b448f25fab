"""The folder for the sockets of a command's processes and kernels: short, its own, and never left behind for good."""

import contextlib
import functools
import os
import shutil
import tempfile
from multiprocessing import util
from pathlib import Path

from workbench import stopping

PREFIX, LOCK = "workbench-", "in-use"
LONGEST = 52
"""Bytes of a folder's name that leave room for the sockets in it: the name of a socket has at most 103 bytes."""


@functools.cache
def scratch() -> Path:
    """This process's own folder, removed when the process ends; what killed processes left is removed first.

    It lies in the system's folder for temporary files, in /tmp where that name is too long for sockets; ValueError
    where neither can be used.
    """
    for base in _bases():
        try:
            _sweep(base)
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        except OSError:
            continue
        new = "new" if os.name == "posix" else LOCK  # Windows renames no file that is open
        lock = _locked(folder / new)
        os.rename(folder / new, folder / LOCK)  # a folder without a lock is being made, and nobody sweeps it
        stopping.at_stop.append(functools.partial(_remove, folder, lock))
        util.Finalize(None, _remove, (folder, lock), exitpriority=-200)  # after multiprocessing's own folder in it
        return folder
    raise ValueError(
        f"kernels need a folder for temporary files with a name of at most {LONGEST} bytes that can be written to; "
        f"{' and '.join(_bases()) or tempfile.gettempdir()} cannot. Set TMPDIR to one"
    )


def _remove(folder: Path, lock: int | None) -> None:
    """Let go of a folder and remove it."""
    if lock is not None:
        os.close(lock)
    shutil.rmtree(folder, ignore_errors=True)


def _bases() -> list[str]:
    """The folders to try."""
    if os.name != "posix":
        return [tempfile.gettempdir()]
    return [base for base in dict.fromkeys([tempfile.gettempdir(), "/tmp"]) if len(os.fsencode(base)) <= LONGEST]


def _sweep(base: str) -> None:
    """Remove the folders of processes that are no more: their lock can be had."""
    for folder in Path(base).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if (folder / LOCK).exists() and (lock := _locked(folder / LOCK)) is not None:
                os.close(lock)
                shutil.rmtree(folder, ignore_errors=True)


def _locked(path: Path) -> int | None:
    """A file opened and locked until it is closed or its process ends; None where another process has it."""
    if os.name != "posix":
        with contextlib.suppress(OSError):  # Windows removes no file that is open
            path.unlink(missing_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT)
        return None
    import fcntl

    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file
