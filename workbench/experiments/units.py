"""Whole units removed from trained networks: channels of a vgg, and hidden units of a wide toy network."""

import copy
import functools
import itertools
from typing import Any

import torch
from torch import Tensor, nn

from workbench.criteria import score
from workbench.data import Task, load
from workbench.experiments.after import trained_model
from workbench.experiments.common import SEEDS, gap
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import apply_masks_, keep_top
from workbench.metrics import evaluate
from workbench.models import prunable
from workbench.models.running import Loss
from workbench.seeds import generator, seeded
from workbench.train import train
from workbench.types import Batch, Scores

TOYS = ["moons", "circles", "spirals"]


@experiment(
    "channels", grids=[{"criterion": ["l1", "taylor", "lrp", "random"], "sparsity": [0.05, 0.1, 0.15], "seed": SEEDS}]
)
def prune_filters(
    criterion: str, seed: int, sparsity: float = 0.3, data: str = "digits", network: str = "vgg"
) -> dict[str, float]:
    """Test accuracy of a trained network without some of each convolution's channels, with no further training.

    A removed channel's weights, and the scale and shift of its norm, are set to 0. The criterion sees 10 samples a
    class. Source of the setting: Molchanov et al. 2017, arXiv:1611.06440.

    >>> prune_filters.__defaults__
    (0.3, 'digits', 'vgg')
    """
    task, model, batch = trained_model(data, network, seed)
    last = list(prunable(model))[-1:]
    scores = score(model, batch, criterion, granularity="channel", exclude=last, seed=seed)
    masks = keep_top(scores, sparsity, allocation="layer", granularity="channel", model=model)
    dense = evaluate(model, task, split="test")["accuracy"]
    apply_masks_(model, masks)
    return {"accuracy": evaluate(model, task, split="test")["accuracy"], "dense": dense}


reading("taylor-over-l1", of="channels", arm="criterion", a="taylor", b="l1", over="sparsity")(gap)


def gradient(model: nn.Module, batch: Batch, loss_fn: Loss) -> Scores:
    """`s_u = |mean over samples of dL/dz_u|`, z_u a unit's sum before its ReLU: the derivative by the unit's bias.

    Taylor's first term without the activation, which Yeom et al. 2021 compare with (arXiv:1912.08881, section 4.1).
    Misleads wherever a large activation has a small slope: it calls that unit free.

    >>> model = nn.Linear(1, 2)
    >>> _ = model.weight.data.zero_(), model.bias.data.zero_()
    >>> gradient(model, Batch(torch.ones(1, 1), torch.tensor([0])), nn.functional.cross_entropy)
    {'weight': tensor([0.5000, 0.5000])}
    """
    names = list(prunable(model))
    biases = [model.get_parameter(name.removesuffix("weight") + "bias") for name in names]
    slopes = torch.autograd.grad(loss_fn(model(batch.inputs), batch.targets), biases)
    return {name: slope.abs() for name, slope in zip(names, slopes, strict=True)}


def unit_scores(model: nn.Module, batch: Batch, criterion: str, *, seed: int = 0, **knobs: Any) -> Scores:
    """Scores of all units but the outputs, each layer's brought to one scale so that all layers can compete.

    The published comparison divides "l1" by its layer's sum and the others by their L2 norm; "lrp" sums alike by
    itself. "taylor" (by gates) is the root of the score, `|sum over samples of a dL/da|`; "gradient" is the function
    above. `knobs` go to the criterion. Source: Yeom et al. 2021, arXiv:1912.08881, section 4.1.

    >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[1.0], [-3.0]]))
    >>> unit_scores(model, Batch(torch.ones(1, 1), torch.tensor([0])), "l1")
    {'0.weight': tensor([0.2500, 0.7500])}
    """
    asked, last = gradient if criterion == "gradient" else criterion, list(prunable(model))[-1:]
    scores = score(model, batch, asked, granularity="channel", exclude=last, seed=seed, **knobs)
    if criterion == "taylor" and knobs.get("kind") != "activations":  # by gates it is the square
        scores = {name: s.sqrt() for name, s in scores.items()}
    if criterion == "lrp":
        return scores
    power = 1 if criterion == "l1" else 2
    return {name: s / s.norm(power).clamp_min(1e-30) for name, s in scores.items()}


def drawn(targets: Tensor, samples: int, seed: int) -> Tensor:
    """Indices of `samples` points of each class, drawn by `seed`; a larger draw holds the smaller ones.

    >>> drawn(torch.tensor([0, 1, 1]), 1, seed=0).shape
    torch.Size([2])
    """
    order = torch.randperm(len(targets), generator=generator(seed))
    return torch.cat([order[targets[order] == label][:samples] for label in targets.unique()])


# 1000 of 3000 units removed at once, with few samples and with many.
@experiment(
    "units",
    grids=[
        {"criterion": ["lrp", "taylor", "gradient"], "data": TOYS, "samples": [1, 5, 200], "seed": SEEDS},
        {"criterion": ["l1"], "data": TOYS, "seed": SEEDS},
    ],
)
def prune_units(
    criterion: str, data: str, seed: int, samples: int = 5, removed: int = 1000, width: int = 1000
) -> dict[str, float]:
    """Training accuracy of a 2-1000-1000-1000-k network without 1000 of its 3000 hidden units, not trained again.

    The criterion sees `samples` of each class; 200 of each train the network. `criterion` is "lrp", "l1", "taylor"
    (|sum over samples of a dL/da|) or "gradient" (the function above); as in the published comparison, each layer of
    "l1" is divided by its sum, of the last two by its L2 norm. The setting of Yeom et al. 2021, arXiv:1912.08881,
    section 4.1, with this workbench's own noise and training.

    >>> prune_units("l1", "moons", seed=0, width=50, removed=50)["accuracy"] <= 1
    True
    """
    trained, task = toy_network(data, seed, width)
    model, reference = copy.deepcopy(trained), task.take("train")
    few = drawn(reference.targets, samples, seed)
    batch = Batch(reference.inputs[few], reference.targets[few])
    scores = unit_scores(model, batch, criterion, seed=seed)
    sparsity, dense = removed / sum(len(s) for s in scores.values()), evaluate(model, task, split="train")
    apply_masks_(model, keep_top(scores, sparsity, granularity="channel", model=model, example=batch.inputs))
    return {"accuracy": evaluate(model, task, split="train")["accuracy"], "dense": dense["accuracy"]}


@reading("relevance-few-samples", of="units", other="taylor", data="moons")
@reading("relevance-over-weight", of="units", other="l1", data="circles")
@reading("relevance-over-gradient", of="units", other="gradient", data="moons")
@reading("relevance-edge-is-small", of="units", other="l1", data=["moons", "spirals"])
def relevance_minus_other(rows: Rows, other: str, data: str | list[str]) -> Effects:
    return gap(rows, "criterion", "lrp", other, each="data", data=data, samples=5)


@functools.lru_cache(maxsize=16)
def toy_network(data: str, seed: int, width: int) -> tuple[nn.Module, Task]:
    """A trained network 2-width-width-width-k, and the task whose 200 samples of each class trained it (or all there
    are). Kept for the next call: copy it before you change it.
    """
    task = load(data, device="cpu")
    raw = task.splits["train"]
    chosen = torch.cat([(raw.targets == label).nonzero().reshape(-1)[:200] for label in raw.targets.unique()])
    few = Task.from_arrays(raw.inputs[chosen], raw.targets[chosen], *task.splits["test"], val=2, device="cpu")
    with seeded(seed):
        sizes = itertools.pairwise([2, width, width, width, len(task.classes)])
        model = nn.Sequential(*[layer for a, b in sizes for layer in (nn.Linear(a, b), nn.ReLU())][:-1])
    train(model, few, epochs=60, batch_size=32, lr=0.02, weight_decay=0.0, seed=seed, fast=False)
    return model, few
