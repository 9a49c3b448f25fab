"""The frame of every page: one style, light and dark, and nothing that is fetched."""

from __future__ import annotations

import html
from pathlib import Path

POLICY = (
    "default-src 'none'; img-src data: blob:; media-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline' blob: data:; connect-src data: blob:; worker-src blob:"
)
"""What a page may load: what stands in it, and nothing else."""


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
<title>{html.escape(title)}</title>
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


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A table that scrolls where it is wider than the page; the cells are HTML.

    >>> "<td>1</td>" in table(["n"], [["1"]])
    True
    """
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
