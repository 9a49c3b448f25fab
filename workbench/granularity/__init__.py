"""What lives or dies together: scores of weights become scores of units, masks of units become masks of weights.

A new granularity is one pair of functions, `reduce` and `expand`, and one line that registers it. Names with numbers,
"n:m" and "block k x l", are made when they are asked for.
"""

import importlib
import pkgutil
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from workbench.granularity.base import GRANULARITIES, REDUCTIONS, Granularity, Rule, any_kept
from workbench.granularity.fixed import n_of_m
from workbench.granularity.parts import blocks
from workbench.types import check_choice

__all__ = [
    "GRANULARITIES",
    "REDUCTIONS",
    "Granularity",
    "Rule",
    "any_kept",
    "check_share",
    "find_granularity",
    "unit_shapes",
]

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")


def find_granularity(name: str) -> Granularity:
    """A granularity by its name.

    "weight"; "n:m", such as "2:4": n of each m consecutive inputs of an output are kept (a layer's inputs must be a
    multiple of m); "vector", a row of a convolution's kernel, and "kernel", all of it (Mao et al. 2017,
    arXiv:1705.08922); "block k x l": k outputs and l columns of the matrix `[out, in * kernel]`, smaller at its edges;
    "pattern": each 3 x 3 kernel keeps 4 of 9 places, in one of the layer's 8 most frequent patterns (Niu et al. 2020,
    arXiv:2001.00138); "channel"; "head" of a `MultiheadAttention`; "layer", all of a weight.

    >>> find_granularity("2:4").share, find_granularity("block 4x4").share
    (0.5, None)
    """
    if isinstance(name, str) and name not in GRANULARITIES:
        if found := re.fullmatch(r"([1-9]\d*):([1-9]\d*)", name):
            return n_of_m(*map(int, found.groups()))
        if found := re.fullmatch(r"block ([1-9]\d*) ?x ?([1-9]\d*)", name):
            return blocks(*map(int, found.groups()))
    return GRANULARITIES[check_choice("granularity", name, [*GRANULARITIES, "n:m (2:4)", "block k x l (block 4x4)"])]


def check_share(name: str, sparsity: float, allocation: Any = "global", rounds: int = 1) -> None:
    """Raise ValueError for a cut that a granularity with a fixed share does not make."""
    share = find_granularity(name).share
    if share is None:
        return
    if abs(sparsity - share) > 1e-9:
        raise ValueError(f"{name!r} removes {share:g} of the weights; got sparsity={sparsity:g}. Pass {share:.12g}")
    if allocation not in ("global", "layer"):
        told = f"under {name!r} every layer keeps the same share; got allocation={allocation!r}"
        raise ValueError(f'{told}. Leave it out, or pass "layer"')
    if rounds != 1:
        raise ValueError(f"{name!r} is one cut; got rounds={rounds}. Leave it out")


def unit_shapes(model: nn.Module, weights: Mapping[str, Tensor], name: str) -> dict[str, tuple[int, ...]]:
    """The shapes that scores of the units of these weights have."""
    bits = {layer: torch.ones(weight.shape, dtype=torch.bool) for layer, weight in weights.items()}
    units = find_granularity(name).reduce(model, bits, any_kept)
    return {layer: tuple(values.shape) for layer, values in units.items()}
