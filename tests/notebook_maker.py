"""Small notebooks for the tests of headless runs; none imports torch, so a kernel starts quickly."""

from __future__ import annotations

import time
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

PARAMETERS = """\
from typing import Literal

profile: Literal["smoke", "lecture", "full"] = "lecture"  # how much to compute
# fraction removed,
# of the whole network
sparsity: float = 0.9
seeds: int = 3
name: str = "plain"
live: bool = False
limit: int | None = None"""

FAILING_WIDGET = """\
from ipywidgets import interact

@interact(x=3)
def broken(x):
    raise RuntimeError("planted in a widget")"""

FAILING_EXPLORER = """\
import anywidget, traitlets

class Explorer(anywidget.AnyWidget):
    _esm = "export default { render() {} }"
    status = traitlets.Dict({"busy": "", "error": "planted in an explorer"}).tag(sync=True)

Explorer()"""


def code(source, *tags, outputs=()):
    """A code cell with tags; an output is text that the cell is said to have printed."""
    cell = new_code_cell(source, outputs=[new_output("stream", name="stdout", text=text) for text in outputs])
    cell.metadata["tags"] = list(tags)
    cell.execution_count = 1 if outputs else None
    return cell


def make(path: Path, *cells, parameters: str | None = PARAMETERS) -> Path:
    """Write a notebook: a title, the parameters cell unless it is None, and the cells (text is markdown or code)."""
    head = [new_markdown_cell(f"# Title of {path.stem}\n\nFirst paragraph.")]
    if parameters is not None:
        head.append(code(parameters, "parameters"))
    notebook = new_notebook(cells=[*head, *(new_code_cell(c) if isinstance(c, str) else c for c in cells)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def record(**facts) -> dict:
    """The record of a run that finished, with these facts."""
    usual = {"title": "Title", "parameters": {}, "given": {}, "face": "picture", "key": "k", "threads": {}}
    usual |= {"finished": "2026-01-01T00:00:00+00:00", "seconds": 1.0, "problems": [], "page": []}
    return {**usual, "picture": "", "alt": "", **facts}


def text_of(path: Path) -> str:
    """All that an executed notebook printed or showed as plain text."""
    outputs = [o for c in nbformat.read(path, as_version=4).cells for o in c.get("outputs", ())]
    return "".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs)


def gone(pid, seconds=10) -> bool:
    """Whether a process ends within some seconds."""
    for _ in range(seconds * 10):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False
