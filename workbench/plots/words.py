"""A picture in words, read off what is drawn: the text for readers who do not see it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

LETTERS = 600
Names = dict[float, str]  # place of a tick -> its name
Part = tuple[str, str, str]  # something drawn: its name, what it shows, and the same in short


def describe(picture: Figure | Axes) -> str:
    """What a picture shows, in a few sentences of at most 600 letters, read off its lines, bars, dots and images.

    First the titles, axes and scales; then by name where a line starts and ends, the range of dots, the largest and
    the smallest of many bars. Where there is no room for all that, everything is told in short. Misleads where a
    picture has a message: nothing here knows it; say it in your own words, `wb.plots.show(ax, alt="...")`.

    >>> from workbench import plots
    >>> ax = plots.axes()
    >>> _ = ax.plot([1, 10, 100], [0.9, 0.8, 0.5], label="snip")
    >>> _ = ax.set(title="Digits", xlabel="compression", ylabel="accuracy")
    >>> describe(ax)
    'Digits. accuracy against compression, from 1 to 100. snip: from 0.9 to 0.5.'
    """
    whole: Any = picture.get_figure(root=True) if hasattr(picture, "get_figure") else picture
    axes, heads = whole.axes, [title(whole), _against(whole.get_supylabel(), whole.get_supxlabel())]
    scales = [ax for ax in axes if ax.get_label() == "<colorbar>"]
    heads += [f"colours: {', '.join(filter(None, (ax.get_ylabel(), _span(ax.get_ylim()))))}" for ax in scales]
    drawn = [(_head(ax), list(_parts(ax))) for ax in axes if ax not in scales]
    text = ""
    for detail in range(3):  # in full, in short, only names
        told = list(heads)
        for head, parts in drawn:
            words = ((name, (full, short)[detail] if detail < 2 else "") for name, full, short in parts)
            told += [head, "; ".join(dict.fromkeys(filter(None, (_said(*pair) for pair in words))))]
        sentences = dict.fromkeys(filter(None, (_plain(sentence).rstrip(".") for sentence in told)))
        text = " ".join(f"{sentence}." for sentence in sentences)
        if len(text) <= LETTERS:
            return text
    return f"{text[: LETTERS - 2].rsplit(' ', 1)[0]} …"


def title(picture: Figure | Axes) -> str:
    """The title of a figure or of Axes, on whichever side it stands; "" where there is none."""
    if hasattr(picture, "get_suptitle"):
        return _plain(picture.get_suptitle())
    return _plain(next(filter(None, map(picture.get_title, ("left", "center", "right"))), ""))


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("\n", "; ")).strip()


def _against(y: str, x: str) -> str:
    return " against ".join(filter(None, map(_plain, (y, x))))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value + 0.0:.3g}"


def _span(values: Sequence[float]) -> str:
    """The range of some numbers."""
    return " to ".join(dict.fromkeys(map(_number, (min(values), max(values)))))


def _said(name: str, what: str) -> str:
    return (", " if ":" in name else ": ").join(filter(None, (name, what)))


def _names(axis: Axis) -> Names:
    """Where ticks stand at chosen places, as categories do: what is written there."""
    from matplotlib.category import StrCategoryLocator
    from matplotlib.ticker import FixedLocator

    if not isinstance(axis.get_major_locator(), (FixedLocator, StrCategoryLocator)):
        return {}
    places = [float(place) for place in axis.get_majorticklocs()]
    names = axis.get_major_formatter().format_ticks(places)
    return {place: _plain(name) for place, name in zip(places, names, strict=True) if name and "$" not in name}


def _tick(place: float, names: Names) -> str:
    """What is written at the tick of a place, or by which a number is; the number where there is none."""
    near = min(names, key=lambda tick: abs(tick - place), default=math.inf)
    return names[near] if abs(near - place) < 0.5 or _is_number(names.get(near, "")) else _number(place)


def _is_number(name: str) -> bool:
    return re.match(r"[-−.]?\d", name) is not None


def _value(place: float, names: Names) -> str:
    """A value, or the name of the tick that it stands at."""
    return next((name for tick, name in names.items() if math.isclose(tick, place)), _number(place))


def _head(ax: Axes) -> str:
    """The title of Axes, what they show, and from where to where."""
    x, names, known = ax.get_xlabel(), _names(ax.xaxis), _looks(ax)
    places = [place for xs, _, line in _lines(ax) for place in xs if _name(line, known)]
    if places:
        x = ", ".join(filter(None, (x, f"from {_tick(min(places), names)} to {_tick(max(places), names)}")))
    return ". ".join(filter(None, (title(ax), _against(ax.get_ylabel(), x))))


def _lines(ax: Axes) -> Iterator[tuple[list[float], list[float], Any]]:
    """The lines that run along x, without gaps: places, values, the line itself."""
    for line in ax.lines:
        points = [(float(x), float(y)) for x, y in line.get_xydata() if x == x and y == y]
        if line.get_transform() == ax.transData and len({x for x, _ in points}) > 1:
            yield [x for x, _ in points], [y for _, y in points], line


def _looks(ax: Axes) -> dict[tuple[str, str], str]:
    """(Colour, marker) -> name, and (colour, "") -> name, by the legends of the Axes and of the figure."""
    found: dict[tuple[str, str], str] = {}
    for legend in filter(None, (ax.get_legend(), *ax.figure.legends)):
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            for look in {_look(handle), (_look(handle)[0], "")}:
                found.setdefault(look, _plain(text.get_text()))
    return found


def _look(artist: Any) -> tuple[str, str]:
    """Colour and, of a line, marker."""
    if hasattr(artist, "get_marker"):
        return _hexadecimal(artist.get_color()), str(artist.get_marker()).replace("None", "")
    shade: Any = artist.get_facecolor()
    return _hexadecimal(shade[0] if getattr(shade, "ndim", 1) == 2 else shade), ""


def _hexadecimal(shade: Any) -> str:
    from matplotlib.colors import to_hex

    return to_hex(shade)


def _name(artist: Any, known: dict[tuple[str, str], str]) -> str:
    """What an artist is called: its own label, else that of what looks like it in the legend."""
    label, look = _plain(str(artist.get_label())), _look(artist)
    return label if label and not label.startswith("_") else known.get(look, known.get((look[0], ""), ""))


def _parts(ax: Axes) -> Iterator[Part]:
    """What is drawn on Axes, by name."""
    known, ticks = _looks(ax), {place: name for place, name in _names(ax.yaxis).items() if not _is_number(name)}
    lines = [(_name(line, known), ys) for _, ys, line in _lines(ax)]
    for name, ys in lines:
        if name:
            first, last, most, least = (_value(y, ticks) for y in (ys[0], ys[-1], max(ys), min(ys)))
            more = (f", at most {most}" if most not in (first, last) else "") + (
                f", at least {least}" if least not in (first, last) else ""
            )
            yield name, f"from {first} to {last}{more}", f"{first} to {last}"
    guides = list(_guides(ax, known))
    yield from guides
    others = [*_bars(ax, known), *_images(ax), *_dots(ax, known, {name for name, *_ in (*lines, *guides)})]
    yield from others or [("", f"lines: {len(lines)}", "") for _ in lines if not any(name for name, _ in lines)]


def _guides(ax: Axes, known: dict[tuple[str, str], str]) -> Iterator[Part]:
    """Lines across the whole picture that have a name, and lines through a single point."""
    for line in ax.lines:
        xs, ys = ({float(v) for v in values if v == v} for values in (line.get_xdata(False), line.get_ydata(False)))
        if 1 in (len(xs), len(ys)) and xs and ys and (name := _name(line, known)):
            if line.get_transform() != ax.transData or len(xs) == 1:
                at = _number(*ys) if len(ys) == 1 else f"at {_tick(*xs, _names(ax.xaxis))}"
                yield name, at, at


def _bars(ax: Axes, known: dict[tuple[str, str], str]) -> Iterator[Part]:
    """Bars, few with all their values, and the outlines of histograms."""
    for group in ax.containers:
        if not hasattr(group, "patches") or not group.patches:
            continue
        flat = group.orientation == "horizontal"
        names = _names(ax.yaxis if flat else ax.xaxis)
        values: dict[str, float] = {}
        for bar in group.patches:
            start, long = (bar.get_x(), bar.get_width()) if flat else (bar.get_y(), bar.get_height())
            middle = bar.get_y() + bar.get_height() / 2 if flat else bar.get_x() + bar.get_width() / 2
            values[_tick(float(middle), names)] = float(start + long if long else 0)
        ordered = sorted(values, key=lambda at: values[at])
        shown = list(values) if len(values) <= 4 else [next(iter(values)), ordered[-1], ordered[0]]
        label = str(group.get_label())
        name = label if label and not label.startswith("_") else _name(group.patches[0], known)
        few = ", ".join(f"{at} {_number(values[at])}" for at in dict.fromkeys(shown))
        yield name, few + (f" ({len(values)} bars)" if len(values) > 4 else ""), _span(list(values.values()))
    for patch in ax.patches:
        if hasattr(patch, "get_data"):
            counts, edges, _ = patch.get_data()
            top = int(counts.argmax())
            place = f"most, {_number(counts[top])}, from {_number(edges[top])} to {_number(edges[top + 1])}"
            yield _name(patch, known), place, f"at most {_number(counts[top])}"


def _images(ax: Axes) -> Iterator[Part]:
    """Images and heat maps: their size, their range, the names of their rows."""
    import numpy as np

    for image in (*ax.images, *(one for one in ax.collections if hasattr(one, "get_coordinates"))):
        values = np.ma.masked_invalid(image.get_array())
        text = f"{' x '.join(map(str, values.shape[:2]))} cells"
        if values.count():
            text += f", {_span((float(values.min()), float(values.max())))}"
        yield text, "", ""
        if rows := ", ".join(_names(ax.yaxis).values()):
            yield "rows", rows, ""


def _dots(ax: Axes, known: dict[tuple[str, str], str], told: set[str]) -> Iterator[Part]:
    """Dots by name or, where the ticks of y have names, by row; only how many, where a line through them is told."""
    import numpy as np

    rows = _names(ax.yaxis)
    groups: dict[str, list[Any]] = {}
    for dots in ax.collections:
        if hasattr(dots, "get_sizes"):
            shades, label = np.atleast_2d(dots.get_facecolor()), _plain(str(dots.get_label()))
            for i, (x, y) in enumerate(np.ma.filled(dots.get_offsets(), np.nan)):
                name = _tick(y, rows) if rows else label
                if not rows and label.startswith("_"):
                    name = known.get((_hexadecimal(shades[i % len(shades)]), ""), "") if len(shades) else ""
                if x == x and y == y:
                    groups.setdefault("" if name in told else name, []).append((x, y))
    for name, places in groups.items():
        xs, ys = zip(*places, strict=True)
        if rows and name:
            yield name, _span(xs), _span(xs)
        else:
            where = f", {_span(ys)} at {_span(xs)}" if name or not any(told) else ""
            yield name, f"{len(places)} dots{where}", f"{len(places)} dots"
