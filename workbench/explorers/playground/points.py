"""The points of the picture of measure against compression: trained here or recorded, each with its whole setting."""

from collections.abc import Iterable, Mapping
from typing import Any

from workbench.explorers.playground.choices import Choices, check_state

MADE_WITH = ("data", "network", "weights", "criterion", "allocation", "rounds", "compression", "seed")
SHARED = ("data", "network", "weights", "allocation")
"""What the points of one picture have in common."""


class Points:
    """Points as plain dicts of `MADE_WITH`, the measure (on validation data) by its name, and kind: live or recorded.

    `measures` says what each data set's task measures first: accuracy (a fraction) where it says nothing.
    """

    def __init__(self) -> None:
        self.measures: dict[str, str] = {}
        self._points: list[dict[str, Any]] = []
        self._dense: dict[tuple[str, str], dict[int, float]] = {}

    def measure(self, data: str) -> str:
        """The name of what is measured on these data."""
        return self.measures.get(data, "accuracy")

    def record(self, rows: Iterable[Mapping[str, Any]], choices: Choices) -> None:
        """Take recorded rows over; what of a setting they do not say is as in `choices`."""
        for row in rows:
            setting = _setting(choices) | {key: row[key] for key in MADE_WITH if key in row}
            for key in ("rounds", "seed"):  # a table with gaps holds whole numbers as floats
                if isinstance(setting[key], float) and setting[key].is_integer():
                    setting[key] = int(setting[key])
            check_state(setting)
            name = self.measure(setting["data"])
            for key in ("compression", name):
                if key not in row:
                    raise ValueError(f"recorded rows have a column {key!r}; got {', '.join(map(str, row))}. Add it")
            self._points.append({**setting, name: float(row[name]), "kind": "recorded"})

    def add(self, choices: Choices, value: float) -> None:
        """Add a point that was trained here."""
        self._points.append({**_setting(choices), self.measure(choices.data): value, "kind": "live"})

    def add_dense(self, choices: Choices, value: float) -> None:
        """Note what a dense network reached that was trained on the way."""
        self._dense.setdefault((choices.data, choices.network), {})[choices.seed] = value

    def criteria(self) -> list[str]:
        """Names of the criteria that points were made with."""
        return list(dict.fromkeys(point["criterion"] for point in self._points))

    def clear(self) -> None:
        """Remove what was trained here; recorded points stay."""
        self._points = [point for point in self._points if point["kind"] == "recorded"]

    def next_seed(self, choices: Choices) -> int:
        """The first seed, from the one chosen on, that this setting has no point of."""
        seed, setting = choices.seed, _setting(choices)
        while any(setting | {"seed": seed} == {key: point[key] for key in MADE_WITH} for point in self._points):
            seed += 1
        return seed

    def curve(self, choices: Choices) -> list[dict[str, Any]]:
        """The points that stand in one picture with these choices."""
        return [point for point in self._points if all(point[key] == getattr(choices, key) for key in SHARED)]

    def dense(self, choices: Choices) -> list[float]:
        """What the dense network reached, one value for each seed it was trained with."""
        pair = choices.data, choices.network
        runs = dict(self._dense.get(pair, {}))
        for point in self._points:
            if point["compression"] == 1 and (point["data"], point["network"]) == pair:
                runs.setdefault(point["seed"], point[self.measure(choices.data)])
        return list(runs.values())

    def baseline(self, choices: Choices) -> dict[str, float | None]:
        """The mean of `dense`, None where there is none, as the page wants it."""
        runs = self.dense(choices)
        return {"dense": sum(runs) / len(runs) if runs else None}


def _setting(choices: Choices) -> dict[str, Any]:
    return {key: getattr(choices, key) for key in MADE_WITH}
