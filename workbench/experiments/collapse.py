"""Layer collapse at initialisation: how far each criterion goes, and SynFlow's equal layer sums. No training."""

import itertools
import math

import torch

from workbench.criteria import score
from workbench.experiments.common import BOTH, NETWORKS, SEEDS, chosen, metric, start
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import keep_top
from workbench.metrics import collapsed, critical, critical_iterated, first_failure, max_compression
from workbench.train import train

A_DECADE = 5  # compressions on the grid of `failure_on_a_grid`
ONE_SHOT = ["random", "magnitude", "snip", "grasp", "synflow"]
LATER = ["synflow", "ntk-sap", "prospr"]
GRADIENTS = ["snip", "grasp", "force"]


# In one cut, or 10 % of what is left a round.
@experiment(
    "critical",
    grids=[
        {"criterion": ["random", "magnitude", *LATER], "network": NETWORKS, "seed": SEEDS},
        {"criterion": ["snip", "grasp"], "bn": BOTH, "network": NETWORKS, "seed": SEEDS},
        {"criterion": ["random"], "allocation": ["erk", "smart-ratio"], "network": NETWORKS, "seed": SEEDS},
        {"criterion": LATER, "rate": [0.1], "network": NETWORKS, "seed": SEEDS},
        {"criterion": GRADIENTS, "rate": [0.1], "bn": BOTH, "network": NETWORKS, "seed": SEEDS},
    ],
)
def critical_compression(
    criterion: str,
    seed: int,
    rate: float | None = None,
    data: str = "digits",
    network: str = "vgg",
    allocation: str = "global",
    bn: str | None = None,
) -> dict[str, float]:
    """The highest compression at initialisation without layer collapse, and the network's maximum; no training.

    In one cut (`rate=None`), or in rounds that remove the share `rate` of what is left: the last compression before the
    first layer dies. `bn`: the BatchNorm statistics that the criterion sees (None: its authors').

    >>> critical_compression("synflow", seed=0, rate=0.1)["critical"].__round__()
    32670
    """
    _, model, batch = start(data, network, seed)
    if rate is None:
        highest = critical(score(model, batch, criterion, seed=seed, bn=bn), allocation)
    else:
        highest = critical_iterated(model, batch, criterion, rate, allocation=allocation, seed=seed, bn=bn)
    return {"critical": highest, "maximum": max_compression(model)}


def log_critical(rows: Rows, bn: str, rate: float | None = None) -> Rows:
    """log10 of critical compression, of each criterion on each network (columns), by global allocation."""
    rows = chosen(rows, rate=rate, allocation="global", bn=[None, bn])
    return rows.pivot(columns=["criterion", "network"], values="critical").map(math.log10)


@reading("synflow-to-the-maximum", of="critical")
def share_of_the_maximum(rows: Rows) -> Effects:
    shares = rows.assign(share=rows["critical"] / rows["maximum"])
    return metric(shares, "share", each="network", criterion="synflow", rate=0.1)


@reading("one-shot-collapses-earlier", of="critical")
def iterated_minus_one_shot(rows: Rows) -> Effects:
    """As Tanaka et al. score: on running statistics."""
    one, last = log_critical(rows, "running"), log_critical(rows, "running", rate=0.1)["synflow"]
    return {criterion: last - one[criterion] for criterion in ONE_SHOT}


@reading("synflow-one-shot-first", of="critical")
def others_minus_synflow(rows: Rows) -> Effects:
    one = log_critical(rows, "running")
    return {criterion: one[criterion] - one["synflow"] for criterion in ONE_SHOT[:-1]}


@reading("snip-iteration-delays", of="critical", criterion="snip")
@reading("force-delays", of="critical", criterion="force")
def iterated_minus_snip(rows: Rows, criterion: str) -> Effects:
    """As de Jorge et al. score: on the batch's statistics."""
    return log_critical(rows, "batch", rate=0.1)[criterion] - log_critical(rows, "batch")["snip"]


@reading("order-of-collapse", of="critical")
def gaps_in_order(rows: Rows) -> Effects:
    """Gaps between neighbours in the order magnitude, SNIP, GraSP, iterated SynFlow."""
    one, last = log_critical(rows, "running"), log_critical(rows, "running", rate=0.1)["synflow"]
    order = [(name, one[name]) for name in ("magnitude", "snip", "grasp")] + [("synflow", last)]
    return {f"{name} over the one before": high - low for (_, low), (name, high) in itertools.pairwise(order)}


# K rounds to each compression.
@experiment(
    "failures",
    grids=[
        {"criterion": ["synflow", "ntk-sap"], "rounds": [5, 20], "network": NETWORKS, "seed": SEEDS},
        {"criterion": ["synflow"], "rounds": [100], "network": NETWORKS, "seed": SEEDS},
        {"criterion": GRADIENTS, "rounds": [5, 20, 100], "bn": ["batch"], "network": NETWORKS, "seed": SEEDS},
        {"criterion": GRADIENTS, "rounds": [5, 20], "bn": ["running"], "seed": SEEDS},
    ],
)
def failure_on_a_grid(
    criterion: str, rounds: int, seed: int, data: str = "digits", network: str = "vgg", bn: str | None = None
) -> dict[str, float]:
    """The first compression of a grid (10^(1/5), 10^(2/5), ...) at which K rounds leave a layer empty; no training.

    `failure` is the network's maximum where no compression of the grid fails.

    >>> failure_on_a_grid("synflow", rounds=1, seed=0, network="lenet-300-100")["failure"].__round__(2)
    63.1
    """
    _, model, batch = start(data, network, seed)
    maximum = max_compression(model)
    grid = [10 ** (step / A_DECADE) for step in range(1, math.floor(A_DECADE * math.log10(maximum)) + 1)]
    found = first_failure(model, batch, criterion, rounds, grid, seed=seed, bn=bn)
    return {"failure": maximum if found is None else found, "maximum": maximum}


@experiment(
    "conservation",
    [{"network": [*NETWORKS, "resnet-20"], "seed": SEEDS}, {"network": NETWORKS, "trained": [True], "seed": SEEDS}],
)
def layer_sums(network: str, seed: int, trained: bool = False, data: str = "digits") -> dict[str, float]:
    """How equal SynFlow's layer sums are: spread = largest - smallest, relative to the mean, in float64.

    As initialised all biases are 0; `trained` trains by the recipe first, after which they and BatchNorm's are not.

    >>> layer_sums("lenet-300-100", seed=0)["spread"] < 1e-12
    True
    """
    task, model, _ = start(data, network, seed)
    if trained:
        train(model, task, seed=seed, fast=False)
    sums = [float(s.sum()) for s in score(model, None, "synflow").values()]
    mean = sum(sums) / len(sums)
    return {"spread": (max(sums) - min(sums)) / mean, "smallest": min(sums) / mean, "largest": max(sums) / mean}


reading("synflow-conserves", of="conservation", name="spread", each="network", network=NETWORKS, trained=False)(metric)
reading("synflow-conserves-biases", of="conservation", name="spread", network="lenet-300-100", trained=True)(metric)
reading("synflow-conserves-resnet", of="conservation", name="spread", network="resnet-20", trained=False)(metric)


@experiment("sizes", grids=[{"network": NETWORKS, "seed": SEEDS}])
def score_sizes(network: str, seed: int, data: str = "digits") -> dict[str, float]:
    """SynFlow's mean score of a layer against its size, at initialisation: the slope of log over log (least squares).

    `largest_first` says whether the layer that one-shot SynFlow empties first is the one with the most weights.

    >>> round(score_sizes("lenet-300-100", seed=0)["slope"], 6)
    -1.0
    """
    _, model, _ = start(data, network, seed)
    scores = score(model, None, "synflow")
    sizes = {name: s.numel() for name, s in scores.items()}
    x = torch.tensor([math.log(n) for n in sizes.values()], dtype=torch.float64)
    y = torch.stack([s.double().mean().log() for s in scores.values()])
    x, y = x - x.mean(), y - y.mean()
    total, most = sum(sizes.values()), max(sizes.values())
    kept = round(total / critical(scores)) - 1  # one weight fewer than the last mask that has all layers
    first = collapsed(keep_top(scores, 1 - kept / total))
    return {"slope": float((x * y).sum() / (x * x).sum()), "largest_first": float(any(sizes[n] == most for n in first))}


@reading("synflow-mean-by-size", of="sizes")
def slope_from_minus_one(rows: Rows) -> Effects:
    return (rows.pivot(columns="network", values="slope") + 1).abs()


reading("synflow-largest-first", of="sizes", name="largest_first", each="network")(metric)
