"""Effective sparsity: which kept weights lie on a path from an input to an output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from workbench.criteria import untouched
from workbench.types import Masks, check_masks

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)


def effective(model: nn.Module, masks: Masks, example: Tensor) -> Masks:
    """Masks of the kept weights on some input-output path.

    One forward and backward pass in float64 of the network with its masks as weights (each layer divided by its
    fan-in against overflow), biases 0, norms passed through, an all-one input; a weight is on a path when its
    gradient is not zero. Source: Vysogorets and Kempe 2023, arXiv:2107.02306 (effective sparsity).

    Misleads for activations that saturate (sigmoid, tanh) or forwards that subtract: paths can cancel there.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> masks = {"0.weight": torch.tensor([[True, True], [True, True]]), "2.weight": torch.tensor([[True, False]])}
    >>> effective(model, masks, torch.ones(1, 2))["0.weight"].tolist()
    [[True, True], [False, False]]
    """
    check_masks(model, masks)
    state: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if name in masks:
            continue
        fill = 0.0 if name.rsplit(".", 1)[-1].endswith("bias") else 1.0 / max(parameter[:1].numel(), 1)
        state[name] = torch.full_like(parameter, fill, dtype=torch.float64, requires_grad=False)
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            state[name] = torch.ones_like(buffer, dtype=torch.float64)
    weights = {name: (m.double() / max(m[:1].numel(), 1)).requires_grad_() for name, m in masks.items()}
    with untouched(model), _norms_passed_through(model), torch.enable_grad():
        model.eval()
        total = functional_call(model, {**state, **weights}, (torch.ones_like(example[:1], dtype=torch.float64),)).sum()
        flows = torch.autograd.grad(total, list(weights.values()), allow_unused=True, materialize_grads=True)
    return {name: masks[name] & (flow > 0) for name, flow in zip(weights, flows, strict=True)}


def effective_sparsity(model: nn.Module, masks: Masks, example: Tensor) -> float:
    """1 - weights on some path / all masked weights: at least the direct sparsity.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> masks = {"0.weight": torch.tensor([[True, True], [True, True]]), "2.weight": torch.tensor([[True, False]])}
    >>> round(effective_sparsity(model, masks, torch.ones(1, 2)), 3)
    0.5
    """
    paths = effective(model, masks, example)
    return 1 - sum(int(m.sum()) for m in paths.values()) / sum(m.numel() for m in paths.values())


@contextmanager
def _norms_passed_through(model: nn.Module) -> Iterator[None]:
    hooks = [m.register_forward_hook(lambda _, inputs, __: inputs[0]) for m in model.modules() if isinstance(m, NORMS)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
