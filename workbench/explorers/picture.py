"""The playground's picture face: the same view drawn once, with its numbers in words."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench import plots
from workbench.explorers.choices import Choices
from workbench.explorers.frame import percent, times
from workbench.explorers.session import Session
from workbench.explorers.still import Still, settle, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def show(session: Session, choices: Choices) -> Still:
    """The view as figure and text."""
    choices, frame = settle(session, choices)
    drawn = figure(choices, frame, session.curve(choices), session.baseline(choices))
    said = " and ".join(f"{side['criterion']}: {side['sentence']}" for side in frame["sides"])
    caption = f"{choices.network} on {choices.data}, {choices.weights}, seed {choices.seed}. {said}."
    bundle = plots.bundle(drawn, alt=summary(choices, frame), caption=caption)
    return Still(choices, frame, bundle)


def figure(
    choices: Choices, frame: Mapping[str, Any], curve: Sequence[Mapping[str, Any]], baseline: float | None
) -> Figure:
    """The four pictures of the playground: scores, layers, mask, trade-off."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sides = frame["sides"]
    with plots.style():
        drawn = Figure(figsize=(12, 8.6))
        FigureCanvasAgg(drawn)
        rows = drawn.subfigures(2, 1)
        tops = rows[0].subplots(1, 1 + len(sides), width_ratios=[*[1 / len(sides)] * len(sides), 1], squeeze=False)[0]
        bottoms = rows[1].subplots(1, 1 + len(sides), width_ratios=[*[1 / len(sides)] * len(sides), 1], squeeze=False)[0]
        for i, side in enumerate(sides):
            _scores(side, plots.COLOURS[i], tops[i])
            _mask(side, bottoms[i])
        _layers(sides, tops[-1])
        _tradeoff(choices, curve, baseline, bottoms[-1])
        heads = [f"{side['criterion']}: {side['sentence']}" for side in sides]
        alarms = [f"{side['criterion']}: {side['alarm']}" for side in sides if side["alarm"]]
        drawn.suptitle("\n".join(heads + alarms), x=0.01, ha="left", fontsize=14, fontweight="bold")
    return drawn


def _scores(side: Mapping[str, Any], colour: str, ax: Axes) -> None:
    from matplotlib.patches import Patch

    scores = side["scores"]
    edges, cut = scores["x"], scores["cut"]
    ax.stairs(scores["counts"], edges, fill=True, color=colour, alpha=0.7)
    marks: list[Any] = []
    if cut is not None:
        ax.axvspan(edges[0], cut, color=plots.REMOVED, alpha=0.35, linewidth=0)
        marks = [ax.axvline(cut, color="black", linestyle="--", label="cut"), Patch(color=plots.REMOVED, label="removed")]
    ax.set_title(f"Scores: {side['criterion']}")
    ax.set_xlabel(scores["label"] + (f"; {scores['zero']:,} not on the axis" if scores["zero"] else ""))
    ax.set_ylabel("weights")
    if marks:
        ax.legend(handles=marks, loc="upper left")


def _layers(sides: Sequence[Mapping[str, Any]], ax: Axes) -> None:
    import pandas as pd

    rows = [
        {"layer": layer["name"], "size": layer["size"], "kept": layer["kept"], "criterion": side["criterion"]}
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
    ax.set_title(f"Mask: {mask['layer']}")
    ax.set_xlabel(f"inputs; bright = kept; {mask['note']}")
    ax.set_ylabel("outputs")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)


def _tradeoff(choices: Choices, curve: Sequence[Mapping[str, Any]], baseline: float | None, ax: Axes) -> None:
    import pandas as pd

    if curve:
        points = pd.DataFrame(curve).sort_values("compression")
        points["criterion"] += points["rounds"].map(lambda rounds: f"-{rounds}" if rounds > 1 else "")
        plots.tradeoff(points, dense=None if baseline is None else [baseline], ax=ax)
    else:
        ax.text(0.5, 0.5, "no point trained yet", transform=ax.transAxes, ha="center", va="center", color="#555555")
        ax.set_xscale("log")
        ax.set_xlabel("compression")
        ax.set_ylabel("accuracy")
        if baseline is not None:
            ax.axhline(baseline, color="#555555", linestyle="--", label=f"dense: {percent(baseline)} %")
    ax.axvline(choices.compression, color="black", linewidth=1.0, label=f"now: {times(choices.compression)}")
    ax.legend(loc="lower left")
    ax.set_title("Trade-off")
