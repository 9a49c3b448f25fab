"""An executed notebook as a page of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from workbench.headless.markdown import markdown_html
from workbench.headless.notebook import places, title
from workbench.templates import html

if TYPE_CHECKING:
    from nbformat import NotebookNode

RICHEST = ("text/html", "image/svg+xml", "image/png", "image/jpeg", "image/gif", "text/markdown", "text/latex")
MOST = 1_000_000  # characters of one text output that a page shows


def notebook_page(notebook: NotebookNode, folder: Path, executed: str, ending: str = ".html") -> tuple[str, list[str]]:
    """(HTML of an executed notebook, what it could not show); `folder` is where the pictures of its text lie,
    `executed` the address of its file. Links to other notebooks lead to pages whose names end in `ending`.

    Everything stands in the page: formulas as MathML, pictures as data, the scripts of its outputs as they are. A live
    widget is shown as its text. For what cannot be shown stands its source or a sentence.
    """
    problems: list[str] = []
    numbers, cells, texts = places(notebook), [], []
    for index, cell in enumerate(notebook.cells):
        found: list[str] = []
        if cell.cell_type == "markdown":
            show = partial(markdown_html, cell.source, folder, cell.get("attachments"), ending, found)
            cells.append(html("text_cell", text=_or_source(show, cell, found)))
            texts.append(cells[-1])
        elif cell.cell_type == "code":
            cells.append(_or_source(partial(_code, cell, found, folder), cell, found))
        where = f"cell {numbers[index]}" if index in numbers else "the cell of injected parameters"
        problems += [f"{where}: {problem}" for problem in found]
    facts = {"title": title(notebook, "Notebook"), "sections": sections("".join(texts)), "executed": executed}
    return html("notebook", cells=cells, problems=problems, **facts), problems


def sections(page: str) -> list[tuple[str, str, Markup]]:
    """Headings of levels 2 and 3 of a page's texts: level, id and words, without the links in them.

    >>> sections('<h1 id="T">T</h1><h2 id="A-b">A <a href="x">b</a></h2>')
    [('2', 'A-b', Markup('A b'))]
    """
    found = re.findall(r'<h([23]) id="([^"]*)">(.*?)</h\1>', page)
    return [(level, unescape(mark), Markup(re.sub(r"</?a\b[^>]*>", "", words))) for level, mark, words in found]


def _code(cell: NotebookNode, problems: list[str], folder: Path) -> Markup:
    """A code cell: its source, folded where the notebook folds it, and its outputs."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    tokens = highlight(cell.source, get_lexer_by_name("ipython3"), HtmlFormatter(nowrap=True))
    folded = cell.metadata.get("jupyter", {}).get("source_hidden")
    outputs = [_or_source(partial(_output, one, problems, folder), one, problems) for one in cell.outputs]
    return html("code_cell", source=Markup(tokens if cell.source.strip() else ""), folded=folded, outputs=outputs)


def _or_source(show: Callable[[], Markup], part: NotebookNode, problems: list[str]) -> Markup:
    """A cell or an output as `show` shows it; where that fails, a sentence and the source or the plain text."""
    try:
        return show()
    except Exception as error:  # whatever a bundle of foreign data or a parser brings up
        problems.append(f"cannot be shown: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
        plain = part.get("source") or part.get("data", {}).get("text/plain", "")
        return html("output", problem=problems[-1], text=plain)


def _output(output: NotebookNode, problems: list[str], folder: Path) -> Markup:
    """One output in its richest form that a page can show."""
    if output.output_type == "stream":
        return html("output", kind=output.name, text=_terminal(output.text, problems))
    if output.output_type == "error":
        return html("output", kind="error", text=_terminal("\n".join(output.traceback), problems))
    data: dict[str, Any] = output.data
    plain = str(data.get("text/plain", ""))
    kind = next((kind for kind in RICHEST if kind in data), "")
    if kind in ("text/html", "image/svg+xml"):
        return html("output", element=Markup(_str(data[kind])))
    if kind in ("text/markdown", "text/latex"):
        return markdown_html(_str(data[kind]), folder, problems=problems)
    if kind:
        return html("output", kind=kind, picture=_str(data[kind]).strip(), alt=output.metadata.get("alt") or plain)
    return html("output", kind="", text=_terminal(plain, problems))


def _terminal(content: str, problems: list[str]) -> Markup:
    """Text with the colours of a terminal as HTML, its end cut off where it is longer than a page can show."""
    from nbconvert.filters import ansi2html

    if len(content) > MOST:
        problem = f"a text of {len(content):,} characters, cut off after {MOST:,}; the notebook's file holds all of it"
        problems.append(problem)
        content = f"{content[:MOST]}\n... {problem}"
    return Markup(ansi2html(content))


def _str(data: object) -> str:
    """The text of a bundle, which may be a list of lines; a TypeError where it holds something else."""
    if isinstance(data, list) and all(isinstance(line, str) for line in data):
        return "".join(data)
    if not isinstance(data, str):
        raise TypeError(f"an output's data is text; got {str(data)[:40]}")
    return data
