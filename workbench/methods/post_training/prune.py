"""A decoder pruned without training, block by block, by a method of the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor, nn

from workbench.methods.post_training.blocks import walk
from workbench.methods.post_training.checks import check_tokens, is_pretrained
from workbench.methods.post_training.plan import planned
from workbench.methods.post_training.stream import prune_folder
from workbench.types import Masks, check_count

if TYPE_CHECKING:
    import pandas as pd

Report = Callable[[str], None]


@overload
def prune_llm(
    model: nn.Module,
    inputs: Tensor,
    method: str,
    sparsity: float | Mapping[str, float],
    *,
    granularity: str = "weight",
    exclude: Iterable[str] = (),
    rows: int = 8,
    report: Report = ...,
    out: None = None,
    **options: Any,
) -> tuple[Masks, dict[str, Tensor]]: ...


@overload
def prune_llm(
    model: str | Path,
    inputs: Tensor,
    method: str,
    sparsity: float | Mapping[str, float],
    *,
    granularity: str = "weight",
    exclude: Iterable[str] = (),
    rows: int = 8,
    report: Report = ...,
    out: str | Path,
    **options: Any,
) -> pd.DataFrame: ...


def prune_llm(
    model: nn.Module | str | Path,
    inputs: Tensor,
    method: str,
    sparsity: float | Mapping[str, float],
    *,
    granularity: str = "weight",
    exclude: Iterable[str] = (),
    rows: int = 8,
    report: Report = lambda block: None,
    out: str | Path | None = None,
    **options: Any,
) -> tuple[Masks, dict[str, Tensor]] | pd.DataFrame:
    """Prune the linear layers of a decoder's blocks in one pass of calibration tokens; masks, and the new weights.

    `inputs` `[n, t]` are passed `rows` at a time. A block is calibrated on what the pruned blocks before it give; all
    layers inside it on what the dense block computes, in one pass. Every layer loses the same share, or that of its
    block, by name (`owl`); embeddings and the head stay. Experts that are stacked in one parameter are layers of their
    own, and its mask has its shape. `model.load_state_dict(weights, strict=False)` puts the weights in; the model
    itself is untouched. `report(name)` is called after each block. At the end a warning names matrices of no known
    layer, such as a router's, which stay; other kinds of layers in the blocks must be named in `exclude`.

    A folder (or an id of the hub) in place of the model is pruned without being in memory as a whole: of its weights
    only what stands before the blocks, and one block. It needs `out`, the folder of the result, which `from_pretrained`
    loads: a new or empty one, or one that holds what the same call wrote before it was stopped; then it goes on, and
    ends with the same bits. Blocks are computed on the device of `inputs`. The weights are those of the live model; the
    return value is a table with a row for each layer. Its seconds are of this call (NaN where the block was there
    already), those of a block's first layer with the pass in which all are watched. Raises ValueError, before anything
    is written, for all that can be known then: files that are missing or cut short, no decoder, tokens that the model
    does not know, n:m that does not divide a row, no room on the disk.

    While it runs, blocks of the live model are changed, and put back at the end: to use the model in another thread
    meanwhile, as explorers do, pass a copy. Misleads where calibration is not of the kind of text that the model will
    read.

    >>> import workbench as wb
    >>> task = wb.load("text", device="cpu")
    >>> model = wb.make("llama", task, width=0.25)
    >>> masks, weights = prune_llm(model, task.batch(2).inputs, "wanda", 0.5)
    >>> len(masks), wb.sparsity(masks)
    (28, 0.5)
    """
    if not isinstance(model, nn.Module):
        if not isinstance(model, str | Path):
            told = f"model is an nn.Module, a folder or an id of the hub; got {type(model).__name__}"
            raise TypeError(f"{told}. Pass a decoder of transformers, or the folder that it was saved in")
        if out is None:
            raise TypeError(
                "a folder is pruned into another one; got no out=. Pass out='a folder that is not there yet'"
            )
        return prune_folder(model, inputs, method, sparsity, out, granularity, exclude, rows, report, options)
    if is_pretrained(model):
        check_tokens(model, type(model).__name__, inputs)
    if out is not None:
        told = f"out= is for a model in a folder; got it with {type(model).__name__}"
        raise TypeError(f"{told}. Put the weights in with load_state_dict, and use its save_pretrained")
    plan = planned(model, method, sparsity, granularity, exclude, options)
    check_count("rows", rows)
    masks: Masks = {}
    weights: dict[str, Tensor] = {}
    before: list[tuple[Tensor, Tensor]] = []

    def visit(name: str, block: nn.Module, run: Callable[[], None]) -> None:
        for layer, weight, mask, new in plan.pruned(name, block, run):
            before.append((weight, weight.clone()))
            weight.copy_(new)
            masks[layer], weights[layer] = mask, new
        report(name)

    try:
        walk(model, inputs, visit, rows)
    finally:
        with torch.no_grad():
            for weight, own in before:
                weight.copy_(own)
    plan.warn(model)
    return masks, weights
