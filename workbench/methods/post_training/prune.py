"""A decoder pruned without training, block by block, by a method of the registry."""

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from workbench.methods.post_training.base import POST_TRAINING, Entry, Inputs, Share
from workbench.methods.post_training.blocks import blocks, walk
from workbench.models.weights import counted, turned
from workbench.types import Masks, check_count, count_not_finite


def prune_llm(
    model: nn.Module,
    inputs: Tensor,
    method: str,
    sparsity: float | Mapping[str, float],
    *,
    granularity: str = "weight",
    exclude: Iterable[str] = (),
    rows: int = 8,
    report: Callable[[str], None] = lambda block: None,
    **options: Any,
) -> tuple[Masks, dict[str, Tensor]]:
    """Prune the linear layers of a decoder's blocks in one pass of calibration tokens; masks, and the new weights.

    `inputs` `[n, t]` are passed `rows` at a time. A block is calibrated on what the pruned blocks before it give; all
    layers inside it on what the dense block computes, in one pass. Every layer loses the same share, or that of its
    block, by name (`owl`); embeddings and the head stay. `model.load_state_dict(weights, strict=False)` puts the
    weights in; the model itself is untouched. `report(name)` is called after each block. A warning names matrices of no
    known layer, such as stacked experts, which stay; other kinds of layers in the blocks must be named in `exclude`.

    >>> import workbench as wb
    >>> task = wb.load("text", device="cpu")
    >>> model = wb.make("llama", task, width=0.25)
    >>> masks, weights = prune_llm(model, task.batch(2).inputs, "wanda", 0.5)
    >>> len(masks), wb.sparsity(masks)
    (28, 0.5)
    """
    entry, found = POST_TRAINING[method], blocks(model)
    budget = sparsity if isinstance(sparsity, Mapping) else dict.fromkeys(found, sparsity)
    if budget.keys() != found.keys():
        told = f"sparsities by block name each of {', '.join(found)}; got {', '.join(map(str, budget)) or 'none'}"
        raise ValueError(f"{told}. Pass one number, or the blocks' names as keys")
    shares = {name: Share.of(budget[name], granularity) for name in found}
    check_count("rows", rows)
    known_options = [*inspect.signature(entry.function).parameters][3:]
    if unknown := [option for option in options if option not in known_options]:
        told = f"{method!r} takes {', '.join(known_options) or 'no options'}; got {', '.join(unknown)}"
        raise TypeError(f"{told}. Leave out what it does not take")
    masks: Masks = {}
    weights: dict[str, Tensor] = {}
    known = counted(model, exclude)
    linear = {f"{layer}.weight" for name, block in found.items() for layer in layers_of(name, block)}
    if other := [w for w in known if w.startswith(tuple(f"{name}." for name in found)) and w not in linear]:
        told = f"one-shot methods prune linear layers; {', '.join(other)} are of another kind"
        raise ValueError(f"{told}. Pass exclude={other} to leave them whole")

    def visit(name: str, block: nn.Module, run: Callable[[], None]) -> None:
        layers = {layer: module for layer, module in layers_of(name, block).items() if f"{layer}.weight" in known}
        with watched(layers, entry) as seen:
            if entry.needs != "nothing":
                run()
        for layer, module in layers.items():
            mask, new = _pruned(f"{layer}.weight", module, seen[layer], entry, shares[name], options)
            before[module] = _weight(module).clone()
            _weight(module).copy_(new)
            masks[f"{layer}.weight"], weights[f"{layer}.weight"] = mask, new
        report(name)

    before: dict[nn.Module, Tensor] = {}
    try:
        walk(model, inputs, visit, rows)
    finally:
        with torch.no_grad():
            for module, weight in before.items():
                _weight(module).copy_(weight)
    return masks, weights


