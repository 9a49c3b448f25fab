"""A picture in words, read off what is drawn: the text for readers who do not see it."""

from __future__ import annotations

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
    whole: Any = picture if hasattr(picture, "get_suptitle") else None
    axes = whole.axes if whole else [picture]
    heads = [title(picture), _against(whole.get_supylabel(), whole.get_supxlabel())] if whole else []
    scales = [ax for ax in axes if ax.get_label() == "<colorbar>"]
    heads += [f"colours: {', '.join(filter(None, (ax.get_ylabel(), _span(ax.get_ylim()))))}" for ax in scales]
    drawn = [(_head(ax), list(_parts(ax))) for ax in axes if ax not in scales]
    text = ""
    for detail in (1, 2, 0):
        told = list(heads)
        for head, parts in drawn:
            words = (": ".join(filter(None, (part[0], part[detail] if detail else ""))) for part in parts)
            told += [head, "; ".join(dict.fromkeys(filter(None, words)))]
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


def _names(axis: Axis) -> Names:
    """Where an axis has names at its ticks: all of them."""
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.ticker import FixedFormatter

    if not isinstance(form := axis.get_major_formatter(), (FixedFormatter, StrCategoryFormatter)):
        return {}
    places = [float(place) for place in axis.get_majorticklocs()]
    return {place: name for place, name in zip(places, form.format_ticks(places), strict=True) if name}


def _tick(place: float, names: Names) -> str:
    """The name of the tick nearest to a place; the place as a number where ticks have no names."""
    return names[min(names, key=lambda tick: abs(tick - place))] if names else _number(place)


def _head(ax: Axes) -> str:
    """The title of Axes, what they show, and from where to where."""
    x, names = ax.get_xlabel(), _names(ax.xaxis)
    places = [place for xs, _, _ in _lines(ax) for place in xs]
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
    import numpy as np
    from matplotlib.colors import to_hex

    shade = artist.get_color() if hasattr(artist, "get_marker") else artist.get_facecolor()
    shade = shade if isinstance(shade, str) or not len(shade) else np.atleast_2d(shade)[0]
    marker = str(artist.get_marker()) if hasattr(artist, "get_marker") else "None"
    return to_hex(shade) if len(shade) else "", "" if marker == "None" else marker


def _name(artist: Any, known: dict[tuple[str, str], str]) -> str:
    """What an artist is called: its own label, else that of what looks like it in the legend."""
    label, look = _plain(str(artist.get_label())), _look(artist)
    return label if label and not label.startswith("_") else known.get(look, known.get((look[0], ""), ""))


def _parts(ax: Axes) -> Iterator[Part]:
    """What is drawn on Axes, by name."""
    known = _looks(ax)
    lines = [(_name(line, known), xs, ys) for xs, ys, line in _lines(ax)]
    for name, _, ys in lines:
        if name:
            ends = f"from {_number(ys[0])} to {_number(ys[-1])}" if ys[0] != ys[-1] else f"{_number(ys[0])} at both ends"
            top = f", at most {_number(max(ys))}" if max(ys) > max(ys[0], ys[-1]) else ""
            low = f", at least {_number(min(ys))}" if min(ys) < min(ys[0], ys[-1]) else ""
            yield name, ends + top + low, f"{_number(ys[0])} to {_number(ys[-1])}"
    if unnamed := sum(not name for name, _, _ in lines):
        yield "", f"lines: {unnamed}", f"lines: {unnamed}"
    yield from _guides(ax, known)
    yield from _bars(ax, known)
    yield from _images(ax)
    yield from _dots(ax, known, alone=not any(name for name, _, _ in lines))


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


def _dots(ax: Axes, known: dict[tuple[str, str], str], alone: bool) -> Iterator[Part]:
    """Dots: how many where named lines go through them; `alone`: the range of each name, or of each row of dots."""
    import numpy as np
    from matplotlib.colors import to_hex

    rows, groups = _names(ax.yaxis), {}
    for dots in ax.collections:
        if not hasattr(dots, "get_sizes"):
            continue
        shades = np.atleast_2d(dots.get_facecolor())
        for i, place in enumerate(np.asarray(dots.get_offsets(), float)):
            if np.isfinite(place).all() and alone:
                colour = to_hex(shades[i % len(shades)]) if len(shades) else ""
                label = str(dots.get_label())
                own = label if not label.startswith("_") else known.get((colour, ""), "")
                groups.setdefault(_tick(place[1], rows) if rows else own, []).append(place)
            elif np.isfinite(place).all():
                groups.setdefault("dots", []).append(place)
    for name, places in groups.items():
        xs, ys = zip(*places, strict=True)
        count = f"{len(places)} dots"
        if not alone:
            yield "", count, ""
        elif rows:
            yield name, _span(xs), _span(xs)
        else:
            yield name, f"{count}, {_span(ys)} at {_span(xs)}", count
