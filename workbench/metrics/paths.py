"""Effective sparsity: which kept weights lie on a path from an input to an output."""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from workbench.metrics.reach import Reached, Values, dual_numbers
from workbench.models.kernels import plain_kernels
from workbench.models.running import evaluating, run_model
from workbench.seeds import generator, threads
from workbench.types import Masks, check_masks, check_weights


def effective(model: nn.Module, masks: Masks, example: Tensor) -> Masks:
    """Masks of the kept weights on some input-output path; those of biases and norms come back as they are.

    A weight is on a path when what it reads depends on an input (one pass in forward mode) and an output depends on
    what it feeds (one backward pass), both as yes or no at each layer, so that no path is lost because it is long or
    weak. Biases make no path. Norm layers and activation functions pass each of their inputs on, a maximum all;
    softmax, products and norms written by hand are taken as they are, at random values. `example` gives the shape of
    the input; of whole numbers (tokens) also the values, and paths start at their embedding.
    Source: Vysogorets and Kempe 2023, arXiv:2107.02306 (effective sparsity).

    On no path are the taps of a convolution that only see padding, and layers that the forward does not call. Raises
    ValueError if other weights are on no path in the dense network: top-k, argmax or `detach` hide paths.

    Misleads with softmax and norms written by hand, which mix their inputs: weights without effect can seem connected.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> masks = {"0.weight": torch.tensor([[True, True], [True, True]]), "2.weight": torch.tensor([[True, False]])}
    >>> effective(model, masks, torch.ones(1, 2))["0.weight"].tolist()
    [[True, True], [False, False]]
    """
    weights = check_weights(check_masks(model, masks))
    found, _ = _on_paths(model, weights, example)
    if not all(torch.equal(found[name], mask) for name, mask in weights.items()):
        _check_dense(model, weights, example)
    return {**masks, **found}


def effective_sparsity(model: nn.Module, masks: Masks, example: Tensor) -> float:
    """1 - weights on some path / all masked weights: at least the direct sparsity.

    Misleads as an effect of pruning alone: the network itself may have weights on no path. If a 3 x 3 convolution gets
    maps of 1 x 1, eight of its nine taps only see padding.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> masks = {"0.weight": torch.ones(2, 2).bool(), "2.weight": torch.tensor([[True, False]])}
    >>> round(effective_sparsity(model, masks, torch.ones(1, 2)), 3)
    0.5
    """
    paths = check_weights(effective(model, masks, example))
    return 1 - sum(int(m.sum()) for m in paths.values()) / sum(m.numel() for m in paths.values())


def _on_paths(model: nn.Module, masks: Masks, example: Tensor) -> tuple[Masks, set[str]]:
    """The kept weights on a path, and the names of the masked weights that the forward uses."""
    wide = torch.float64 if any(p.dtype == torch.float64 for p in model.parameters()) else torch.float32
    values = Values(generator(0), wide)
    tensors = dict(model.named_parameters())
    state = {n: values.parameter(p) for n, p in tensors.items() if p.is_floating_point() and n not in masks}
    state |= {n: b.to(wide) for n, b in model.named_buffers() if b.is_floating_point() and b.dtype != wide}
    weights = {n: (values.parameter(m) * m).requires_grad_() for n, m in masks.items()}
    mode = Reached(values, inputs := example[:1], weights)
    try:
        with threads(), plain_kernels(model), evaluating(model), dual_numbers(), torch.enable_grad():
            started = mode.start(inputs) if inputs.is_floating_point() else inputs
            with mode:
                outputs = run_model(model, started, {**state, **weights})
            reached = forward_ad.unpack_dual(outputs).tangent
            if reached is None or not reached.requires_grad:
                return {n: torch.zeros_like(m) for n, m in masks.items()}, mode.used
            total = (reached * values(reached)).sum()
            flows = torch.autograd.grad(total, list(weights.values()), allow_unused=True, materialize_grads=True)
    except (RuntimeError, ValueError, TypeError) as error:
        with evaluating(model), torch.no_grad():
            run_model(model, inputs)  # says what does not fit
        raise ValueError(
            f"effective sparsity runs the network on {wide} numbers that carry a derivative; the forward of "
            f"{type(model).__name__}, which takes the example itself, does not pass them on: "
            f"{error.__cause__ or error}. Write that step with functions of torch that have derivatives and take any "
            "floating dtype, or measure wb.sparsity(masks)"
        ) from error
    return {n: masks[n] & (flow != 0) for n, flow in zip(weights, flows, strict=True)}, mode.used


_passed: WeakKeyDictionary[nn.Module, set[Any]] = WeakKeyDictionary()


def _check_dense(model: nn.Module, masks: Masks, example: Tensor) -> None:
    """Raise ValueError where masked weights are on no path in the dense network, and not by the network's own making.

    That are layers not called, and places of a kernel that only see padding. A model that passed is not asked again.
    """
    kinds = tuple(type(module) for module in model.modules())
    asked = (example.shape[1:], kinds, tuple((name, mask.shape) for name, mask in masks.items()))
    if example.is_floating_point() and asked in _passed.setdefault(model, set()):
        return
    dense, used = _on_paths(model, {name: torch.ones_like(mask) for name, mask in masks.items()}, example)
    hidden = []
    for name, alive in dense.items():
        taps = alive.flatten(2) if alive.ndim > 2 else alive.flatten()[None, :, None]
        if name in used and not bool(((taps.all(0).all(0) | ~taps.any(0).any(0)).all()) & taps.any()):
            hidden.append(f"{name!r} ({alive.numel() - int(alive.sum()):,} of {alive.numel():,} weights)")
    if hidden:
        raise ValueError(
            "in the dense network every weight that is used lies on a path from an input to the output; paths are not "
            f"seen through the forward of {type(model).__name__} for {', '.join(hidden)}. It may hide them (argmax, "
            "top-k, rounding, detach, the softmax of one value), or leave an output out. Pass an example with more "
            "positions, write that function so that it has a derivative, or leave these weights out of the masks"
        )
    _passed.setdefault(model, set()).add(asked)
