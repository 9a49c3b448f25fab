"""Experts that a model keeps stacked in one parameter `[E, ., .]`: each of them is a layer of its own."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from workbench.methods.post_training.base import Inputs, Share
from workbench.methods.post_training.scores import magnitude
from workbench.models import left_out
from workbench.types import warn

LINEAR = (functional.linear,)
PRODUCTS = torch.matmul, torch.mm, torch.bmm, Tensor.matmul, Tensor.__matmul__, Tensor.mm, Tensor.bmm
Prune = Callable[[str, Tensor, Inputs], tuple[Tensor, Tensor]]


@dataclass
class Stack:
    """A stacked parameter, what each of its experts read, and whether they are `[in, out]` (None: no product seen)."""

    parameter: Tensor
    inputs: list[Inputs] = field(default_factory=list)
    turned: bool | None = None

    def __post_init__(self) -> None:
        self.inputs = [Inputs() for _ in self.parameter]

    def matrix(self, expert: int) -> Tensor:
        """An expert's weight as `[out, in]`."""
        found = self.parameter[expert].detach()
        return found.t() if self.turned else found


def stacks_of(name: str, block: nn.Module) -> dict[str, Tensor]:
    """The parameters of three dimensions in a block that are of no known layer, by name.

    >>> block = nn.Linear(2, 2)
    >>> block.experts = nn.Parameter(torch.ones(3, 2, 4))
    >>> {name: stack.shape for name, stack in stacks_of("layers.0", block).items()}
    {'layers.0.experts': torch.Size([3, 2, 4])}
    """
    found = {inner: block.get_parameter(inner) for inner in left_out(block)}
    return {f"{name}.{inner}": p for inner, p in found.items() if p.ndim == 3 and p.is_floating_point()}


@contextlib.contextmanager
def watched_experts(block: nn.Module, stacks: dict[str, Tensor], needs: str) -> Iterator[dict[str, Stack]]:
    """What each expert reads while a block runs: the inputs of linear functions and products with a view of its weight.

    Models of `transformers` loop over their experts meanwhile, because a kernel for all of them hides the slices.

    >>> block = nn.Linear(2, 2)
    >>> block.experts = nn.Parameter(torch.ones(3, 2, 4))
    >>> with watched_experts(block, {"experts": block.experts}, "squares") as seen:
    ...     _ = torch.ones(5, 2) @ block.experts[1]
    >>> [inputs.n for inputs in seen["experts"].inputs], seen["experts"].turned
    ([0, 5, 0], True)
    """
    found = {name: Stack(parameter) for name, parameter in stacks.items()}
    if not found:
        yield found
        return
    with _looping(block), _Watching(found, needs):
        yield found


def prune_stack(name: str, stack: Stack, share: Share, needs: str, prune: Prune) -> tuple[Tensor, Tensor]:
    """The mask and the new weight of a whole stack.

    Experts that saw no token lose the smallest weights of each row, where a method needs inputs.
    """
    unseen = [expert for expert, inputs in enumerate(stack.inputs) if not inputs.n and needs != "nothing"]
    if unseen:
        told = f"experts {', '.join(map(str, unseen))} of {name!r} saw no calibration tokens"
        warn(f"{told}: the smallest weights of each row go. Pass more tokens for a better choice")
    mask, new = torch.ones_like(stack.parameter, dtype=torch.bool), stack.parameter.detach().clone()
    for expert, inputs in enumerate(stack.inputs):
        weight = stack.matrix(expert)
        blind = expert in unseen
        kept, own = magnitude(weight, inputs, share, by_row=True) if blind else prune(name, weight, inputs)
        mask[expert], new[expert] = (kept.t(), own.t()) if stack.turned else (kept, own)
    return mask, new


class _Watching(TorchFunctionMode):
    """Sees every function of torch, and notes what is multiplied by a view of a stack."""

    def __init__(self, stacks: dict[str, Stack], needs: str) -> None:
        super().__init__()
        self.needs = needs
        self.stacks = {stack.parameter.untyped_storage().data_ptr(): stack for stack in stacks.values()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        if func in LINEAR or func in PRODUCTS:
            rows, weight = (*args, *(kwargs or {}).values())[:2]
            self.look(rows, weight, turned=func in PRODUCTS)
        return given

    def look(self, rows: Any, weight: Any, turned: bool) -> None:
        if not isinstance(weight, Tensor) or not isinstance(rows, Tensor) or weight.ndim not in (2, 3):
            return
        stack = self.stacks.get(weight.untyped_storage().data_ptr())
        if stack is None:
            return
        whole = stack.parameter
        straight = weight.shape[-2:] == whole.shape[1:] and weight.stride()[-2:] == whole.stride()[1:]
        if not straight and (weight.shape[-2:], weight.stride()[-2:]) != (whole[0].t().shape, whole[0].t().stride()):
            return
        stack.turned = turned if straight else not turned
        first = (weight.storage_offset() - whole.storage_offset()) // whole.stride(0)
        each = rows if weight.ndim == 3 else [rows]
        for expert, part in enumerate(each, start=first):
            part = part.reshape(-1, part.shape[-1])
            stack.inputs[expert].add(part[part.any(1)], self.needs)  # rows of zeros are tokens of other experts


@contextlib.contextmanager
def _looping(block: nn.Module) -> Iterator[None]:
    name = "_experts_implementation"
    configs = {id(c): c for module in block.modules() if hasattr(c := getattr(module, "config", None), name)}
    before = [(config, getattr(config, name)) for config in configs.values()]
    try:
        for config, _ in before:
            setattr(config, name, "eager")
        yield
    finally:
        for config, own in before:
            setattr(config, name, own)
