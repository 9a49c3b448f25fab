"""Models whose parameters have shapes and no memory, for what is larger than memory: made so, filled, emptied again."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode


class _Empty(TorchFunctionMode):
    """`torch.empty` gives tensors without memory: code makes large parameters with it, and no buffers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        more = {"device": "meta"} if func is torch.empty else {}
        return func(*args, **{**(kwargs or {}), **more})


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
        with _Empty():
            yield
    finally:
        hook.remove()


def empty(module: nn.Module) -> None:
    """Put the module's parameters on the meta device, so that their memory is free.

    >>> layer = nn.Linear(2, 2)
    >>> empty(layer)
    >>> layer.weight
    Parameter containing:
    Parameter(..., device='meta', size=(2, 2), requires_grad=True)
    """
    _each(module, lambda parameter: parameter.to("meta"))


def zero(module: nn.Module, device: torch.device) -> None:
    """Give zeros to the module's parameters that have no memory."""
    _each(module, lambda p: torch.zeros(p.shape, dtype=p.dtype, device=device) if p.is_meta else p)


def _each(module: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and (new := change(parameter)) is not parameter:
                part._parameters[name] = _with(parameter, new)


def _with(parameter: nn.Parameter, data: Tensor) -> nn.Parameter:
    return parameter if data is parameter else nn.Parameter(data, requires_grad=parameter.requires_grad)
