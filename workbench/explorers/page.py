"""The faces of an explorer that need no kernel: a page that answers in the browser, and a view that does not change."""

import html
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.claims import NUMBERS_MIME

STATIC = Path(__file__).parent / "static"
IDLE = {"busy": "", "progress": 0.0, "message": "", "error": ""}
"""The status of an explorer that has nothing to do."""


def module(*names: str) -> str:
    """These files of `static/` as one ES module, which is what anywidget and a page from disk take.

    Each file is a module of its own that imports from those before it. Joined they share one scope, so their names
    differ; only the default export of the last is left.

    >>> module("kit", "pen", "charts").count("import ")
    0
    """
    texts = [(STATIC / f"{name}.js").read_text(encoding="utf-8") for name in names]
    return "\n".join(re.sub(r"^(import [^;]*;\n|export (?!default))", "", text, flags=re.M) for text in texts)


def style(*names: str) -> str:
    """These style sheets of `static/` as one."""
    return "\n".join((STATIC / f"{name}.css").read_text(encoding="utf-8") for name in names)


def element(traits: Mapping[str, Any], words: str, module: str, style: str) -> str:
    """One self-contained element: style, `words` for those without scripts, and the explorer `module` on its traits.

    Several may stand on one page.
    """
    mark = f"wb-{uuid.uuid4().hex}"
    data = json.dumps({"status": IDLE, **traits}, separators=(",", ":")).replace("<", "\\u003c")
    script = module.replace("export default", "const exported =", 1)
    shim = (STATIC / "page.js").read_text(encoding="utf-8").replace("export ", "", 1)
    return (
        f'<style>{style}</style><div id="{mark}"></div><noscript><pre>{html.escape(words)}</pre></noscript>'
        f'<script type="module">const traits = {data};\n{script}\n{shim}'
        f'exported.render({{ model: withoutKernel(traits), el: document.getElementById("{mark}") }});</script>'
    )


@dataclass(frozen=True)
class Still:
    """A view that does not change; shows itself in a notebook.

    `sentence` is the view in a line or two, `setting` what it was made with, `frame` what was drawn, `bundle` its
    formats, `numbers` what a headless run may read of it.
    """

    sentence: str
    setting: dict[str, Any]
    frame: dict[str, Any] = field(repr=False)
    bundle: dict[str, Any] = field(repr=False)
    numbers: dict[str, Any] = field(repr=False)
    errors: tuple[str, ...] = ()

    def state(self) -> dict[str, Any]:
        """The setting as JSON, for the `state=` of the explorer."""
        return dict(self.setting)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {**self.bundle, NUMBERS_MIME: self.numbers}
