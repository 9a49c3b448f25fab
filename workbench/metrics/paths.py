"""Effective sparsity: which kept weights lie on a path from an input to an output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from workbench.criteria.passes import evaluating, run_model
from workbench.types import Masks, check_masks

PASSED_THROUGH = (
    "batch_norm",
    "group_norm",
    "hardtanh",
    "instance_norm",
    "layer_norm",
    "relu6",
    "rms_norm",
    "sigmoid",
    "tanh",
)


def effective(model: nn.Module, masks: Masks, example: Tensor) -> Masks:
    """Masks of the kept weights on some input-output path.

    One forward and backward pass in float64 of the network with its masks as weights (each layer divided by its
    fan-in against overflow), biases 0 and an all-one input; norms and saturating activations pass their input through
    and maximum pooling takes the mean, so that nothing hides a path. A weight is on a path when its gradient is not
    zero; the taps of a convolution that only ever see padding are on none. `example` gives the shape of the input.
    Source: Vysogorets and Kempe 2023, arXiv:2107.02306 (effective sparsity).

    Misleads for forwards that subtract or multiply activations: paths can cancel or be gated there.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> masks = {"0.weight": torch.tensor([[True, True], [True, True]]), "2.weight": torch.tensor([[True, False]])}
    >>> effective(model, masks, torch.ones(1, 2))["0.weight"].tolist()
    [[True, True], [False, False]]
    """
    check_masks(model, masks)
    state: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        bias = name.rsplit(".", 1)[-1].endswith("bias")
        state[name] = torch.full_like(parameter, 0.0 if bias else 1 / _fan_in(parameter), dtype=torch.float64)
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            state[name] = torch.ones_like(buffer, dtype=torch.float64)
    weights = {name: (m.double() / _fan_in(m)).requires_grad_() for name, m in masks.items()}
    with evaluating(model), _OpenPaths(), torch.enable_grad():
        total = run_model(model, torch.ones_like(example[:1], dtype=torch.float64), {**state, **weights}).sum()
        flows = torch.autograd.grad(total, list(weights.values()), allow_unused=True, materialize_grads=True)
    return {name: masks[name] & (flow > 0) for name, flow in zip(weights, flows, strict=True)}


def effective_sparsity(model: nn.Module, masks: Masks, example: Tensor) -> float:
    """1 - weights on some path / all masked weights: at least the direct sparsity.

    Misleads as a fault of the pruning: the network itself may hold weights on no path. Where 3 x 3 convolutions see
    1 x 1 maps, eight of their nine taps only meet padding.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> masks = {"0.weight": torch.tensor([[True, True], [True, True]]), "2.weight": torch.tensor([[True, False]])}
    >>> round(effective_sparsity(model, masks, torch.ones(1, 2)), 3)
    0.5
    """
    paths = effective(model, masks, example)
    return 1 - sum(int(m.sum()) for m in paths.values()) / sum(m.numel() for m in paths.values())


def _fan_in(weight: Tensor) -> int:
    return weight[:1].numel() if weight.ndim else 1


class _OpenPaths(TorchFunctionMode):
    """Norms and saturating activations as identity, maximum pooling as mean pooling, within a block."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name, options = getattr(func, "__name__", "").rstrip("_"), dict(kwargs or {})
        if name in PASSED_THROUGH:
            return args[0]
        if "max_pool" not in name:
            return func(*args, **options)
        mean = getattr(functional, name.replace("max", "avg").removesuffix("_with_indices"))
        inputs, size, *rest = args
        if "adaptive" in name:
            return mean(inputs, size)
        options |= dict(zip(("stride", "padding", "dilation", "ceil_mode"), rest, strict=False))
        if options.pop("dilation", 1) not in (1, (1, 1)):
            return func(*args, **(kwargs or {}))
        return mean(inputs, size, **{key: value for key, value in options.items() if key != "return_indices"})
