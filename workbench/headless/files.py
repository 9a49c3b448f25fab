"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text file under its name in one step: a kill or a full disk leaves the old file, or none.

    The text goes to a hidden file in the same folder, to the disk, and is then renamed.
    """
    part = _part(path)
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def make_folder(path: Path) -> Path:
    """Make a folder that can be written to, without what a killed command left half-written in it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        for part in path.glob(".*.part"):
            part.unlink()
        probe = _part(path / "probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"results go to a folder that can be written to; {path} cannot: {error.strerror}") from None
    return path


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")
