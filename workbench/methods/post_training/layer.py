"""One layer by itself: what it reads, and what a one-shot method makes of it."""

import threading
from typing import Any

import torch
from torch import Tensor, nn

from workbench.methods.post_training.base import POST_TRAINING, Inputs, Share
from workbench.models.running import evaluating, fitted, outputs
from workbench.types import count_not_finite


@torch.no_grad()
def layer_inputs(model: nn.Module, inputs: Tensor, layer: str) -> Tensor:
    """What a layer reads while the model runs on `inputs`: `[rows, in]`, a row for each token of each sample.

    `layer` is a module's name, as in `model.get_submodule`. The model is untouched, in evaluation mode; what other
    threads run meanwhile does not count. Raises ValueError for a layer that does not run. Misleads as what
    `wb.prune_llm` sees: there the blocks before are pruned.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> layer_inputs(model, torch.ones(3, 2), "0").tolist()
    [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    """
    seen: list[Tensor] = []
    own = threading.get_ident()

    def look(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        if threading.get_ident() == own:
            seen.append(given[0].detach())

    hook = model.get_submodule(layer).register_forward_pre_hook(look)
    try:
        with evaluating(model):
            outputs(model, fitted(model, inputs))
    finally:
        hook.remove()
    if not seen:
        raise ValueError(f"a layer is looked at while it runs; {layer!r} does not run. Pass one that the model calls")
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in seen])


@torch.no_grad()
def prune_layer(
    weight: Tensor,
    inputs: Tensor,
    method: str,
    sparsity: float,
    *,
    granularity: str = "weight",
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Prune one weight `[out, in]` by a one-shot method, on the layer's inputs X `[tokens, in]`; mask and new weight.

    The layer computes `X W'`. `options` are the method's own. `wb.prune_llm` does this for each layer of a decoder.

    Misleads as a measure of a network: the inputs of later layers change when earlier ones are pruned.

    >>> inputs = torch.tensor([[9.0, 1.0], [9.0, -1.0]])
    >>> prune_layer(torch.tensor([[1.0, 2.0]]), inputs, "wanda", 0.5)[1].tolist()
    [[1.0, 0.0]]
    """
    for name, given in (("weight", weight), ("inputs", inputs)):
        if not isinstance(given, Tensor) or not given.is_floating_point():
            remedy = (
                "Pass layer.weight" if isinstance(given, nn.Module) else "Make it one with torch.as_tensor and float()"
            )
            got = str(given.dtype) if isinstance(given, Tensor) else type(given).__name__
            raise TypeError(f"weight and inputs are floating-point tensors; {name} is {got}. {remedy}")
    entry, share = POST_TRAINING[method], Share.of(sparsity, granularity)
    if weight.ndim != 2 or inputs.ndim != 2 or inputs.shape[1] != weight.shape[1] or not len(inputs):
        told = f"weight is [out, in] and inputs [tokens, in]; got {tuple(weight.shape)} and {tuple(inputs.shape)}"
        raise ValueError(f"{told}. Pass a row of inputs for each token, as wb.layer_inputs gives them")
    if share.m and weight.shape[1] % share.m:
        told = f"{granularity!r} groups inputs; got {weight.shape[1]}, no multiple of {share.m}"
        raise ValueError(f"{told}. Pass another n:m")
    for name, values in (("weight", weight), ("inputs", inputs)):
        if count := count_not_finite(values):
            raise ValueError(f"numbers are finite; {name} has {count} that are NaN or infinite. Leave them out")
    seen = Inputs()
    seen.add(inputs, entry.needs)
    return entry.function(weight, seen, share, **options)
