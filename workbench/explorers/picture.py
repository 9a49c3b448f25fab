"""The playground's picture face: the same view drawn once, with its numbers in words."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench import plots
from workbench.explorers.choices import Choices
from workbench.explorers.frame import times
from workbench.explorers.points import Points
from workbench.explorers.session import Session
from workbench.explorers.still import Still, settle, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALL: Any = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.fontsize": 10.5,
}


def show(session: Session, choices: Choices) -> Still:
    """The view as figure and text."""
    choices, frame = settle(session, choices)
    drawn = figure(choices, frame, session.points)
    said = " and ".join(f"{side['criterion']}: {side['sentence']}" for side in frame["sides"])
    caption = f"{choices.network} on {choices.data}, {choices.weights}, seed {choices.seed}. {said}."
    bundle = plots.bundle(drawn, alt=summary(choices, frame), caption=caption)
    return Still(choices, frame, bundle)


def figure(choices: Choices, frame: Mapping[str, Any], points: Points) -> Figure:
    """The four pictures of the playground: scores, layers, mask, trade-off."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sides = frame["sides"]
    with plots.style(), matplotlib.rc_context(SMALL):
        drawn = Figure(figsize=(12, 9))
        FigureCanvasAgg(drawn)
        panels: Any = drawn.subfigures(2, 2)
        for i, (side, scores) in enumerate(zip(sides, _axes(panels[0, 0], len(sides), 1), strict=True)):
            _scores(side, plots.COLOURS[i], scores, legend=i == 0)
        _layers(sides, *_axes(panels[0, 1], 1, 1))
        for side, mask in zip(sides, _axes(panels[1, 0], 1, len(sides)), strict=True):
            _mask(side, mask)
        _tradeoff(choices, points, *_axes(panels[1, 1], 1, 1))
        heads = [f"{side['criterion']}: {side['sentence']}" for side in sides]
        alarms = [f"{side['criterion']}: {side['alarm']}" for side in sides if side["alarm"]]
        drawn.suptitle("\n".join(heads + alarms), x=0.01, ha="left", fontsize=13, fontweight="bold")
    return drawn


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
    ax.set_title(f"Scores: {side['criterion']}")
    ax.set_xlabel(scores["label"] + (f"; {scores['zero']:,} scores are 0" if scores["zero"] else ""))
    ax.set_ylabel("weights")


def _layers(sides: Sequence[Mapping[str, Any]], ax: Axes) -> None:
    import pandas as pd

    rows = [
        {"layer": layer["name"], "weights": layer["size"], "kept": layer["kept"], "criterion": side["criterion"]}
        for side in sides
        for layer in side["layers"]
    ]
    plots.layer_densities(pd.DataFrame(rows), arm="criterion" if len(sides) > 1 else None, ax=ax)
    ax.set_title("Layers")


def _mask(side: Mapping[str, Any], ax: Axes) -> None:
    import numpy as np

    mask = side["mask"]
    cells = np.frombuffer(base64.b64decode(mask["data"]), dtype=np.uint8).reshape(mask["rows"], mask["cols"])
    ax.imshow(cells, cmap="cividis", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    ax.set_title(f"Mask of {mask['layer']}: {side['criterion']}")
    ax.set_xlabel(f"inputs\nbright = kept; {mask['note']}")
    ax.set_ylabel("outputs")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)


def _tradeoff(choices: Choices, points: Points, ax: Axes) -> None:
    import pandas as pd

    if curve := points.curve(choices):
        shown = {name: place for place, name in enumerate(choices.criteria)}
        curve.sort(key=lambda point: (shown.get(point["criterion"], len(shown)), point["compression"]))
        table = pd.DataFrame(curve)
        table["criterion"] += table["rounds"].map(lambda rounds: f"-{rounds}" if rounds > 1 else "")
        plots.tradeoff(table, dense=points.dense(choices) or None, ax=ax)
    else:
        ax.text(0.5, 0.5, "no point trained yet", transform=ax.transAxes, ha="center", va="center", color="#555555")
        ax.set_xscale("log")
        ax.set_xlabel("compression")
        ax.set_ylabel("accuracy")
    ax.axvline(choices.compression, color="black", linewidth=1.0, label=f"now: {times(choices.compression)}")
    ax.legend(loc="lower left")
    ax.set_title("Trade-off")
