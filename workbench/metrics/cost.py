"""Multiply-adds and measured latency."""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from workbench.criteria.passes import evaluating, run_model
from workbench.models import prunable
from workbench.types import Masks, check_count, check_masks


@torch.no_grad()
def layer_macs(model: nn.Module, example: Tensor) -> dict[str, int]:
    """Multiply-adds per sample of each prunable weight, dense: weights x positions they are applied at.

    A weight shared by several calls counts each call; attention's projections count, its products between activations
    have no weights and do not. Keys as in `wb.prunable`.
    """
    owners = {id(weight): name for name, weight in prunable(model, strict=False).items()}
    found = dict.fromkeys(owners.values(), 0)

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        name = owners[id(module.weight)]
        weight: Tensor = module.weight  # type: ignore[assignment]
        if isinstance(module, nn.Linear):
            positions = output.numel() // output.shape[-1]
        elif isinstance(module, nn.modules.conv._ConvTransposeNd):
            positions = inputs[0].numel() // inputs[0].shape[1]
        else:
            positions = output.numel() // output.shape[1]
        found[name] += positions * weight.numel()

    def count_attention(
        module: nn.MultiheadAttention, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Any
    ) -> None:
        given = dict(zip(("query", "key", "value"), inputs, strict=False)) | named
        tokens = [given[part].numel() // given[part].shape[-1] for part in ("query", "key", "value")]
        whole, parts = module.in_proj_weight, (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        if whole is not None:
            found[owners[id(whole)]] += sum(tokens) * whole.numel() // 3
        else:
            for weight, n in zip(parts, tokens, strict=True):
                found[owners[id(weight)]] += n * weight.numel()
        out = module.out_proj.weight
        found[owners[id(out)]] += tokens[0] * out.numel()

    hooks = [
        m.register_forward_hook(count)
        for m in model.modules()
        if id(getattr(m, "weight", None)) in owners and isinstance(m, nn.Linear | nn.modules.conv._ConvNd)
    ]
    hooks += [
        m.register_forward_hook(count_attention, with_kwargs=True)
        for m in model.modules()
        if isinstance(m, nn.MultiheadAttention)
    ]
    try:
        with evaluating(model):
            run_model(model, example)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: total // len(example) for name, total in found.items()}


def macs(model: nn.Module, example: Tensor, masks: Masks | None = None) -> int:
    """Multiply-adds per sample; a multiply-add counts 1, convolutions and linear layers only.

    With `masks` only kept weights count. Equal to half of `torch.utils.flop_counter` on networks of such layers.
    Of attention the projections count, and the products between activations, which have no weights, do not.

    Misleads as a promise of speed: a dense kernel multiplies the zeros too. See `latency`.

    >>> macs(nn.Linear(3, 2), torch.ones(5, 3))
    6
    """
    costs = layer_macs(model, example)
    if masks is None:
        return sum(costs.values())
    check_masks(model, masks)
    return sum(
        cost * int(masks[name].sum()) // masks[name].numel() if name in masks else cost for name, cost in costs.items()
    )


@torch.no_grad()
def latency(
    model: nn.Module, example: Tensor, repeats: int = 30, warmup: int = 5, threads: int | None = None
) -> dict[str, Any]:
    """Median seconds of a forward pass, with what the number depends on: device, batch size, threads, repeats.

    Returns {"median", "low", "high" (quartiles), "device", "batch", "threads", "repeats"}.
    Misleads on a busy machine, and when two networks are timed at different moments: time them in turns.

    >>> latency(nn.Linear(3, 2), torch.ones(5, 3), repeats=4)["batch"]
    5
    """
    check_count("repeats", repeats, least=2)
    before = torch.get_num_threads()
    seconds = []
    try:
        if threads is not None:
            torch.set_num_threads(check_count("threads", threads))
        used = torch.get_num_threads()
        with evaluating(model):
            run_model(model, example)
            for turn in range(1 - warmup, repeats):
                start = time.perf_counter()
                model(example)
                if example.is_cuda:
                    torch.cuda.synchronize()
                if turn >= 0:
                    seconds.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    low, middle, high = statistics.quantiles(seconds, n=4)
    return {
        "median": middle,
        "low": low,
        "high": high,
        "device": str(example.device),
        "batch": len(example),
        "threads": used,
        "repeats": repeats,
    }


def speedup(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Measured latency ratio of two `latency` results taken under equal conditions.

    >>> slow = {"median": 2.0, "device": "cpu", "batch": 1, "threads": 1}
    >>> speedup(slow, slow | {"median": 1.0})
    2.0
    """
    for key in ("device", "batch", "threads"):
        if before[key] != after[key]:
            raise ValueError(
                f"a speedup compares equal conditions; {key} is {before[key]} before and {after[key]} after"
            )
    return math.inf if after["median"] == 0 else before["median"] / after["median"]
