"""Files that are whole or not there, and their addresses in pages."""

import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

PART = ".workbench-part"  # how the name of a half-written file ends
OLD = 600.0  # seconds after which nobody writes it any more


def write_whole(path: Path, text: str) -> None:
    """Write a text file in one step, by renaming a hidden one: a kill or a full disk leaves the old file, or none.

    Half a character (a lone surrogate), which UTF-8 cannot hold, becomes a question mark.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{PART}")
    try:
        with open(part, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def results_folder(name: str | Path) -> Path:
    """The folder of that name as a full path; a ValueError where there is no name."""
    if not str(name).strip():
        raise ValueError("results lie in a folder; its name is empty. Name one, such as 'out', or '.' for this folder")
    if "\0" in str(name):
        raise ValueError(
            f"results lie in a folder; no name of one holds the character \\0, got {str(name)!r}. Name another"
        )
    return Path(name).resolve()


@contextlib.contextmanager
def writable(path: Path) -> Iterator[None]:
    """What is made in a folder for results: a ValueError where the system refuses it."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"results need a folder that can be written to; {path} is not one: {error.strerror}. Name another"
        ) from None


def make_folder(name: str | Path) -> Path:
    """Make a folder that can be written to, without what a killed command left half-written in it."""
    path = results_folder(name)
    with writable(path):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
        for part in path.glob(f".*{PART}"):
            with contextlib.suppress(FileNotFoundError):  # its writer has ended it
                if part.stat().st_mtime < time.time() - OLD:
                    part.unlink()
    return path


def address(path: Path, start: Path) -> str:
    """The relative address of a file as seen from a folder: no character of a name leads elsewhere or does anything.

    >>> address(Path("out/javascript:alert(1);#1 50%?.html"), Path("out"))
    'javascript%3Aalert%281%29%3B%231%2050%25%3F.html'
    """
    return quote(os.fsencode(os.path.relpath(path, start).replace(os.sep, "/")))
