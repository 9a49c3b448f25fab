"""The frame of every page: one style, light and dark, and nothing that is fetched."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

POLICY = (
    "default-src 'none'; img-src data: blob:; media-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline' blob: data:; connect-src data: blob:; worker-src blob:"
)
"""What a page may load: what stands in it, and nothing else."""


class Html(str):
    """Text that is HTML already. Any other text is escaped where a page takes it in."""


def text(value: object) -> Html:
    """A value as HTML: escaped, unless it is `Html`.

    >>> text("<b>"), text(Html("<b>"))
    ('&lt;b&gt;', '<b>')
    """
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def address(path: Path, start: Path) -> Html:
    """The relative address of a file as seen from a folder: no character of a name leads elsewhere or does anything.

    >>> address(Path("out/javascript:alert(1);#1 50%?.html"), Path("out"))
    'javascript%3Aalert%281%29%3B%231%2050%25%3F.html'
    """
    return Html(quote(os.fsencode(os.path.relpath(path, start).replace(os.sep, "/"))))


def link(path: Path, start: Path, words: object) -> Html:
    """A link to a file as seen from a folder."""
    return Html(f'<a href="{address(path, start)}">{text(words)}</a>')


def page(title: str, body: str, links: str = "") -> str:
    """A whole HTML page; `body` and `links` (a line at its top) are HTML. It opens from disk and loads nothing.

    >>> "<title>A &amp; B</title>" in page("A & B", "<h1>A</h1>")
    True
    """
    style = (Path(__file__).parent / "static" / "page.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{text(title)}</title>
<style>
{style}</style>
</head>
<body>
{f'<nav aria-label="Pages">{links}</nav>' if links else ""}
<main>
{body}
</main>
</body>
</html>
"""


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    """A table that scrolls where it is wider than the page; cells are escaped, unless they are `Html`.

    >>> "<td>&lt; 1</td>" in table(["n"], [["< 1"]])
    True
    """
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in heads)
    lines = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return Html(
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
    )
