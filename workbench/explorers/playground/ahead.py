"""Pictures made ahead, so that a page answers without a kernel: which settings, at which stops, within a budget."""

import json
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from workbench.criteria.registry import find_criterion
from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.session import Session
from workbench.explorers.stops import stops
from workbench.explorers.worker import Work, drain

ROUNDS = (1, 5, 20)
"""Rounds that a page offers beside those chosen."""
EVERY = 4
"""Of the slider's stops, settings other than the chosen one get each fourth."""
COARSE = 2
"""Their mask has half the rows and half the columns: of a side's 10 kB it is 8."""
SIDES = 1_500
"""Pictures of one criterion that a page may hold."""
BYTES = 4_000_000
"""Length of their JSON."""
SECONDS = 10.0
"""Time of the processor that settings beside the chosen one may take; those that would take longer are left out."""


def setting(session: Session, choices: Choices, places: Sequence[float], coarse: int = 1) -> Work[dict[str, Any]]:
    """The pictures of one setting at these places of the slider, as the page looks them up."""
    sides = []
    for place in places:
        at = yield from session.prepare(replace(choices, compression=place, step=0))
        sides.append(session.frame(at, measure=True, coarse=coarse)["sides"][0])
        yield
    return {**choices.way, "stops": list(places), "sides": sides}


def _places(session: Session, choices: Choices, every: int, shown: Choices) -> list[float]:
    """The stops of one setting: those of the slider, and those of the settings shown; one where the share is fixed."""
    if choices.fixed:
        return [choices.compression]
    most = session.maximum(choices)
    return sorted({*stops(most, every), *(side.compression for side in shown.sides if side.compression <= most)})


def settings(session: Session, choices: Choices) -> list[dict[str, Any]]:
    """The settings shown at every stop, and others at fewer stops while the budget lasts.

    First the shown criteria in other rounds and granularities, then all criteria in one round, in those chosen, in 5
    and in 20.
    An iterated setting costs all its rounds at every stop: the chosen one, too, gets each fourth where all would take
    longer than `SECONDS`, and others are tried only where one stop says that the rest fits. Criteria that make a pass
    for each sample (ten seconds and more) are there only if they are chosen.
    """
    made: list[dict[str, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ties at stops that nobody looks at yet; the picture tells its own
        for at in choices.sides:
            took, places = _seconds(session, at), _places(session, at, 1, choices)
            if (not at.cut or at.rounds > 1) and took * len(places) > SECONDS:
                places = _places(session, at, EVERY, choices)
            made.append(drain(setting(session, at, places)))
        end, sides, size = time.process_time() + SECONDS, *_size(made)
        once: dict[str, float] = {}
        for at in _others(session, choices):
            few, left = _places(session, at, EVERY, choices), end - time.process_time()
            if left <= 0 or sides + len(few) > SIDES:
                break
            if at.rounds > 1 and once.get(at.criterion, left) * at.rounds > left / 2:
                continue  # one stop would take too long to be tried
            try:
                took = _seconds(session, at)
                if at.rounds == 1:
                    once[at.criterion] = took
                elif took * len(few) > end - time.process_time():
                    continue
                found = drain(setting(session, at, few, COARSE))
            except (ValueError, TypeError):
                continue  # a criterion that does not fit this network or task is not offered
            more, longer = _size([found])
            if size + longer <= BYTES:
                made.append(found)
                sides, size = sides + more, size + longer
    return made


def _others(session: Session, choices: Choices) -> Iterator[Choices]:
    """Other criteria, rounds and granularities of the setting, the more likely ones first."""
    first, *_ = choices.sides
    if not first.cut:
        return  # the criterion decides nothing before the training
    quick = [name for name in session.criteria(choices) if "of each sample" not in find_criterion(name)[1].cost]
    shown, units = [side.criterion for side in choices.sides], session.granularities(choices)
    likely = [replace(first, criterion=name, rounds=rounds) for name in shown for rounds in ROUNDS]
    likely += [replace(first, criterion=name, granularity=unit) for name in shown for unit in units]
    for rounds in dict.fromkeys((1, first.rounds, *ROUNDS)):
        likely += [replace(first, criterion=name, rounds=rounds) for name in quick if name not in shown]
    there = [side.way for side in choices.sides]
    for one in dict.fromkeys(likely):
        (used,) = one.sides
        if used.way == one.way and one.way not in there:
            yield used


def _seconds(session: Session, choices: Choices) -> float:
    """How long it takes to prepare one picture."""
    start = time.process_time()
    drain(session.prepare(choices))
    return time.process_time() - start


def _size(made: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """How many sides there are, and the length of their JSON."""
    return sum(len(one["sides"]) for one in made), len(json.dumps(made, separators=(",", ":")))
