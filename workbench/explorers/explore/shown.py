"""What a picture function returned, as parts of a page: pictures, tables and texts, each in words, too."""

import base64
import functools
import io
import sys
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from workbench import plots
from workbench.templates import html

ROWS = 200
"""Rows of a table that a headless run may read."""
TOLD, WIDE = 3, 8
"""Rows and columns of a table that its words say."""


class Shown(NamedTuple):
    """Parts to show, in words too, and the tables as records."""

    parts: list[dict[str, Any]]
    words: str
    tables: list[Any]


def shown(value: Any, ratio: float = 1.5) -> Shown:
    """The parts of an Axes or Figure, an image, a table, a text or number, or a tuple of them; others as their repr.

    `ratio` is device pixels a pixel. Raises TypeError for None.

    >>> shown(("two", 2)).parts
    [{'kind': 'text', 'text': 'two'}, {'kind': 'text', 'text': '2'}]
    """
    if value is None:
        raise TypeError(
            "a picture function returns what it shows: an Axes or Figure, a table, a text, or a tuple of them; got "
            "None. Return the Axes that it draws on"
        )
    parts, words, tables = [], [], []
    for item in _items(value):
        if hasattr(item, "savefig"):
            words.append(plots.describe(item))
            parts.append(_image(item, words[-1], ratio))
            continue
        if hasattr(item, "to_frame"):
            item = item.to_frame()
        if hasattr(item, "convert") and hasattr(item, "size"):  # an image of PIL
            words.append(f"Image of {item.size[0]} by {item.size[1]} pixels.")
            parts.append(_png(item.convert("RGB"), item.size[0], words[-1]))
        elif (drawn := getattr(item, "_repr_html_", lambda: None)()) is not None:
            parts.append({"kind": "html", "html": drawn})
            table = getattr(item, "data", item)  # of a Styler
            if hasattr(table, "columns"):
                tables.append(_records(table.head(ROWS)))
                words.append(_told(table, tables[-1]))
        else:
            words.append(item if isinstance(item, str) else f"{item:,.6g}" if isinstance(item, float) else repr(item))
            parts.append({"kind": "text", "text": words[-1]})
    return Shown(parts, " ".join(words), tables)


def _records(table: Any) -> list[dict[str, Any]]:
    """Rows with the index in front, under names that are texts."""
    flat = table.set_axis([" ".join(map(str, c)) if isinstance(c, tuple) else str(c) for c in table.columns], axis=1)
    taken = [name if name is None or str(name) not in flat.columns else f"{name} (index)" for name in flat.index.names]
    rows: list[dict[str, Any]] = flat.rename_axis(taken).reset_index().to_dict("records")
    return rows


def _told(table: Any, rows: list[dict[str, Any]]) -> str:
    """A table in words: its size, and of its first rows the first columns, as far as a listener follows."""
    count, drop = len(table), {"index"} if type(table.index).__name__ == "RangeIndex" else set()
    named = [[f"{name} {_number(x)}" for name, x in row.items() if name not in drop] for row in rows[:TOLD]]
    said = "; ".join(", ".join(row[:WIDE]) + ", ..." * (len(row) > WIDE) for row in named)
    return f"Table of {count} row{'s' * (count != 1)}{': ' * bool(said)}{said}{'; ...' if count > TOLD else '.'}"


def _number(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def _items(value: Any) -> Iterator[Any]:
    """The things to show, each figure once, whichever of its Axes were returned."""
    seen: list[Any] = []
    for item in value if isinstance(value, tuple | list) else _array(value):
        figure = _figure(item)
        if figure is None:
            yield item
        elif all(figure is not other for other in seen):
            seen.append(figure)
            yield figure


def _array(value: Any) -> Any:
    return value.ravel().tolist() if type(value).__module__ == "numpy" and value.dtype == object else [value]


def _figure(item: Any) -> Any:
    """The figure of a figure, an Axes, an artist or a grid of seaborn; None for what is not drawn."""
    if hasattr(item, "get_figure"):
        return item.get_figure(root=True)
    figure = getattr(item, "figure", None)
    return figure if hasattr(figure, "savefig") else None


def _image(figure: Any, alt: str, ratio: float) -> dict[str, Any]:
    """A figure as PNG, by Agg, and out of pyplot's hands, which would show it again."""
    import numpy as np
    from PIL import Image

    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(figure)
    canvas = _canvas()(figure)
    with plots.style():
        figure.set_dpi(96 * ratio)
        canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    return _png(pixels, round(figure.get_figwidth() * 96), alt)


@functools.cache
def _canvas() -> Any:
    """A canvas of Agg whose pictures of one size share a renderer in a thread: it knows how wide texts are."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg

    @functools.lru_cache(maxsize=4)
    def renderer(_: int, width: float, height: float, dpi: float) -> RendererAgg:
        return RendererAgg(width, height, dpi)

    class Canvas(FigureCanvasAgg):
        def get_renderer(self) -> RendererAgg:
            return renderer(threading.get_ident(), *self.figure.bbox.size, self.figure.dpi)

    return Canvas


def _png(pixels: Any, width: int, alt: str) -> dict[str, Any]:
    """An image of PIL as PNG of 256 colours, which takes a third of the bytes, in the same time."""
    file = io.BytesIO()
    pixels.quantize(256, method=2).save(file, "png")  # 2: the fast octree
    return {"kind": "image", "data": base64.b64encode(file.getvalue()).decode(), "width": width, "alt": alt}


def bundle(found: Shown, title: str, setting: str) -> dict[str, Any]:
    """The parts as HTML that needs no script, the first picture as PNG, and the words."""
    from markupsafe import Markup

    parts = [part | ({"html": Markup(part["html"])} if part["kind"] == "html" else {}) for part in found.parts]
    made: dict[str, Any] = {
        "text/html": str(html("explored", parts=parts, setting=setting)),
        "text/plain": f"{title}: {f'{setting}. ' if setting else ''}{found.words}",
    }
    images = [part["data"] for part in found.parts if part["kind"] == "image"]
    return {**made, **({"image/png": images[0]} if images else {})}
