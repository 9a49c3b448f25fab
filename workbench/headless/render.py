"""An executed notebook as a page of its own."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.headless.markdown import markdown_html
from workbench.headless.notebook import title
from workbench.headless.page import page

if TYPE_CHECKING:
    from nbformat import NotebookNode

PICTURES = ("image/png", "image/jpeg", "image/gif")


def notebook_page(notebook: NotebookNode, folder: Path, executed: str, ending: str = ".html") -> str:
    """HTML of an executed notebook; `folder` is where the pictures of its text lie, `executed` the link to its file.
    Links to other notebooks lead to pages whose names end in `ending`.

    Everything stands in the page: formulas as MathML, pictures as data, the scripts of its outputs as they are.
    A live widget has no static form and is shown as its text.
    """
    cells = [
        f'<section class="text">{markdown_html(cell.source, folder, cell.get("attachments"), ending)}</section>'
        if cell.cell_type == "markdown"
        else _code(cell, folder)
        for cell in notebook.cells
        if cell.cell_type in ("markdown", "code")
    ]
    links = f'<a href="index.html">All notebooks</a> <a href="{html.escape(executed)}">This notebook as a file</a>'
    return page(title(notebook, "Notebook"), "\n".join(cells), links)


def _code(cell: NotebookNode, folder: Path) -> str:
    """A code cell: its source, folded where the notebook folds it, and its outputs."""
    source = f'<pre class="code" tabindex="0">{_highlight(cell.source)}</pre>'
    if cell.metadata.get("jupyter", {}).get("source_hidden"):
        source = f"<details><summary>Code</summary>{source}</details>"
    if not cell.source.strip():
        source = ""
    outputs = "".join(f'<div class="output">{_output(output, folder)}</div>' for output in cell.outputs)
    return f'<section class="cell">{source}{outputs}</section>'


def _output(output: NotebookNode, folder: Path) -> str:
    """One output in its richest form that a page can show."""
    from nbconvert.filters import ansi2html

    if output.output_type == "stream":
        return f'<pre class="{output.name}" tabindex="0">{ansi2html(output.text)}</pre>'
    if output.output_type == "error":
        return f'<pre class="error" tabindex="0">{ansi2html(chr(10).join(output.traceback))}</pre>'
    data: dict[str, Any] = output.data
    text = html.escape(str(data.get("text/plain", "")))
    if "text/html" in data:
        return f'<div class="scroll">{data["text/html"]}</div>'
    if "image/svg+xml" in data:
        return f'<div class="scroll">{data["image/svg+xml"]}</div>'
    for kind in PICTURES:
        if kind in data:
            alt = html.escape(str(output.metadata.get("alt", ""))) or text
            return f'<img src="data:{kind};base64,{data[kind].strip()}" alt="{alt}">'
    for kind in ("text/markdown", "text/latex"):
        if kind in data:
            return markdown_html(data[kind], folder)
    return f'<pre tabindex="0">{text}</pre>'


def _highlight(source: str) -> str:
    """Python source with its tokens in spans of classes."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    return str(highlight(source, get_lexer_by_name("ipython3"), HtmlFormatter(nowrap=True)))
