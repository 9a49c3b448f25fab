"""Sparsity, compression, size ratio, and the table of layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from workbench.metrics.cost import layer_macs
from workbench.metrics.paths import effective as effective_masks
from workbench.models.running import evaluating, fitted, outputs
from workbench.models.weights import left_out, shares
from workbench.types import Masks, check_masks, check_weights

if TYPE_CHECKING:
    import pandas


def sparsity(masks: Masks) -> float:
    """Removed / all masked weights, in [0, 1]; masks of biases and norms, which follow their units, do not count.

    >>> sparsity({"a": torch.tensor([True, False]), "b": torch.tensor([False, False])})
    0.75
    """
    kept, total = _count(masks)
    return 1 - kept / total


def compression(masks: Masks) -> float:
    """1 / density: all masked weights / kept ones; infinite if nothing is kept.

    Misleads about files: biases, norms and indices are not in it; see `size_ratio`.

    >>> compression({"a": torch.tensor([True, False, False, False])})
    4.0
    """
    kept, total = _count(masks)
    return total / kept if kept else float("inf")


def _count(masks: Masks) -> tuple[int, int]:
    masks = check_weights(masks)
    total = sum(m.numel() for m in masks.values())
    if total == 0:
        raise ValueError("masks cover at least one weight; got none. Use wb.dense(model) for a model not pruned")
    return sum(int(m.sum()) for m in masks.values()), total


def size_ratio(model: nn.Module, masks: Masks) -> float:
    """All parameters / parameters that remain; biases and norms remain unless masks say otherwise.

    Source: Blalock et al. 2020, arXiv:2003.03033. Misleads about files: a stored sparse tensor also needs indices.

    >>> size_ratio(nn.Linear(3, 1), {"weight": torch.tensor([[True, False, False]])})
    2.0
    """
    everything = sum(p.numel() for p in model.parameters())
    removed = sum(m.numel() - int(m.sum()) for m in check_masks(model, masks).values())
    return everything / (everything - removed) if everything > removed else float("inf")


def layers(model: nn.Module, masks: Masks, example: Tensor | None = None) -> pandas.DataFrame:
    """One row for each masked layer: shape, weights, kept, sparsity, collapsed; with `example` also effective and macs.

    `example` is a batch of inputs `[n, ...]`. `effective` is the layer's effective sparsity, `macs` the multiply-adds
    per sample of the kept weights; NaN if they cannot be found; then `attrs` of that name says why. `collapsed` says
    that nothing is kept. `attrs["rule"]` says what counts as prunable, `attrs["left_out"]` what `left_out` finds.

    >>> import workbench as wb
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> wb.layers(model, wb.dense(model), torch.ones(1, 4))[["layer", "kept", "macs"]].values.tolist()
    [['0.weight', 12, 12], ['2.weight', 6, 6]]
    """
    import pandas as pd

    masks, missed = check_weights(check_masks(model, masks)), left_out(model)
    counts = [(name, tuple(mask.shape), mask.numel(), int(mask.sum())) for name, mask in masks.items()]
    rows = [(*names, total, kept, 1 - kept / total, kept == 0) for *names, total, kept in counts]
    table = pd.DataFrame(rows, columns=["layer", "shape", "weights", "kept", "sparsity", "collapsed"])
    table.attrs["rule"] = (
        "prunable: weights of linear, convolution, recurrent and attention layers; no biases, no norms; tied weights "
        "once" + (f"; left out of the matrices: {shares(missed)}" if missed else "")
    )
    table.attrs["left_out"] = missed
    if example is None:
        return table
    with evaluating(model), torch.no_grad():
        outputs(model, fitted(model, example))  # says what does not fit
    table[["effective", "macs"]] = math.nan
    try:
        paths = effective_masks(model, masks, example)
        table["effective"] = [1 - int(paths[name].sum()) / mask.numel() for name, mask in masks.items()]
    except (ValueError, TypeError) as error:  # no paths, or no one output to which they lead
        table.attrs["effective"] = str(error)
    try:
        costs = layer_macs(model, example, masks)
        table["macs"] = [costs.get(name, 0) for name in masks]
    except ValueError as error:
        table.attrs["macs"] = str(error)
    return table
