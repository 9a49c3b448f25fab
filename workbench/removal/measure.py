"""Seconds of several calls in turn, bytes that a forward pass holds, and from where on CSR pays."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.removal.kernels import Sparse
from workbench.seeds import generator
from workbench.types import check_count, check_sparsity


class Peak(TorchDispatchMode):
    """The most bytes that tensors made in a `with` block hold at one time; `known` ones, and views, do not count.

    >>> with torch.no_grad(), Peak() as peak:
    ...     _ = torch.zeros(1000).add(1).sum()
    >>> peak.most
    8000
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.most = 0
        self._held = {t.untyped_storage().data_ptr(): [1, 0] for t in known}  # references, bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        for one in given if isinstance(given, tuple | list) else [given]:
            if isinstance(one, Tensor) and one.layout == torch.strided and one.numel():
                storage = one.untyped_storage()
                held = self._held.setdefault(storage.data_ptr(), [0, storage.nbytes()])
                self.now += 0 if held[0] else held[1]
                held[0] += 1
                weakref.finalize(one, self._release, storage.data_ptr())
        self.most = max(self.most, self.now)
        return given

    def _release(self, place: int) -> None:
        held = self._held[place]
        held[0] -= 1
        if not held[0]:
            self.now -= held[1]
            del self._held[place]


@torch.no_grad()
def csr_speedup(
    sparsity: float, batch: int = 1, size: tuple[int, int] = (2048, 2048), *, repeats: int = 15, threads: int = 1
) -> float:
    """How much faster than dense a linear layer of random weights is as CSR: dense seconds over CSR seconds."""
    sparsity, batch = check_sparsity(sparsity), check_count("batch", batch)
    check_count("repeats", repeats, least=2)
    layer = nn.Linear(size[1], size[0], bias=False)
    layer.weight.mul_((torch.rand(size, generator=generator(0)) >= sparsity).float())
    inputs, as_csr = torch.randn(batch, size[1]), Sparse(layer)
    with on_threads(threads):
        seconds = in_turns({"dense": lambda: layer(inputs), "csr": lambda: as_csr(inputs)}, repeats)
    return seconds["dense"][0] / seconds["csr"][0]


def break_even(
    batch: int = 1,
    size: tuple[int, int] = (2048, 2048),
    *,
    least: float = 0.0,
    most: float = 0.995,
    within: float = 0.01,
    repeats: int = 15,
    threads: int = 1,
) -> float:
    """The sparsity from which a linear layer `[out, in]` is faster as CSR than dense, found by halving; NaN if none.

    Measured here and now: it moves with the batch size, the processor and the library.

    >>> 0 <= break_even(64, (256, 256), within=0.2, repeats=3) <= 1
    True
    """
    how: dict[str, Any] = dict(repeats=repeats, threads=threads)
    if not (0 <= least < most < 1 and within > 0):
        told = f"least and most are sparsities, least < most, and within > 0; got {least}, {most} and {within}"
        raise ValueError(f"{told}. Leave them out")
    if csr_speedup(most, batch, size, **how) < 1:
        return math.nan
    low, high = least, most
    while high - low > within:
        middle = (low + high) / 2
        if csr_speedup(middle, batch, size, **how) < 1:
            low = middle
        else:
            high = middle
    return (low + high) / 2
