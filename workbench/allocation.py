"""How the budget of kept weights is split over layers.

A new allocation is a function of shapes and the number kept: whole numbers that sum to it and never rise as it falls.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from workbench.registry import Registry
from workbench.types import check_sparsity

Allocation = str | Mapping[str, float]
Shapes = Mapping[str, Sequence[int]]
"""Parameter name -> shape of its weight (or of its scores), in the network's order."""

Counts = dict[str, int]
Rule = Callable[[str, float], float]
Split = Callable[[Shapes, int], Counts]


class Allocator(NamedTuple):
    """A registered allocation: the function and where it comes from."""

    function: Split
    source: str


ALLOCATIONS: Registry[Allocator] = Registry("allocation")


def named(name: str, source: str) -> Callable[[Split], Split]:
    """Register an allocation."""

    def register(function: Split) -> Split:
        ALLOCATIONS.add(name, Allocator(function, source))
        return function

    return register


def allocations() -> list[str]:
    """Names of the allocations.

    >>> {"erk", "global", "layer"} <= set(allocations())
    True
    """
    return list(ALLOCATIONS)


def kept_count(n: int, sparsity: float) -> int:
    """How many of `n` weights are kept: `n - floor(n * sparsity + 1/2)`.

    >>> kept_count(10, 0.25)
    7
    """
    return n - math.floor(n * check_sparsity(sparsity) + 0.5)


def budgets(shapes: Shapes, sparsity: float, allocation: Allocation = "layer") -> Counts:
    """Kept weights per layer, exact in total.

    A name stands for one of `allocations()`; a dict gives each layer its own density in [0, 1] and `sparsity` must
    agree with it. Shares are rounded by Webster's rule, so that the total is `n - floor(n * sparsity + 1/2)` and a
    higher sparsity never gives a layer more. Raises ValueError for `"global"`, where the scores decide.
    Misleads on tiny layers: a layer of 10 weights at sparsity 0.99 keeps none.

    >>> budgets({"a": (2, 5), "b": (1, 3)}, 0.5)
    {'a': 5, 'b': 1}
    """
    sizes = _sizes(shapes)
    total = kept_count(sum(sizes.values()), sparsity)
    if isinstance(allocation, Mapping):
        return apportion(total, sizes, _check_densities(sizes, allocation, total))
    return ALLOCATIONS[allocation].function(shapes, total)


def on_the_way(sizes: Mapping[str, int], sparsity: float, densities: Mapping[str, float]) -> dict[str, float]:
    """Densities in proportion to `densities`, at most 1, at a lower `sparsity`: a round of iterative pruning.

    >>> on_the_way({"a": 10, "b": 10}, 0.25, {"a": 0.1, "b": 0.9})
    {'a': 0.5, 'b': 1.0}
    """
    # Layers that end empty keep what the others have no room for.
    shares = {name: size * max(densities[name], 1e-12) for name, size in sizes.items()}
    kept = apportion(kept_count(sum(sizes.values()), sparsity), sizes, shares)
    return {name: kept[name] / size for name, size in sizes.items()}


@named("global", "all scores compete")
def global_(shapes: Shapes, total: int) -> Counts:
    """No budgets: the scores decide."""
    raise ValueError(
        '"global" has no layer budgets: all scores compete; got no scores. Use wb.keep_top(scores, sparsity) or '
        "wb.allocate(model, sparsity, scores=scores)"
    )


@named("layer", "the same density in each layer")
def layer(shapes: Shapes, total: int) -> Counts:
    """Every layer has the same density."""
    return apportion(total, _sizes(shapes), _sizes(shapes))


@named("uniform+", "Gale et al. 2019, arXiv:1902.09574")
def uniform_plus(shapes: Shapes, total: int) -> Counts:
    """As "layer", but the first convolution is dense and the last linear layer keeps at least a fifth of its weights.

    The others, with one density, give what the two need. Where less is kept than that, only the two keep weights, in
    proportion, so that a smaller budget never gives a layer more. Without convolutions the second rule stands alone.
    """
    _check_layers("uniform+", shapes)
    sizes = _sizes(shapes)
    first, last = [name for name, shape in shapes.items() if len(shape) > 2][:1], _classifier(shapes)
    least = {n: size if n in first else math.ceil(size / 5) if n in last else 0 for n, size in sizes.items()}
    return apportion(total, least, least) if total <= sum(least.values()) else apportion(total, sizes, sizes, least)


@named("er", "Mocanu et al. 2018, arXiv:1707.04780; for kernels as in Evci et al. 2020, arXiv:1911.11134")
def er(shapes: Shapes, total: int) -> Counts:
    """Erdos-Renyi: density `e (n_in + n_out) / (n_in n_out)`, e such that the total is met, at most 1.

    Of a convolution `n_in` and `n_out` are its channels (within a group), and every kernel weight has this density.
    """
    _check_layers("er", shapes)
    shares = {name: (s[0] + s[1]) * math.prod(s[2:]) for name, s in shapes.items()}
    return apportion(total, _sizes(shapes), shares)


@named("erk", "Evci et al. 2020, arXiv:1911.11134")
def erk(shapes: Shapes, total: int) -> Counts:
    """Erdos-Renyi-kernel: density `e (n_in + n_out + k_h + k_w) / (n_in n_out k_h k_w)`, at most 1.

    e is such that the total is met. For linear layers it is "er"; `n_in` of a convolution are the channels of a group.
    """
    _check_layers("erk", shapes)
    return apportion(total, _sizes(shapes), {name: sum(shape) for name, shape in shapes.items()})


@named("igq", "Vysogorets and Kempe 2023, arXiv:2107.02306")
def igq(shapes: Shapes, total: int) -> Counts:
    """Ideal gas quotas: density `1 / (1 + F S)` of a layer of S weights, F >= 0 such that the total is met.

    A layer's compression less 1 is in proportion to its size: 1 / kept = 1 / S + F.
    """
    sizes = _sizes(shapes)

    return _places(
        total,
        sizes,
        lambda name, place: place * sizes[name] / (place + sizes[name]),
        lambda name, kept: kept * sizes[name] / (sizes[name] - kept),
    )


@named("smart-ratio", "Su et al. 2020, arXiv:2009.11094 (as for ResNets)")
def smart_ratio(shapes: Shapes, total: int) -> Counts:
    """Density in proportion to `(L - l + 1)^2 + (L - l + 1)` for layer l of L, and 0.3 for the last linear layer.

    L counts that layer too. A density stops at 1, and what is left goes to the others in proportion. (The authors' code
    gives 0.3 to every linear layer, their networks having one, and fills the next layers in order.) So that a smaller
    budget never gives more, a total below that 0.3 is the last layer's alone, and it takes the rest of dense networks.
    """
    return _smart("smart-ratio", shapes, total, 0)


@named("smart-ratio-vgg", "Su et al. 2020, arXiv:2009.11094 (as for VGG)")
def smart_ratio_vgg(shapes: Shapes, total: int) -> Counts:
    """As "smart-ratio", with densities divided by `l^2` again."""
    return _smart("smart-ratio-vgg", shapes, total, 2)


def _smart(name: str, shapes: Shapes, total: int, power: int) -> Counts:
    _check_layers(name, shapes)
    sizes, count = _sizes(shapes), len(shapes)
    places = dict(zip(shapes, range(1, count + 1), strict=True))
    shares = {n: sizes[n] * (count - k + 1) * (count - k + 2) / k**power for n, k in places.items()}
    final = _classifier(shapes) if count > 1 else []
    others = {n: 0 if n in final else size for n, size in sizes.items()}
    own = min(total, sum(math.floor(0.3 * sizes[n] + 0.5) for n in final))
    kept = apportion(min(total - own, sum(others.values())), others, shares)
    return kept | dict.fromkeys(final, total - sum(kept.values()))


def _sizes(shapes: Shapes) -> Counts:
    return {name: math.prod(shape) for name, shape in shapes.items()}


def _check_layers(allocation: str, shapes: Shapes) -> None:
    for name, shape in shapes.items():
        if len(shape) < 2:
            raise ValueError(
                f"{allocation!r} splits by the weights' shapes [out, in, ...]; {name!r} got {tuple(shape)}. For scores "
                'of channels use "global", "igq" or "layer"'
            )


def _classifier(shapes: Shapes) -> list[str]:
    return [name for name, shape in shapes.items() if len(shape) == 2][-1:]


def apportion(
    total: int, sizes: Mapping[str, int], shares: Mapping[str, float], least: Mapping[str, int] | None = None
) -> Counts:
    """Split `total` in proportion to `shares`, from `least` to a layer's size, by Webster: place (j + 1/2) / share."""
    return _places(
        total,
        sizes,
        lambda name, place: shares[name] * place,
        lambda name, kept: kept / shares[name] if shares[name] > 0 else math.inf,
        least,
    )


def _places(
    total: int, sizes: Mapping[str, int], kept_at: Rule, place_of: Rule, least: Mapping[str, int] | None = None
) -> Counts:
    """Keep the `total` weights of the lowest places, after the `least` of each layer (ties: the earlier layer).

    Weight j of a layer stands at `place_of(name, j + 1/2)`, a rising function with the inverse `kept_at`. No place
    depends on `total`, so that the splits of smaller totals nest in those of larger ones.
    """
    floor = least or dict.fromkeys(sizes, 0)

    def below(place: float) -> Counts:
        return {n: max(floor[n], min(size, math.floor(kept_at(n, place) + 0.5))) for n, size in sizes.items()}

    low, high, kept = 0.0, 1.0, dict(floor)
    while sum(below(high).values()) < total:
        high *= 2
    while total - sum(kept.values()) > len(sizes):
        middle = (low + high) / 2
        if sum((found := below(middle)).values()) <= total:
            low, kept = middle, found
        else:
            high = middle
    for _ in range(total - sum(kept.values())):
        places = {name: place_of(name, kept[name] + 0.5) for name, size in sizes.items() if kept[name] < size}
        kept[min((n for n, place in places.items() if place < math.inf), key=places.__getitem__)] += 1
    return kept


def _check_densities(sizes: Mapping[str, int], allocation: Mapping[str, float], total: int) -> dict[str, float]:
    if off := sorted(set(allocation) ^ set(sizes)):
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
        removed = f"{1 - sum(share.values()) / n:.6g}"
        raise ValueError(
            f"the allocation's densities and the sparsity must agree; the densities remove {removed}, sparsity is "
            f"{1 - total / n:.6g}. Pass sparsity={removed}"
        )
    return share
