"""Bytes that a forward pass holds and a weight takes, and from where on a form of it pays."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.metrics.cost import in_turns, on_threads
from workbench.removal.kernels import Sparse
from workbench.seeds import seeded
from workbench.types import check_choice, check_count, check_sparsity


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


def weight_bytes(shape: Sequence[int], kept: int, each: int = 4) -> dict[str, int]:
    """Bytes of a weight of which so many values of `each` bytes are kept, by form.

    >>> weight_bytes((4, 8), 4)
    {'dense': 128, 'bitmask': 20, 'csr': 52}
    """
    whole = math.prod(shape)
    bitmask, csr = math.ceil(whole / 8) + kept * each, kept * (each + 4) + 4 * (shape[0] + 1)
    return {"dense": whole * each, "bitmask": bitmask, "csr": csr}


@torch.no_grad()
def layer_speedup(
    sparsity: float,
    batch: int = 1,
    size: Sequence[int] = (2048, 2048),
    *,
    repeats: int = 15,
    threads: int = 1,
    removed: bool = False,
) -> float:
    """How much faster than dense a layer of random weights is as CSR, or with these of its outputs `removed`.

    Dense seconds over the other's. `size` is `[out, in]` of a linear layer or `[out, in, rows, columns]` of a
    convolution, which sees images of 16 x 16.
    """
    sparsity, batch, size = check_sparsity(sparsity), check_count("batch", batch), _check_size(size)
    check_count("repeats", repeats, least=2)
    smaller = (max(round(size[0] * (1 - sparsity)), 1), *size[1:])
    with seeded(0):
        layer, other = (_layer(sizes) for sizes in (size, smaller))
        inputs = torch.randn(batch, size[1], *[16] * (len(size) - 2))
        if not removed:
            layer.weight.mul_(torch.rand_like(layer.weight) >= sparsity)
            other = Sparse(layer)
    with on_threads(threads):
        seconds = in_turns({"dense": lambda: layer(inputs), "other": lambda: other(inputs)}, repeats)
    return seconds["dense"][0] / seconds["other"][0]


def _check_size(size: Sequence[int]) -> Sequence[int]:
    if len(size) not in (2, 4) or min(size) < 1:
        told = f"a size is [out, in] or [out, in, rows, columns]; got {size!r}"
        raise ValueError(f"{told}. Pass one such as (64, 64, 3, 3)")
    return size


def _layer(size: Sequence[int]) -> Any:
    out, inner, *kernel = size
    return nn.Conv2d(inner, out, (kernel[0], kernel[1]), bias=False) if kernel else nn.Linear(inner, out, bias=False)


def _fewer_bytes(form: str) -> Callable[..., float]:
    def gain(sparsity: float, batch: int, size: Sequence[int], **how: Any) -> float:
        found = weight_bytes(_check_size(size), round(math.prod(size) * (1 - sparsity)))
        return found["dense"] / found[form]

    return gain


GAINS: dict[str, Callable[..., float]] = {
    "csr": layer_speedup,
    "removed": functools.partial(layer_speedup, removed=True),
    "bitmask on disk": _fewer_bytes("bitmask"),
    "csr on disk": _fewer_bytes("csr"),
}
"""How many times less a layer costs in each form: `gain(sparsity, batch, size, repeats=, threads=)`."""


def break_even(
    batch: int = 1,
    size: Sequence[int] = (2048, 2048),
    *,
    form: str = "csr",
    least: float = 0.0,
    most: float = 0.995,
    within: float = 0.01,
    repeats: int = 15,
    threads: int = 1,
) -> float:
    """The sparsity from which a layer costs less in a form than dense, found by halving; NaN if none.

    `form`: "csr", faster with nonzero weights alone; "removed", faster without that part of its outputs; "bitmask on
    disk" and "csr on disk", fewer bytes. `size`: a linear layer's `[out, in]`, or a convolution's `[out, in, rows,
    columns]` (as CSR a product with its unfolded inputs).

    Seconds are measured here and now: they move with the batch size, the processor and the library.

    >>> round(break_even(form="bitmask on disk", within=1e-4), 3)  # 1 bit of 32
    0.031
    """
    gain = functools.partial(GAINS[check_choice("form", form, GAINS)], repeats=repeats, threads=threads)
    if not (0 <= least < most < 1 and within > 0):
        told = f"least and most are sparsities, least < most, and within > 0; got {least}, {most} and {within}"
        raise ValueError(f"{told}. Leave them out")
    if gain(most, batch, size) < 1:
        return math.nan
    low, high = least, most
    while high - low > within:
        middle = (low + high) / 2
        low, high = (middle, high) if gain(middle, batch, size) < 1 else (low, middle)
    return (low + high) / 2
