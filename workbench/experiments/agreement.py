"""How far masks agree: SNIP's from other data, and channel criteria with each other."""

from __future__ import annotations

from workbench.criteria import score
from workbench.experiments.after import trained_model
from workbench.experiments.before import shuffled_labels
from workbench.experiments.common import SEEDS, start
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import keep_top
from workbench.metrics.agreement import jaccard
from workbench.types import check_choice

AGAINST = ("one a class", "other samples", "random labels", "random masks")


@experiment("overlap", grids=[{"against": AGAINST, "bn": ["running"], "seed": SEEDS}])
def snip_overlap(
    against: str, seed: int, sparsity: float = 0.95, data: str = "digits", network: str = "vgg", bn: str | None = None
) -> dict[str, float]:
    """Jaccard overlap of SNIP's mask (10 samples a class) with its mask from other data, at initialisation.

    `against` is "random labels" (the same inputs), "other samples" (another batch of the same size), "one a class" or
    "random masks" (no data at all). Jaccard: kept by both / kept by either.

    >>> 0 < snip_overlap("random labels", seed=0)["jaccard"] < 1
    True
    """
    check_choice("against", against, AGAINST)
    task, model, batch = start(data, network, seed)
    other = {
        "one a class": lambda: task.batch(per_class=1, seed=seed + 1000),
        "other samples": lambda: task.batch(per_class=10, seed=seed + 1000),
        "random labels": lambda: shuffled_labels(batch, seed),
        "random masks": lambda: batch,
    }[against]()
    criterion = "random" if against == "random masks" else "snip"
    one = keep_top(score(model, batch, "snip", bn=bn), sparsity)
    two = keep_top(score(model, other, criterion, seed=seed, bn=bn), sparsity)
    return {"jaccard": jaccard(one, two)}


@reading("snip-labels", of="overlap")
def overlap_with_other_data(rows: Rows) -> Effects:
    return rows.pivot(columns="against", values="jaccard").drop(columns="random masks")


@experiment("filters", grids=[{"seed": SEEDS}])
def filter_agreement(seed: int, data: str = "digits", network: str = "vgg") -> dict[str, float]:
    """How far channel criteria agree on a trained network; means over the convolutions.

    `l1-l2` and `fpgm-l2` are the shares of the better half of channels that both criteria name; `hrank` is the rank
    correlation (Spearman) of HRank's scores between batches of 50 images, mean over the pairs of five batches.

    >>> import inspect
    >>> list(inspect.signature(filter_agreement).parameters)
    ['seed', 'data', 'network']
    """
    from scipy.stats import spearmanr

    task, model, last = trained_model(data, network, seed)
    halves = {}
    for criterion in ("l1", "l2", "fpgm"):
        scores = score(model, task.batch(50), criterion, granularity="channel", exclude=[last])
        halves[criterion] = keep_top(scores, 0.5, allocation="layer")
    shares = {a: [float((m & halves["l2"][n]).sum() / m.sum()) for n, m in halves[a].items()] for a in ("l1", "fpgm")}
    ranks = [score(model, task.batch(50, seed=k), "hrank", granularity="channel", exclude=[last]) for k in range(5)]
    pairs = [(a, b) for i, a in enumerate(ranks) for b in ranks[:i]]
    alike = [float(spearmanr(a[n], b[n]).statistic) for a, b in pairs for n in a if len(a[n].unique()) > 1]
    found = {"l1-l2": shares["l1"], "fpgm-l2": shares["fpgm"], "hrank": alike}
    return {name: sum(values) / len(values) for name, values in found.items()}


@reading("l1-is-l2", of="filters", metric="l1-l2")
@reading("hrank-is-stable", of="filters", metric="hrank")
def metric_of_filters(rows: Rows, metric: str) -> Effects:
    return rows[metric]


@reading("fpgm-differs", of="filters")
def l1_minus_fpgm(rows: Rows) -> Effects:
    return rows["l1-l2"] - rows["fpgm-l2"]
