"""Markdown to HTML that needs no network: formulas become MathML, pictures become part of the page."""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit
from xml.etree import ElementTree

from markupsafe import Markup
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath, MathBlockParser

# What latex2mathml does not know, and what it knows instead.
SPELLINGS = (
    (r"\\label\s*\{[^{}]*\}|\\(?:nonumber|notag)(?![a-zA-Z])", ""),  # pages number no formula
    (r"\\tag\*?\s*\{([^{}]*)\}", r"\\qquad\\text{(\1)}"),
    (r"\\(arg|argmin|argmax|diag|rank|sgn|sign|Tr|tr|softmax|supp|Var|Cov)(?![a-zA-Z])", r"\\operatorname{\1}"),
    (r"\\operatorname\*", r"\\operatorname"),
    (r"\\ensuremath(?![a-zA-Z])", ""),
    (r"\\hdots(?![a-zA-Z])", r"\\dots"),
    (r"\\defeq(?![a-zA-Z])", r"\\coloneqq"),
    (r"\{(?:aligned|align|eqnarray\*?)\}", "{align*}"),
    (r"\{(equation|gather|multline)\}", r"{\1*}"),
)


def markdown_html(
    source: str,
    folder: Path,
    attachments: Mapping[str, Any] | None = None,
    ending: str = ".html",
    problems: list[str] | None = None,
) -> Markup:
    """HTML of a markdown cell; `folder` is where its pictures lie.

    Links to notebooks become links to their pages, whose names end in `ending` (as in an address) instead of `.ipynb`.
    A formula that cannot be set is shown as its source, a picture that is not there as its text; `problems` hears so.
    """
    renderer = Renderer(escape=False, embed_images=True, path=str(folder), attachments=dict(attachments or {}))
    renderer.ending = ending
    renderer.problems = [] if problems is None else problems
    return Markup(MarkdownWithMath(renderer, block=Blocks()).render(source))


def mathml(latex: str, display: str = "inline") -> str:
    r"""A LaTeX formula as MathML, its source kept as `alttext`; a ValueError names a formula that cannot be set.

    >>> mathml("x").replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")
    '<math display="inline" alttext="x"><mrow><mi>x</mi></mrow></math>'
    """
    from latex2mathml.converter import convert

    known, bare = latex, re.sub(r"\\.", "", latex)  # without escaped braces
    for pattern, instead in SPELLINGS:
        known = re.sub(pattern, instead, known)
    try:
        if bare.count("{") != bare.count("}"):
            raise ValueError("braces do not match")
        text = convert(known, display=display)
        for element in ElementTree.fromstring(text).iter():
            if re.match(r"\\[a-zA-Z]", element.text or ""):
                raise ValueError(f"unknown command {element.text}")
    except Exception as error:  # latex2mathml raises an exception class of its own for each mistake
        raise ValueError(f"a formula that cannot be shown: ${latex}$ ({type(error).__name__}: {error})") from None
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
    problems: list[str]

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        """A heading with the id that JupyterLab gives it."""
        slug = re.sub(r"<[^>]+>", "", text).strip().replace(" ", "-")
        return f'<h{level} id="{html.escape(slug)}">{text}</h{level}>\n'

    def block_math(self, body: str) -> str:
        """A display formula."""
        return f'<div class="formula">{self._formula(body, "block")}</div>'

    def inline_math(self, body: str) -> str:
        """A formula in the text."""
        return self._formula(body, "inline")

    def _formula(self, latex: str, display: str) -> str:
        """A formula, or its source where it cannot be set."""
        try:
            return mathml(latex, display)
        except ValueError as error:
            self.problems.append(str(error))
            return f"<code>{html.escape(latex.strip())}</code>"

    def latex_environment(self, name: str, body: str) -> str:
        """A display formula written as an environment."""
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def _html_embed_images(self, html: str) -> str:
        """HTML as it was written (an element may go on in the next block), its pictures as data."""
        return re.sub(
            r'(<img\b[^>]*?\bsrc=")([^"]+)', lambda found: found[1] + self._embed_image_or_attachment(found[2]), html
        )

    def _embed_image_or_attachment(self, src: str) -> str:
        """A picture as data; its address where it is not there, so that the browser shows its text."""
        try:
            found = str(super()._embed_image_or_attachment(src))
        except Exception as error:  # a folder, no right to read it, an attachment that is none
            found, why = src, f" ({error})"
        else:
            why = ""
        if not found.startswith("data:"):
            self.problems.append(f"a picture that is not in the page: {src}{why}")
        return found

    def block_mermaidjs(self, code: str) -> str:
        """A diagram's source as code: drawing it would need a script from the network."""
        return f"<pre><code>{html.escape(code)}</code></pre>\n"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A link; one to a notebook beside this one leads to its page."""
        parts = urlsplit(url)
        if not parts.scheme and not parts.netloc and parts.path.endswith(".ipynb") and "/" not in parts.path:
            url = parts._replace(path=parts.path.removesuffix(".ipynb") + self.ending).geturl()
        return str(super().link(text, url, title))
