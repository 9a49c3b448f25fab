"""What all pictures share: their style, Axes on figures of their own, and how a figure is shown."""

from __future__ import annotations

import base64
import io
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from workbench.extras import lab
from workbench.plots.looks import KEPT, Look, Looks, looks
from workbench.plots.words import describe, title
from workbench.templates import html
from workbench.types import check_choice

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = {
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.size": 14,
    "axes.titlesize": 15,
    "axes.titlelocation": "left",
    "axes.labelsize": 14,
    "xtick.labelsize": 13,
    "ytick.labelsize": 13,
    "legend.fontsize": 12.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "savefig.facecolor": "white",
}
# How a line looks that is no arm: a reference, the dense network.
GUIDE: dict[str, Any] = {"color": "#555555", "linestyle": "--", "linewidth": 1.5}


@contextmanager
def style() -> Iterator[None]:
    """The pictures' common look, for the drawing inside this block only.

    >>> import matplotlib
    >>> before = matplotlib.rcParams["font.size"]
    >>> with style():
    ...     matplotlib.rcParams["font.size"]
    14.0
    >>> matplotlib.rcParams["font.size"] == before
    True
    """
    import matplotlib

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def axes(width: float = 8.0, height: float = 4.6, columns: int = 1) -> Any:
    """New Axes (a list of them for `columns` > 1) on a figure of its own, outside pyplot's state; sizes in inches."""
    made = panels(columns, columns, width, height)[1]
    return made[0] if columns == 1 else made


def panels(count: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A new figure and `count` Axes on it, `columns` in a row; `options` are those of `Figure.subplots`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        made: Any = figure.subplots(math.ceil(count / columns), columns, squeeze=False, **options)
        for ax in made.flat[count:]:
            ax.remove()
    return figure, list(made.flat[:count])


@contextmanager
def drawing(ax: Axes | None, width: float = 8.0, height: float = 4.6) -> Iterator[Axes]:
    """The Axes to draw on in the pictures' style: those given, else new ones of this size."""
    with style():
        yield axes(width, height) if ax is None else ax


def arms_of(
    df: pd.DataFrame, arm: str | None, *columns: str, own: Looks | None = None, one_a_layer: bool = False
) -> list[tuple[str, Look, pd.DataFrame]]:
    """Name, look (`own` goes first) and rows of every arm, in the order of the table; of one arm where `arm` is None.

    A ValueError where the table lacks a column, has no rows, rows of no arm or, `one_a_layer`, two of an arm's layer.
    """
    names = [arm] if arm else []
    for column in (*names, *columns):
        check_choice("column", column, df.columns)
    if not len(df):
        raise ValueError("a picture is drawn of rows; this table has none. Look at what its rows were chosen by")
    if arm and (lost := int(df[arm].isna().sum())):
        rule = f"every row has a name in {arm!r}; {lost} of {len(df)} have none"
        raise ValueError(f"{rule}. Fill it in or drop these rows")
    if one_a_layer and (twice := df.loc[df.duplicated([*names, "layer"]), "layer"].tolist()):
        rule = f"a layer has one row{f' for each {arm}' if arm else ''}; {twice[0]!r} has several"
        raise ValueError(f"{rule}. Choose one setting first, such as one seed")
    if not arm:
        return [("", Look(KEPT, "s"), df)]
    found = looks(df[arm]) | {name: Look(*look) for name, look in (own or {}).items()}
    return [(str(name), found[str(name)], rows) for name, rows in df.groupby(df[arm].astype(str), sort=False)]


def hues(df: pd.DataFrame, arm: str, parts: list[tuple[str, Look, pd.DataFrame]]) -> dict[str, Any]:
    """The looks of arms (`parts`, as `arms_of` gives them) as keywords of seaborn's lines and dots."""
    names, own = df[arm].astype(str), {name: look for name, look, _ in parts}
    colours, shapes = ({name: look[i] for name, look in own.items()} for i in (0, 1))
    return {"hue": names, "hue_order": [*own], "palette": colours, "style": names, "markers": shapes}


def apart(arms: int, wide: float) -> list[float]:
    """How far each of some arms stands from their common place."""
    return [(i - (arms - 1) / 2) * wide for i in range(arms)]


def legend_beside(ax: Axes) -> None:
    """The legend on the right of the picture."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def bare(ax: Axes) -> None:
    """No ticks, no grid and no frame."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)


def show(picture: Figure | Axes, *, alt: str | None = None, caption: str | None = None, fold: str = "") -> None:
    """Display a figure as HTML, PNG and text, and close it; `fold`: folded away under words like "Expected picture".

    `alt` says in words what the picture shows: it is all that some readers get. Without one it is `describe(picture)`;
    the caption is then the picture's title, or the first sentence of these words.
    """
    lab("IPython.display").display(bundle(picture, alt=alt, caption=caption, fold=fold), raw=True)


def bundle(
    picture: Figure | Axes, *, alt: str | None = None, caption: str | None = None, fold: str = ""
) -> dict[str, str]:
    """A figure in the formats that `show` displays, by MIME type; closes the figure."""
    figure: Any = picture.get_figure(root=True) if hasattr(picture, "get_figure") else picture
    alt = describe(figure) if alt is None else alt
    caption = title(picture) or f"{alt.partition('. ')[0].rstrip('.')}." if caption is None else caption
    for name, text in {"alt": alt, "caption": caption}.items():
        if not text.strip():
            raise ValueError(f"{name} is a text for readers of the figure; got an empty one. Leave it out, or say it")
    file = io.BytesIO()
    with style():
        figure.savefig(file, format="png", dpi=144, pil_kwargs={"compress_level": 3})  # a tenth sooner, 8 % more bytes
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(figure)
    image = base64.b64encode(file.getvalue()).decode()
    width = round(figure.get_figwidth() * 96)
    shown = html("figure", image=image, alt=alt, caption=caption.replace("`", ""), width=width, fold=fold)
    return {"text/html": str(shown), "image/png": image, "text/plain": alt}
