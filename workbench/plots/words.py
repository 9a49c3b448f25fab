"""A picture in words, read off what is drawn: the text for readers who do not see it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTERS = 600
Names = dict[float, str]  # place of a tick -> its name
Looks = dict[tuple[str, str], str]  # (colour, marker) -> name
Part = tuple[str, str, str]  # something drawn: its name, what it shows, and the same in short


def describe(picture: Figure | Axes) -> str:
    """What a picture shows, in a few sentences of at most 600 letters, read off its lines, bars, dots and images.

    First the titles, axes and scales. Then, by name: where a line starts and ends, the range of dots (and the median of
    a row of dots), the largest and the smallest of many bars. Where there is no room for all that, everything is told
    in short. Misleads where a picture has a message: nothing here knows it. Say it in your own words:
    `wb.plots.show(ax, alt="...")`.

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


def title(picture: Any) -> str:
    """The title of a figure or of Axes, on whichever side it stands; "" where there is none."""
    if hasattr(picture, "get_suptitle"):
        return _plain(picture.get_suptitle())
    return _plain("".join(picture.get_title(side) for side in ("left", "center", "right")))


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace(r"\$", "$")).strip()  # a dollar that begins no formula


def _against(y: str, x: str) -> str:
    return " against ".join(filter(None, (_plain(label.partition("\n")[0]) for label in (y, x))))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value + 0.0:.3g}"


def _span(values: Sequence[float]) -> str:
    """The range of some numbers."""
    return " to ".join(dict.fromkeys(map(_number, (min(values), max(values)))))


def _said(name: str, what: str) -> str:
    return (", " if ":" in name else ": ").join(filter(None, (name, what)))


def _names(axis: Any) -> Names:
    """Where ticks stand at chosen places, as categories do: what is written there."""
    from matplotlib.category import StrCategoryLocator
    from matplotlib.ticker import FixedLocator

    if not isinstance(axis.get_major_locator(), (FixedLocator, StrCategoryLocator)):
        return {}
    places = [float(place) for place in axis.get_majorticklocs()]
    names = axis.get_major_formatter().format_ticks(places)
    named = zip(places, map(str, names), strict=True)
    return {place: _plain(name) for place, name in named if name and "$" not in name}


def _tick(place: float, names: Names) -> str:
    """What is written at the tick of a place, or by which a number is; the number where there is none."""
    near = min(names, key=lambda tick: abs(tick - place), default=math.inf)
    return names[near] if abs(near - place) < 0.5 or _is_number(names.get(near, "")) else _number(place)


def _is_number(name: str) -> bool:
    return re.match(r"[-−.]?\d", name) is not None


def _value(place: float, names: Names) -> str:
    """A value, or the name of the tick that it stands at."""
    return next((name for tick, name in names.items() if math.isclose(tick, place)), _number(place))


def _head(ax: Any) -> str:
    """The title of Axes, what they show, and from where to where."""
    x, names, known = ax.get_xlabel().partition("\n")[0], _names(ax.xaxis), _looks(ax)
    places = [place for xs, _, line in _lines(ax) for place in xs if _name(line, known)]
    if places:
        x = ", ".join(filter(None, (x, f"from {_tick(min(places), names)} to {_tick(max(places), names)}")))
    return ". ".join(filter(None, (title(ax), _against(ax.get_ylabel(), x))))


def _lines(ax: Any) -> Iterator[tuple[list[float], list[float], Any]]:
    """The lines that run along x, without gaps: places, values, the line itself."""
    for line in ax.lines:
        points = [(float(x), float(y)) for x, y in line.get_xydata() if x == x and y == y]
        if line.get_transform() == ax.transData and len({x for x, _ in points}) > 1:
            yield [x for x, _ in points], [y for _, y in points], line


def _looks(ax: Any) -> Looks:
    """(Colour, marker) -> name, and (colour, "") -> name, by the legends of the Axes and of the figure."""
    found: Looks = {}
    for legend in filter(None, (ax.get_legend(), *ax.figure.legends)):
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            shade, marker = _look(handle)
            for look in ((shade, marker), (shade, "")):
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


def _name(artist: Any, known: Looks) -> str:
    """What an artist is called: its own label, else that of what looks like it in the legend."""
    label, look = _plain(str(artist.get_label())), _look(artist)
    return label if label and not label.startswith("_") else known.get(look, known.get((look[0], ""), ""))


def _parts(ax: Any) -> Iterator[Part]:
    """What is drawn on Axes, by name."""
    known, lines = _looks(ax), list(_lines(ax))
    words = {place: name for place, name in _names(ax.yaxis).items() if not _is_number(name)}
    told, few = (
        {""},
        len(lines) <= 3 and not any(_name(line, known) for *_, line in lines) and len(ax.lines) == len(lines),
    )
    for _, ys, line in lines:
        if name := _name(line, known) or ("line" if few else ""):
            first, last, most, least = (_value(y, words) for y in (ys[0], ys[-1], max(ys), min(ys)))
            far = {f", at most {most}": most, f", at least {least}": least}
            beyond = "".join(text for text, value in far.items() if value not in (first, last))
            yield name, f"from {first} to {last}{beyond}", f"{first} to {last}"
            told.add(name)
    for name, at in _guides(ax, known):
        yield name, at, at
        told.add(name)
    others = [*_bars(ax, known), *_images(ax), *_dots(ax, known, words, told)]
    yield from others if others or told > {""} else [("", f"lines: {len(lines)}", "")] * bool(lines)


def _guides(ax: Any, known: Looks) -> Iterator[tuple[str, str]]:
    """Lines across the whole picture that have a name, and lines through a single point."""
    for line in ax.lines:
        xs, ys = ({float(value) for value in line.get_data(orig=False)[axis]} for axis in (0, 1))
        name, across = _name(line, known), line.get_transform() != ax.transData
        if name and len(ys) == 1 and (across or len(xs) == 1):
            yield name, _number(min(ys))
        elif name and len(xs) == 1:
            yield name, f"at {_tick(min(xs), _names(ax.xaxis))}"


def _bars(ax: Any, known: Looks) -> Iterator[Part]:
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
        label = _plain(str(group.get_label()))
        name = _name(group.patches[0], known) if label.startswith("_") else label
        few = ", ".join(f"{at} {_number(values[at])}" for at in dict.fromkeys(shown))
        yield name, few + (f" ({len(values)} bars)" if len(values) > 4 else ""), _span(list(values.values()))
    for patch in ax.patches:
        if hasattr(patch, "get_data"):
            counts, edges, _ = patch.get_data()
            top = int(counts.argmax())
            most = f"at most {_number(counts[top])}"
            yield _name(patch, known), f"{most}, from {_number(edges[top])} to {_number(edges[top + 1])}", most


def _images(ax: Any) -> Iterator[Part]:
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


def _dots(ax: Any, known: Looks, rows: Names, told: set[str]) -> Iterator[Part]:
    """Dots by row, where the ticks of y are words, else by name; only how many, where a line through them is told."""
    import numpy as np
    from matplotlib.collections import PathCollection

    groups: dict[str, list[Any]] = {}
    for dots in ax.collections:
        if isinstance(dots, PathCollection):
            label, shades = _plain(str(dots.get_label())), dots.get_facecolor()
            own = [label]
            if label.startswith("_"):
                own = [known.get((_hexadecimal(shade), ""), "") for shade in shades] or [""]
            for i, (x, y) in enumerate(np.ma.filled(dots.get_offsets(), np.nan)):
                name = _tick(y, rows) if rows else own[i % len(own)]
                if x == x and y == y:
                    groups.setdefault("" if name in told else name, []).append((x, y))
    for name, places in groups.items():
        xs, ys = zip(*places, strict=True)
        count, where = f"{len(places)} dots", f", {_span(ys)} at {_span(xs)}"
        if rows:
            middle = _number(float(np.median(xs)))
            yield name, f"median {middle}, {_span(xs)}" if len(xs) > 1 else middle, middle
        else:
            yield name, count + where * bool(name or told == {""}), count
