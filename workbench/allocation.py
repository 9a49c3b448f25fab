"""How the budget of kept weights is split over layers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from workbench.types import check_choice, check_sparsity

Allocation = str | Mapping[str, float]
ALLOCATIONS = ("global", "layer")


def kept_count(n: int, sparsity: float) -> int:
    """How many of `n` weights are kept: `n - floor(n * sparsity + 1/2)`.

    >>> kept_count(10, 0.25)
    7
    """
    return n - math.floor(n * check_sparsity(sparsity) + 0.5)


def allocations() -> list[str]:
    """Names of the allocations.

    >>> allocations()
    ['global', 'layer']
    """
    return sorted(ALLOCATIONS)


def allocate(sizes: Mapping[str, int], sparsity: float, allocation: Allocation = "layer") -> dict[str, int]:
    """Kept weights per layer, exact in total.

    `"layer"` gives every layer the same density; a dict gives each layer its own density in [0, 1] and `sparsity` must
    agree with it. Shares are rounded by Webster's rule, so that the total is `n - floor(n * sparsity + 1/2)` and a
    higher sparsity never gives a layer more. Raises ValueError for `"global"`, where the scores decide.

    Misleads on tiny layers: a layer of 10 weights at sparsity 0.99 keeps none.

    >>> allocate({"a": 10, "b": 3}, 0.5)
    {'a': 5, 'b': 1}
    """
    total = kept_count(sum(sizes.values()), sparsity)
    if isinstance(allocation, Mapping):
        return _apportion(total, sizes, _check_densities(sizes, allocation, total))
    if check_choice("allocation", allocation, ALLOCATIONS) == "global":
        raise ValueError('"global" has no layer budgets: all scores compete. Use wb.keep_top(scores, sparsity)')
    return _apportion(total, sizes, sizes)


def on_the_way(sizes: Mapping[str, int], sparsity: float, densities: Mapping[str, float]) -> dict[str, float]:
    """Densities in proportion to `densities`, at most 1, at a lower `sparsity`: a round of iterative pruning.

    >>> on_the_way({"a": 10, "b": 10}, 0.25, {"a": 0.1, "b": 0.9})
    {'a': 0.5, 'b': 1.0}
    """
    last = 1e-12  # layers that end empty keep what the others have no room for
    shares = {name: size * max(densities[name], last) for name, size in sizes.items()}
    kept = _apportion(kept_count(sum(sizes.values()), sparsity), sizes, shares)
    return {name: kept[name] / size for name, size in sizes.items()}


def _apportion(total: int, sizes: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, int]:
    """Split `total` in proportion to `shares`, at most a layer's size each, by Webster's rule.

    Weight j of a layer stands at place (j + 1/2) / share, and the `total` lowest places are kept (ties: the earlier
    layer). No place depends on `total`, so that the splits of smaller totals nest in those of larger ones.
    """

    def below(place: float) -> dict[str, int]:
        return {name: min(size, math.floor(shares[name] * place + 0.5)) for name, size in sizes.items()}

    low, high, kept = 0.0, 1.0, dict.fromkeys(sizes, 0)
    while sum(below(high).values()) < total:
        high *= 2
    while total - sum(kept.values()) > len(sizes):
        middle = (low + high) / 2
        if sum(below(middle).values()) <= total:
            low, kept = middle, below(middle)
        else:
            high = middle
    for _ in range(total - sum(kept.values())):
        room = [name for name, size in sizes.items() if kept[name] < size and shares[name] > 0]
        kept[min(room, key=lambda name: (kept[name] + 0.5) / shares[name])] += 1
    return kept


def _check_densities(sizes: Mapping[str, int], allocation: Mapping[str, float], total: int) -> dict[str, float]:
    if set(allocation) != set(sizes):
        off = sorted(set(allocation) ^ set(sizes))
        raise ValueError(
            f"an allocation names each layer once, {', '.join(sizes)}; missing or unknown: {', '.join(off)}"
        )
    for name, density in allocation.items():
        if not 0 <= density <= 1:
            raise ValueError(f"an allocation holds densities, kept / all, in [0, 1]; got {density} for {name!r}")
    share = {name: size * allocation[name] for name, size in sizes.items()}
    room = sum(size for name, size in sizes.items() if allocation[name] > 0)
    if abs(sum(share.values()) - total) > len(sizes) or total > room:
        n = sum(sizes.values())
        raise ValueError(
            "the allocation's densities and the sparsity say the same; "
            f"the densities remove {1 - sum(share.values()) / n:.6g}, "
            f"sparsity is {1 - total / n:.6g}. Pass sparsity={1 - sum(share.values()) / n:.6g}"
        )
    return share
