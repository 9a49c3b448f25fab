"""Channels cut, removed and trained again: which scores, and what is left of the accuracy at a share of the MACs."""

import copy
import math
from typing import Any

import torch
from torch import Tensor

from workbench.criteria import score
from workbench.experiments.after import trained
from workbench.experiments.common import SEEDS, gap, metric, start
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import apply_masks_, keep_top
from workbench.metrics import evaluate, latency, macs
from workbench.removal import group_masks, group_scores, groups, masks_to, remove
from workbench.seeds import generator
from workbench.train import train
from workbench.types import Masks, Scores, check_choice

WAYS = ("coupled", "first", "random")
SIZE, MACS = {"budget": "parameters"}, {"budget": "macs"}


# As for single weights (`allocation`): the same part of each group, or all groups together.
@experiment(
    "channel-allocation",
    grids=[
        {
            "seed": SEEDS,
            "scores": ["coupled"],
            "share": [0.1],
            "network": ["vgg"],
            "budget": ["parameters", "macs"],
            "allocation": ["global", "layer"],
        }
    ],
)
@experiment("coupling", grids=[{"seed": SEEDS, "scores": WAYS, "share": [0.5, 0.25, 0.1, 0.05]}])
@experiment(
    "resnet-56",
    grids=[
        {
            "seed": [0],
            "scores": ["coupled"],
            "share": [0.47],
            "data": ["cifar10"],
            "network": ["resnet-56"],
            "epochs": [58],
            "batch_size": [512],
            "lr": [0.4],
            "device": ["cuda"],
        }
    ],
)
def remove_and_retrain(
    scores: str,
    share: float,
    seed: int,
    data: str = "digits",
    network: str = "resnet-20",
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    device: str = "cpu",
    budget: str = "macs",
    allocation: str = "layer",
) -> dict[str, float]:
    """Train, remove the same part of each group's channels by their norm, and train again as long, at the whole rate.

    `share` of the dense MACs is left, or of the parameters (`budget`); `allocation` splits the units over the groups.
    "coupled": a channel's score is the L2 norm of all weights of its group, those that write it and those that read it
    (Fang et al. 2023, arXiv:2301.12900, section 3.3, without its normalisation); "first": of the first layer that
    writes it, as if the layers were alone; "random". `cut` is the test accuracy of the removed network before it is
    trained.

    >>> row = remove_and_retrain("coupled", share=0.5, seed=0, epochs=1)
    >>> 0.45 < row["macs"] <= 0.5
    True
    """
    asked = {"batch_size": batch_size, "lr": lr}
    changes = {name: value for name, value in asked.items() if value is not None}
    task, model, _ = start(data, network, seed, device=device)
    model.load_state_dict(trained(data, network, seed, epochs, device=device, **changes))
    example = task.take("val", slice(8)).inputs
    dense, found = macs(model, example[:1]), channel_scores(model, scores, seed, example)
    small = remove(model, masks_to(model, found, share, example, of=budget, allocation=allocation), example)
    whole, left = (sum(p.numel() for p in one.parameters()) for one in (model, small))
    row = {"dense": evaluate(model, task, split="test")["accuracy"]}
    row["cut"] = evaluate(small, task, split="test")["accuracy"]
    train(small, task, epochs=epochs, seed=seed, fast=device != "cpu", **changes)
    row["accuracy"] = evaluate(small, task, split="test")["accuracy"]
    return {**row, "macs": macs(small, example[:1]) / dense, "parameters": left / whole}


def channel_scores(model: Any, way: str, seed: int, example: Tensor) -> Scores:
    """Scores of the units of each group."""
    name = "random" if check_choice("scores", way, WAYS) == "random" else "magnitude"
    weights = score(model, None, name, seed=seed)
    if way == "first":
        first = {group.name for group in groups(model, example)}
        weights = {layer: values for layer, values in weights.items() if layer in first}
        norms = {layer: values.flatten(1).norm(dim=1) for layer, values in weights.items()}
        return group_scores(model, norms, example)
    return group_scores(model, weights, example, reduce="norm" if way == "coupled" else "sum")


reading("global-beats-layer-channels", of="channel-allocation", arm="allocation", a="global", b="layer", **SIZE)(gap)
reading("layer-beats-global-channels", of="channel-allocation", arm="allocation", a="layer", b="global", **MACS)(gap)


def halved(network: str, seed: int, part: float = 0.5) -> tuple[Any, Any, Masks]:
    """The digits, a network as initialised, and masks without this part of each group's channels, drawn at random."""
    task, model, _ = start("digits", network, seed)
    draw = generator(seed, "units")
    scores = {group.name: torch.rand(group.units, generator=draw) for group in groups(model) if not group.fixed}
    return task, model, group_masks(model, keep_top(scores, part, allocation="layer"))


@experiment("channel-shares", grids=[{"seed": SEEDS, "network": ["vgg", "resnet-20", "resnet-56"]}])
def removed_parameters(network: str, seed: int, part: float = 0.5) -> dict[str, float]:
    """The share of a network's parameters that goes with this part of each group's channels, drawn at random.

    >>> row = removed_parameters("vgg", seed=0)
    >>> round(row["removed"], 3), row["formula"]
    (0.748, 0.75)
    """
    _, model, masks = halved(network, seed, part)
    whole, left = (sum(p.numel() for p in one.parameters()) for one in (model, remove(model, masks)))
    return {"removed": 1 - left / whole, "formula": 1 - (1 - part) ** 2}


@experiment("form-speeds", grids=[{"seed": SEEDS, "batch": [1, 32]}])
def speedups(batch: int, seed: int, network: str = "vgg", turns: int = 150) -> dict[str, float]:
    """How many times as fast as dense a network is without half of its channels, masked and removed, on one thread.

    All are timed in turns, two passes each, and the shortest of each counts: other work only adds time.
    """
    task, model, masks = halved(network, seed)
    masked, inputs = copy.deepcopy(model), task.batch(batch).inputs
    apply_masks_(masked, masks)
    forms = {"dense": model, "masked": masked, "removed": remove(model, masks)}
    found = dict.fromkeys(forms, math.inf)
    for _ in range(turns):
        for name, form in forms.items():
            found[name] = min(found[name], latency(form, inputs, repeats=2, warmup=0, threads=1)["median"])
    return {name: found["dense"] / found[name] for name in ("masked", "removed")}


@reading("squares-of-channels", of="channel-shares")
def off_the_formula(rows: Rows) -> Effects:
    return rows.assign(off=(rows["removed"] - rows["formula"]).abs()).pivot(columns="network", values="off")


reading("masks-save-no-time", of="form-speeds", name="masked", each="batch")(metric)
reading("removal-saves-time", of="form-speeds", name="removed", each="batch")(metric)
reading("coupled-scores", of="coupling", arm="scores", a="coupled", b="first", over="share", share=[0.5, 0.25])(gap)
reading("coupled-scores-deep", of="coupling", arm="scores", a="coupled", b="first", over="share", share=[0.1, 0.05])(
    gap
)
