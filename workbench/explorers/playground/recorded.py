"""The shipped rows that stand in the trade-off from the start: runs that do what the playground's Train does."""

import functools
from typing import Any

from workbench.experiments import EXPERIMENTS, recorded
from workbench.explorers.playground.points import MADE_WITH

TIMINGS = {"prune_then_train": "before", "prune_and_tune": "after"}
"""The runs that prune and train as the playground does, and when they prune."""
PLAIN = {"granularity": "weight", "change": "none", "width": 1.0, "budget": "weights"}
"""What else such a run may vary, and what the playground has there."""


@functools.cache
def shipped() -> tuple[dict[str, Any], ...]:
    """One point for each recorded run: its setting, its accuracy on test data, `split="test"`.

    The runs score 10 samples a class, the playground 256 samples: a live point is near a recorded one, not equal to it.

    >>> len({(row["criterion"], row["rounds"]) for row in shipped() if row["timing"] == "before"})
    9
    """
    found: dict[str, dict[str, Any]] = {}
    for name, experiment in EXPERIMENTS.items():
        run = experiment.function.__name__
        if run in TIMINGS and experiment.folder is None:
            for row in recorded(name).to_dict("records"):
                if all(row.get(key, value) == value for key, value in PLAIN.items()):
                    setting = {key: row[key] for key in MADE_WITH if key not in ("timing", "k", "granularity")}
                    measured = {"accuracy": row["accuracy"], "split": "test"}
                    found[row["key"]] = setting | measured | {"timing": TIMINGS[run]}
    return tuple(found.values())
