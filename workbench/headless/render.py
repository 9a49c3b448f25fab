"""An executed notebook as a page of its own."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.headless.markdown import markdown_html
from workbench.headless.notebook import places, title
from workbench.headless.page import Html, page, text

if TYPE_CHECKING:
    from nbformat import NotebookNode

PICTURES = ("image/png", "image/jpeg", "image/gif")

MOST = 1_000_000
"""Characters of one text output that a page shows."""


def notebook_page(notebook: NotebookNode, folder: Path, executed: str, ending: str = ".html") -> tuple[str, list[str]]:
    """(HTML of an executed notebook, what it could not show); `folder` is where the pictures of its text lie,
    `executed` the address of its file. Links to other notebooks lead to pages whose names end in `ending`.

    Everything stands in the page: formulas as MathML, pictures as data, the scripts of its outputs as they are.
    A live widget has no static form and is shown as its text. What cannot be shown costs no more than itself: its
    source or a sentence stands in its place.
    """
    problems: list[str] = []
    numbers = places(notebook)
    cells = []
    for index, cell in enumerate(notebook.cells):
        found: list[str] = []
        if cell.cell_type == "markdown":
            shown = _or_source(
                lambda c, f: markdown_html(c.source, folder, c.get("attachments"), ending, f), cell, found
            )
            cells.append(f'<section class="text">{shown}</section>')
        elif cell.cell_type == "code":
            cells.append(_or_source(lambda c, f: _code(c, folder, f), cell, found))
        where = f"cell {numbers[index]}" if index in numbers else "the cell of injected parameters"
        problems += [f"{where}: {problem}" for problem in found]
    links = f'<a href="index.html">All notebooks</a> <a href="{executed}">This notebook as a file</a>'
    lead = [_notice(f"This page is incomplete. {problem}") for problem in problems]
    return page(title(notebook, "Notebook"), "\n".join([*cells, *lead]), links), problems


def _code(cell: NotebookNode, folder: Path, problems: list[str]) -> str:
    """A code cell: its source, folded where the notebook folds it, and its outputs."""
    source = f'<pre class="code" tabindex="0">{_highlight(cell.source)}</pre>'
    if cell.metadata.get("jupyter", {}).get("source_hidden"):
        source = f"<details><summary>Code</summary>{source}</details>"
    if not cell.source.strip():
        source = ""
    shown = [_or_source(lambda o, found: _output(o, folder, found), output, problems) for output in cell.outputs]
    outputs = "".join(f'<div class="output">{output}</div>' for output in shown)
    return f'<section class="cell">{source}{outputs}</section>'


def _or_source(show: Callable[[NotebookNode, list[str]], str], part: NotebookNode, problems: list[str]) -> str:
    """A cell or an output as `show` shows it; where that fails, a sentence and the source or the plain text."""
    try:
        return show(part, problems)
    except Exception as error:  # whatever a bundle of foreign data or a parser brings up
        problem = f"what cannot be shown: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        problems.append(problem)
        plain = part.get("source") or part.get("data", {}).get("text/plain", "")
        return f"{_notice(problem)}<pre>{text(plain)}</pre>"


def _output(output: NotebookNode, folder: Path, problems: list[str]) -> str:
    """One output in its richest form that a page can show."""
    if output.output_type == "stream":
        return f'<pre class="{text(output.name)}" tabindex="0">{_terminal(output.text, problems)}</pre>'
    if output.output_type == "error":
        return f'<pre class="error" tabindex="0">{_terminal(chr(10).join(output.traceback), problems)}</pre>'
    data: dict[str, Any] = output.data
    for kind in ("text/html", "image/svg+xml"):
        if kind in data:
            return f'<div class="scroll">{_str(data[kind])}</div>'
    plain = text(data.get("text/plain", ""))
    for kind in PICTURES:
        if kind in data:
            alt = html.escape(str(output.metadata.get("alt", ""))) or plain
            return f'<img src="data:{kind};base64,{text(_str(data[kind]).strip())}" alt="{alt}">'
    for kind in ("text/markdown", "text/latex"):
        if kind in data:
            return markdown_html(_str(data[kind]), folder, problems=problems)
    return f'<pre tabindex="0">{_terminal(str(data.get("text/plain", "")), problems)}</pre>'


def _terminal(content: str, problems: list[str]) -> str:
    """Text with the colours of a terminal as HTML, its end cut off where it is longer than a page can show."""
    from nbconvert.filters import ansi2html

    if len(content) > MOST:
        problem = f"a text of {len(content):,} characters, cut off after {MOST:,}; the notebook's file holds all of it"
        problems.append(problem)
        content = f"{content[:MOST]}\n... {problem}"
    return str(ansi2html(content))


def _str(data: object) -> str:
    """The text of a bundle, which may be a list of lines; a TypeError where it holds something else."""
    if isinstance(data, list) and all(isinstance(line, str) for line in data):
        return "".join(data)
    if not isinstance(data, str):
        raise TypeError(f"an output's data is text; got {str(data)[:40]}")
    return data


def _notice(sentence: str) -> Html:
    return Html(f'<p class="failed">{text(sentence)}</p>')


def _highlight(source: str) -> str:
    """Python source with its tokens in spans of classes."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    return str(highlight(source, get_lexer_by_name("ipython3"), HtmlFormatter(nowrap=True)))
