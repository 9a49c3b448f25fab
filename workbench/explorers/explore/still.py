"""The faces of `wb.explore` without a kernel: a picture, and a page that moves through stored pictures."""

import contextlib
import itertools
import json
import math
import time
import warnings
from collections.abc import Iterable
from typing import Any

from workbench.explorers import page
from workbench.explorers.explore.choices import Choices
from workbench.explorers.explore.shown import Shown, bundle
from workbench.explorers.worker import Work, drain

SCRIPTS = ("kit", "raster", "explorer", "explore")
STYLES = ("kit", "explore")
FRAMES, BYTES, SECONDS = 64, 3_000_000, 20.0
"""What a page may store: pictures, bytes, and seconds to draw them."""


def show(choices: Choices, face: str) -> page.Still:
    """The picture at the setting; under the face "site" also a page with stored pictures, within the budget."""
    found = drain(once(choices))
    made = bundle(found, choices.title, choices.setting())
    sentence = ": ".join(filter(None, (choices.setting(), found.words)))
    frame = {"parts": found.parts, "words": sentence}
    if face == "site":
        with warnings.catch_warnings(action="ignore"):  # of settings that this cell does not show
            frames, free = drain(stored(choices))
        traits = {
            "menu": menu(choices, free, live=False),
            "frame": {**frame, "request": 0, "key": ""},
            "frames": frames,
        }
        made["text/html"] = page.element(traits, sentence, page.module(*SCRIPTS), page.style(*STYLES))
    return page.Still(sentence, choices.state(), frame, made, numbers(choices.state(), found))


def numbers(state: dict[str, Any], found: Shown) -> dict[str, Any]:
    """What a headless run may read: the setting, the words, the tables."""
    return {
        "state": state,
        "words": found.words,
        "tables": json.loads(json.dumps(found.tables, default=str), parse_constant=lambda _: None),
    }


def once(choices: Choices) -> Work[Shown]:
    """The picture at the setting, as work for `drain`."""
    yield
    return choices.draw(choices.values())


def stored(choices: Choices) -> Work[tuple[dict[str, Any], list[list[int]]]]:
    """Frames by the controls' places, and for each control the places that have one.

    First the main control (the one with the most places) at the others as chosen, coarse to fine; then all other
    settings, if they are few enough for the budget, else none of them.
    """
    grid, here = choices.grid(), choices.places()
    frames: dict[str, Any] = {}
    if choices.staged or not grid:
        return frames, [[place] for place in here]
    start, size = time.monotonic(), 0
    main = max(range(len(grid)), key=lambda i: len(grid[i]))
    line = [[*here[:main], place, *here[main + 1 :]] for place in _coarse_first(grid[main], here[main])]
    rest = itertools.product(*grid) if math.prod(map(len, grid)) <= FRAMES else iter(())
    for places in itertools.chain(line[:FRAMES], map(list, rest)):
        if size > BYTES or time.monotonic() - start > SECONDS:
            break
        if (key := _key(places)) not in frames:
            with contextlib.suppress(Exception):  # a setting that cannot be drawn is not offered
                found = choices.draw(choices.at(places))
                frames[key] = {"parts": found.parts, "words": found.words}
                size += len(json.dumps(frames[key]))
        yield
    if len(frames) == math.prod(map(len, grid)):
        return frames, grid
    kept = [places for places in line if _key(places) in frames] or line[:1]
    free = [sorted(places[main] for places in kept) if i == main else [place] for i, place in enumerate(here)]
    return {_key(places): frames[_key(places)] for places in kept if _key(places) in frames}, free


def _coarse_first(places: list[int], here: int) -> list[int]:
    """The place chosen, the ends, then halves, quarters, ... of the scale."""
    order, step = [here, places[0], places[-1]], len(places)
    while step > 1:
        step = (step + 1) // 2
        order += places[::step]
    return list(dict.fromkeys(order))


def _key(places: Iterable[int]) -> str:
    return ",".join(map(str, places))


def menu(choices: Choices, free: list[list[int]], live: bool) -> dict[str, Any]:
    """What the page has to know of the controls."""
    controls = choices.menu()
    moving = [entry["label"] for entry, places in zip(controls, free, strict=True) if len(places) > 1]
    resting = len(controls) - len(moving)
    names = " and ".join(filter(None, [", ".join(moving[:-1]), *moving[-1:]]))
    told = f"{names} move{'s' if len(moving) == 1 else ''} through stored pictures" if moving else ""
    told += ("; the others stay as chosen" if moving else "The controls stay as chosen") if resting else ""
    told = f"{told[:1].upper()}{told[1:]}. Run the notebook to change all." if told else ""
    facts = dict(title=choices.title, live=live, staged=choices.staged, told=told)
    return {**facts, "controls": controls, "places": choices.places(), "stored": free}
