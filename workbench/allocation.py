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
    agree with it. Shares are rounded by largest remainder (ties: the earlier layer), so that the total is
    `n - floor(n * sparsity + 1/2)`. Raises ValueError for `"global"`, where the scores decide.

    Misleads on tiny layers: a layer of 10 weights at sparsity 0.99 keeps none.

    >>> allocate({"a": 10, "b": 3}, 0.5)
    {'a': 5, 'b': 1}
    """
    total = kept_count(sum(sizes.values()), sparsity)
    if isinstance(allocation, Mapping):
        share = _check_densities(sizes, allocation, total)
    elif check_choice("allocation", allocation, ALLOCATIONS) == "global":
        raise ValueError('"global" has no layer budgets: all scores compete. Use wb.keep_top(scores, sparsity)')
    else:
        density = total / sum(sizes.values())
        share = {name: size * density for name, size in sizes.items()}
    kept = {name: math.floor(value) for name, value in share.items()}
    order = sorted(sizes, key=lambda name: share[name] - kept[name], reverse=True)
    for name in order[: total - sum(kept.values())]:
        kept[name] += 1
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
    if abs(sum(share.values()) - total) > len(sizes):
        n = sum(sizes.values())
        raise ValueError(
            f"the allocation's densities and the sparsity say the same; the densities remove {1 - sum(share.values()) / n:.6g}, "
            f"sparsity is {1 - total / n:.6g}. Pass sparsity={1 - sum(share.values()) / n:.6g}"
        )
    return share
