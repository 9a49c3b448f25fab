"""Pruning before training: runs at initialisation, each one row of plain numbers."""

from __future__ import annotations

import torch

from workbench.criteria import score
from workbench.data import load
from workbench.masks import find_masks, keep_top
from workbench.metrics import (
    collapsed,
    critical,
    critical_search,
    effective_sparsity,
    evaluate,
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
    bn: str = "batch",
) -> dict[str, float]:
    """Prune a fresh network at initialisation, train it by its recipe, measure it once on the test split.

    `seed` draws the weights, the batch that scores (10 a class), random scores and the order of data. Training is in
    float32. `dead` counts layers without a weight; `effective` is the effective sparsity. Where it is 1, no
    path leads from input to output: the network computes a constant and is measured as it is, after 0 steps. `width`
    multiplies the channels of every hidden layer, `bn` says which BatchNorm statistics the criterion sees.

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
    rounds: int = 1,
    data: str = "digits",
    network: str = "vgg",
    allocation: str = "global",
    bn: str = "batch",
) -> dict[str, float]:
    """The highest compression at initialisation without layer collapse, and the network's maximum; no training.

    One round under global allocation is answered in closed form, anything else by search to within 5 %. `bn` says which
    BatchNorm statistics the criterion sees.

    >>> critical_compression("synflow", seed=0)["maximum"].__round__()
    32670
    """
    task = load(data, device="cpu")
    model = make(network, task, seed)
    batch = task.batch(per_class=10, seed=seed)
    if rounds == 1 and allocation == "global":
        highest = critical(score(model, batch, criterion, seed=seed, bn=bn))
    else:
        knobs = {"allocation": allocation, "seed": seed, "bn": bn}
        highest = critical_search(model, batch, criterion, rounds, tolerance=0.05, **knobs)
    return {"critical": highest, "maximum": max_compression(model)}


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
) -> dict[str, float]:
    """Direct and effective sparsity of masks at initialisation; no training.

    >>> row = effective_against_direct("random", seed=0, allocation="layer")
    >>> row["effective"] > row["direct"]
    True
    """
    task = load(data, device="cpu")
    model = make(network, task, seed)
    batch = task.batch(per_class=10, seed=seed)
    masks = find_masks(model, batch, criterion, sparsity, rounds=rounds, allocation=allocation, seed=seed)
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
