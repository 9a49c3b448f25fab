"""Recorded trainings as the page scrubs through them: pictures where masks changed, and the course, within a budget."""

import bisect
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from workbench.criteria.registry import find_criterion
from workbench.explorers.cache import Cache
from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.points import MADE_WITH
from workbench.explorers.worker import Work
from workbench.recording import Recording
from workbench.types import Masks

RUNS = 6
"""Recordings of trainings that are kept, the newest ones: each takes at most 20 MB."""
STOPS = 500
"""Steps at which the slider stands, beside those where masks changed."""
BYTES = 450_000
"""Length of the JSON of the pictures of one setting: of two together less than a megabyte."""

Film = dict[str, Any]
"""`total` steps; `stops` of the slider and for each of them the place in `sides` (pictures, the first that of the
start), the phase, loss, measure and density so far, and births and deaths in the layer at the last change."""
Picture = Callable[[Masks, int, int], dict[str, Any]]
"""`picture(masks, at, coarse)` after step `at`."""


class Films:
    """The newest recordings, each of one setting, and the films that the page was given of them."""

    def __init__(self) -> None:
        self._runs, self._films = Cache[Recording](RUNS), Cache[Film](RUNS)
        self.caches = self._runs, self._films

    def put(self, choices: Choices, recording: Recording) -> None:
        """Keep the recording of this one setting."""
        self._runs.put(made_with(choices), recording, 1)

    def run(self, choices: Choices) -> Recording | None:
        """The recording of this one setting."""
        return self._runs.get(made_with(choices))

    def recorded(self, choices: Choices) -> bool:
        """Whether all settings shown were trained here."""
        return all(self.run(side) is not None for side in choices.sides)

    def make(
        self, choices: Choices, measure: str, start: Callable[[Choices], dict[str, Any]], picture: Callable[..., Any]
    ) -> Work[None]:
        """Make the films of the settings shown, if all of them were trained: of pictures at the start and later on."""
        runs = [self.run(side) for side in choices.sides]
        for side, run in zip(choices.sides, runs if None not in runs else [], strict=False):
            if run and self._films.get((made_with(side), side.layer)) is None:
                made = yield from film(run, side.layer, measure, start(side), partial(picture, side))
                self._films.put((made_with(side), side.layer), made, 1)

    def of(self, choices: Choices) -> list[Film]:
        """What the page scrubs through: a film for each setting, if all of them were trained, with the chosen layer."""
        found = [self._films.get((made_with(side), side.layer)) for side in choices.sides]
        return [one for one in found if one is not None] if self.recorded(choices) and None not in found else []

    def page(self, choices: Choices) -> dict[str, Any]:
        """The films of the settings shown, and which choices they are of; nothing until all of them were trained."""
        films = self.of(choices)
        return {"of": choices.setting() | {"compression": choices.compression}, "films": films} if films else {}

    def told(self, choices: Choices) -> Choices:
        """The choices with the step that is shown, where masks come from a training alone."""
        last = max((one["total"] for one in self.of(choices)), default=None)
        if last is None or (choices.step is None and all(side.cut for side in choices.sides)):
            return choices
        return replace(choices, step=last if choices.step is None else min(choices.step, last))

    def alike(self, one: Choices, other: Choices) -> bool:
        """Whether two choices are trained in the same way, but for the seed."""
        a, b = ([made_with(replace(side, seed=0)) for side in choices.sides] for choices in (one, other))
        return a == b


def made_with(choices: Choices) -> tuple[Any, ...]:
    """What one recording is of."""
    return *(getattr(choices, key) for key in MADE_WITH), find_criterion(choices.criterion)[1].function


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
