"""Recorded rows computed again: what differs from then, and whether the machine can be the reason."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.experiments.registry import EXPERIMENTS
from workbench.project_data import project_data
from workbench.sweeps.files import packed_rows
from workbench.sweeps.rows import Row, Task, compute
from workbench.types import check_count

if TYPE_CHECKING:
    import pandas as pd

TIMED = ("form-speeds",)
"""Experiments that measure time, which is another one in each run."""
SAME, ALARM = "same", "other bits on the same processor and versions"


class Drawn(NamedTuple):
    """A recorded row and its experiment."""

    experiment: str
    row: Row


def rows_of(name: str) -> list[Row]:
    """The recorded rows of an experiment, as they are on disk.

    >>> rows_of("conservation")[0]["function"]
    'layer_sums'
    """
    path = (EXPERIMENTS[name].folder or project_data("rows")) / f"{name}.jsonl"
    return packed_rows(path)[0]


def again(drawn: Drawn) -> Row:
    """The row of the same run, computed now on one thread; a run that fails has an error."""
    (row,) = compute(Task(EXPERIMENTS[drawn.experiment].function, drawn.row["key"], drawn.row["arguments"]))
    return row


def draw(count: int, seed: int = 0, budget: float = 600.0, names: Sequence[str] | None = None) -> list[Drawn]:
    """So many rows of the experiments (default: of all), drawn by a seed, which took `budget` seconds together at most.

    A row that does not fit in what is left of the budget is passed over, and so are rows made on a GPU and measured
    times. ValueError where none fits. Misleads as a picture of all rows: rows that took long are drawn more rarely.

    >>> [len(draw(3, seed, names=["conservation", "sizes"])) for seed in (0, 1)]
    [3, 3]
    """
    check_count("drift", count)
    if not budget > 0:
        raise ValueError(f"budget is how many seconds the rows took together, more than 0; got {budget!r}")
    known = {
        row["key"]: Drawn(name, row) for name in names or EXPERIMENTS if name not in TIMED for row in rows_of(name)
    }
    order = sorted(known)
    random.Random(seed).shuffle(order)
    chosen, left = list[Drawn](), budget
    for one in map(known.__getitem__, order):
        gpu = str(one.row["versions"].get("processor", "")).count(", ") > 1
        if len(chosen) < count and one.row["seconds"] <= left and not gpu:
            left -= one.row["seconds"]
            chosen.append(one)
    if not chosen:
        raise ValueError(
            f"no row to compute again took {budget:g} s or less. Raise the budget, or name other experiments"
        )
    return chosen


def drift(
    count: int,
    seed: int = 0,
    budget: float = 600.0,
    names: Sequence[str] | None = None,
    on_run: Callable[[str, int, float], None] | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Rows that `draw` chooses, computed again: a line for each metric, and what failed runs say.

    Columns: experiment, arguments (JSON), metric, recorded, now, difference (now - recorded; NaN if one is no number),
    verdict ("same", or why they may differ), processor then and now, seconds then and now. For other bits on the same
    processor and versions the machine is no reason: something else changed, such as the code or the data. Misleads in
    its seconds: a run that shared a training with others, and was recorded after them, takes longer alone.
    """
    import pandas as pd

    lines: list[dict[str, Any]] = []
    failed: list[str] = []
    for number, one in enumerate(draw(count, seed, budget, names), start=1):
        if on_run is not None:
            on_run(one.experiment, number, one.row["seconds"])
        new = again(one)
        failed += [new["error"]] if "error" in new else []
        lines += compared(one, new)
    columns = ["experiment", "arguments", "metric", "recorded", "now", "difference", "verdict"]
    return pd.DataFrame(lines, columns=[*columns, "processor", "processor_now", "seconds", "seconds_now"]), failed


def compared(drawn: Drawn, new: Row) -> list[dict[str, Any]]:
    """A line for each metric of a row and of the same run now."""
    old, lines = drawn.row, []
    processor, now = (row["versions"].get("processor", "not recorded") for row in (old, new))
    told = {"experiment": drawn.experiment, "arguments": json.dumps(old["arguments"])}
    where = {"processor": processor, "processor_now": now, "seconds": old["seconds"], "seconds_now": new["seconds"]}
    for metric, value in old["metrics"].items() if "error" not in new else ():
        found = new["metrics"].get(metric)
        numbers = all(isinstance(one, int | float) for one in (value, found))
        difference = found - value if numbers else float("nan")
        verdict = SAME if found == value else _why(old, new)
        both = {"metric": metric, "recorded": value, "now": found, "difference": difference, "verdict": verdict}
        lines.append(told | both | where)
    return lines


def _why(old: Row, new: Row) -> str:
    """What may be the reason of a difference."""
    versions = [{n: v for n, v in row["versions"].items() if n != "processor"} for row in (old, new)]
    processor = old["versions"].get("processor")
    if processor is None:
        return "processor not recorded"
    if processor != new["versions"].get("processor"):
        return "another processor"
    return "other versions" if versions[0] != versions[1] else ALARM


def summary(table: pd.DataFrame) -> str:
    """What a table of `drift` says, in a few lines: how many numbers are the same, why others may differ, the largest.

    >>> import pandas as pd
    >>> summary(pd.DataFrame({"experiment": ["a"], "arguments": ["{}"], "metric": ["m"], "verdict": ["same"]}))
    '1 run, 1 number: 1 same'
    """
    runs = table.groupby(["experiment", "arguments"]).ngroups
    counts = table["verdict"].value_counts()
    words = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
    said = [f"{runs} run{'s' * (runs != 1)}, {len(table)} number{'s' * (len(table) != 1)}: {words or 'none'}"]
    for line in table[table["verdict"] == ALARM].itertuples():
        said.append(
            f"ATTENTION, {ALARM}: {line.experiment} {line.arguments} {line.metric} {line.recorded} -> {line.now}"
        )
    other = table[table["verdict"] != SAME]
    if len(other):
        worst = other.loc[other["difference"].abs().groupby(other["metric"]).idxmax().dropna()]
        said += [
            f"largest difference of {r.metric}: {r.difference:+.3g} ({r.experiment}, {r.verdict})"
            for r in worst.itertuples()
        ]
    return "\n".join(said)
