"""Where the kept weights lie at initialisation: on a path or on none, and in which layers. No training."""

from __future__ import annotations

import itertools
import math

from workbench.experiments.common import NETWORKS, SEEDS, chosen, size, start
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import find_masks
from workbench.metrics import effective_sparsity


@experiment(
    "effective",
    grids=[
        {"criterion": ["random", "magnitude"], "network": NETWORKS, "seed": SEEDS},
        {"criterion": ["snip"], "bn": ["running"], "network": NETWORKS, "seed": SEEDS},
        {"criterion": ["grasp"], "bn": ["batch"], "network": NETWORKS, "seed": SEEDS},
        {"criterion": ["random"], "allocation": ["layer"], "network": NETWORKS, "seed": SEEDS},
        {"criterion": ["synflow"], "rounds": [100], "network": NETWORKS, "seed": SEEDS},
    ],
)
def effective_against_direct(
    criterion: str,
    seed: int,
    sparsity: float = 0.99,
    rounds: int = 1,
    allocation: str = "global",
    data: str = "digits",
    network: str = "lenet-300-100",
    bn: str | None = None,
) -> dict[str, float]:
    """Direct and effective sparsity of masks at initialisation; no training.

    >>> row = effective_against_direct("random", seed=0, allocation="layer")
    >>> row["effective"] > row["direct"]
    True
    """
    _, model, batch = start(data, network, seed)
    masks = find_masks(model, batch, criterion, sparsity, rounds=rounds, allocation=allocation, seed=seed, bn=bn)
    found = size(masks)
    effective = effective_sparsity(model, masks, batch.inputs[:1])
    return {"direct": found["sparsity"], "effective": effective, "dead": found["dead"]}


@reading("effective-exceeds-direct", of="effective")
def share_on_no_path(rows: Rows) -> Effects:
    rows = chosen(rows, allocation="global", rounds=1)
    on_no_path = (rows["effective"] - rows["direct"]) / (1 - rows["direct"])
    return on_no_path.groupby("seed").mean()


@experiment(
    "densities",
    grids=[
        {"criterion": ["magnitude"], "seed": SEEDS},
        {"criterion": ["snip"], "bn": ["running"], "seed": SEEDS},
        {"criterion": ["grasp"], "bn": ["batch"], "seed": SEEDS},
        {"criterion": ["synflow"], "rounds": [100], "seed": SEEDS},
    ],
)
def layer_densities(
    criterion: str,
    seed: int,
    rounds: int = 1,
    sparsity: float = 0.95,
    data: str = "digits",
    network: str = "vgg",
    bn: str | None = None,
) -> dict[str, float]:
    """The density of every layer at initialisation, `layer 1` to `layer n` in the model's order.

    >>> sorted(layer_densities("magnitude", seed=0))[:2]
    ['layer 1', 'layer 2']
    """
    _, model, batch = start(data, network, seed)
    masks = find_masks(model, batch, criterion, sparsity, rounds=rounds, seed=seed, bn=bn)
    return {f"layer {k}": float(m.float().mean()) for k, m in enumerate(masks.values(), 1)}


def log_layers(rows: Rows) -> dict[str, Rows]:
    """log10 of the density of each layer (columns, in the model's order) by criterion."""
    by_criterion = rows.groupby("criterion")
    return {str(criterion): table.filter(like="layer ").map(math.log10) for criterion, table in by_criterion}


@reading("ends-stay-dense", of="densities")
def ends_over_largest(rows: Rows) -> Effects:
    """The first and the last layer over the largest, for each criterion."""
    ends = {"first layer": 0, "last layer": -1}
    found = log_layers(rows).items()
    return {f"{end}, {c}": t.iloc[:, k] - t.iloc[:, -2] for end, k in ends.items() for c, t in found}


@reading("one-shape", of="densities")
def rank_correlations(rows: Rows) -> Effects:
    """The rank correlation of the layers' densities between each two criteria."""
    pairs = itertools.combinations(log_layers(rows).items(), 2)
    return {f"{a} and {b}": x.corrwith(y, axis=1, method="spearman") for (a, x), (b, y) in pairs}
