"""Pruning before training: runs at initialisation, each one row of plain numbers."""

from __future__ import annotations

import math

import torch

from workbench.criteria import score
from workbench.data import load
from workbench.masks import find_masks, keep_top
from workbench.metrics import (
    collapsed,
    critical,
    critical_iterated,
    effective_sparsity,
    evaluate,
    first_failure,
    max_compression,
    sparsity,
)
from workbench.models import make
from workbench.seeds import generator
from workbench.train import train
from workbench.types import Batch, Masks, check_choice

CHANGES = ("invert", "none", "random labels", "reinitialise", "shuffle")


def prune_then_train(
    criterion: str,
    compression: float,
    seed: int,
    rounds: int = 1,
    allocation: str = "global",
    data: str = "digits",
    network: str = "vgg",
    epochs: int | None = None,
    change: str = "none",
    width: float = 1.0,
    device: str = "cpu",
    bn: str | None = None,
) -> dict[str, float]:
    """Prune a fresh network at initialisation, train it by its recipe, measure it once on the test split.

    `seed` draws the weights, the batch that scores (10 a class), random scores and the order of data. Training is in
    float32. `dead` counts layers without a weight; `effective` is the effective sparsity. Where it is 1, no
    path leads from input to output: the network computes a constant and is measured as it is, after 0 steps. `width`
    multiplies the channels of every hidden layer, `bn` says which BatchNorm statistics the criterion sees (None: those
    of its authors' code).

    `change` asks what the masks owe to their weights and data (Su et al. 2020, arXiv:2009.11094; Frankle et al. 2021,
    arXiv:2009.08576): "shuffle" permutes each layer's mask, "reinitialise" draws the weights anew before training,
    "invert" keeps the lowest scores, "random labels" gives the criterion labels in a random order.

    Misleads at one seed: on the 300 test digits one image is 0.33 points.

    >>> row = prune_then_train("snip", compression=10, seed=0, epochs=1)
    >>> row["kept"], row["dead"]
    (29403, 0)
    """
    task = load(data, device=device)
    model = make(network, task, seed, width)
    batch = task.batch(per_class=10, seed=seed)
    check_choice("change", change, CHANGES)
    if change == "random labels":
        batch = shuffled_labels(batch, seed)
    if change == "invert":
        if rounds > 1:
            raise ValueError(f"scores are inverted in one round; got rounds={rounds}")
        scores = {name: -s for name, s in score(model, batch, criterion, seed=seed, bn=bn).items()}
        masks = keep_top(scores, 1 - 1 / compression, allocation=allocation)
    else:
        sparsity = 1 - 1 / compression
        masks = find_masks(model, batch, criterion, sparsity, rounds=rounds, allocation=allocation, seed=seed, bn=bn)
    if change == "shuffle":
        masks = shuffled(masks, seed)
    if change == "reinitialise":
        model = make(network, task, seed + 1000, width)
    effective = effective_sparsity(model, masks, batch.inputs[:1])
    steps = train(model, task, masks=masks, epochs=epochs, seed=seed, fast=False) if effective < 1 else []
    accuracy = evaluate(model, task, masks, "test")["accuracy"]
    return {"accuracy": accuracy, **size(masks), "effective": effective, "steps": len(steps)}


def shuffled_labels(batch: Batch, seed: int) -> Batch:
    """The batch with its labels in a random order: as many of each class, on the wrong inputs."""
    order = torch.randperm(len(batch.targets), generator=generator(seed))
    return Batch(batch.inputs, batch.targets[order])


def shuffled(masks: Masks, seed: int) -> Masks:
    """Each layer's mask with its entries in a random order: the densities stay, the places do not.

    >>> int(shuffled({"a": torch.tensor([True, False, False])}, seed=0)["a"].sum())
    1
    """
    draw = generator(seed)
    return {n: m.reshape(-1)[torch.randperm(m.numel(), generator=draw)].reshape(m.shape) for n, m in masks.items()}


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

    One cut (`rate=None`) is answered in closed form; else every round removes the share `rate` of what is left, and the
    last compression before the first layer dies counts. `bn` says which BatchNorm statistics the criterion sees (None:
    those of its authors' code).

    >>> critical_compression("synflow", seed=0, rate=0.1)["critical"].__round__()
    32670
    """
    task = load(data, device="cpu")
    model = make(network, task, seed)
    batch = task.batch(per_class=10, seed=seed)
    if rate is None:
        highest = critical(score(model, batch, criterion, seed=seed, bn=bn), allocation)
    else:
        highest = critical_iterated(model, batch, criterion, rate, allocation=allocation, seed=seed, bn=bn)
    return {"critical": highest, "maximum": max_compression(model)}


A_DECADE = 5
"""Compressions a decade on the grid of `failure_on_a_grid`, from 10^(1/5) up to the network's maximum."""


def failure_on_a_grid(
    criterion: str,
    rounds: int,
    seed: int,
    data: str = "digits",
    network: str = "vgg",
    bn: str | None = None,
) -> dict[str, float]:
    """The first compression of a grid (five a decade) at which the schedule of K rounds leaves a layer empty.

    `failure` is the network's maximum where no compression of the grid fails; no training.

    >>> failure_on_a_grid("synflow", rounds=1, seed=0, network="lenet-300-100")["failure"].__round__(2)
    63.1
    """
    task = load(data, device="cpu")
    model = make(network, task, seed)
    batch, maximum = task.batch(per_class=10, seed=seed), max_compression(model)
    steps = range(1, math.floor(A_DECADE * math.log10(maximum)) + 1)
    grid = [10 ** (step / A_DECADE) for step in steps]
    found = first_failure(model, batch, criterion, rounds, grid, seed=seed, bn=bn)
    return {"failure": maximum if found is None else found, "maximum": maximum}


def layer_sums(network: str, seed: int, trained: bool = False, data: str = "digits") -> dict[str, float]:
    """How equal SynFlow's layer sums are: spread = (largest - smallest) / mean, in float64.

    As initialised all biases are 0; `trained` trains by the recipe first, after which they are not (and BatchNorm
    shifts too). `smallest` and `largest` are relative to the mean.

    >>> layer_sums("lenet-300-100", seed=0)["spread"] < 1e-12
    True
    """
    task = load(data, device="cpu")
    model = make(network, task, seed)
    if trained:
        train(model, task, seed=seed, fast=False)
    sums = [float(s.sum()) for s in score(model, None, "synflow").values()]
    mean = sum(sums) / len(sums)
    return {"spread": (max(sums) - min(sums)) / mean, "smallest": min(sums) / mean, "largest": max(sums) / mean}


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
    task = load(data, device="cpu")
    model = make(network, task, seed)
    batch = task.batch(per_class=10, seed=seed)
    masks = find_masks(model, batch, criterion, sparsity, rounds=rounds, allocation=allocation, seed=seed, bn=bn)
    direct = size(masks)
    return {
        "direct": direct["sparsity"],
        "effective": effective_sparsity(model, masks, batch.inputs[:1]),
        "dead": direct["dead"],
    }


def size(masks: Masks) -> dict[str, float]:
    """Kept weights, sparsity and the number of layers without a weight."""
    return {
        "kept": sum(int(m.sum()) for m in masks.values()),
        "sparsity": sparsity(masks),
        "dead": len(collapsed(masks)),
    }
