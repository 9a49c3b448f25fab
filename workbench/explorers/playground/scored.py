"""What the playground keeps of a network and of a criterion's view of it, so that a new sparsity is a look-up."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from workbench import metrics, models
from workbench.criteria import score
from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.view import Histogram, histogram
from workbench.masks import Ranking, rank, rounds
from workbench.metrics.cost import layer_macs
from workbench.models.running import evaluating, run_model
from workbench.types import Batch, Masks

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """The values used last, up to a total of `weights` prunable weights (and always the newest two)."""

    def __init__(self, weights: int):
        self._room = weights
        self._values: OrderedDict[Any, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> Value | None:
        """The value of `key`, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Any, value: Value, weights: int) -> None:
        """Keep a value that costs as much memory as so many weights."""
        with self._lock:
            self._values[key] = (value, weights)
            self._values.move_to_end(key)
            while len(self._values) > 2 and sum(size for _, size in self._values.values()) > self._room:
                self._values.popitem(last=False)

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._values.clear()


@dataclass(frozen=True)
class Network:
    """A network as it is pruned (never changed; work is done on copies), with what a frame needs to know of it."""

    model: nn.Module
    probe: nn.Module
    example: Tensor
    sizes: dict[str, int]
    macs: dict[str, int] | None
    parameters: int
    accuracy: float | None
    """Of a network that was trained here, on the validation split."""

    @property
    def total(self) -> int:
        """Prunable weights."""
        return sum(self.sizes.values())

    def cost(self, kept: Mapping[str, int]) -> int | None:
        """Multiply-adds of one example with so many weights of each layer kept; None where they cannot be counted."""
        if self.macs is None:
            return None
        return sum(cost * kept.get(layer, 1) // self.sizes.get(layer, 1) for layer, cost in self.macs.items())

    @property
    def maximum(self) -> float:
        """The highest compression: one weight a layer."""
        return self.total / len(self.sizes)


@dataclass(frozen=True)
class Found:
    """Masks of one sparsity, to be asked like a Ranking."""

    found: Masks
    lowest: float | None

    def counts(self, sparsity: float) -> dict[str, int]:
        """Kept weights per layer."""
        return {name: int(mask.sum()) for name, mask in self.found.items()}

    def mask(self, name: str, sparsity: float) -> Tensor:
        """The mask of one layer."""
        return self.found[name]

    def masks(self, sparsity: float) -> Masks:
        """The masks of all layers."""
        return self.found

    def cut(self, sparsity: float) -> float | None:
        """The lowest kept score of the last round, under global allocation."""
        return self.lowest


@dataclass(frozen=True)
class Scored:
    """What a criterion says of a network: the ranking (or the masks found), the picture of its scores, its limit."""

    ranking: Ranking | Found
    histogram: Histogram
    critical: float | None


def network(model: nn.Module, example: Tensor, accuracy: float | None) -> Network:
    """Take a network over; the caller changes it no more."""
    return Network(
        model=model,
        probe=copy.deepcopy(model),
        example=example,
        sizes={name: weight.numel() for name, weight in models.prunable(model).items()},
        macs=_macs(model, example),
        parameters=sum(p.numel() for p in model.parameters()),
        accuracy=accuracy,
    )


def _macs(model: nn.Module, example: Tensor) -> dict[str, int] | None:
    """Multiply-adds of every layer; None where a network multiplies in another way than they are counted in."""
    with torch.no_grad(), evaluating(model):
        run_model(model, example)  # says what does not fit
    try:
        return layer_macs(model, example)
    except ValueError:
        return None


def scored(net: Network, batch: Batch, name: str, choices: Choices, on_round: Callable[[int], None]) -> Scored:
    """Score a copy of the network: once, or in rounds at the sparsity chosen."""
    model = copy.deepcopy(net.model)
    if choices.rounds == 1:
        scores = score(model, batch, name, seed=choices.seed)
        values = torch.cat([s.reshape(-1).double() for s in scores.values()])
        limit = metrics.critical(scores) if choices.allocation == "global" else None
        return Scored(rank(scores, choices.allocation), histogram(values), limit)
    split, seed, before = choices.allocation, choices.seed, Masks()
    for found in rounds(model, batch, name, choices.sparsity, rounds=choices.rounds, allocation=split, seed=seed):
        on_round(found.round)
        if found.round < choices.rounds:
            before = found.masks
    competed, kept = (
        torch.cat([values[mask[layer]].double() for layer, values in found.scores.items()])
        for mask in (before, found.masks)
    )
    lowest = float(kept.min()) if split == "global" and len(kept) else None
    return Scored(Found(found.masks, lowest), histogram(competed), None)
