"""A decoder pruned without training, block by block, by a method of the registry."""

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from workbench.methods.post_training.base import POST_TRAINING, Entry, Inputs, Share
from workbench.methods.post_training.blocks import blocks, walk
from workbench.methods.post_training.experts import prune_stack, stacks_of, watched_experts
from workbench.models import left_out, prunable
from workbench.models.weights import turned, warn_of
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
    block, by name (`owl`); embeddings and the head stay. Experts that are stacked in one parameter are layers of their
    own, and its mask has its shape. `model.load_state_dict(weights, strict=False)` puts the weights in; the model
    itself is untouched. `report(name)` is called after each block. At the end a warning names matrices of no known
    layer, such as a router's, which stay; other kinds of layers in the blocks must be named in `exclude`.

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
    excluded = [exclude] if isinstance(exclude, str) else [*exclude]
    whole = left_out(model, excluded)
    known = prunable(model, excluded)
    linear = {f"{layer}.weight" for name, block in found.items() for layer in layers_of(name, block)}
    if other := [w for w in known if w.startswith(tuple(f"{name}." for name in found)) and w not in linear]:
        told = f"one-shot methods prune linear layers; {', '.join(other)} are of another kind"
        raise ValueError(f"{told}. Pass exclude={other} to leave them whole")

    def visit(name: str, block: nn.Module, run: Callable[[], None]) -> None:
        layers = {layer: module for layer, module in layers_of(name, block).items() if f"{layer}.weight" in known}
        stacks = {stack: weight for stack, weight in stacks_of(name, block).items() if stack in whole}
        with watched(layers, entry) as seen, watched_experts(block, stacks, entry.needs) as experts:
            if entry.needs != "nothing" or stacks:
                run()
        share = shares[name]
        for layer, module in layers.items():
            mask, new = _pruned(f"{layer}.weight", matrix(module), seen[layer], entry, share, options)
            put(f"{layer}.weight", _weight(module), *((mask.t(), new.t()) if turned(module) else (mask, new)))
        for stack, seen_by in experts.items():
            if seen_by.turned is not None:
                prune = partial(_pruned, entry=entry, share=share, options=options)
                put(stack, stacks[stack].detach(), *prune_stack(stack, seen_by, share, prune))
                del whole[stack]
        report(name)

    def put(name: str, weight: Tensor, mask: Tensor, new: Tensor) -> None:
        before.append((weight, weight.clone()))
        weight.copy_(new)
        masks[name], weights[name] = mask, new

    before: list[tuple[Tensor, Tensor]] = []
    try:
        walk(model, inputs, visit, rows)
    finally:
        with torch.no_grad():
            for weight, own in before:
                weight.copy_(own)
    warn_of(whole, model)
    return masks, weights


def layers_of(name: str, block: nn.Module) -> dict[str, nn.Module]:
    found = {f"{name}.{inner}".rstrip("."): module for inner, module in block.named_modules()}
    return {layer: module for layer, module in found.items() if isinstance(module, nn.Linear) or turned(module)}


def _weight(layer: nn.Module) -> Tensor:
    found = layer.weight
    assert isinstance(found, Tensor)
    return found.detach()


def matrix(layer: nn.Module) -> Tensor:
    """A layer's weight as `[out, in]`."""
    return _weight(layer).t() if turned(layer) else _weight(layer)


def _pruned(
    name: str, weight: Tensor, inputs: Inputs, entry: Entry, share: Share, options: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """The mask and the new weight of a matrix `[out, in]`."""
    if entry.needs != "nothing" and not inputs.n:
        raise ValueError(f"{name!r} saw no calibration tokens. Pass exclude=[{name!r}], or more tokens")
    if share.m and weight.shape[1] % share.m:
        told = f"'{share.n}:{share.m}' groups inputs; {name!r} has {weight.shape[1]}, no multiple of {share.m}"
        raise ValueError(f"{told}. Pass exclude=[{name!r}], or another n:m")
    if inputs.n and entry.needs != "nothing" and count_not_finite(inputs.power):
        raise ValueError(f"inputs of {name!r} are NaN or infinite. Check the weights, or calibrate in float32")
    if count := count_not_finite(weight):
        raise ValueError(f"weights are finite numbers; {name!r} has {count} that are NaN or infinite. Mend the model")
    return entry.function(weight, inputs, share, **options)


@contextlib.contextmanager
def watched(layers: dict[str, nn.Module], entry: Entry) -> Iterator[dict[str, Inputs]]:
    """What each layer reads while a block runs; layers that read one tensor share what is made of it."""
    seen: dict[str, Inputs] = {layer: Inputs() for layer in layers}
    now: list[Any] = [None, None]  # the tensor that was read last, and of which inputs it is

    def look(name: str, given: Tensor) -> None:
        if now[0] is given:  # the layer before read it, too
            seen[name] = now[1]
            return
        seen[name].add(given.reshape(-1, given.shape[-1]), entry.needs)
        now[:] = given, seen[name]

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda module, args: look(name, args[0])

    hooks = [module.register_forward_pre_hook(hook(name)) for name, module in layers.items()]
    try:
        yield seen
    finally:
        for one in hooks:
            one.remove()
