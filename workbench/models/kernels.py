"""Recurrent layers and attention as plain operations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


@contextlib.contextmanager
def plain_layers(model: nn.Module) -> Iterator[None]:
    """Run a block in which the model's recurrent layers and attention are made of matrix products.

    Their fused kernels can be differentiated once or not at all, and hide the products. Other models keep all kernels.

    >>> with plain_layers(nn.LSTM(2, 3)):
    ...     torch.backends.mkldnn.enabled
    False
    """
    recurrent = any(isinstance(m, nn.RNNBase) for m in model.modules())
    libraries: tuple[Any, ...] = (torch.backends.mkldnn, torch.backends.cudnn) if recurrent else ()
    before, fast = [library.enabled for library in libraries], torch.backends.mha.get_fastpath_enabled()
    try:
        for library in libraries:
            library.enabled = False
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        for library, enabled in zip(libraries, before, strict=True):
            library.enabled = enabled
        torch.backends.mha.set_fastpath_enabled(fast)
