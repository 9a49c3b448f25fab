"""Outlier features planted into a model without a change of its function: what magnitude cannot see, and Wanda can."""

from typing import Any

import torch
from torch import Tensor, nn

from workbench.models.running import evaluating, outputs, run_model
from workbench.models.weights import NORM, turned
from workbench.seeds import generator
from workbench.types import check_count


@torch.no_grad()
def planted_outliers(
    model: nn.Module, inputs: Tensor, factor: float, share: float = 1 / 16, seed: int = 0
) -> dict[str, Tensor]:
    """New weights under which a `share` of the inputs of layers that read a norm are `factor` times as large.

    In these channels the norm's weight (and bias) is multiplied by `factor`, and the columns of all linear layers that
    read it are divided by it: the model computes what it did before. Which layers read which norm is seen in a pass of
    `inputs`. The channels are the same for all norms of one width, as in large models (Dettmers et al. 2022,
    arXiv:2208.07339). `model.load_state_dict(weights, strict=False)` puts them in; the model itself is untouched.

    Raises ValueError where no linear layer reads a norm, or where something else reads it, too. Misleads as a picture
    of large models: layers that read no norm (`o_proj`, `down_proj`) keep their inputs.

    >>> import workbench as wb
    >>> task = wb.load("text", device="cpu")
    >>> model = wb.make("llama", task, width=0.25)
    >>> weights = planted_outliers(model, task.batch(2).inputs, 20)
    >>> len(weights), int((weights["model.layers.0.input_layernorm.weight"] == 20).sum())
    (28, 2)
    """
    if not factor > 0 or not 0 < share <= 1:
        raise ValueError(f"factor is above 0 and share in (0, 1]; got {factor} and {share}. Try 20 and 1 / 16")
    names = {module: name for name, module in model.named_modules()}
    channels: dict[int, Tensor] = {}
    weights: dict[str, Tensor] = {}
    for norm, layers in readers(model, inputs).items():
        width = norm.weight.numel()
        if width not in channels:
            count = check_count("channels", max(round(share * width), 1))
            channels[width] = torch.randperm(width, generator=generator(seed))[:count].to(norm.weight.device)
        at, offset = channels[width], _offset(norm)
        scaled = norm.weight.clone()
        scaled[at] = (scaled[at] + offset) * factor - offset
        weights[f"{names[norm]}.weight"] = scaled
        if getattr(norm, "bias", None) is not None:
            weights[f"{names[norm]}.bias"] = norm.bias.index_copy(0, at, norm.bias[at] * factor)
        for layer in layers:
            less = layer.weight.clone()
            (less.t() if turned(layer) else less)[:, at] /= factor
            weights[f"{names[layer]}.weight"] = less
    _check_equal(model, inputs[:1], weights)
    return weights


def readers(model: nn.Module, inputs: Tensor) -> dict[Any, list[Any]]:
    """The norms whose outputs linear layers inside the same block read, and these layers.

    >>> model = nn.ModuleDict({"blocks": nn.ModuleList([nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 3))])})
    >>> model.forward = lambda x: model["blocks"][0](x)
    >>> [(type(norm).__name__, len(layers)) for norm, layers in readers(model, torch.ones(1, 2)).items()]
    [('LayerNorm', 1)]
    """
    inside = [m for listed in model.modules() if isinstance(listed, nn.ModuleList) for m in listed.modules()]
    given: dict[int, tuple[nn.Module, Tensor]] = {}
    found: dict[Any, list[Any]] = {}

    def wrote(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            given[id(output)] = module, output  # kept, so that no other tensor gets its id

    def read(module: nn.Module, args: tuple[Any, ...]) -> None:
        norm, tensor = given.get(id(args[0]), (None, None)) if args else (None, None)
        if norm is not None and tensor is args[0] and module not in found.setdefault(norm, []):
            found[norm].append(module)

    hooks = []
    for module in dict.fromkeys(inside):
        own = getattr(module, "weight", None)
        if isinstance(own, Tensor) and own.ndim == 1 and NORM.search(type(module).__name__):
            hooks.append(module.register_forward_hook(wrote))
        elif isinstance(module, nn.Linear) or turned(module):
            hooks.append(module.register_forward_pre_hook(read))
    try:
        with evaluating(model):
            outputs(model, inputs[:1])
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        told = f"outliers are planted where linear layers read a norm; none of {type(model).__name__} does"
        raise ValueError(f"{told}. Pass a model with norms before its layers")
    return found


def _offset(norm: Any) -> float:
    """What a norm adds to its weight before it multiplies (Gemma's: 1)."""
    x = torch.arange(1.0, norm.weight.numel() + 1, device=norm.weight.device, dtype=norm.weight.dtype)[None]
    own = torch.zeros_like(norm.weight), torch.ones_like(norm.weight)
    none, one = (torch.func.functional_call(norm, {"weight": weight}, (x,)) for weight in own)
    bias = 0 if getattr(norm, "bias", None) is None else norm.bias
    return float(torch.round(((none - bias) / (one - none))[0, -1]))


def _check_equal(model: nn.Module, one: Tensor, weights: dict[str, Tensor]) -> None:
    with evaluating(model):
        before, after = run_model(model, one), run_model(model, one, weights)
    if not torch.allclose(before, after, rtol=0.01, atol=0.01 * float(before.abs().max())):
        told = f"a norm of {type(model).__name__} is read by more than linear layers: outliers change the outputs"
        raise ValueError(f"{told}. Pass a model whose norms only feed linear layers")
