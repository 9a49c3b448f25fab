"""The points of the picture of measure against compression: trained here or recorded, each with its whole setting."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from workbench.explorers.playground.choices import WAY, Choices, check_outgrown, check_state
from workbench.types import check_choice

MADE_WITH = ("data", "network", *WAY, "compression", "seed")
PICTURED = ("data", "network", "allocation")
"""What the points of one picture have in common with a setting that it shows; recorded ones the timing, too, and the
granularity."""
SPLITS = {"val": "validation", "test": "test", "": ""}
"""What a point may be measured on, in words; recorded rows need not say it."""


class Points:
    """Points as plain dicts: `MADE_WITH`, the setting's name, the measure by its name, the split, live or recorded.

    `reached` is the compression of the weights, where `compression` is that of the units.
    A live point is measured on validation data. `measures` says what each data set's task measures first: accuracy (a
    fraction) if it says nothing.
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
            check_outgrown(row)
            setting = {key: row.get(key, getattr(choices, key)) for key in MADE_WITH}
            setting["granularity"] = row.get("granularity", "weight")
            for key in ("rounds", "seed"):  # a table with gaps holds whole numbers as floats
                if isinstance(setting[key], float) and setting[key].is_integer():
                    setting[key] = int(setting[key])
            made = check_state(setting).sides[0]
            name, split = self.measure(made.data), row.get("split", "")
            check_choice("the split of a recorded row", split, SPLITS)
            for key in ("compression", name):
                if key not in row:
                    raise ValueError(f"recorded rows have a column {key!r}; got {', '.join(map(str, row))}. Add it")
            point = {name: float(row[name]), "reached": made.compression, "split": split, "kind": "recorded"}
            self._points.append(_setting(made) | point)

    def add(self, choices: Choices, value: float, reached: float | None = None) -> None:
        """Add a point that was trained here; `reached` is its compression of the weights, if it is another."""
        point = {"reached": reached or choices.compression, "split": "val", "kind": "live"}
        self._points.append(_setting(choices) | {self.measure(choices.data): value} | point)

    def add_dense(self, choices: Choices, value: float) -> None:
        """Note what a dense network reached that was trained on the way."""
        self._dense.setdefault((choices.data, choices.network), {})[choices.seed] = value

    def criteria(self) -> list[str]:
        """Names of the criteria that points were made with."""
        return list(dict.fromkeys(point["criterion"] for point in self._points))

    def clear(self) -> None:
        """Remove what was trained here; recorded points stay."""
        self._points = [point for point in self._points if point["kind"] == "recorded"]

    def next_seed(self, first: int, *sides: Choices) -> int:
        """The first seed, from `first` on, that none of these settings has a point of on validation data."""
        settings, keys = [_setting(side) for side in sides], [key for key in MADE_WITH if key != "seed"]
        measured = [point for point in self._points if point["split"] == "val"]
        taken = {p["seed"] for p in measured for setting in settings if all(p[key] == setting[key] for key in keys)}
        return next(seed for seed in itertools.count(first) if seed not in taken)

    def curve(self, choices: Choices) -> list[dict[str, Any]]:
        """The points that stand in one picture with these choices, each at the compression of its weights."""
        alike = {"live": PICTURED, "recorded": (*PICTURED, "timing", "granularity")}
        shown = {kind: [[getattr(side, key) for key in keys] for side in choices.sides] for kind, keys in alike.items()}
        points = [point | {"compression": point["reached"]} for point in self._points]
        return [p for p in points if [p[key] for key in alike[p["kind"]]] in shown[p["kind"]]]

    def dense(self, choices: Choices) -> tuple[list[float], str]:
        """What the dense network reached, a value for each seed, and the split.

        That is the test split where points of it stand in the picture; else what was trained here, else recorded.
        """
        pair = choices.data, choices.network
        found: dict[str, dict[int, float]] = {"val": dict(self._dense.get(pair, {}))}
        for point in self._points:
            if point["compression"] == 1 and (point["data"], point["network"]) == pair:
                found.setdefault(point["split"], {}).setdefault(point["seed"], point[self.measure(choices.data)])
        drawn = any(point["split"] == "test" for point in self.curve(choices))
        split = next((split for split in ["test"] * drawn + list(found) if found.get(split)), "val")
        return list(found[split].values()), split

    def baseline(self, choices: Choices) -> dict[str, Any]:
        """The mean of `dense` (None where there is none) and its split, as the page wants it."""
        runs, split = self.dense(choices)
        return {"dense": sum(runs) / len(runs) if runs else None, "split": split}

    def sentence(self, choices: Choices) -> str:
        """The points that stand in one picture with these choices, in a line: how many of which kind and split."""
        said = [", ".join(filter(None, [point["kind"], SPLITS[point["split"]]])) for point in self.curve(choices)]
        counts = "; ".join(f"{said.count(kind)} ({kind})" for kind in dict.fromkeys(said))
        return f"Trade-off, {self.measure(choices.data)} against compression: points: {counts or 'none yet'}."


def _setting(choices: Choices) -> dict[str, Any]:
    return {"name": choices.name, "maker": choices.maker} | {key: getattr(choices, key) for key in MADE_WITH}
