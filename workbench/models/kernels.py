"""Kernels that can be differentiated twice and mapped over samples, in place of fused and compiled ones."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextlib.contextmanager
def plain_kernels(model: nn.Module) -> Iterator[None]:
    """Run a block with kernels that can be differentiated twice and mapped over samples.

    Fused attention cannot, compiled modules run as they were written, and the model's recurrent layers and attention
    are made of matrix products, which their fused kernels hide. Other models keep all other kernels. On a GPU,
    convolutions compute in full precision and give the same bits each time.

    >>> with plain_kernels(nn.LSTM(2, 3)):
    ...     torch.backends.mkldnn.enabled
    False
    """
    layers = list(model.modules())
    recurrent = any(isinstance(layer, nn.RNNBase) for layer in layers)
    attention = any(isinstance(layer, nn.MultiheadAttention | nn.TransformerEncoderLayer) for layer in layers)
    with contextlib.ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        on_gpu = any(parameter.is_cuda for parameter in model.parameters())
        for switch in REPEATABLE * on_gpu + RECURRENT * recurrent + ATTENTION * attention:
            stack.enter_context(switch.held())
        yield


class _Switch:
    """A setting of the whole process that several threads may want changed at once: the last puts it back."""

    def __init__(self, holder: Any, name: str, wanted: Any = False) -> None:
        self.holder, self.name, self.wanted = holder, name, wanted
        self.users, self.before, self.lock = 0, None, threading.Lock()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        with self.lock:
            if self.users == 0:
                self.before = getattr(self.holder, self.name)
                setattr(self.holder, self.name, self.wanted)
            self.users += 1
        try:
            yield
        finally:
            with self.lock:
                self.users -= 1
                if self.users == 0:
                    setattr(self.holder, self.name, self.before)


class _FastPath:
    """The fast path of attention as an attribute."""

    enabled = property(
        lambda _: torch.backends.mha.get_fastpath_enabled(),
        lambda _, value: torch.backends.mha.set_fastpath_enabled(value),
    )


class _Precision:
    """How cuDNN's convolutions compute in float32, set so that torch's older setting of the same agrees."""

    @property
    def convolutions(self) -> str:
        return str(torch.backends.cudnn.conv.fp32_precision)  # type: ignore[attr-defined]

    @convolutions.setter
    def convolutions(self, value: str) -> None:
        torch.backends.cudnn.allow_tf32 = value == "tf32"
        if value not in ("tf32", "ieee"):
            torch.backends.cudnn.conv.fp32_precision = value  # type: ignore[attr-defined]


REPEATABLE = [_Switch(torch.backends.cudnn, "deterministic", True), _Switch(_Precision(), "convolutions", "ieee")]
"""On a GPU convolutions give other bits at each run, and in float32 keep 10 bits of 23, unless told not to."""
RECURRENT = [_Switch(torch.backends.mkldnn, "enabled"), _Switch(torch.backends.cudnn, "enabled")]
ATTENTION = [_Switch(_FastPath(), "enabled")]
