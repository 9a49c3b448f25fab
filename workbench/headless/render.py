"""An executed notebook as a page of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from workbench.headless.markdown import markdown_html
from workbench.headless.notebook import places, title
from workbench.templates import html

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
            cells.append(html("text_cell", text=_or_source(_markdown, cell, found, folder, ending)))
        elif cell.cell_type == "code":
            cells.append(_or_source(_code, cell, found, folder))
        where = f"cell {numbers[index]}" if index in numbers else "the cell of injected parameters"
        problems += [f"{where}: {problem}" for problem in found]
    name = title(notebook, "Notebook")
    return html("notebook", title=name, cells=cells, executed=executed, problems=problems), problems


def _markdown(cell: NotebookNode, problems: list[str], folder: Path, ending: str) -> Markup:
    return markdown_html(cell.source, folder, cell.get("attachments"), ending, problems)


def _code(cell: NotebookNode, problems: list[str], folder: Path) -> Markup:
    """A code cell: its source, folded where the notebook folds it, and its outputs."""
    return html(
        "code_cell",
        source=_highlight(cell.source) if cell.source.strip() else "",
        folded=cell.metadata.get("jupyter", {}).get("source_hidden"),
        outputs=[_or_source(_output, output, problems, folder) for output in cell.outputs],
    )


def _or_source(show: Callable[..., Markup], part: NotebookNode, problems: list[str], *context: Any) -> Markup:
    """A cell or an output as `show` shows it; where that fails, a sentence and the source or the plain text."""
    try:
        return show(part, problems, *context)
    except Exception as error:  # whatever a bundle of foreign data or a parser brings up
        problem = f"what cannot be shown: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        problems.append(problem)
        plain = part.get("source") or part.get("data", {}).get("text/plain", "")
        return html("output", problem=problem, text=plain)


def _output(output: NotebookNode, problems: list[str], folder: Path) -> Markup:
    """One output in its richest form that a page can show."""
    if output.output_type == "stream":
        return html("output", kind=output.name, text=_terminal(output.text, problems))
    if output.output_type == "error":
        return html("output", kind="error", text=_terminal("\n".join(output.traceback), problems))
    data: dict[str, Any] = output.data
    plain = str(data.get("text/plain", ""))
    for kind in ("text/html", "image/svg+xml"):
        if kind in data:
            return html("output", element=Markup(_str(data[kind])))
    for kind in PICTURES:
        if kind in data:
            alt = str(output.metadata.get("alt", "")) or plain
            return html("output", kind=kind, picture=_str(data[kind]).strip(), alt=alt)
    for kind in ("text/markdown", "text/latex"):
        if kind in data:
            return markdown_html(_str(data[kind]), folder, problems=problems)
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


def _highlight(source: str) -> Markup:
    """Python source with its tokens in spans of classes."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    return Markup(highlight(source, get_lexer_by_name("ipython3"), HtmlFormatter(nowrap=True)))
