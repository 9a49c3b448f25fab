"""Files that a visitor takes away: names that tell settings apart, and nothing is written over."""

import re
from pathlib import Path

LONGEST = 32
"""Bytes of one part (data, network, criterion, ...) of a file's name."""


def fit(part: str) -> str:
    """Letters and digits of any script, and what no file system minds."""
    plain = re.sub(r"[^\w.+]+", "-", part).strip("-.")
    return plain.encode()[:LONGEST].decode(errors="ignore")


def write(stem: str, end: str, content: bytes) -> tuple[str, bool]:
    """Write a file under the first name that is free; returns its name and whether it was there with this content."""
    count = 0
    while True:
        count += 1
        path = Path(f"{stem}-{count}{end}" if count > 1 else stem + end)
        try:
            with path.open("xb") as file:
                file.write(content)
            return path.name, False
        except FileExistsError:
            if path.is_file() and path.read_bytes() == content:
                return path.name, True
