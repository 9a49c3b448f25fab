"""Models whose parameters have shapes and no memory, for what is larger than memory: made so, filled, emptied again."""

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

LARGE = 2**28
"""Numbers in a tensor that can only be a parameter: the largest buffers, causal masks, are smaller."""


class _Hollow(TorchFunctionMode):
    """`torch.empty`, and other functions that make something so large, give tensors without memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn):
            found = func(*args, **{**kwargs, "device": "meta"})
            if func is torch.empty or found.numel() > LARGE:
                return found
        return func(*args, **kwargs)


@contextlib.contextmanager
def without_memory() -> Iterator[None]:
    """Parameters of modules that this thread makes inside are on the meta device; buffers have their true values.

    >>> with without_memory():
    ...     layer = nn.BatchNorm1d(2)
    >>> layer.weight.is_meta, layer.running_var.tolist()
    (True, [1.0, 1.0])
    """
    here = threading.get_ident()

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter) -> nn.Parameter | None:
        return _with(parameter, parameter.to("meta")) if threading.get_ident() == here else None

    hook = register_module_parameter_registration_hook(on_meta)  # type: ignore[arg-type]
    try:
        with _Hollow():
            yield
    finally:
        hook.remove()


def empty(module: nn.Module) -> None:
    """Put the module's parameters on the meta device, so that their memory is free.

    >>> layer = nn.Linear(2, 2)
    >>> empty(layer)
    >>> layer.weight.shape, layer.weight.is_meta
    (torch.Size([2, 2]), True)
    """
    _each(module, lambda parameter: parameter.to("meta"))


def zero(modules: Collection[nn.Module], device: torch.device) -> None:
    """Give zeros to all parameters that have no memory: they share one tensor, of the size of the largest."""
    hollow = [part for module in modules for part in module.modules()]
    meta = [p for part in hollow for p in part._parameters.values() if p is not None and p.is_meta]
    most = {dtype: max(p.numel() for p in meta if p.dtype == dtype) for dtype in {p.dtype for p in meta}}
    zeros = {dtype: torch.zeros(size, dtype=dtype, device=device) for dtype, size in most.items()}
    for module in modules:
        _each(module, lambda p: zeros[p.dtype][: p.numel()].view(p.shape) if p.is_meta else p)


def _each(module: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and (new := change(parameter)) is not parameter:
                part._parameters[name] = _with(parameter, new)


def _with(parameter: nn.Parameter, data: Tensor) -> nn.Parameter:
    return parameter if data is parameter else nn.Parameter(data, requires_grad=parameter.requires_grad)
