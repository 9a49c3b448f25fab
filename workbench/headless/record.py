"""What a run leaves behind: an executed notebook that carries the record of its run, and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "workbench"
"""Where an executed notebook's metadata keep the record of its run."""

RECORD: dict[str, type | tuple[type, ...]] = {
    "title": str,
    "parameters": dict,
    "given": dict,
    "face": str,
    "key": str,
    "threads": dict,
    "finished": str,
    "seconds": (int, float),
    "problems": list,
    "page": list,
}
"""What the record of a run holds."""


@dataclass(frozen=True)
class Run:
    """What became of one notebook: its files, the record its notebook carries, and whether it was done before."""

    executed: Path
    page: Path
    record: Mapping[str, Any]
    skipped: bool = False

    @property
    def page_problems(self) -> list[str]:
        """What its page could not show: no matter for the numbers."""
        return list(self.record.get("page", []))

    @property
    def problems(self) -> list[str]:
        """Why the run failed; empty where it did not."""
        return list(self.record.get("problems", []))


def read_record(path: Path) -> dict[str, Any]:
    """The record in an executed notebook; empty where the file is none, or where its record is not one of ours."""
    try:
        found = {"threads": {}, "page": [], **json.loads(path.read_text(encoding="utf-8"))["metadata"][KEY]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    lists = [found[name] for name in ("problems", "page") if isinstance(found.get(name), list)]
    sound = all(isinstance(found.get(name), kind) for name, kind in RECORD.items())
    return found if sound and all(isinstance(line, str) for lines in lists for line in lines) else {}
