"""One layer pruned by every one-shot method: the error of its outputs, with and without outliers among its inputs."""

import itertools
from typing import Any

import torch
from torch import Tensor

from workbench.experiments.common import SEEDS, chosen
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.methods.post_training.base import POST_TRAINING, Inputs, Share
from workbench.seeds import generator

TOKENS = 1024
ORDER = ["obc", "sparsegpt", "wanda", "magnitude"]


@experiment(
    "layer-errors",
    grids=[
        {"factor": [1, 2, 5, 10, 20, 50], "seed": SEEDS},
        {"factor": [1, 20], "related": [False], "seed": SEEDS},
        {"factor": [20], "outliers": [1 / 64, 1 / 4], "seed": SEEDS},
    ],
)
def one_layer_errors(
    factor: float, seed: int, outliers: float = 1 / 16, related: bool = True, sparsity: float = 0.5
) -> dict[str, float]:
    """The share of a random layer's outputs, 64 of 128 inputs, that each method gets wrong on 1024 tokens.

    Weights and inputs are normal; `related` inputs are mixed by a random matrix. A part `outliers` of the inputs is
    `factor` times as large. "magnitude, row" and "sparsegpt, 1e-4" are magnitude row by row, and SparseGPT damped by
    a hundredth of what is usual.

    >>> errors = one_layer_errors(20, seed=0)
    >>> errors["obc"] < errors["sparsegpt"] < errors["wanda"] < errors["magnitude"]
    True
    """
    draw = generator(seed)
    weight, rows = torch.randn(64, 128, generator=draw), torch.randn(TOKENS, 128, generator=draw)
    if related:
        rows = rows @ torch.randn(128, 128, generator=draw) / 128**0.5
    rows[:, torch.randperm(128, generator=draw)[: round(128 * outliers)]] *= factor
    inputs = Inputs()
    inputs.add(rows, "gram")

    def wrong(method: str, **options: Any) -> float:
        _, new = POST_TRAINING[method].function(weight, inputs, Share(sparsity), **options)
        return _power(weight - new, inputs.whole) / _power(weight, inputs.whole)

    found = {method: wrong(method) for method in POST_TRAINING}
    return {
        **found,
        "magnitude, row": wrong("magnitude", by_row=True),
        "sparsegpt, 1e-4": wrong("sparsegpt", damp=1e-4),
    }


def _power(weight: Tensor, gram: Tensor) -> float:
    """The mean square of the outputs."""
    whole = weight.double()
    return float(((whole @ gram.double()) * whole).sum())


KINDS = {"related": True, "independent": False}


@reading("layer-order", of="layer-errors")
def next_over_each(rows: Rows) -> Effects:
    kinds = {kind: chosen(rows, factor=20, outliers=1 / 16, related=related) for kind, related in KINDS.items()}
    pairs = list(itertools.pairwise(ORDER))
    return {f"{b} / {a}, {kind}": part[b] / part[a] for kind, part in kinds.items() for a, b in pairs}


@reading("wanda-is-magnitude", of="layer-errors")
def wanda_off_magnitude(rows: Rows) -> Effects:
    kinds = {kind: chosen(rows, factor=1, related=related) for kind, related in KINDS.items()}
    return {kind: (part["wanda"] / part["magnitude"] - 1).abs() for kind, part in kinds.items()}
