"""Allocations against exact fractions, another root finder and rules written out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

from scipy.optimize import brentq

from parity import parity
from workbench.allocation import budgets, kept_count

Shapes = dict[str, tuple[int, ...]]
Quotas = Callable[[Shapes, Fraction], dict[str, Fraction]]
Place = Callable[[Shapes, str, Fraction], Fraction]


def nets() -> list[Shapes]:
    """Small networks, and the layers of VGG-16 and ResNet-20 for CIFAR-10."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    vgg: Shapes = {f"conv{k}": (b, a, 3, 3) for k, (a, b) in enumerate(itertools.pairwise(widths))}
    stages = [3, 16, *[16] * 6, *[32] * 6, *[64] * 6]
    resnet: Shapes = {f"conv{k}": (b, a, 3, 3) for k, (a, b) in enumerate(itertools.pairwise(stages))}
    return [
        {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)},
        {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5), "fc1": (120, 400), "fc2": (84, 120), "fc3": (10, 84)},
        {"a": (4, 2, 3), "b": (4, 2, 3), "c": (2, 8, 1, 1), "d": (3, 2)},
        vgg | {"fc": (10, 512)},
        resnet | {"fc": (10, 64)},
    ]


def reached(least: Callable[[Shapes], dict[str, int]]) -> list[Shapes]:
    """Networks that keep more than the exceptions need, and more than the rest has no room for, at all sparsities."""
    found = [s for s in nets() if sum(least(s).values()) <= 0.01 * sum(sizes_of(s).values())]
    assert len(found) >= 3
    return found


def differing(
    name: str,
    quotas: Quotas,
    place: Place,
    least: Callable[[Shapes], dict[str, int]] = lambda shapes: {},
    networks: list[Shapes] | None = None,
) -> float:
    """The largest difference from the quotas rounded by a common place, in exact fractions, at seven sparsities.

    Weight j of a layer stands at `place(j + 1/2)`; all are kept whose place is the lowest. Only places within ten of
    a quota are enumerated. Numbers over one and a half away from their quota count as a difference too.
    """
    worst = 0.0
    for shapes in networks or nets():
        sizes = sizes_of(shapes)
        for sparsity in (0.1, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99):
            total = kept_count(sum(sizes.values()), sparsity)
            ideal, fixed = quotas(shapes, Fraction(total)), least(shapes)
            kept = {n: max(math.floor(q) - 10, fixed.get(n, 0), 0) for n, q in ideal.items()}
            near = [
                (place(shapes, n, j + Fraction(1, 2)), k, j, n)
                for k, n in enumerate(shapes)
                for j in range(kept[n], min(sizes[n], math.floor(ideal[n]) + 10))
            ]
            for *_, n in sorted(near)[: total - sum(kept.values())]:
                kept[n] += 1
            found = budgets(shapes, sparsity, name)
            off = max(abs(kept[n] - float(q)) for n, q in ideal.items())
            worst = max(worst, abs(float(sum(ideal.values())) - total) - 1e-6, off - 1.5)
            worst = max(worst, *(abs(found[n] - kept[n]) for n in shapes))
    return float(max(worst, 0))


def filled(shares: dict[str, Fraction], rooms: dict[str, int], total: Fraction) -> dict[str, Fraction]:
    """`total` in proportion to `shares`; the layer furthest over its room is set full, and the factor solved again."""
    full: list[str] = []
    while True:
        rest = [n for n in shares if n not in full]
        if not rest:
            return {n: Fraction(rooms[n]) for n in shares}
        factor = (total - sum(rooms[n] for n in full)) / sum(shares[n] for n in rest)
        most = max(rest, key=lambda n: factor * shares[n] / rooms[n])
        if factor * shares[most] <= rooms[most]:
            return {n: factor * shares[n] if n in rest else Fraction(rooms[n]) for n in shares}
        full.append(most)


def sizes_of(shapes: Shapes) -> dict[str, int]:
    return {n: math.prod(s) for n, s in shapes.items()}


def check_proportional(name: str, density: Callable[[tuple[int, ...]], Fraction]) -> float:
    def shares(shapes: Shapes) -> dict[str, Fraction]:
        return {n: density(s) * math.prod(s) for n, s in shapes.items()}

    return differing(
        name,
        lambda shapes, total: filled(shares(shapes), sizes_of(shapes), total),
        lambda shapes, n, kept: kept / (density(shapes[n]) * math.prod(shapes[n])),
    )


RIGL = "RigL's code floors each layer's numbers, so that its total is off by up to a weight a layer"


@parity("layer", "fractions.Fraction: one density, rounded by a common place", granularity="allocation")
def layer() -> float:
    return check_proportional("layer", lambda shape: Fraction(1))


@parity(
    "er",
    "fractions.Fraction: densities (n_in + n_out) / (n_in n_out), the densest layers set dense one at a time",
    granularity="allocation",
    deviation=RIGL,
)
def er() -> float:
    return check_proportional("er", lambda s: Fraction(s[0] + s[1], s[0] * s[1]))


@parity(
    "erk",
    "fractions.Fraction: densities sum(shape) / prod(shape), the densest layers set dense one at a time",
    granularity="allocation",
    deviation=RIGL,
)
def erk() -> float:
    return check_proportional("erk", lambda s: Fraction(sum(s), math.prod(s)))


@parity(
    "igq",
    "scipy.optimize.brentq for the force F in sum S / (1 + F S)",
    granularity="allocation",
    deviation="the authors' code stops its bisection at one weight of the total",
)
def igq() -> float:
    def quotas(shapes: Shapes, total: Fraction) -> dict[str, Fraction]:
        sizes = sizes_of(shapes)

        def surplus(log_force: float) -> float:
            return sum(s / (1 + math.exp(log_force) * s) for s in sizes.values()) - float(total)

        force = math.exp(brentq(surplus, -80, 20, xtol=1e-14, rtol=1e-14))
        return {n: Fraction(s / (1 + force * s)) for n, s in sizes.items()}

    def place(shapes: Shapes, n: str, kept: Fraction) -> Fraction:
        return 1 / (1 / kept - Fraction(1, math.prod(shapes[n])))

    return differing("igq", quotas, place)


@parity(
    "uniform+",
    "fractions.Fraction: the one density of the other layers in closed form",
    granularity="allocation",
    deviation="the code of Vysogorets and Kempe needs a convolution and does not solve for the density exactly",
)
def uniform_plus() -> float:
    def least(shapes: Shapes) -> dict[str, int]:
        convolutions = [n for n, s in shapes.items() if len(s) > 2][:1]
        last = [n for n, s in shapes.items() if len(s) == 2][-1]
        return {n: math.prod(shapes[n]) for n in convolutions} | {last: -(-math.prod(shapes[last]) // 5)}

    def quotas(shapes: Shapes, total: Fraction) -> dict[str, Fraction]:
        sizes, fixed = sizes_of(shapes), least(shapes)
        if total <= sum(fixed.values()):
            return {n: Fraction(fixed.get(n, 0)) * total / sum(fixed.values()) for n in shapes}
        *convolutions, last = fixed
        inner = sum(s for n, s in sizes.items() if n not in fixed)
        rest = total - sum(sizes[n] for n in convolutions)
        density = rest / (inner + sizes[last])
        if density * sizes[last] < fixed[last]:
            density = (rest - fixed[last]) / inner
        found = {n: density * s for n, s in sizes.items()} | {n: Fraction(sizes[n]) for n in convolutions}
        return found | {last: max(Fraction(fixed[last]), found[last])}

    def place(shapes: Shapes, n: str, kept: Fraction) -> Fraction:
        return kept / math.prod(shapes[n])

    return differing("uniform+", quotas, place, least, reached(least))


def smart(name: str, power: int) -> float:
    def least(shapes: Shapes) -> dict[str, int]:
        last = [n for n, s in shapes.items() if len(s) == 2][-1]
        return {last: math.floor(Fraction(3, 10) * math.prod(shapes[last]) + Fraction(1, 2))}

    def shares(shapes: Shapes) -> dict[str, Fraction]:
        found = {}
        for k, (n, size) in enumerate(sizes_of(shapes).items()):
            height = len(shapes) - k  # the authors count k from 1 at the end of the network
            found[n] = Fraction(size * (height**2 + height), (k + 1) ** power)
        return found

    def quotas(shapes: Shapes, total: Fraction) -> dict[str, Fraction]:
        ((last, own),) = least(shapes).items()
        others = {n: s for n, s in shares(shapes).items() if n != last}
        return filled(others, sizes_of(shapes), total - own) | {last: Fraction(own)}

    def place(shapes: Shapes, n: str, kept: Fraction) -> Fraction:
        return Fraction(10**30) if n in least(shapes) else kept / shares(shapes)[n]

    return differing(name, quotas, place, least, reached(least))


SMART = "the authors' code hands a dense layer's surplus to the next layers in order, not in proportion; rounds down"


@parity(
    "smart-ratio", "fractions.Fraction: k^2 + k, k from the network's end", granularity="allocation", deviation=SMART
)
def smart_ratio() -> float:
    return smart("smart-ratio", 0)


@parity(
    "smart-ratio-vgg", "fractions.Fraction: (k^2 + k) / l^2, k from the end", granularity="allocation", deviation=SMART
)
def smart_ratio_vgg() -> float:
    return smart("smart-ratio-vgg", 2)
