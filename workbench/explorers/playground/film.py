"""A recorded training as the page scrubs through it: pictures where masks changed, and its course, within a budget."""

import bisect
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench.explorers.worker import Work
from workbench.recording import Recording
from workbench.types import Masks

STOPS = 500
"""Steps at which the slider stands, beside those where masks changed."""
BYTES = 450_000
"""Length of the JSON of the pictures of one setting: of two together less than a megabyte."""

Film = dict[str, Any]
"""`total` steps; `stops` of the slider and for each of them the place in `sides` (pictures, the first that of the
start), the phase, loss, measure and density so far, and births and deaths in the layer at the last change."""
Picture = Callable[[Masks, int, int], dict[str, Any]]
"""`picture(masks, at, coarse)` after step `at`."""


def film(recording: Recording, layer: str, measure: str, start: dict[str, Any], picture: Picture) -> Work[Film]:
    """The film of a recording, with masks of this layer. Where it would be too long, masks are coarser, then fewer."""
    changes, coarse = recording.changes, 1
    while (size := len(json.dumps(picture(recording.masks(1), 1, coarse)))) * len(changes) > BYTES and coarse < 4:
        coarse *= 2
        yield
    every = math.ceil(size * len(changes) / BYTES)
    changes = sorted({changes[0], *changes[::every], changes[-1]})
    sides = [start]
    for at in changes:
        sides.append(picture(recording.masks(at), at, coarse))
        yield
    table, total = recording.steps, len(recording.steps)
    stops = sorted({0, *changes, *np.linspace(1, total, min(total, STOPS)).round().astype(int).tolist()})
    own = recording.layers.query("layer == @layer").set_index("at")[["born", "died"]]
    moved = own.reindex(stops, method="ffill", fill_value=0)
    value = table[f"val_{measure}"].ffill()
    at_stops = table.iloc[[stop - 1 for stop in stops[1:]]]
    return {
        "total": total,
        "stops": stops,
        "shown": [bisect.bisect_right(changes, stop) for stop in stops],
        "sides": sides,
        "phase": ["", *at_stops["phase"]],
        "loss": [None, *map(_short, at_stops["loss"])],
        "value": [None, *map(_short, value.loc[at_stops.index])],
        "density": [None, *map(_short, at_stops["density"])],
        "born": moved["born"].astype(int).tolist(),
        "died": moved["died"].astype(int).tolist(),
    }


def look_up(films: Sequence[Film], step: int | None) -> list[dict[str, Any]]:
    """The pictures after a step (None: the last) of the longest, with what the trainings had reached."""
    last = max((film["total"] for film in films), default=math.inf)
    if step is not None and step > last:
        raise ValueError(f"step is a step of the training, from 0 to {last}; got {step}")
    return [_look_up(film, film["total"] if step is None else step) for film in films]


def _look_up(film: Film, step: int) -> dict[str, Any]:
    total, place = film["total"], bisect.bisect_right(film["stops"], step) - 1
    side = film["sides"][film["shown"][place]]
    if place == 0:
        return dict(side)
    at = film["stops"][place]
    told = {key: film[key][place] for key in ("phase", "loss", "value", "density", "born", "died")}
    return {**side, "sentence": f"{side['sentence']}; step {at} of {total}", "step": {"at": at, "total": total, **told}}


def _short(number: float) -> float | None:
    """Four digits, as the page needs no more; None where nothing was measured yet."""
    return None if math.isnan(number) else float(f"{number:.4g}")
