"""Pruning after training: one-shot with fine-tuning, and iterative magnitude pruning with rewinding."""

import functools
from typing import Any

from torch import Tensor, nn

from workbench.criteria import score
from workbench.data import Task
from workbench.experiments.before import BEFORE, at
from workbench.experiments.common import PUBLISHED, SEEDS, chosen, gap, size, start
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import find_masks, keep_top
from workbench.methods.macs import keep_within_macs
from workbench.metrics import evaluate, macs
from workbench.recipes import recipe
from workbench.train import snapshot, train
from workbench.types import Batch, check_choice, check_count

METHODS = ("iterative", "one-shot", "one-shot, as long")
MAGNITUDE_AT_30 = {"compression": 30, "allocation": "global", "budget": "weights"}
LATE: dict[str, list[Any]] = {"method": ["iterative"]}
AT_30: dict[str, list[Any]] = {"allocation": ["global"], "compression": [30], "seed": SEEDS}


@functools.lru_cache(maxsize=8)
def trained(
    data: str, network: str, seed: int, epochs: int | None, width: float = 1.0, device: str = "cpu", **changes: Any
) -> dict[str, Tensor]:
    """The weights of a trained dense network; runs in one process share them. `changes` are those of its recipe."""
    task, model, _ = start(data, network, seed, width, device)
    train(model, task, epochs=epochs, seed=seed, **{"fast": device != "cpu", **changes})
    return snapshot(model)


def trained_model(
    data: str, network: str, seed: int, epochs: int | None = None, width: float = 1.0, **changes: Any
) -> tuple[Task, nn.Module, Batch]:
    """What `start` gives, with the network trained."""
    task, model, batch = start(data, network, seed, width)
    model.load_state_dict(trained(data, network, seed, epochs, width, **changes))
    return task, model, batch


# Global against equal sparsity in every layer, at equal weights and at equal MACs. "layer" has the same masks under
# either budget, so its rows are recorded once.
@experiment(
    "allocation",
    grids=[
        {"allocation": ["global", "layer"], "compression": [10, 30, 100], "seed": SEEDS},
        {"allocation": ["global"], "compression": [10, 30, 100], "budget": ["macs"], "seed": SEEDS},
    ],
)
# Criteria from before training on a trained network.
@experiment("pretrained", grids=[{**criterion, **AT_30} for criterion in PUBLISHED[1:]])
def prune_and_tune(
    allocation: str,
    compression: float,
    seed: int,
    budget: str = "weights",
    data: str = "digits",
    network: str = "vgg",
    epochs: int | None = None,
    criterion: str = "magnitude",
    rounds: int = 1,
    bn: str | None = None,
) -> dict[str, float]:
    """Train, prune by a criterion (10 samples a class), fine-tune as long as trained, measure once on the test split.

    `budget="weights"` keeps 1 / compression of the weights; `budget="macs"` gives every allocation the MACs that
    "layer" has at that compression. `bn`: the BatchNorm statistics that the criterion sees (None: its authors').

    >>> row = prune_and_tune("layer", compression=10, seed=0, epochs=1)
    >>> row["kept"], round(row["macs_ratio"])
    (29403, 10)
    """
    check_choice("budget", budget, ("macs", "weights"))
    task, model, batch = trained_model(data, network, seed, epochs)
    sparsity, example = 1 - 1 / compression, task.take("val", slice(1)).inputs
    if budget == "weights":
        masks = find_masks(model, batch, criterion, sparsity, rounds=rounds, allocation=allocation, seed=seed, bn=bn)
    else:
        scores = score(model, batch, criterion, seed=seed, bn=bn)
        most = macs(model, example, keep_top(scores, sparsity, allocation="layer"))
        masks = keep_within_macs(model, scores, most, example, allocation)
    train(model, task, masks=masks, epochs=epochs, seed=seed, fast=False)
    ratio = macs(model, example) / macs(model, example, masks)
    return {"accuracy": evaluate(model, task, masks, "test")["accuracy"], **size(masks), "macs_ratio": ratio}


reading(
    "global-beats-layer", of="allocation", arm="allocation", a="global", b="layer", over="compression", budget="weights"
)(gap)


@reading("layer-beats-global-at-equal-macs", of="allocation")
def layer_minus_global(rows: Rows) -> Effects:
    at_equal_macs = rows[(rows["budget"] == "macs") | (rows["allocation"] == "layer")]
    return gap(at_equal_macs, "allocation", "layer", "global", over="compression")


@reading("after-beats-before", of=("headline", "allocation"))
def after_minus_before(headline: Rows, allocation: Rows) -> Effects:
    return at(headline, 30)[BEFORE].rsub(chosen(allocation, **MAGNITUDE_AT_30)["accuracy"], axis=0)


@reading("magnitude-gains-most", of=("headline", "pretrained", "allocation"))
def gain_of_magnitude_minus_others(headline: Rows, pretrained: Rows, allocation: Rows) -> Effects:
    """Gain from pretrained weights, of magnitude minus that of each other."""
    before = at(headline, 30)
    gain = chosen(allocation, **MAGNITUDE_AT_30)["accuracy"] - before["magnitude"]
    return (at(pretrained, 30) - before[BEFORE]).rsub(gain, axis=0)


@experiment("rewinding", grids=[{"method": METHODS, "levels": [5, 10, 20], "seed": SEEDS}])
@experiment(
    "rewinding-resnet",
    grids=[
        {
            "seed": SEEDS,
            "method": [METHODS[0], METHODS[2]],
            "levels": [4, 6],
            "fraction": [0.5],
            "rewind": [20],
            "network": ["resnet-20"],
        }
    ],
)
# To which step the weights go back: at twice the recipe's rate, and in a deeper network.
@experiment(
    "late-rewinding",
    grids=[
        {"seed": SEEDS, "rewind": [0, 10, 20, 40, 80], **LATE, "levels": [8], "fraction": [0.4], "lr": [0.2]},
        {
            "seed": SEEDS,
            "rewind": [0, 20],
            **LATE,
            "levels": [4],
            "fraction": [0.6],
            "network": ["resnet-20"],
            "epochs": [4],
        },
    ],
)
def magnitude_with_rewinding(
    method: str,
    levels: int,
    seed: int,
    fraction: float = 0.2,
    rewind: int = 40,
    data: str = "digits",
    network: str = "lenet-300-100",
    epochs: int | None = None,
    lr: float | None = None,
) -> dict[str, float]:
    """Magnitude pruning to density (1 - fraction) ** levels, weights rewound to step `rewind`, trained again.

    "iterative" removes `fraction` of what is left at each level and trains between levels; "one-shot" trains once, then
    removes all at once; "one-shot, as long" first trains as many steps as "iterative" does. Measured once on the test
    split; `steps` counts all training steps. The loop stands open in notebook 01. Source: Frankle and Carbin 2019,
    arXiv:1803.03635; rewinding to a step after the first: arXiv:1903.01611.

    >>> row = magnitude_with_rewinding("iterative", levels=2, seed=0, epochs=3)
    >>> row["kept"], row["steps"] == 3 * (3 * 19 - 40) + 40
    (32128, True)
    """
    check_choice("method", method, METHODS)
    check_count("levels", levels)
    task, model, _ = start(data, network, seed)
    epochs, rate = recipe(task, model).epochs if epochs is None else epochs, {} if lr is None else {"lr": lr}
    steps = len(train(model, task, epochs=epochs, stop=rewind, seed=seed, fast=False, **rate))
    early, masks = snapshot(model), None
    long = epochs * levels if method == "one-shot, as long" else epochs
    for level in range(1, levels + 1) if method == "iterative" else (levels,):
        model.load_state_dict(early)
        steps += len(train(model, task, masks=masks, epochs=long, start=rewind, seed=seed, fast=False, **rate))
        masks = keep_top(score(model, None, "magnitude"), 1 - (1 - fraction) ** level, within=masks)
    model.load_state_dict(early)
    steps += len(train(model, task, masks=masks, epochs=epochs, start=rewind, seed=seed, fast=False, **rate))
    return {"accuracy": evaluate(model, task, masks, "test")["accuracy"], **size(masks or {}), "steps": steps}


@reading("iterative-beats-one-shot", of="rewinding", levels=[10, 20])
@reading("iterative-beats-one-shot-resnet", of="rewinding-resnet", levels=[4, 6])
def iterative_minus_one_shot(rows: Rows, levels: list[int]) -> Effects:
    return gap(rows, "method", "iterative", "one-shot, as long", over="levels", levels=levels)


@reading("late-rewinding", of="late-rewinding")
def late_minus_first(rows: Rows) -> Effects:
    return gap(rows, "rewind", 20, 0, each="network")
