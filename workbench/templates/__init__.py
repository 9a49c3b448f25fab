"""The HTML that the workbench writes: jinja2 templates beside this file, every value in them escaped."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def html(template: str, **values: Any) -> Markup:
    """A template of this folder, filled in. Other templates take the result as it is; `str` makes plain text of it.

    >>> print(html("wrong_answer", message="0.5 < 1")[-16:])
    0.5 &lt; 1</div>
    """
    from markupsafe import Markup

    return Markup(_environment().get_template(f"{template}.html").render(values))


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=here, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
