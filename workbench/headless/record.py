"""What a run leaves behind: an executed notebook that carries the record of its run, and a page."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "workbench"  # where an executed notebook's metadata keep the record of its run
RECORD: dict[str, Any] = {"title": "", "parameters": {}, "given": {}, "face": "", "key": "", "threads": {}}
RECORD |= {"finished": "", "seconds": 0.0, "problems": [], "page": [], "picture": "", "alt": ""}
"""The record of a run that never began: all that a record holds."""


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
        return list(self.record["page"])

    @property
    def problems(self) -> list[str]:
        """Why the run failed; empty where it did not."""
        return list(self.record["problems"])


def read_record(path: Path) -> dict[str, Any]:
    """The record in an executed notebook; empty where the file is none, or where its record is not one of ours."""
    try:
        written = json.loads(path.read_text(encoding="utf-8"))["metadata"][KEY]
        found = {"threads": {}, "page": [], "picture": "", "alt": "", **written}
        kinds = {name: type(value) for name, value in RECORD.items()} | {"seconds": int | float}
        lines = [*found["problems"], *found["page"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    sound = all(isinstance(found.get(name), kind) for name, kind in kinds.items())
    return found if sound and all(isinstance(line, str) for line in lines) else {}
