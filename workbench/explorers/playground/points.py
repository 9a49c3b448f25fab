"""The points of the accuracy-compression picture: trained here or recorded, each with all it was made with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from workbench.explorers.playground.choices import Choices, check_state
from workbench.types import check_choice

MADE_WITH = ("data", "network", "weights", "criterion", "allocation", "rounds", "compression", "seed")
SHARED = ("data", "network", "weights", "allocation")
"""What the points of one picture have in common."""


class Points:
    """Points as plain dicts of `MADE_WITH`, accuracy (validation, a fraction) and kind ("live", "recorded")."""

    def __init__(self) -> None:
        self._points: list[dict[str, Any]] = []
        self._dense: dict[tuple[str, str, int], float] = {}

    def record(self, rows: Iterable[Mapping[str, Any]], choices: Choices) -> None:
        """Take recorded rows over; what of a setting they do not say is as in `choices`."""
        for row in rows:
            for key in ("compression", "accuracy"):
                check_choice("a column of recorded rows", key, row)
            setting = {key: row.get(key, choices.state()[key]) for key in MADE_WITH}
            for key in ("rounds", "seed"):  # a table with gaps holds whole numbers as floats
                if isinstance(setting[key], float) and setting[key].is_integer():
                    setting[key] = int(setting[key])
            check_state(setting)
            self._points.append({**setting, "accuracy": float(row["accuracy"]), "kind": "recorded"})

    def add(self, choices: Choices, accuracy: float) -> None:
        """Add a point that was trained here."""
        setting = {key: choices.state()[key] for key in MADE_WITH}
        self._points.append({**setting, "accuracy": accuracy, "kind": "live"})

    def add_dense(self, choices: Choices, accuracy: float) -> None:
        """Note the accuracy of a dense network that was trained on the way."""
        self._dense[choices.data, choices.network, choices.seed] = accuracy

    def criteria(self) -> list[str]:
        """Names of the criteria that points were made with."""
        return list(dict.fromkeys(point["criterion"] for point in self._points))

    def clear(self) -> None:
        """Remove what was trained here; recorded points stay."""
        self._points = [point for point in self._points if point["kind"] == "recorded"]

    def next_seed(self, choices: Choices) -> int:
        """The first seed, from the one chosen on, that this setting has no point of."""
        setting = {key: choices.state()[key] for key in MADE_WITH if key != "seed"}
        taken = {p["seed"] for p in self._points if all(p[key] == value for key, value in setting.items())}
        return next(seed for seed in range(choices.seed, choices.seed + len(taken) + 1) if seed not in taken)

    def curve(self, choices: Choices) -> list[dict[str, Any]]:
        """The points that stand in one picture with these choices."""
        setting = choices.state()
        return [point for point in self._points if all(point[key] == setting[key] for key in SHARED)]

    def dense(self, choices: Choices) -> list[float]:
        """Accuracies of the dense network, one for each seed it was trained with."""
        pair = choices.data, choices.network
        runs = {seed: accuracy for (*made, seed), accuracy in self._dense.items() if tuple(made) == pair}
        for point in self._points:
            if point["compression"] == 1 and (point["data"], point["network"]) == pair:
                runs.setdefault(point["seed"], point["accuracy"])
        return list(runs.values())

    def baseline(self, choices: Choices) -> dict[str, float | None]:
        """The mean of `dense`, None where there is none, as the page wants it."""
        runs = self.dense(choices)
        return {"dense": sum(runs) / len(runs) if runs else None}
