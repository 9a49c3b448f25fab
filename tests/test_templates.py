"""Templates: all of them are used, and no value in them is anything but text."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest
from markupsafe import Markup

from workbench import templates
from workbench.templates import html

FOLDER = Path(templates.__file__).parent
FILES = sorted(path.name for path in FOLDER.glob("*.html"))


@pytest.mark.parametrize("name", FILES)
def test_a_template_is_used_and_trusts_no_value(name: str) -> None:
    source = (FOLDER / name).read_text(encoding="utf-8")
    texts = [p for p in FOLDER.parent.rglob("*") if p.suffix in (".py", ".html") and p.name != name]
    stem = name.removesuffix(".html")
    called = re.compile(rf'html\(\s*"{stem}"|(extends|from|include) "{name}"')
    assert any(called.search(path.read_text(encoding="utf-8")) for path in texts)
    assert "autoescape" not in source
    assert set(re.findall(r"(\S+?)\s*\|\s*safe", source)) <= {"'style=\"text-align:left\"'", '"<br>"'}


def test_values_are_escaped_once_and_what_is_html_already_stays() -> None:
    inner = html("wrong_answer", message='<b> & "q"')
    assert inner.endswith("</strong> &lt;b&gt; &amp; &#34;q&#34;</div>")
    assert html("text_cell", text=inner) == Markup(f'<section class="text">{inner}</section>')
    assert html("text_cell", text=str(inner)).count("&amp;lt;b") == 1


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="alt"):
        html("figure", fold="", width=1, image="", caption="")
