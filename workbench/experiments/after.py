"""Pruning after training: one-shot with fine-tuning, and iterative magnitude pruning with rewinding."""

from __future__ import annotations

import functools

from torch import Tensor, nn

from workbench.criteria import score
from workbench.data import load
from workbench.experiments.before import size
from workbench.masks import find_masks, keep_top
from workbench.metrics import evaluate, macs
from workbench.models import make
from workbench.recipes import recipe
from workbench.train import snapshot, train
from workbench.types import Masks, Scores, check_choice, check_count

METHODS = ("iterative", "one-shot", "one-shot, as long")


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
    """Train, prune by a criterion, fine-tune as long as trained, measure once on the test split.

    A criterion sees 10 samples a class. `budget="weights"` keeps 1 / compression of the weights. `budget="macs"` gives
    every allocation the MACs that "layer" has at that compression: "global" keeps as many weights as these pay for.
    `bn` says which BatchNorm statistics the criterion sees (None: those of its authors' code). Float32 on the CPU.

    >>> row = prune_and_tune("layer", compression=10, seed=0, epochs=1)
    >>> row["kept"], round(row["macs_ratio"])
    (29403, 10)
    """
    check_choice("budget", budget, ("macs", "weights"))
    task = load(data, device="cpu")
    model = make(network, task, seed)
    model.load_state_dict(trained(data, network, seed, epochs))
    batch, example = task.batch(per_class=10, seed=seed), task.take("val", slice(1)).inputs
    if budget == "weights":
        masks = find_masks(
            model, batch, criterion, 1 - 1 / compression, rounds=rounds, allocation=allocation, seed=seed, bn=bn
        )
    else:
        scores = score(model, batch, criterion, seed=seed, bn=bn)
        most = macs(model, example, keep_top(scores, 1 - 1 / compression, allocation="layer"))
        masks = keep_within_macs(model, scores, most, example, allocation)
    train(model, task, masks=masks, epochs=epochs, seed=seed, fast=False)
    ratio = macs(model, example) / macs(model, example, masks)
    return {"accuracy": evaluate(model, task, masks, "test")["accuracy"], **size(masks), "macs_ratio": ratio}


@functools.lru_cache(maxsize=8)
def trained(data: str, network: str, seed: int, epochs: int | None) -> dict[str, Tensor]:
    """The weights of a trained dense network; runs in one process share them."""
    task = load(data, device="cpu")
    model = make(network, task, seed)
    train(model, task, epochs=epochs, seed=seed, fast=False)
    return snapshot(model)


def keep_within_macs(model: nn.Module, scores: Scores, most: int, example: Tensor, allocation: str = "global") -> Masks:
    """The masks of `keep_top` that keep the most weights at no more than `most` MACs per sample, by bisection.

    >>> import torch
    >>> model = nn.Linear(4, 1)
    >>> scores = {"weight": torch.tensor([[1.0, 4.0, 2.0, 3.0]])}
    >>> keep_within_macs(model, scores, 2, torch.ones(1, 4))["weight"].tolist()
    [[False, True, False, True]]
    """
    total = sum(s.numel() for s in scores.values())

    def keep(kept: int) -> Masks:
        return keep_top(scores, 1 - kept / total, allocation=allocation)

    if most < macs(model, example, keep(1)):
        raise ValueError(f"most is a number of MACs that pays for one weight at least; got {most}")
    within, beyond = 1, total + 1
    while beyond - within > 1:
        middle = (within + beyond) // 2
        within, beyond = (middle, beyond) if macs(model, example, keep(middle)) <= most else (within, middle)
    return keep(within)


def magnitude_with_rewinding(
    method: str,
    levels: int,
    seed: int,
    fraction: float = 0.2,
    rewind: int = 40,
    data: str = "digits",
    network: str = "lenet-300-100",
    epochs: int | None = None,
) -> dict[str, float]:
    """Magnitude pruning to density (1 - fraction) ** levels, weights rewound to step `rewind`, trained again.

    "iterative" removes `fraction` of what is left at each level and trains between levels; "one-shot" trains once and
    removes everything at once; "one-shot, as long" trains before its cut as many steps as "iterative" does. Measured
    once on the test split, float32 on the CPU; `steps` counts all training steps. The loop stands open in notebook 01.
    Source: Frankle and Carbin 2019, arXiv:1803.03635; rewinding to a step after the first: arXiv:1903.01611.

    >>> row = magnitude_with_rewinding("iterative", levels=2, seed=0, epochs=3)
    >>> row["kept"], row["steps"] == 3 * (3 * 19 - 40) + 40
    (32128, True)
    """
    check_choice("method", method, METHODS)
    check_count("levels", levels)
    task = load(data, device="cpu")
    model = make(network, task, seed)
    epochs = recipe(task, model).epochs if epochs is None else epochs
    steps = len(train(model, task, epochs=epochs, stop=rewind, seed=seed, fast=False))
    early, masks = snapshot(model), None
    long = epochs * levels if method == "one-shot, as long" else epochs
    for level in range(1, levels + 1) if method == "iterative" else (levels,):
        model.load_state_dict(early)
        steps += len(train(model, task, masks=masks, epochs=long, start=rewind, seed=seed, fast=False))
        masks = keep_top(score(model, None, "magnitude"), 1 - (1 - fraction) ** level, within=masks)
    model.load_state_dict(early)
    steps += len(train(model, task, masks=masks, epochs=epochs, start=rewind, seed=seed, fast=False))
    return {"accuracy": evaluate(model, task, masks, "test")["accuracy"], **size(masks or {}), "steps": steps}
