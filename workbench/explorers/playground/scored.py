"""What the playground keeps of a network and of a criterion's view of it, so that a new sparsity is a look-up."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workbench import metrics, models
from workbench.criteria import score
from workbench.criteria.registry import find_criterion
from workbench.data import Task
from workbench.data.measures import accuracy
from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.view import Histogram, histogram, unit
from workbench.explorers.worker import Report, Work
from workbench.granularity import any_kept, find_granularity
from workbench.masks import Ranking, dense, rank, rounds
from workbench.metrics.cost import layer_macs
from workbench.models.running import evaluating, fitted, measured, outputs

SCORED = 256
"""Samples of the batch that scores are computed on."""


@dataclass(frozen=True)
class Prepared:
    """A network as it is pruned (never changed; work is done on copies), with what a frame needs to know of it.

    `macs` is None where the network multiplies in another way than multiply-adds are counted in.
    """

    model: nn.Module
    probe: nn.Module
    example: Tensor
    sizes: dict[str, int]
    macs: dict[str, int] | None
    parameters: int

    @property
    def total(self) -> int:
        """Prunable weights."""
        return sum(self.sizes.values())

    @property
    def maximum(self) -> float:
        """The highest compression: one weight a layer."""
        return self.total / len(self.sizes)

    def cost(self, kept: Mapping[str, int]) -> int | None:
        """Multiply-adds of one example with so many weights of each layer kept; None where they cannot be counted."""
        if self.macs is None:
            return None
        return sum(cost * kept.get(layer, 1) // self.sizes.get(layer, 1) for layer, cost in self.macs.items())


@dataclass(frozen=True)
class Scored:
    """What a criterion says of a network: the ranking, the scores that compete, the critical compression.

    `critical` is that of the weights, `notch` that of the units, as the slider counts. `before` counts the units that
    were removed before the last round, and have no score in it. An iterated criterion's ranking is that of its last
    round: it holds for the sparsity it was made for.
    """

    ranking: Ranking
    histogram: Histogram
    critical: float | None
    notch: float | None
    before: int


def prepared(model: nn.Module, example: Tensor) -> Prepared:
    """Take a network over; the caller changes it no more."""
    with torch.no_grad(), evaluating(model):
        outputs(model, fitted(model, example))  # says what does not fit
    try:
        macs = layer_macs(model, example)
    except ValueError:
        macs = None
    sizes = {name: weight.numel() for name, weight in models.prunable(model).items()}
    return Prepared(model, copy.deepcopy(model), example, sizes, macs, sum(p.numel() for p in model.parameters()))


def measure(net: Prepared, task: Task) -> str:
    """The name of what the task measures first."""
    if task.measure is accuracy:
        return "accuracy"
    batch = task.batch(1)
    with torch.no_grad(), evaluating(net.probe):
        return next(iter(measured(task.measure, outputs(net.probe, fitted(net.probe, batch.inputs)), batch.targets)))


def scored(net: Prepared, task: Task, choices: Choices, cut: Mapping[str, Any], report: Report) -> Work[Scored]:
    """Score a copy of the network: once, or in rounds at the sparsity chosen, one between two `yield`s.

    `cut` is the granularity, where it is not the weight, and what it leaves whole. Of a fixed share of each group, the
    scores are those of the weights.
    """
    name, kind = choices.criterion, find_granularity(choices.granularity)
    model, split, masks = copy.deepcopy(net.model), choices.allocation, dense(net.model)
    batch = task.batch(min(SCORED, task.size("train")), seed=choices.seed)
    knobs: dict[str, Any] = {"seed": choices.seed, "loss_fn": task.loss, **cut}
    if kind.share is not None:
        knobs["granularity"] = "weight"
    if choices.rounds == 1:
        scores = score(model, batch, name, **knobs)
    else:
        returns = find_criterion(name)[1].returns
        for found in rounds(model, batch, name, choices.sparsity, rounds=choices.rounds, allocation=split, **knobs):
            report("scoring", found.round / choices.rounds)
            yield
            scores = found.scores
            if found.round < choices.rounds and not returns:
                masks = found.masks
    live = kind.reduce(model, {layer: masks[layer] for layer in scores}, any_kept)
    competed = torch.cat([values[live[layer]].double() for layer, values in scores.items()])
    notch = metrics.critical(scores) if choices.rounds == 1 and split == "global" and kind.share is None else None
    below = {layer: torch.finfo(values.dtype).min for layer, values in scores.items()}  # removed units rank last
    last = {layer: values.where(live[layer], below[layer]) for layer, values in scores.items()}
    ranking = rank(last, split, granularity=choices.granularity, model=model, example=batch.inputs)
    critical = metrics.compression(dense(model) | ranking.masks(1 - 1 / notch)) if cut and notch else notch
    before = sum(values.numel() for values in scores.values()) - len(competed)
    return Scored(ranking, histogram(competed, unit(choices.granularity)), critical, notch, before)
