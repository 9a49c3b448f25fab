"""Kernels that can be differentiated twice and mapped over samples, in place of fused and compiled ones."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextlib.contextmanager
def plain_kernels(model: nn.Module) -> Iterator[None]:
    """Run a block with kernels that can be differentiated twice and mapped over samples.

    Fused attention cannot, compiled modules run as they were written, and the model's recurrent layers and attention
    are made of matrix products, which their fused kernels hide. Other models keep all other kernels.

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
        for switch in [MKLDNN, CUDNN] * recurrent + [FAST_ATTENTION] * attention:
            stack.enter_context(switch.off())
        yield


class _Switch:
    """A setting of the whole process that several threads may want off at once: the last puts it back."""

    def __init__(self, get: Callable[[], bool], put: Callable[[bool], None]) -> None:
        self.get, self.put, self.users, self.before, self.lock = get, put, 0, True, threading.Lock()

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        with self.lock:
            if self.users == 0:
                self.before = self.get()
                self.put(False)
            self.users += 1
        try:
            yield
        finally:
            with self.lock:
                self.users -= 1
                if self.users == 0:
                    self.put(self.before)


def _library(library: Any) -> _Switch:
    return _Switch(lambda: library.enabled, lambda enabled: setattr(library, "enabled", enabled))


MKLDNN, CUDNN = _library(torch.backends.mkldnn), _library(torch.backends.cudnn)
FAST_ATTENTION = _Switch(torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled)
