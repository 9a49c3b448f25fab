"""Multiply-adds and measured latency."""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from workbench.metrics.products import Products
from workbench.models.kernels import plain_kernels
from workbench.models.running import evaluating, fitted, outputs
from workbench.types import Masks, check_count, check_masks

SEQUENCES = (nn.RNNBase, nn.MultiheadAttention)
"""Layers that take a matrix for one sample, the steps of a sequence."""


@torch.no_grad()
def layer_macs(model: nn.Module, example: Tensor, masks: Masks | None = None) -> dict[str, int]:
    """Multiply-adds per sample of each weight: its entries (those that `masks` keep) x positions they are applied at.

    One pass of `example` `[n, ...]` counts the calls that the model makes, by a module or by hand: see `Products`. A
    weight shared by several calls counts each; products between activations have no weights and do not count. Keys are
    those of `wb.prunable`, then the other parameters that enter a product: matrices left out, tied embeddings, and
    those that a weight norm makes the weight of. Raises ValueError for an example without samples or without a batch
    dimension, and where a prunable weight is used in no product.
    """
    if not isinstance(example, Tensor) or example.ndim < 2 or len(example) == 0:
        got = f"shape {tuple(example.shape)}" if isinstance(example, Tensor) else type(example).__name__
        raise ValueError(
            f"an example is a batch of inputs [n, ...] with at least one sample; got {got}. Pass task.batch(1).inputs, "
            "or x[None] for a single sample"
        )
    products = Products(model, example, masks or {})

    def check(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        given = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None  # a packed sequence has its sizes
        if example.ndim == 2 and given is not None and given.shape[:-1] == example.shape[:1]:
            products.unbatched(f"inputs of shape {tuple(given.shape)} for {type(module).__name__}")

    with contextlib.ExitStack() as hooks, evaluating(model), plain_kernels(model), products:
        for module in model.modules():
            if isinstance(module, SEQUENCES):
                hooks.enter_context(module.register_forward_pre_hook(check))
        given = outputs(model, fitted(model, example))
    if isinstance(given, Tensor) and (given.ndim == 0 or len(given) % len(example)):
        products.unbatched(f"outputs of shape {tuple(given.shape)}")
    return {name: total // len(example) for name, total in products.totals().items()}


def macs(model: nn.Module, example: Tensor, masks: Masks | None = None) -> int:
    """Multiply-adds per sample; a multiply-add counts 1, convolutions and matrix products with weights only.

    With `masks` only kept weights count; also products with parameters that cannot be pruned, but none between
    activations, as in attention. `example` `[n, ...]` is a batch; see `layer_macs` for what is refused.

    Misleads as a promise of speed: a dense kernel multiplies the zeros too, see `latency`. If the input chooses the
    weights (experts), the number is for this example.

    >>> macs(nn.Linear(3, 2), torch.ones(5, 3))
    6
    """
    return sum(layer_macs(model, example, None if masks is None else check_masks(model, masks)).values())


def in_turns(
    calls: Mapping[str, Callable[[], Any]],
    repeats: int,
    warmup: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, tuple[float, float, float]]:
    """Median seconds of each call, with a 95 % interval by order statistics; all called in turn, after `warmup` turns.

    Every other turn runs backwards, so that no call always follows the same one. Below six repeats the
    interval is the range, which holds the median less often.
    """
    from scipy.stats import binom

    spent: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-warmup, repeats):
        for name, call in [*calls.items()][:: 1 if turn % 2 else -1]:
            start = clock()
            call()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            if turn >= 0:
                spent[name].append(clock() - start)
    low = max(int(binom.ppf(0.025, repeats, 0.5)) - 1, 0)
    ordered = {name: sorted(values) for name, values in spent.items()}
    return {name: (statistics.median(v), v[low], v[repeats - 1 - low]) for name, v in ordered.items()}


@contextlib.contextmanager
def on_threads(number: int | None) -> Iterator[None]:
    """Run a block on so many threads, None for torch's own number, and put this back."""
    before = torch.get_num_threads()
    try:
        if number is not None:
            torch.set_num_threads(check_count("threads", number))
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def latency(
    model: nn.Module, example: Tensor, repeats: int = 30, warmup: int = 5, threads: int | None = None
) -> dict[str, Any]:
    """Median seconds of a forward pass, with what the number depends on: device, batch size, threads, repeats.

    Returns {"median", "low", "high" (its 95 % interval), "device", "batch", "threads", "repeats"}.
    Misleads on a busy machine, where the interval is wide, and when two networks are timed at different moments: time
    them in turns, as `wb.costs` does.

    >>> latency(nn.Linear(3, 2), torch.ones(5, 3), repeats=4)["batch"]
    5
    """
    check_count("repeats", repeats, least=2)
    check_count("warmup", warmup, least=0)
    example = fitted(model, example)
    with on_threads(threads), evaluating(model):
        outputs(model, example)
        median, low, high = in_turns({"": lambda: model(example)}, repeats, warmup)[""]
        conditions = dict(device=str(example.device), batch=len(example), threads=torch.get_num_threads())
    return dict(median=median, low=low, high=high) | conditions | dict(repeats=repeats)


def speedup(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Measured latency ratio of two `latency` results taken under equal conditions.

    >>> slow = {"median": 2.0, "device": "cpu", "batch": 1, "threads": 1}
    >>> speedup(slow, slow | {"median": 1.0})
    2.0
    """
    for key in ("device", "batch", "threads"):
        if before[key] != after[key]:
            found = f"{before[key]} before and {after[key]} after"
            raise ValueError(f"a speedup compares equal conditions; {key} is {found}")
    return math.inf if after["median"] == 0 else before["median"] / after["median"]
