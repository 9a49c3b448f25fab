"""Kernels that skip zeros: CSR on any processor, 2:4 in half precision on CUDA."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.sparse import to_sparse_semi_structured

from workbench.models.running import evaluating
from workbench.types import Masks


class Sparse(nn.Module):
    """A linear layer, or a 2-d convolution as a matrix product, with its weight as CSR: nonzero weights only."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer, self.bias = layer, layer.bias
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
            self.weight = layer.weight.detach().flatten(1).to_sparse_csr()

    def forward(self, x: Tensor) -> Tensor:
        layer: Any = self.layer
        bias = 0 if self.bias is None else self.bias[:, None]
        if isinstance(layer, nn.Linear):
            return (self.weight @ x.flatten(0, -2).t() + bias).t().unflatten(0, x.shape[:-1])
        how: dict[str, Any] = dict(dilation=layer.dilation, padding=layer.padding, stride=layer.stride)
        columns = functional.unfold(x, layer.kernel_size, **how)
        spread = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        free = [n + 2 * p - s - 1 for n, p, s in zip(x.shape[2:], layer.padding, spread, strict=True)]
        places = [n // step + 1 for n, step in zip(free, layer.stride, strict=True)]
        found = self.weight @ columns.transpose(0, 1).flatten(1) + bias
        return found.unflatten(1, (len(x), *places)).transpose(0, 1)


def sparse_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that `sparse` makes CSR: linear ones and plain 2-d convolutions, outside torch's fused blocks."""
    fused = [f"{name}." for name, layer in model.named_modules() if isinstance(layer, nn.TransformerEncoderLayer)]
    found = {}
    for name, layer in model.named_modules():
        plain = isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
        plain = plain and not isinstance(layer.padding, str)
        if (type(layer) is nn.Linear or plain) and not name.startswith(tuple(fused)):
            found[name] = layer
    return found


def sparse(model: nn.Module) -> nn.Module:
    """A copy with the weights of `sparse_layers` as CSR; the rest stays as it is.

    >>> sparse(nn.Sequential(nn.Linear(4, 2)))[0].weight.layout
    torch.sparse_csr
    """
    made = copy.deepcopy(model)
    for name, layer in sparse_layers(made).items():
        if not name:
            return Sparse(layer)
        made.set_submodule(name, Sparse(layer))
    return made


class Half(nn.Module):
    """A model in half precision; inputs that are fractions are cast."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).half()

    def forward(self, x: Tensor) -> Any:
        return self.model(x.half() if x.is_floating_point() else x)


class SemiStructured(nn.Module):
    """A linear layer in half precision with its 2:4 weight as torch's semi-structured tensor; dense once this fails."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer, self.failed = layer, ""
        self.packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        try:
            if not self.failed:
                if self.packed is None:
                    self.packed = to_sparse_semi_structured(self.layer.weight.detach())
                return functional.linear(x.contiguous(), self.packed, self.layer.bias)
        except (RuntimeError, ValueError, AssertionError) as error:  # no kernel for this GPU, size or layout
            self.failed = str(error)
        found: Tensor = self.layer(x)
        return found


def two_of_four(model: nn.Module, masks: Masks) -> list[str]:
    """The linear weights whose masks keep at most 2 of each 4 inputs, in sizes that torch takes in half precision."""
    linear = {f"{name}.weight".lstrip("."): m for name, m in model.named_modules() if type(m) is nn.Linear}
    sizes = {name: masks[name].shape for name in linear if name in masks}
    fitting = [name for name, (rows, columns) in sizes.items() if rows % 32 == 0 and columns % 64 == 0]
    return [name for name in fitting if int(masks[name].unflatten(1, (-1, 4)).sum(-1).max()) <= 2]


@torch.no_grad()
def half(
    masked: nn.Module, masks: Masks, example: Tensor, left_out: dict[str, str]
) -> tuple[dict[str, nn.Module], list[str]]:
    """The model in half precision, dense and with its 2:4 weights semi-structured; and which weights these are.

    A layer that has no such kernel stays dense; why stands in `left_out` under its name.
    """
    fitting = two_of_four(masked, masks)
    if not fitting:
        told = (
            "no linear layer, with outputs in 32s and inputs in 64s, has a mask that keeps at most 2 of each 4 inputs"
        )
        left_out["2:4"] = told
        return {}, []
    dense, made = Half(masked), Half(masked)
    layers = {name: SemiStructured(made.model.get_submodule(name.rpartition(".")[0])) for name in fitting}
    for name, layer in layers.items():
        path = name.rpartition(".")[0]
        if path:
            made.model.set_submodule(path, layer)
        else:
            made.model = layer
    try:
        with evaluating(dense), evaluating(made):
            dense(example), made(example)
    except RuntimeError as error:
        left_out["float16"] = left_out["2:4"] = str(error)
        return {}, []
    left_out |= {f"2:4 of {name}": layer.failed for name, layer in layers.items() if layer.failed}
    packed = [name for name, layer in layers.items() if not layer.failed]
    return {"float16": dense, **({"2:4": made} if packed else {})}, packed
