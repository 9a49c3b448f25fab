"""Which networks can be made by name, and which input each fits."""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from workbench.registry import Registry

Shape = tuple[int, ...]
Build = Callable[[Shape, int, float], nn.Module]


class Architecture(NamedTuple):
    """A network by name: `build(shape, classes, width)`, and the input shapes it fits, as a test and in words.

    `tokens` says that it reads whole numbers; such a network draws its own weights.
    """

    build: Build
    fits: Callable[[Shape], bool]
    inputs: str
    tokens: bool = False


NETWORKS: Registry[Architecture] = Registry("network")


def network(name: str, *, fits: Callable[[Shape], bool], inputs: str, tokens: bool = False) -> Callable[[Build], Build]:
    """Register `f(input shape, classes, width) -> nn.Module` under `name`; layers are `scaled(n, width)` wide."""

    def register(build: Build) -> Build:
        NETWORKS.add(name, Architecture(build, fits, inputs, tokens))
        return build

    return register


def scaled(channels: int, width: float) -> int:
    """A number of channels times `width`, rounded, at least one.

    >>> scaled(16, 0.25), scaled(6, 0.25), scaled(1, 0.25)
    (4, 2, 1)
    """
    return max(1, math.floor(channels * width + 0.5))


def image_of(least: int, most: float = math.inf) -> Callable[[Shape], bool]:
    """A test for square image shapes `[c, side, side]` with `least <= side <= most`."""
    return lambda shape: len(shape) == 3 and least <= shape[1] == shape[2] <= most
