"""Scores sorted once, for masks of any sparsity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.allocation import ALLOCATIONS, Allocation, budgets, kept_count
from workbench.granularity import REDUCTIONS, check_share, find_granularity
from workbench.masks.cut import common
from workbench.types import Masks, Scores, check_choice, check_scores


@dataclass(frozen=True)
class Ranking:
    """Scores sorted once, so that every sparsity is a look-up; gives the same masks as `keep_top`.

    `ranks[name]` is the place of each unit, 0 = kept longest, over the whole network ("global") or its layer.
    """

    ranks: dict[str, Tensor]
    ordered: dict[str, Tensor]
    cuts: Tensor
    allocation: Allocation
    total: int
    granularity: str
    expand: Callable[[Masks], Masks]

    def counts(self, sparsity: float) -> dict[str, int]:
        """Kept units per layer, without touching the masks."""
        check_share(self.granularity, sparsity, self.allocation)
        if self.allocation != "global":
            return budgets({name: r.shape for name, r in self.ranks.items()}, sparsity, self.allocation)
        kept = kept_count(self.total, sparsity)
        return {name: int(torch.searchsorted(places, kept)) for name, places in self.ordered.items()}

    def mask(self, name: str, sparsity: float) -> Tensor:
        """The mask of one layer's weights."""
        check_choice("layer", name, self.ranks)
        return self.expand({name: self._kept(name, sparsity)})[name]

    def masks(self, sparsity: float) -> Masks:
        """The masks of all layers, and those of biases and norms that go with them."""
        return self.expand({name: self._kept(name, sparsity) for name in self.ranks})

    def _kept(self, name: str, sparsity: float) -> Tensor:
        check_share(self.granularity, sparsity, self.allocation)
        kept = kept_count(self.total, sparsity) if self.allocation == "global" else self.counts(sparsity)[name]
        return self.ranks[name] < kept

    def cut(self, sparsity: float) -> float | None:
        """The lowest kept score under global allocation; None where each layer has its own or nothing is kept."""
        kept = kept_count(self.total, sparsity)
        return float(self.cuts[kept - 1]) if self.allocation == "global" and kept else None


def rank(
    scores: Scores,
    allocation: Allocation = "global",
    *,
    granularity: str = "weight",
    reduce: str = "sum",
    model: nn.Module | None = None,
    example: Tensor | None = None,
) -> Ranking:
    """Sort scores once (stable: among equals the earlier unit ranks higher); the arguments are those of `keep_top`.

    Memory: 8 bytes for each unit. Misleads for iterated criteria, whose scores change with every sparsity.

    >>> rank({"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([3.0, 3.0])}).counts(0.5)
    {'a': 1, 'b': 1}
    """
    kind = find_granularity(granularity)
    units = kind.reduce(model, check_scores(scores), REDUCTIONS[check_choice("reduce", reduce, REDUCTIONS)])
    scores = common(units)
    if isinstance(allocation, str) and check_choice("allocation", allocation, ALLOCATIONS) != "global":
        budgets({name: s.shape for name, s in scores.items()}, 0, allocation)  # does it take these shapes?
    sizes, flat = [s.numel() for s in scores.values()], [s.reshape(-1) for s in scores.values()]
    parts: Sequence[Tensor]
    if allocation == "global":
        cuts, order = torch.cat(flat).sort(descending=True, stable=True)
        parts = _places(order).split(sizes)
        ordered = {name: part.sort().values for name, part in zip(scores, parts, strict=True)}
    else:
        parts = [_places(values.argsort(descending=True, stable=True)) for values in flat]
        cuts, ordered = torch.empty(0), {}
    ranks = {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}
    return Ranking(ranks, ordered, cuts, allocation, sum(sizes), granularity, kind.expand(model, example))


def _places(order: Tensor) -> Tensor:
    """The inverse permutation, as int32 (networks of over two thousand million weights do not fit this workbench)."""
    places = torch.empty(len(order), dtype=torch.int32, device=order.device)
    places[order] = torch.arange(len(order), dtype=torch.int32, device=order.device)
    return places
