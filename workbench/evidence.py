"""The recorded rows: which runs they hold, how to compute them again, and what they say about each claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.claims import Evidence, Verdicts, compare, judge
from workbench.methods.after import METHODS, magnitude_with_rewinding, prune_and_tune
from workbench.methods.before import critical_compression, effective_against_direct, layer_sums, prune_then_train
from workbench.runs import Row, grid, read_rows
from workbench.shipped import shipped
from workbench.types import check_choice

if TYPE_CHECKING:
    import pandas as pd

SEEDS = [0, 1, 2, 3, 4]
COMPRESSIONS = [10, 30, 100, 300, 1000, 3000, 10000, 30000]
ONE_SHOT = ["random", "magnitude", "snip", "grasp", "synflow"]
NETWORKS = ["lenet-300-100", "vgg"]


@dataclass(frozen=True)
class Experiment:
    """Recorded rows: a function of plain arguments, and the grids of arguments that it is run on."""

    function: Callable[..., Mapping[str, Any]]
    grids: tuple[dict[str, list[Any]], ...]


EXPERIMENTS: dict[str, Experiment] = {
    # Accuracy against compression at initialisation, vgg on digits; compression 1 is the dense network.
    "headline": Experiment(
        prune_then_train,
        (
            {"criterion": ["magnitude"], "compression": [1], "seed": SEEDS},
            {"criterion": ["random", "magnitude", "snip", "grasp"], "compression": COMPRESSIONS, "seed": SEEDS},
            {"criterion": ["synflow"], "compression": COMPRESSIONS, "rounds": [100], "seed": SEEDS},
        ),
    ),
    # How far each criterion goes at initialisation without layer collapse.
    "critical": Experiment(
        critical_compression,
        (
            {"criterion": ONE_SHOT, "network": NETWORKS, "seed": SEEDS},
            {"criterion": ["snip"], "rounds": [5, 20, 100], "network": NETWORKS, "seed": SEEDS},
            {"criterion": ["synflow"], "rounds": [100], "network": NETWORKS, "seed": SEEDS},
        ),
    ),
    # SynFlow's layer sums at initialisation (biases 0) and after training.
    "conservation": Experiment(
        layer_sums,
        (
            {"network": ["lenet-300-100", "vgg", "resnet-20"], "seed": SEEDS},
            {"network": NETWORKS, "trained": [True], "seed": SEEDS},
        ),
    ),
    # Direct and effective sparsity at 99 %.
    "effective": Experiment(
        effective_against_direct,
        (
            {"criterion": ["random", "magnitude", "snip", "grasp"], "network": NETWORKS, "seed": SEEDS},
            {"criterion": ["random"], "allocation": ["layer"], "network": NETWORKS, "seed": SEEDS},
            {"criterion": ["synflow"], "rounds": [100], "network": NETWORKS, "seed": SEEDS},
        ),
    ),
    # Global against equal sparsity in every layer, at equal weights and at equal MACs, after training.
    "allocation": Experiment(
        prune_and_tune,
        (
            {"allocation": ["global", "layer"], "compression": [10, 30, 100], "seed": SEEDS},
            {"allocation": ["global"], "compression": [10, 30, 100], "budget": ["macs"], "seed": SEEDS},
        ),
    ),
    # Iterative magnitude pruning with rewinding against one cut.
    "rewinding": Experiment(
        magnitude_with_rewinding, ({"method": list(METHODS), "levels": [5, 10, 20], "seed": SEEDS},)
    ),
}


def compute(
    name: str, folder: str | Path | None = None, jobs: int = 1, on_row: Callable[[Row, int, int], None] | None = None
) -> pd.DataFrame:
    """Run an experiment's missing rows into `folder` (default: the shipped `data/rows`) and return all of them.

    The command for the whole is `workbench evidence`; delete a file of rows to compute it afresh.
    """
    import pandas as pd

    experiment = EXPERIMENTS[check_choice("experiment", name, EXPERIMENTS)]
    path = Path(folder or shipped("rows")) / f"{name}.jsonl"
    return pd.concat(
        [grid(experiment.function, path, jobs=jobs, on_row=on_row, **axes) for axes in experiment.grids],
        ignore_index=True,
    )


def recorded(name: str) -> pd.DataFrame:
    """The recorded rows of an experiment, arguments that a row leaves to their defaults filled in.

    >>> sorted(recorded("conservation")["network"].unique())
    ['lenet-300-100', 'resnet-20', 'vgg']
    """
    import inspect

    experiment = EXPERIMENTS[check_choice("experiment", name, EXPERIMENTS)]
    rows = read_rows(shipped("rows", f"{name}.jsonl"))
    for argument, parameter in inspect.signature(experiment.function).parameters.items():
        if argument not in rows:
            rows.insert(0, argument, parameter.default)
        elif parameter.default is not parameter.empty and parameter.default is not None:
            rows[argument] = rows[argument].where(rows[argument].notna(), parameter.default)
    return rows


def verdict(claim: str) -> Evidence:
    """Judge a claim of `data/claims.yaml` from its recorded rows; in a notebook the result shows itself.

    >>> verdict("synflow-conserves").verdict
    'holds'
    """
    rows, effects = READINGS[check_choice("claim", claim, READINGS)]
    return judge(claim, effects(recorded(rows)))


def verdicts(*claims: str) -> Verdicts:
    """These claims, or all, judged from their recorded rows; in a notebook they show themselves as one table.

    >>> [evidence.verdict for evidence in verdicts("synflow-conserves", "one-shot-collapses-earlier")]
    ['holds', 'holds']
    """
    return Verdicts(verdict(claim) for claim in claims or READINGS)


def _spread(networks: Sequence[str], trained: bool) -> Callable[[pd.DataFrame], pd.Series]:
    """Per seed the largest spread of the layer sums over networks."""

    def effects(df: pd.DataFrame) -> pd.Series:
        chosen = df[df["network"].isin(networks) & (df["trained"] == trained)]
        return chosen.groupby("seed")["spread"].max()

    return effects


def _log_critical(df: pd.DataFrame, criteria: Sequence[str], rounds: int) -> pd.DataFrame:
    """log10 of critical compression of each criterion (column) by network and seed."""
    chosen = df[df["criterion"].isin(criteria) & (df["rounds"] == rounds)]
    return chosen.pivot(index=["network", "seed"], columns="criterion", values="critical").map(math.log10)


def _to_the_maximum(df: pd.DataFrame) -> pd.Series:
    rows = df[(df["criterion"] == "synflow") & (df["rounds"] == 100)]
    return (rows["critical"] / rows["maximum"]).groupby(rows["seed"]).min()


def _earlier_than_iterated(df: pd.DataFrame) -> pd.Series:
    gap = _log_critical(df, ["synflow"], 100)["synflow"] - _log_critical(df, ONE_SHOT, 1).max(axis=1)
    return gap.groupby("seed").min()


def _synflow_before_others(df: pd.DataFrame) -> pd.Series:
    one = _log_critical(df, ONE_SHOT, 1)
    return (one.drop(columns="synflow").min(axis=1) - one["synflow"]).groupby("seed").min()


def _snip_iterated(df: pd.DataFrame) -> pd.Series:
    return (_log_critical(df, ["snip"], 100)["snip"] - _log_critical(df, ["snip"], 1)["snip"]).groupby("seed").min()


def _global_minus_layer(df: pd.DataFrame) -> pd.Series:
    rows = df[df["budget"] == "weights"]
    return _mean_over(rows, "compression", "allocation", "global", "layer")


def _layer_minus_global_at_equal_macs(df: pd.DataFrame) -> pd.Series:
    # "layer" has the same masks under either budget, so its rows are recorded once.
    rows = df[(df["budget"] == "macs") | (df["allocation"] == "layer")]
    return _mean_over(rows, "compression", "allocation", "layer", "global")


def _iterative_minus_one_shot(df: pd.DataFrame) -> pd.Series:
    return _mean_over(df[df["levels"] >= 10], "levels", "method", "iterative", "one-shot, as long")


def _mean_over(df: pd.DataFrame, setting: str, arm: str, a: str, b: str) -> pd.Series:
    """Accuracy of a minus b per seed, mean over the settings."""
    import pandas as pd

    tables = [compare(rows, "accuracy", arm, a, b)["difference"] for _, rows in df.groupby(setting)]
    return pd.concat(tables, axis=1).mean(axis=1)


def _effective_over_direct(df: pd.DataFrame) -> pd.Series:
    rows = df[(df["allocation"] == "global") & (df["rounds"] == 1)]
    on_no_path = (rows["effective"] - rows["direct"]) / (1 - rows["direct"])
    return on_no_path.groupby(rows["seed"]).mean()


# Claim -> the recorded rows that judge it, and how one number per seed is read off them.
READINGS: dict[str, tuple[str, Callable[[pd.DataFrame], pd.Series]]] = {
    "synflow-conserves": ("conservation", _spread(NETWORKS, trained=False)),
    "synflow-conserves-biases": ("conservation", _spread(["lenet-300-100"], trained=True)),
    "synflow-conserves-resnet": ("conservation", _spread(["resnet-20"], trained=False)),
    "synflow-to-the-maximum": ("critical", _to_the_maximum),
    "one-shot-collapses-earlier": ("critical", _earlier_than_iterated),
    "synflow-one-shot-first": ("critical", _synflow_before_others),
    "snip-iteration-delays": ("critical", _snip_iterated),
    "global-beats-layer": ("allocation", _global_minus_layer),
    "layer-beats-global-at-equal-macs": ("allocation", _layer_minus_global_at_equal_macs),
    "iterative-beats-one-shot": ("rewinding", _iterative_minus_one_shot),
    "effective-exceeds-direct": ("effective", _effective_over_direct),
}
