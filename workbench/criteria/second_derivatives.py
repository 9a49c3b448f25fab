"""Convolution and batch normalisation whose second derivatives cost about what the first do.

PyTorch spells the derivative of their backward passes out in many small operations. Both are short formulas made of the
same fast kernels, which the mode `CheapSecondDerivatives` puts in place of a network's own calls while it is on.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable
from torch.nn import functional
from torch.nn.modules.utils import _ntuple
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten


class CheapSecondDerivatives(TorchFunctionMode):
    """A context: gradients of what runs inside it, taken with `create_graph=True`, are cheap to differentiate again.

    Calls it has no formula for (padding by name, batch norm with running statistics or without weight) run as they are.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, formula = kwargs or {}, FORMULAS.get(func)
        result = formula(*args, **kwargs) if formula else None
        return func(*args, **kwargs) if result is None else result


def _convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    if isinstance(padding, str) or input.ndim != weight.ndim:
        return None
    each = _ntuple(weight.ndim - 2)
    return _Convolution.apply(
        input, weight, bias, (each(stride), each(padding), each(dilation), False, each(0), groups)
    )


class _Convolution(Function):
    """`y = x * w + b`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor | None, how: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.how = how
        return aten.convolution(x, w, b, *how)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Any, ...]:
        x, w = ctx.saved_tensors
        gx, gw = _ConvolutionBackward.apply(gy, x, w, ctx.how, ctx.needs_input_grad[0])
        gb = gy.sum([0, *range(2, gy.ndim)]) if ctx.needs_input_grad[2] else None
        return gx, gw, gb, None


class _ConvolutionBackward(Function):
    """`(gx, gw)`, bilinear in `gy` and `(w, x)`: its derivatives by x and w are a backward pass at `(vx, vw)`."""

    @staticmethod
    def forward(ctx: Any, gy: Tensor, x: Tensor, w: Tensor, how: tuple[Any, ...], by_x: bool) -> tuple[Any, ...]:
        ctx.save_for_backward(gy, x, w)
        ctx.how = how
        gx, gw, _ = aten.convolution_backward(gy, x, w, None, *how, [by_x, True, False])
        return gx, gw

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, vx: Tensor | None, vw: Tensor) -> tuple[Any, ...]:
        gy, x, w = ctx.saved_tensors
        by_gy = aten.convolution(x, vw, None, *ctx.how)
        if vx is None:
            return by_gy, None, None, None, None
        by_gy += aten.convolution(vx, w, None, *ctx.how)
        by_x, by_w, _ = aten.convolution_backward(gy, vx, vw, None, *ctx.how, [True, True, False])
        return by_gy, by_x, by_w, None, None


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor | None:
    if not training or weight is None:
        return None
    return _BatchNorm.apply(input, weight, bias, running_mean, running_var, momentum, eps)


FORMULAS: dict[Any, Callable[..., Tensor | None]] = {functional.batch_norm: _batch_norm}
FORMULAS |= dict.fromkeys((functional.conv1d, functional.conv2d, functional.conv3d), _convolution)


class _BatchNorm(Function):
    """`y = w z + b` with `z = (x - mean(x)) r` and `r = 1 / std(x)` of each channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor | None, *rest: Any) -> Tensor:
        y, mean, r = aten.native_batch_norm(x, w, b, *rest[:2], True, *rest[2:])
        ctx.save_for_backward(x, w, mean, r)
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Any, ...]:
        gx, gw, gb = _BatchNormBackward.apply(gy, *ctx.saved_tensors)
        return gx, gw, gb if ctx.needs_input_grad[2] else None, None, None, None, None


class _BatchNormBackward(Function):
    """`gx = w p(gy)`, `gw = sum(gy z)`, `gb = sum(gy)`, with `p(u) = r (u - mean(u) - z mean(u z))` per channel.

    p is linear and its own transpose. With `q = p(vx)`, the derivatives of `vx . gx + vw . gw + vb . gb` are
    by gy `w q + vw z + vb`, by w `d = sum(vx p(gy))`, and by x
    `(vw - w r mean(vx z)) p(gy) - w r mean(gy z) q - w r (d / n) z`, n being the values a channel has.
    """

    @staticmethod
    def forward(ctx: Any, gy: Tensor, x: Tensor, w: Tensor, mean: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p, gw, gb = _project(gy, x, mean, r)
        ctx.save_for_backward(p, gw, x, w, mean, r)
        return p * _channels(w, x), gw, gb

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, vx: Tensor, vw: Tensor, vb: Tensor) -> tuple[Any, ...]:
        p, gw, x, w, mean, r = ctx.saved_tensors
        n = x.numel() / len(w)
        q, vz, _ = _project(vx, x, mean, r)
        d = (vx * p).sum([0, *range(2, x.ndim)])
        by_gy = _combine(vb - vw * r * mean, (vw * r, x), (w, q))
        slope = -w * r * r * d / n
        by_x = _combine(-slope * mean, (slope, x), (vw - w * r * vz / n, p), (-w * r * gw / n, q))
        return by_gy, by_x, d, None, None


def _project(u: Tensor, x: Tensor, mean: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`p(u)`, `sum(u z)` and `sum(u)` of each channel: PyTorch's backward pass of batch norm with weight 1."""
    return aten.native_batch_norm_backward(u, x, torch.ones_like(mean), None, None, mean, r, True, 0.0, [True] * 3)


def _combine(constant: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """`constant + sum of factor * tensor` with constant and factors of each channel, a pass over memory a term."""
    (factor, tensor), *rest = terms
    total = torch.addcmul(_channels(constant, tensor), _channels(factor, tensor), tensor)
    for factor, tensor in rest:
        total.addcmul_(_channels(factor, tensor), tensor)
    return total


def _channels(values: Tensor, like: Tensor) -> Tensor:
    """One value a channel, shaped to multiply a tensor `[n, channels, ...]`."""
    return values.reshape(-1, *[1] * (like.ndim - 2))
