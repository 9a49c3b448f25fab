"""Markdown to HTML that needs no network: formulas become MathML, pictures become part of the page."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit
from xml.etree import ElementTree

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath, MathBlockParser


def markdown_html(
    source: str, folder: Path, attachments: Mapping[str, Any] | None = None, ending: str = ".html"
) -> str:
    """HTML of a markdown cell; `folder` is where its pictures lie.

    Links to notebooks become links to their pages, whose names end in `ending` instead of `.ipynb`.
    """
    renderer = Renderer(escape=False, embed_images=True, path=str(folder), attachments=dict(attachments or {}))
    renderer.ending = ending
    return str(MarkdownWithMath(renderer, block=Blocks()).render(source))


def mathml(latex: str, display: str = "inline") -> str:
    r"""A LaTeX formula as MathML, its source kept as `alttext`; a ValueError names a formula that cannot be set.

    >>> mathml("x").replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")
    '<math display="inline" alttext="x"><mrow><mi>x</mi></mrow></math>'
    """
    from latex2mathml.converter import convert

    known = latex.replace("{aligned}", "{align*}").replace(r"\operatorname*", r"\operatorname")
    bare = re.sub(r"\\.", "", latex)  # without escaped braces
    try:
        if bare.count("{") != bare.count("}"):
            raise ValueError("braces do not match")
        text = convert(known, display=display)
        for element in ElementTree.fromstring(text).iter():
            if re.match(r"\\[a-zA-Z]", element.text or ""):
                raise ValueError(f"unknown command {element.text}")
    except Exception as error:  # latex2mathml raises an exception class of its own for each mistake
        raise ValueError(f"a formula that cannot be set: ${latex}$ ({type(error).__name__}: {error})") from None
    return text.replace(f'display="{display}"', f'display="{display}" alttext="{html.escape(latex.strip())}"', 1)


class Blocks(MathBlockParser):
    """nbconvert's blocks, with display formulas only where a line starts: `$$` in a code span is code."""

    SPECIFICATION: ClassVar[dict[str, str]] = {
        **MathBlockParser.SPECIFICATION,
        "multiline_math": rf"^ {{0,3}}(?:{MathBlockParser.MULTILINE_MATH})",
    }


class Renderer(IPythonRenderer):
    """nbconvert's renderer with MathML instead of text for MathJax, plain heading ids, and links between pages."""

    ending = ".html"

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        """A heading with the id that JupyterLab gives it."""
        slug = re.sub(r"<[^>]+>", "", text).strip().replace(" ", "-")
        return f'<h{level} id="{html.escape(slug)}">{text}</h{level}>\n'

    def block_math(self, body: str) -> str:
        """A display formula."""
        return f'<div class="formula">{mathml(body, "block")}</div>'

    def inline_math(self, body: str) -> str:
        """A formula in the text."""
        return mathml(body)

    def latex_environment(self, name: str, body: str) -> str:
        """A display formula written as an environment."""
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def _html_embed_images(self, html: str) -> str:
        """HTML as it was written (an element may go on in the next block), its pictures as data."""
        return re.sub(
            r'(<img\b[^>]*?\bsrc=")([^"]+)',
            lambda found: found[1] + (self._src_to_base64(found[2]) or found[2]),
            html,
        )

    def block_mermaidjs(self, code: str) -> str:
        """A diagram's source as code: drawing it would need a script from the network."""
        return f"<pre><code>{html.escape(code)}</code></pre>\n"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A link; one to a notebook beside this one leads to its page."""
        parts = urlsplit(url)
        if not parts.scheme and not parts.netloc and parts.path.endswith(".ipynb") and "/" not in parts.path:
            url = parts._replace(path=parts.path.removesuffix(".ipynb") + self.ending).geturl()
        return str(super().link(text, url, title))
