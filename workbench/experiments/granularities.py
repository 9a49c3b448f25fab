"""Single weights, n:m and channels at equal sparsity: right after the cut, and trained again."""

from typing import Any

from workbench.experiments.common import SEEDS
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.experiments.retraining import SHORT, WAYS, cut_and_retrain

INNER: dict[str, list[Any]] = {"criterion": ["magnitude"], "inner": [True], "seed": SEEDS}
AGAIN: dict[str, list[Any]] = {"way": [WAYS[1]]}
SMALL: dict[str, list[Any]] = {"data": ["cifar10"], "width": [0.5], "epochs": [1], "fast": [True]}
HALF: list[dict[str, list[Any]]] = [
    {"granularity": ["weight", "4:8", "2:4"], "sparsity": [0.5]},
    {"granularity": ["channel"], "sparsity": [0.29, 0.5]},  # half of the weights go with them, or three quarters
]
QUARTER: list[dict[str, list[Any]]] = [
    {"granularity": ["weight", "2:8", "1:4"], "sparsity": [0.75]},
    {"granularity": ["channel"], "sparsity": [0.75]},
]

experiment(
    "granularities",
    grids=[
        *({**INNER, **arms, "way": WAYS[:2], **SHORT} for arms in HALF),
        *({**INNER, **arms, **AGAIN, **SHORT} for arms in QUARTER),
    ],
)(cut_and_retrain)
experiment("granularities-cifar10", grids=[{**INNER, **arms, **AGAIN, **SMALL} for arms in HALF])(cut_and_retrain)

CHANNELS = [("2:4 50%", "channel 29%"), ("2:4 50%", "channel 50%")]
COARSER = [("weight 50%", "2:4 50%"), *CHANNELS]
BETWEEN = [("weight 50%", "4:8 50%"), ("4:8 50%", "2:4 50%")]
DEEP = [("weight 75%", "2:8 75%"), ("2:8 75%", "1:4 75%"), ("1:4 75%", "channel 50%"), ("1:4 75%", "channel 75%")]


@reading("finer-units-cut-less", of="granularities", metric="cut", pairs=COARSER)
@reading("finer-units-cut-less-cifar10", of="granularities-cifar10", metric="cut", pairs=COARSER)
@reading("finer-units-cut-less-deep", of="granularities", metric="cut", pairs=DEEP)
@reading("finer-units-retrain-better", of="granularities", metric="accuracy", pairs=COARSER, ways=WAYS[:2])
@reading("finer-units-retrain-better-cifar10", of="granularities-cifar10", metric="accuracy", pairs=COARSER)
@reading("finer-units-retrain-better-deep", of="granularities", metric="accuracy", pairs=DEEP)
@reading("four-of-eight-cut", of="granularities", metric="cut", pairs=BETWEEN)
@reading("four-of-eight-cut-cifar10", of="granularities-cifar10", metric="cut", pairs=BETWEEN)
@reading("four-of-eight-retrained", of="granularities", metric="accuracy", pairs=BETWEEN, ways=WAYS[:2])
@reading("four-of-eight-retrained-cifar10", of="granularities-cifar10", metric="accuracy", pairs=BETWEEN)
def finer_minus_coarser(
    rows: Rows, metric: str, pairs: list[tuple[str, str]], ways: tuple[str, ...] = WAYS[1:2]
) -> Effects:
    """A metric of the finer unit of each pair minus that of the coarser; right after the cut all ways are one."""
    found = rows.assign(unit=rows["granularity"] + rows["sparsity"].map(" {:.0%}".format))
    found = found.pivot(columns=["way", "unit"], values=metric)
    return {f"{a} - {b}, {way}": found[way, a] - found[way, b] for way in ways for a, b in pairs}
