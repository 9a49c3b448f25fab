"""Masks side by side: paths and layers that kept weights lie on, and how far masks agree. Only one run trains."""

import itertools
import math
from typing import Any

from workbench.criteria import score
from workbench.experiments.after import trained_model
from workbench.experiments.before import shuffled_labels
from workbench.experiments.common import NETWORKS, PUBLISHED, SEEDS, chosen, metric, size, start
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import find_masks, keep_top
from workbench.metrics import effective_sparsity
from workbench.metrics.agreement import jaccard
from workbench.models import prunable
from workbench.types import check_choice

AGAINST = ("one a class", "other samples", "random labels", "random masks")


@experiment(
    "effective",
    grids=[
        *({**criterion, "network": NETWORKS, "seed": SEEDS} for criterion in PUBLISHED),
        {"criterion": ["random"], "allocation": ["global", "layer"], "network": NETWORKS, "seed": SEEDS},
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
    found, effective = size(masks), effective_sparsity(model, masks, batch.inputs[:1])
    return {"direct": found["sparsity"], "effective": effective, "dead": found["dead"]}


@reading("effective-exceeds-direct", of="effective")
def share_on_no_path(rows: Rows) -> Effects:
    rows = chosen(rows, allocation="global", rounds=1)
    return ((rows["effective"] - rows["direct"]) / (1 - rows["direct"])).groupby("seed").mean()


@experiment("densities", grids=[{**criterion, "seed": SEEDS} for criterion in PUBLISHED])
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
    return {str(name): table.filter(like="layer ").map(math.log10) for name, table in rows.groupby("criterion")}


@reading("ends-stay-dense", of="densities")
def ends_over_largest(rows: Rows) -> Effects:
    """The first and the last layer over the largest, for each criterion."""
    ends, found = {"first layer": 0, "last layer": -1}, log_layers(rows).items()
    return {f"{end}, {c}": t.iloc[:, k] - t.iloc[:, -2] for end, k in ends.items() for c, t in found}


@reading("one-shape", of="densities")
def rank_correlations(rows: Rows) -> Effects:
    """The rank correlation of the layers' densities between each two criteria."""
    pairs = itertools.combinations(log_layers(rows).items(), 2)
    return {f"{a} and {b}": x.corrwith(y, axis=1, method="spearman") for (a, x), (b, y) in pairs}


@experiment("overlap", grids=[{"against": AGAINST, "bn": ["running"], "seed": SEEDS}])
def snip_overlap(
    against: str, seed: int, sparsity: float = 0.95, data: str = "digits", network: str = "vgg", bn: str | None = None
) -> dict[str, float]:
    """Jaccard overlap of SNIP's mask (10 samples a class) with its mask from other data, at initialisation.

    `against` is "random labels" (on the same inputs), "other samples" (as many), "one a class" or "random masks".

    >>> 0 < snip_overlap("random labels", seed=0)["jaccard"] < 1
    True
    """
    check_choice("against", against, AGAINST)
    task, model, batch = start(data, network, seed)
    other, criterion = batch, "random" if against == "random masks" else "snip"
    if against == "random labels":
        other = shuffled_labels(batch, seed)
    elif criterion == "snip":
        other = task.batch(per_class=1 if against == "one a class" else 10, seed=seed + 1000)
    one = keep_top(score(model, batch, "snip", bn=bn), sparsity)
    two = keep_top(score(model, other, criterion, seed=seed, bn=bn), sparsity)
    return {"jaccard": jaccard(one, two)}


reading("snip-labels", of="overlap", name="jaccard", each="against", against=list(AGAINST[:3]))(metric)


@experiment("filters", grids=[{"seed": SEEDS}])
def filter_agreement(seed: int, data: str = "digits", network: str = "vgg") -> dict[str, float]:
    """How far channel criteria agree on a trained network; means over the convolutions.

    `l1-l2` and `fpgm-l2` are the shares of the better half of channels that both criteria name; `hrank` is the rank
    correlation (Spearman) of HRank's scores between batches of 50 images, mean over the pairs of five batches.

    >>> filter_agreement.__defaults__
    ('digits', 'vgg')
    """
    from scipy.stats import spearmanr

    task, model, _ = trained_model(data, network, seed)
    how: dict[str, Any] = dict(granularity="channel", exclude=list(prunable(model))[-1:])
    scores = {c: score(model, task.batch(50), c, **how) for c in ("l1", "l2", "fpgm")}
    halves = {c: keep_top(of, 0.5, allocation="layer") for c, of in scores.items()}
    shares = {a: [float((m & halves["l2"][n]).sum() / m.sum()) for n, m in halves[a].items()] for a in ("l1", "fpgm")}
    ranks = [score(model, task.batch(50, seed=k), "hrank", **how) for k in range(5)]
    pairs = [(a, b) for i, a in enumerate(ranks) for b in ranks[:i]]
    alike = [float(spearmanr(a[n], b[n]).statistic) for a, b in pairs for n in a if len(a[n].unique()) > 1]
    found = {"l1-l2": shares["l1"], "fpgm-l2": shares["fpgm"], "hrank": alike}
    return {name: sum(values) / len(values) for name, values in found.items()}


reading("l1-is-l2", of="filters", name="l1-l2")(metric)
reading("hrank-is-stable", of="filters", name="hrank")(metric)


@reading("fpgm-differs", of="filters")
def l1_minus_fpgm(rows: Rows) -> Effects:
    return rows["l1-l2"] - rows["fpgm-l2"]
