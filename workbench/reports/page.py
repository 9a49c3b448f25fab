"""The page of a sweep: one HTML file that opens from disk."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import plots
from workbench.files import results_folder, write_whole
from workbench.reports.columns import Roles, is_numeric, roles
from workbench.reports.pictures import ARMS, Drawn, pictures, splitting
from workbench.reports.reading import Found, found
from workbench.reports.tables import beside, lacking, lines_of, means, overlapping, reasons, told
from workbench.templates import html

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

MEANS, MISSING, REASONS, MADE = 200, 100, 50, 30
"""Lines of the page's tables; what is beyond is counted."""
LONG = 25
"""Lines of a table that is folded."""


def write_report(
    out: str | Path,
    page: str | Path | None = None,
    *,
    x: str | None = None,
    y: str | None = None,
    by: Sequence[str] | None = None,
) -> Path:
    """Write the page of a sweep's folder or packed file; its path, `out/report.html` unless `page` says otherwise.

    It shows y against x for each arm with every seed and 95 % Student-t intervals, means with n, the arms whose
    intervals overlap, failed runs with their tracebacks, what is missing from the grid, and on which processors and
    versions the rows were made. `x`, `y` and `by` (the arguments that make an arm) are chosen by themselves, see
    `roles`. The sweep may still run. Raises ValueError for a column that is not there.

    >>> import tempfile, workbench as wb
    >>> def area(width, seed): return {"area": width * width + seed}
    >>> _ = wb.sweep(area, out := tempfile.mkdtemp(), jobs=0, width=[2, 3], seed=[0, 1])
    >>> write_report(out).name
    'report.html'
    """
    read = found(out)
    chosen = roles(read, x, y, by)
    folder = results_folder(out)
    path = results_folder(page) if page else folder / "report.html" if folder.is_dir() else folder.with_suffix(".html")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, str(written(read, chosen, str(out))))
    except OSError as error:
        raise ValueError(f"the page cannot be written to {path}: {error.strerror}. Name another") from None
    return path


def written(found: Found, chosen: Roles, where: str) -> Markup:
    """The page as HTML; `where` is the folder that it names."""
    split = splitting(found, chosen)
    lines = lines_of(found, chosen, split)
    table = means(lines)
    pairs, overlap, total = overlapping(table)
    compared = beside(lines, pairs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a letter that the picture's font lacks
        drawn, more = pictures(found, chosen)
        curves = [(_picture(one, chosen), _without(one, chosen)) for one in drawn]
    failed = reasons(found.failed)
    shown = table[:MEANS].to_dict("records")
    columns = (alike(one[name] for one in shown) for name in ("mean", "half"))
    for row, mean, half in zip(shown, *columns, strict=True):
        row.update(mean=mean, half="" if row["n"] < 2 else half or "none: all the same")
    columns = (alike(getattr(one, name) for one in compared) for name in ("difference", "half", "least"))
    values: dict[str, Any] = dict(found=found, chosen=chosen, number=_number, seconds=_seconds(found), where=where)
    values |= dict(notes=_notes(found, chosen, lines), explained=_explained(chosen), curves=curves)
    values |= dict(more_pictures=more, means=shown, more_means=max(0, len(table) - MEANS), split=", ".join(split))
    values |= dict(pairs_total=total, pairs_words=_pairs(overlap, total, len(compared), bool(split)))
    values |= dict(beside=[*zip(compared, *columns, strict=True)], long=LONG)
    values |= dict(failed=failed[:REASONS], more_failed=max(0, len(failed) - REASONS))
    values |= dict(lacking=lacking(found.missing), missing=[told(point) for point in found.missing[:MISSING]])
    made = found.made.most_common()
    return html("report", **values, made=made[:MADE], made_words=_made(found))


def _picture(one: Drawn, chosen: Roles) -> Markup:
    from markupsafe import Markup

    across = f" against {chosen.x}" if chosen.x else ""
    caption = f"{chosen.y}{across}{f', {one.title}' if one.title else ''}"
    return Markup(plots.bundle(one.axes, caption=caption)["text/html"])


def _without(one: Drawn, chosen: Roles) -> str:
    words = [f"{one.arms} arms"] * bool(one.arms) + [f"{one.places:,} values of {chosen.x}"] * bool(one.places)
    return f"Left out of the picture: {' and '.join(words)}. The table has them." if words else ""


def _notes(found: Found, chosen: Roles, lines: pd.DataFrame) -> list[str]:
    """What a reader must know before the numbers."""
    said = []
    if not found.runs:
        said.append("No run has finished yet.")
    elif not chosen.y:
        said.append("No metric is a number, so there is nothing to draw.")
    drawn = [name for name in (chosen.y, chosen.x) if name]
    if lost := int(found.table[drawn].isna().any(axis=1).sum()) if chosen.y else 0:
        what = f"{chosen.y}{f' or {chosen.x}' if chosen.x else ''}"
        rows = "1 row without a number for {} is" if lost == 1 else f"{lost:,} rows without a number for {{}} are"
        said.append(f"{rows.format(what)} left out{_lost(lines)}.")
    if chosen.over:
        said.append(f"Means are also over {', '.join(chosen.over)}, so n counts more than seeds.")
    others = [n for n in found.metrics if n not in (chosen.x, chosen.y) and is_numeric(found.table[n])]
    if chosen.y and others:
        said.append(f"Other metrics, which --y shows: {', '.join(others[:30])}{', ...' if len(others) > 30 else ''}.")
    if found.runs and not found.asked:
        said.append("The rows are packed in one file, without their grid: what is missing from it is not known.")
    return said


def _lost(lines: pd.DataFrame) -> str:
    """Which arms have runs without a number for y, failed ones among them, in words."""
    lost = lines[lines["ended"].astype(bool) & lines["y"].isna()]
    if not len(lost) or lines["arm"].nunique() * lines["picture"].nunique() < 2:
        return ""
    counts = (lost["picture"] + ", " + lost["arm"]).str.removeprefix(", ").value_counts(sort=False)
    words = [f"{arm} {count:,}" for arm, count in counts[:ARMS].items()] + ["..."] * (len(counts) > ARMS)
    return f", so the means of these arms are of the others and may look better: {'; '.join(words)}"


def _explained(chosen: Roles) -> str:
    what = f"An arm is a value of {' and '.join(chosen.by)}. " if chosen.by else ""
    over = f"{what}Every run is a dot"
    if not chosen.x:
        return f"{over}, with a bar at the median. No number varies that could be an x."
    return f"{over}, means are lines, and upright lines are 95 % Student-t intervals; one run has none."


def _pairs(overlap: int, total: int, shown: int, split: bool) -> str:
    one = " of one picture" if split else ""
    if not overlap:
        return f"None: of {total:,} pairs of arms{one} no two intervals overlap."
    words = (
        f"The intervals of {overlap:,} of {total:,} pairs{one} overlap (an arm without an interval counts): by their "
        "intervals these are not ranked."
    )
    if not shown:
        return f"{words} No pair has two seeds in common, which would show more."
    first = f" The first {shown} are here." if overlap > shown else ""
    return (
        f"{words} Pairs of runs with one seed often show more; the last column says so. The smallest difference that "
        "would have shown is that which n such pairs find with probability 0.8. Of pairs that do not differ, 5 % look "
        f"apart by chance.{first}"
    )


def _seconds(found: Found) -> str:
    if not found.runs:
        return ""
    seconds = found.table.drop_duplicates("key")["seconds"]
    return f"They took {_number(float(seconds.sum()))} s together; the median is {_number(float(seconds.median()))} s."


def _made(found: Found) -> str:
    if not found.made:
        return "Nothing yet."
    several = [
        f"{len(values)} {what}"
        for place, what in enumerate(("processors", "sets of versions", "revisions"))
        if len(values := {made[place] for made in found.made}) > 1
    ]
    if not several:
        return "All rows were made alike."
    return f"Mixed: {' and '.join(several)}. Processors and versions round differently; a difference may be theirs."


def alike(values: Iterable[float]) -> list[str]:
    """Numbers of a column with the same decimals, four digits of the largest; "" for NaN. Each has four digits of its
    own where that would leave nothing of the smallest.

    >>> alike([0.5, 0.98765, float("nan")]), alike([12.0, 0.001]), alike([1234.5, 20.0])
    (['0.5000', '0.9877', ''], ['12', '0.001'], ['1,234', '20'])
    >>> alike([2.0, 1.5])
    ['2.0', '1.5']
    """
    found = list(values)
    sizes = [abs(value) for value in found if value == value and value] or [1.0]
    digits = max(0, 3 - math.floor(math.log10(max(sizes)))) if math.isfinite(max(sizes)) else 9
    if min(sizes) < 0.5 * 10.0**-digits or digits > 8:
        return ["" if value != value else _number(value) for value in found]
    said = ["" if value != value else f"{value:,.{digits}f}" for value in found]
    zeros = min((len(word) - len(word.rstrip("0")) for word in said if word), default=0) if digits else 0
    return [word[: len(word) - zeros].rstrip(".") for word in said]


def _number(value: float) -> str:
    """A number with four digits.

    >>> _number(0.98765), _number(294032.0), _number(float("nan"))
    ('0.9877', '294,032', 'none')
    """
    if value != value:
        return "none"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
