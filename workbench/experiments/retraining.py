"""Training after the cut: from which weights, at which rate, for how long; and which of many cuts is the best."""

from typing import TYPE_CHECKING, Any

import torch

from workbench.allocation import on_the_way
from workbench.criteria import score
from workbench.experiments.after import trained_model
from workbench.experiments.common import SEEDS, chosen, gap, last_weight
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import apply_masks_, keep_top
from workbench.methods.after import recalibrate
from workbench.metrics import effective_sparsity, evaluate, macs
from workbench.models import make, prunable
from workbench.recipes import low, recipe
from workbench.seeds import generator
from workbench.train import snapshot, train
from workbench.types import check_choice

if TYPE_CHECKING:
    import pandas as pd

WAYS = ("fine-tuned", "rate-rewound", "scratch", "scratch, equal MACs")
SHORT = {"epochs": [6]}
SINGLE: dict[str, list[Any]] = {"granularity": ["weight"], "sparsity": [0.95]}


@experiment(
    "retraining",
    grids=[
        {"seed": SEEDS, "criterion": ["l1", "random"], "way": WAYS[:2], **SHORT},
        {"seed": SEEDS, "criterion": ["l1"], "way": WAYS[2:], **SHORT},
    ],
)
@experiment("rates", grids=[{"seed": SEEDS, "criterion": ["magnitude"], **SINGLE, "way": WAYS[:2], **SHORT}])
@experiment(
    "rates-networks",
    grids=[
        {
            "seed": SEEDS,
            "criterion": ["magnitude"],
            **SINGLE,
            "way": WAYS[:2],
            "network": ["lenet-300-100", "resnet-20"],
        }
    ],
)
def cut_and_retrain(
    way: str,
    seed: int,
    criterion: str,
    sparsity: float = 0.75,
    granularity: str = "channel",
    data: str = "digits",
    network: str = "vgg",
    epochs: int | None = None,
    width: float = 1.0,
    inner: bool = False,
    fast: bool = False,
) -> dict[str, float]:
    """Train, cut once (the same share in each layer), then train as many epochs again; measure on the test split.

    "fine-tuned" goes on at a hundredth of the recipe's rate, "rate-rewound" repeats the whole schedule from the trained
    weights (Renda et al. 2020, arXiv:2003.02389), "scratch" trains the cut network from new weights. "scratch, equal
    MACs" trains from new weights until it has spent what the dense training and one of the others spend together
    (scratch-B of Liu et al. 2019, arXiv:1810.05270, with all of the training counted). `cost` is all training's MACs
    over those of the dense training: a masked channel's MACs are not counted. `inner` leaves out the first and the last
    layer in any granularity; `fast` is that of the recipe. `dense` and `cut` are the accuracies before and right after
    the cut, `left` the share of the cut layers' weights that are on a path from input to output then.

    >>> row = cut_and_retrain("scratch", seed=0, criterion="l1", epochs=1)
    >>> row["epochs_after"], row["cost"] == row["share"], round(row["share"], 2)
    (1, True, 0.25)
    """
    task, model, batch = trained_model(data, network, seed, epochs, width, fast=fast)
    epochs = recipe(task, model).epochs if epochs is None else epochs
    kind: dict[str, Any] = {"granularity": granularity}
    exclude = last_weight(model) if granularity == "channel" or inner else []  # its channels are the classes
    exclude += list(prunable(model))[:1] if inner else []
    scores = score(model, batch, criterion, **kind, seed=seed, exclude=exclude)
    masks = keep_top(scores, sparsity, allocation="layer", **kind, model=model)
    example = task.take("val", slice(1)).inputs
    share = macs(model, example, masks) / macs(model, example)
    found = {"dense": evaluate(model, task, split="test")["accuracy"]}
    found["cut"] = evaluate(model, task, masks, "test")["accuracy"]
    found["left"] = 1 - effective_sparsity(model, masks, example)
    new, cost, changes = epochs, 1 + share, {}
    if check_choice("way", way, WAYS).startswith("scratch"):
        model = make(network, task, seed + 1000, width)
        new = round(epochs * (1 + 1 / share)) if way.endswith("MACs") else epochs
        cost = share * new / epochs
    elif way == "fine-tuned":
        changes = low(recipe(task, model))
    train(model, task, masks=masks, epochs=new, seed=seed, fast=fast, **changes)
    accuracy = evaluate(model, task, masks, "test")["accuracy"]
    return {**found, "accuracy": accuracy, "cost": cost, "share": share, "epochs_after": new}


WIDE, NARROW = 1.0, 0.25
EQUAL = {  # network -> sparsities of the narrow and the wide one that leave equal numbers of weights
    "lenet-300-100": [(0.2, 0.88964), (0.8, 0.97241)],
    "vgg": [(0.20001, 0.94927), (0.79999, 0.98732)],
}
experiment(
    "sizes-and-widths",
    grids=[
        {**SINGLE, "seed": SEEDS, "criterion": ["magnitude"], "way": WAYS[1:2], "network": [network]}
        | {"width": [width], "sparsity": list(sparsities)}
        for network, pairs in EQUAL.items()
        for width, sparsities in zip((NARROW, WIDE), zip(*pairs, strict=True), strict=True)
    ],
)(cut_and_retrain)


@reading("large-and-hard-images", of="sizes-and-widths")
def wide_minus_narrow(rows: Rows) -> Effects:
    def accuracy(network: str, width: float, sparsity: float) -> Any:
        return chosen(rows, network=network, width=width, sparsity=sparsity)["accuracy"]

    return {
        f"{network}, {1 - narrow:.0%} of the small": accuracy(network, WIDE, wide) - accuracy(network, NARROW, narrow)
        for network, pairs in EQUAL.items()
        for narrow, wide in pairs
    }


reading("rate-rewinding-beats-fine-tuning", of="rates", arm="way", a="rate-rewound", b="fine-tuned")(gap)


reading("rate-rewinding-networks", of="rates-networks", arm="way", a="rate-rewound", b="fine-tuned", each="network")(
    gap
)


@reading("schedule-over-criterion", of="retraining")
def random_minus_chosen(rows: Rows) -> Effects:
    found = rows.pivot(columns=["criterion", "way"], values="accuracy")
    return found["random", "rate-rewound"] - found["l1", "fine-tuned"]


@reading("fine-tuning-beats-scratch", of="retraining")
def ways_minus_scratch(rows: Rows) -> Effects:
    found = chosen(rows, criterion="l1").pivot(columns="way", values="accuracy")
    return found[list(WAYS[:2])].sub(found["scratch"], axis=0)


reading("scratch-at-equal-macs", of="retraining", arm="way", a="scratch, equal MACs", b="rate-rewound", criterion="l1")(
    gap
)


@experiment("recalibration", grids=[{"seed": SEEDS}])
def rank_candidates(
    seed: int,
    candidates: int = 20,
    sparsity: float = 0.5,
    tuned: int = 2,
    data: str = "digits",
    network: str = "vgg",
    epochs: int | None = None,
) -> dict[str, object]:
    """Cut a trained network in many ways, and rank the ways before and after new statistics, and after fine-tuning.

    Each candidate keeps the channels of highest L1 norm, and other random shares of each layer's channels. The lists
    hold the candidates' validation losses: after the cut, after recalibration, after `tuned` epochs at a tenth of the
    recipe's rate. Right after the cut nearly all candidates see one class, so that accuracies would not rank them.

    >>> row = rank_candidates(seed=0, candidates=3, tuned=1, epochs=1)
    >>> len(row["before"]), len(row["recalibrated"]), len(row["fine_tuned"])
    (3, 3, 3)
    """
    task, model, batch = trained_model(data, network, seed, epochs)
    whole, draw = snapshot(model), generator(seed, "candidates")
    scores = score(model, batch, "l1", granularity="channel", exclude=last_weight(model))
    losses: dict[str, list[float]] = {"before": [], "recalibrated": [], "fine_tuned": []}
    for _ in range(candidates):
        shares = dict(zip(scores, (0.2 + 0.8 * torch.rand(len(scores), generator=draw)).tolist(), strict=True))
        densities = on_the_way({name: len(of) for name, of in scores.items()}, sparsity, shares)
        masks = keep_top(scores, sparsity, allocation=densities, granularity="channel", model=model)
        model.load_state_dict(whole)
        apply_masks_(model, masks)
        for name in losses:
            if name == "recalibrated":
                recalibrate(model, task)
            elif name == "fine_tuned":
                train(model, task, masks=masks, epochs=tuned, seed=seed, fast=False, lr=recipe(task, model).lr / 10)
            losses[name].append(round(evaluate(model, task)["loss"], 4))
    return dict(losses)


def tau(rows: Rows, one: str, other: str) -> "pd.Series":
    """Kendall's tau between two rankings of a row's candidates."""
    from scipy.stats import kendalltau

    return rows.apply(lambda row: kendalltau(row[one], row[other]).statistic, axis=1)


@reading("recalibration-ranks-anew", of="recalibration")
def same_ranking(rows: Rows) -> Effects:
    return tau(rows, "before", "recalibrated")


@reading("recalibration-ranks-better", of="recalibration")
def better_ranking(rows: Rows) -> Effects:
    return tau(rows, "recalibrated", "fine_tuned") - tau(rows, "before", "fine_tuned")
