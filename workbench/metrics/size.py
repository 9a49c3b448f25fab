"""Sparsity, compression, size ratio, and the table of layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench.metrics.cost import layer_macs
from workbench.metrics.paths import effective as effective_masks
from workbench.models.running import evaluating, fitted, run_model
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
    """1 / density: all masked weights / kept ones; infinite where nothing is kept.

    Misleads as "how much smaller the file gets": biases, norms and indices are not in it; see `size_ratio`.

    >>> compression({"a": torch.tensor([True, False, False, False])})
    4.0
    """
    kept, total = _count(masks)
    return total / kept if kept else float("inf")


def _count(masks: Masks) -> tuple[int, int]:
    masks = check_weights(masks)
    total = sum(m.numel() for m in masks.values())
    if total == 0:
        raise ValueError(
            "masks cover at least one weight; got none. Use wb.dense(model) for a model that is not pruned"
        )
    return sum(int(m.sum()) for m in masks.values()), total


def size_ratio(model: nn.Module, masks: Masks) -> float:
    """All parameters / parameters that remain; biases and norms remain where masks say nothing else.

    Definition: Blalock et al. 2020, arXiv:2003.03033 (compression ratio of the whole model).
    Misleads about files: a stored sparse tensor also needs indices.

    >>> size_ratio(nn.Linear(3, 1), {"weight": torch.tensor([[True, False, False]])})
    2.0
    """
    everything = sum(p.numel() for p in model.parameters())
    removed = sum(m.numel() - int(m.sum()) for m in check_masks(model, masks).values())
    return everything / (everything - removed) if everything > removed else float("inf")


def layers(model: nn.Module, masks: Masks, example: Tensor | None = None) -> pandas.DataFrame:
    """One row a masked layer: shape, weights, kept, sparsity, collapsed; with `example` also effective and macs.

    `example` is a batch of inputs (its first dimension is the batch). `effective` is the layer's effective sparsity,
    `macs` the multiply-adds per sample of the kept weights. `collapsed` says that nothing is kept. The table's
    `attrs["rule"]` says what counts as prunable, and `attrs["left_out"]` what `left_out` finds missing of the model.
    Where paths cannot be seen through the model, or its multiply-adds not be counted, `effective` or `macs` is NaN and
    `attrs` says why.

    >>> import workbench as wb
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> wb.layers(model, wb.dense(model), torch.ones(1, 4))[["layer", "kept", "macs"]].values.tolist()
    [['0.weight', 12, 12], ['2.weight', 6, 6]]
    """
    import pandas as pd

    masks = check_weights(check_masks(model, masks))
    kept = {name: int(m.sum()) for name, m in masks.items()}
    rows: list[dict[str, Any]] = [
        {
            "layer": name,
            "shape": tuple(mask.shape),
            "weights": mask.numel(),
            "kept": kept[name],
            "sparsity": 1 - kept[name] / mask.numel(),
            "collapsed": kept[name] == 0,
        }
        for name, mask in masks.items()
    ]
    missed = left_out(model)
    attrs: dict[str, Any] = {
        "rule": "prunable: weights of linear, convolution, recurrent and attention layers; no biases, no norms; tied "
        "weights once" + (f"; left out of the matrices: {shares(missed)}" if missed else ""),
        "left_out": missed,
    }
    if example is not None:
        with evaluating(model), torch.no_grad():
            run_model(model, fitted(model, example))  # says what does not fit
        costs, paths = None, None
        try:
            costs = layer_macs(model, example, masks)
        except ValueError as error:
            attrs["macs"] = str(error)
        try:
            paths = effective_masks(model, masks, example)
        except ValueError as error:
            attrs["effective"] = str(error)
        for row in rows:
            name = row["layer"]
            row["effective"] = math.nan if paths is None else 1 - int(paths[name].sum()) / row["weights"]
            row["macs"] = math.nan if costs is None else costs.get(name, 0)
    table = pd.DataFrame(rows)
    table.attrs |= attrs
    return table
