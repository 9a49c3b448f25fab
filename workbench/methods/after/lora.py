"""Low-rank adapters on a pruned network: they are trained in place of its weights, and merged into them (LoRA)."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from workbench.extras import lab
from workbench.masks import apply_masks_
from workbench.models.kernels import ATTENTION
from workbench.models.weights import prunable, turned
from workbench.seeds import seeded
from workbench.types import Masks, check_count, check_masks


@contextlib.contextmanager
def adapters(
    model: nn.Module,
    *,
    rank: int = 8,
    alpha: float = 16.0,
    exclude: Iterable[str] = (),
    masks: Masks | None = None,
    seed: int = 0,
) -> Iterator[nn.Module]:
    """Train `W + alpha / rank B A` in place of each linear layer's W; at the end of the block it is merged into W.

    A `[rank, in]` starts at random, B `[out, rank]` at 0; all else is frozen, biases and norms, too. Inside the block
    pass the model to `wb.steps` or `wb.train` as it is, without masks. With `masks` what they remove is 0 in W, in
    `B A` at each step, and after the merge. If the block raises, nothing is merged. `exclude` takes layers' names, as
    in `wb.prunable`. The adapters are those of `peft`. Source: Hu et al. 2021, arXiv:2106.09685, section 4.1; after
    pruning, Ma et al. 2023, arXiv:2305.11627, section 3.3.
    Misleads as a saving of time: a step passes forward and backward through the whole network.

    >>> import workbench as wb
    >>> task = wb.load("moons", device="cpu")
    >>> model = wb.make("lenet-300-100", task)
    >>> masks = wb.find_masks(model, None, "magnitude", sparsity=0.9)
    >>> with adapters(model, rank=2, masks=masks) as adapted:
    ...     records = wb.train(adapted, task, steps=3)
    >>> [bool((model.get_parameter(name) != 0).eq(mask).all()) for name, mask in masks.items()]
    [True, True, True]
    """
    peft, masks = lab("peft"), check_masks(model, masks or {})
    own = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    names = [name.rpartition(".") for name, weight in prunable(model, exclude).items() if own[id(weight)] == 1]
    layers = {layer: module for layer, _, _ in names if _called(module := model.get_submodule(layer))}
    if not layers:
        told = f"adapters stand beside linear layers that are modules; {type(model).__name__} has none outside exclude"
        raise ValueError(f"{told}. Train its weights with wb.steps")
    pattern = "|".join(map(re.escape, layers))
    config = peft.LoraConfig(r=check_count("rank", rank), lora_alpha=alpha, target_modules=pattern)
    flags, before = [(p, p.requires_grad) for p in model.parameters()], set(vars(model))
    apply_masks_(model, masks)
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about layers whose weight is [in, out], which peft treats rightly
        peft.inject_adapter_in_model(config, model)
    added: dict[str, Any] = {layer: model.get_submodule(layer) for layer in layers}
    deltas = {layer: partial(_delta, module, masks.get(f"{layer}.weight")) for layer, module in added.items()}
    for layer, module in added.items():
        if f"{layer}.weight" in masks:
            module.register_forward_hook(partial(_without_removed, ~masks[f"{layer}.weight"]))
    try:
        with contextlib.ExitStack() as stack:
            for switch in ATTENTION:  # the fast path of torch's encoder reads weights, and calls no layer
                stack.enter_context(switch.held())
            yield model
        with torch.no_grad():
            for layer, module in layers.items():
                module.get_parameter("weight").add_(deltas[layer]())
    finally:
        for layer, module in layers.items():
            path, _, child = layer.rpartition(".")
            setattr(model.get_submodule(path), child, module)
        for parameter, needed in flags:
            parameter.requires_grad_(needed)
        for name in set(vars(model)) - before:
            delattr(model, name)


def _called(module: nn.Module) -> bool:
    """Whether a layer is linear and called as a module; attention of torch reads the weight of its last layer."""
    linear = isinstance(module, nn.Linear) or turned(module)
    return linear and not isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear)


def _delta(layer: Any, mask: Tensor | None) -> Tensor:
    """What is added to a layer's weight, in its shape."""
    delta: Tensor = layer.get_delta_weight("default")
    return delta if mask is None else delta.where(mask, 0)


def _without_removed(removed: Tensor, layer: Any, args: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
    """The layer's outputs without what the adapter adds where the masks remove."""
    delta, base = layer.get_delta_weight("default") * removed, layer.get_base_layer()
    rest = {"weight": delta} if base.bias is None else {"weight": delta, "bias": torch.zeros_like(base.bias)}
    return outputs - functional_call(base, rest, args)
