"""The playground's picture face: the same view drawn once, with its numbers in words."""

from __future__ import annotations

import base64
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench import plots
from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.points import SPLITS
from workbench.explorers.playground.session import Session
from workbench.explorers.playground.view import times
from workbench.plots.looks import KEPT, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = 100
"""Letters of a line of the headline, as the figure is wide."""
SMALL: Any = {"font.size": 11, "axes.titlesize": 12, "axes.labelsize": 11} | dict.fromkeys(
    ("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 10.5
)


def figure(session: Session, choices: Choices, frame: Mapping[str, Any]) -> Figure:
    """The four pictures of the playground: scores, layers, mask, trade-off."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sides = frame["sides"]
    own = _looks(sides, session.looks())
    with plots.style(), matplotlib.rc_context(SMALL):
        drawn = Figure(figsize=(12, 9))
        FigureCanvasAgg(drawn)
        panels: Any = drawn.subfigures(2, 2)
        films = session.films.of(choices)
        for i, (side, ax) in enumerate(zip(sides, _axes(panels[0, 0], len(sides), 1), strict=True)):
            if side["scores"]:
                _scores(side, own[side["name"]].colour, ax, legend=i == 0)
            else:
                _training(side, films[i] if films else None, session.points.measure(choices.data), ax)
        _layers(sides, own, *_axes(panels[0, 1], 1, 1))
        shown = sides[0]["mask"]
        title = f"Mask of {plots.ending(shown['layer'], 50)}"
        panels[1, 0].suptitle(title, x=0.01, ha="left", fontsize=SMALL["axes.titlesize"])
        panels[1, 0].supxlabel(f"bright = kept; {shown['note']}", fontsize=SMALL["axes.labelsize"])
        for side, mask in zip(sides, _axes(panels[1, 0], 1, len(sides)), strict=True):
            _mask(side, mask)
        units = choices.sides[0].granularity != "weight"
        now = sides[0]["numbers"]["compression"] if units else choices.compression
        _tradeoff(choices, now, session, own, *_axes(panels[1, 1], 1, 1))
        heads = [f"{side['name']}: {side['sentence']}" for side in sides]
        alarms = [f"{side['name']}: {side['alarm']}" for side in sides if side["alarm"]]
        lines = [textwrap.fill(line, LINE) for line in heads + alarms]
        drawn.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=13, fontweight="bold")
    return drawn


def _looks(sides: Sequence[Mapping[str, Any]], criteria: Mapping[str, Look]) -> dict[str, Look]:
    """The look of each setting: paler for the second of two with one criterion."""
    found = {side["name"]: look_of(side["criterion"], side["timing"], criteria) for side in sides}
    if len(found) == 2 and len({side["criterion"] for side in sides}) == 1:
        found[sides[1]["name"]] = Look(found[sides[1]["name"]].dark, found[sides[1]["name"]].marker)
    return found


def look_of(maker: str, timing: str, looks: Mapping[str, Look]) -> Look:
    """The colour of the criterion, with its own marker before training, else that of the timing."""
    return looks[maker] if timing == "before" else Look(looks[maker].colour, looks[timing].marker)


def _training(side: Mapping[str, Any], film: Mapping[str, Any] | None, measure: str, ax: Axes) -> None:
    """Loss, measure and density of a recorded training; a line at the step shown."""
    ax.set(title=f"Training: {side['name']}", xlabel="step")
    if film is None:
        ax.text(0.5, 0.5, "the masks come from a training", transform=ax.transAxes, ha="center", va="center")
        return
    stops, most = film["stops"][1:], max(film["loss"][1:])
    ax.plot(stops, [loss / most for loss in film["loss"][1:]], color="#999999", linewidth=1, label=f"loss / {most:.3g}")
    ax.plot(stops, film["density"][1:], color="black", linestyle=":", drawstyle="steps-post", label="density")
    values = [math.nan if value is None else value for value in film["value"][1:]]
    ax.plot(stops, values, color=KEPT, label=f"validation {measure}")
    ax.axvline(side["step"]["at"] if "step" in side else 0, color="black", linewidth=1)
    ax.legend(loc="center right")


def _axes(panel: Any, rows: int, columns: int) -> Sequence[Axes]:
    return panel.subplots(rows, columns, squeeze=False).ravel()


def _scores(side: Mapping[str, Any], colour: str, ax: Axes, legend: bool) -> None:
    from matplotlib.patches import Patch

    scores = side["scores"]
    edges, cut = scores["x"], scores["cut"]
    ax.stairs(scores["counts"], edges, fill=True, color=colour, alpha=0.8)
    if cut is not None:
        ax.axvspan(edges[0], cut, color=plots.REMOVED, alpha=0.35, linewidth=0)
        line = ax.axvline(cut, color="black", linestyle="--", label="cut")
        if legend:
            ax.legend(handles=[line, Patch(color=plots.REMOVED, alpha=0.35, label="removed")], loc="upper left")
    before = f"; {scores['before']:,} removed before the last round" if scores["before"] else ""
    label = scores["label"] + (f"; {scores['zero']:,} scores are 0" if scores["zero"] else "")
    ax.set(title=f"Scores: {side['name']}{before}", xlabel=label, ylabel=f"{side['unit']}s")


def _layers(sides: Sequence[Mapping[str, Any]], own: Mapping[str, Look], ax: Axes) -> None:
    import pandas as pd

    rows = [
        {"layer": layer["name"], "weights": layer["size"], "kept": layer["kept"], "setting": side["name"]}
        for side in sides
        for layer in side["layers"]
    ]
    plots.layer_densities(pd.DataFrame(rows), arm="setting", looks=own, ax=ax)
    ax.set_title("Layers")


def _mask(side: Mapping[str, Any], ax: Axes) -> None:
    import numpy as np

    mask = side["mask"]
    cells = np.frombuffer(base64.b64decode(mask["data"]), dtype=np.uint8).reshape(mask["rows"], mask["cols"])
    ax.imshow(cells, cmap="cividis", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    rows, columns = mask.get("every", (1, 1))  # lines between groups
    for lines, size, every in ((ax.axhline, mask["rows"], rows), (ax.axvline, mask["cols"], columns)):
        for at in range(every, size, every) if every > 1 else ():
            lines(at - 0.5, color="white", linewidth=1.5)
    ax.set(title=side["name"], xlabel="inputs", ylabel="outputs", xticks=[], yticks=[])
    ax.grid(visible=False)


def _tradeoff(choices: Choices, now: float, session: Session, own: Mapping[str, Look], ax: Axes) -> None:
    """The settings shown with every seed and their intervals; the recorded means of others are thin lines behind."""
    import pandas as pd

    points, criteria, settings = session.points, session.looks(), {side.name for side in choices.sides}
    name, (dense, split) = points.measure(choices.data), points.dense(choices)
    ax.set(xscale="log", xlabel="compression", ylabel=name)
    if curve := points.curve(choices):
        curve.sort(key=lambda point: (point["name"] not in settings, point["compression"]))
        table = pd.DataFrame(curve)
        measured = table["kind"] + table["split"].map(lambda split: f", {SPLITS[split]}" if split else "")
        table["arm"] = table["name"] + ": " + measured
        arms = zip(table["arm"], table["name"], table["maker"], table["timing"], strict=True)
        looks = {arm: own.get(setting, look_of(maker, timing, criteria)) for arm, setting, maker, timing in arms}
        shown, once = table["name"].isin(settings), set(table.loc[table["rounds"] == 1, "name"])
        for arm, rows in table[~shown].groupby("arm", sort=False):
            means, look = rows.groupby("compression")[name].mean(), looks[str(arm)]
            ax.plot(means, color=look.colour, marker=look.marker, linewidth=1.0, markersize=3, alpha=0.4)
        if shown.any():
            plots.curves(table[shown], y=name, arm="arm", looks=looks, ax=ax)
        for line in ax.get_lines():  # one round is dashed, as in the live face
            if str(line.get_label()).partition(":")[0] in once:
                line.set_linestyle((0, (4, 2)))
        if not shown.all():
            ax.plot([], [], color="#555555", linewidth=1.0, label="thin: means of others")
        if dense:
            ax.axhline(sum(dense) / len(dense), color="#444444", linestyle="--", label=f"dense, {SPLITS[split]}")
        if table[name].between(0, 1).all():
            ax.set_ylim(-0.02, 1.02)
    else:
        ax.text(0.5, 0.5, "no point trained yet", transform=ax.transAxes, ha="center", va="center", color="#555555")
    ax.axvline(now, color="black", linewidth=1.0, label=f"now: {times(now)}")
    ax.legend(loc="upper left", bbox_to_anchor=(-0.12, -0.24), ncols=2)
    ax.set_title("Trade-off")
