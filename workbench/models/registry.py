"""Which networks can be made by name, which input each fits, and how each trains well by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

Shape = tuple[int, ...]


class Network(NamedTuple):
    """A registered architecture: `build(shape, classes)`, and the input shapes it fits, as a test and in words."""

    build: Callable[[Shape, int], nn.Module]
    fits: Callable[[Shape], bool]
    inputs: str


_NETWORKS: dict[str, Network] = {}


def network(
    name: str, *, fits: Callable[[Shape], bool], inputs: str
) -> Callable[[Callable[[Shape, int], nn.Module]], Callable[[Shape, int], nn.Module]]:
    """Register `f(input shape, number of classes) -> nn.Module` under `name`."""

    def register(build: Callable[[Shape, int], nn.Module]) -> Callable[[Shape, int], nn.Module]:
        _NETWORKS[name] = Network(build, fits, inputs)
        return build

    return register


def image_of(least: int, most: int | None = None) -> Callable[[Shape], bool]:
    """A test for square image shapes `[c, side, side]` with `least <= side <= most`."""
    return lambda shape: (
        len(shape) == 3 and shape[1] == shape[2] and least <= shape[1] and (most is None or shape[1] <= most)
    )
