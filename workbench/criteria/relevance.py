"""Layer-wise relevance propagation by the rule alpha = 1, beta = 0, as gradients.

A unit gives its relevance to its inputs in proportion to their positive contributions. The mode `Relevances` replaces a
network's own calls by functions whose backward pass does that, so that `torch.autograd.grad` gives relevances.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable
from torch.overrides import TorchFunctionMode

from workbench.criteria.passes import derivatives, masked_weights
from workbench.models.channels import channels
from workbench.models.running import check_labels, run_model
from workbench.models.watch import tensors
from workbench.types import Batch, Masks

WEIGHTED = {"linear"} | {f"conv{turned}{n}d" for n in (1, 2, 3) for turned in ("", "_transpose")}
"""`f(input, weight, bias, ...)`: in proportion to the positive products of input and weight; none for the bias."""

POOLS = {f"{kind}avg_pool{n}d" for n in (1, 2, 3) for kind in ("", "adaptive_")} | {"mean", "sum"}
"""In proportion to the positive inputs."""

ADDS = {"add", "add_", "__add__", "__radd__", "__iadd__"}
"""In proportion to the positive summands, where both carry relevance."""

ONE_INPUT = {"relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "prelu", "rrelu", "rrelu_", "elu", "elu_"}
ONE_INPUT |= {"celu", "celu_", "selu", "selu_", "gelu", "silu", "mish", "softplus", "threshold", "threshold_"}
ONE_INPUT |= {"hardtanh", "hardtanh_", "hardswish", "hardsigmoid", "tanh", "sigmoid", "clamp", "clamp_", "batch_norm"}
"""One output for one input: it takes all the relevance."""

SCALES = {"mul", "mul_", "__mul__", "__rmul__", "__imul__", "div", "div_", "__truediv__", "__itruediv__"}
SCALES |= {"sub", "sub_", "__sub__", "__isub__"}
"""One output for one input, where the other operand is a constant."""

MOVES = {"__get__", "__getitem__", "view", "view_as", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"}
MOVES |= {"transpose", "permute", "movedim", "swapaxes", "contiguous", "clone", "to", "type_as", "float", "double"}
MOVES |= {"cat", "concat", "stack", "chunk", "split", "unbind", "narrow", "select", "index_select", "flip", "roll"}
MOVES |= {"pad", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "expand", "repeat", "requires_grad_"}
MOVES |= {f"{d}dropout{n}" for d in ("", "alpha_", "feature_", "feature_alpha_") for n in ("", "1d", "2d", "3d")}
MOVES |= {f"{kind}max_pool{n}d{i}" for kind in ("", "adaptive_") for n in (1, 2, 3) for i in ("", "_with_indices")}
"""Copies, moves or picks values: the gradient is the relevance (in max pooling the winner takes all)."""


class Relevances(TorchFunctionMode):
    """A context: gradients of what runs inside it, taken outside, are relevances by the rule alpha = 1, beta = 0.

    `carriers` holds, by the `id` of a weight, a leaf `[out]` whose gradient becomes the relevance of that layer's
    output channels instead. A call that relevance would pass through wrongly raises ValueError with its name.
    """

    def __init__(self, carriers: Mapping[int, Tensor] | None = None) -> None:
        super().__init__()
        self.carriers = carriers or {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, kwargs = getattr(func, "__name__", str(func)), kwargs or {}
        if name in WEIGHTED:
            return self._weighted(func, *args, **kwargs)
        relevant = [t for t in tensors((args, kwargs)) if t.requires_grad]
        if not relevant or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if not args and "input" in kwargs:
            args, kwargs = (kwargs["input"],), {key: value for key, value in kwargs.items() if key != "input"}
        if name in POOLS and args[0] is relevant[0]:
            return _Shares.apply(lambda x: func(x, *args[1:], **kwargs), None, args[0])
        if name in ADDS and len(relevant) == len(args) == 2 and not kwargs:
            return _Shares.apply(func, torch.add, *args)
        if name in ONE_INPUT | SCALES | ADDS and len(relevant) == 1:
            return _one_input(func, name, relevant[0], args, kwargs)
        result = func(*args, **kwargs)
        if name not in MOVES and any(t.requires_grad for t in tensors(result)):
            raise _no_rule(name)
        return result

    def _weighted(
        self, func: Callable[..., Any], input: Tensor, weight: Tensor, bias: Any = None, *rest: Any, **how: Any
    ) -> Tensor:
        computed = weight.requires_grad and not weight.is_leaf
        if torch.is_grad_enabled() and (computed or (isinstance(bias, Tensor) and bias.requires_grad)):
            raise _no_rule(f"{func.__name__} with a computed weight or bias")
        carrier = self.carriers.get(id(weight))
        return _Weighted.apply(lambda x, w, b: func(x, w, b, *rest, **how), input, weight, bias, carrier)


def _no_rule(name: str) -> ValueError:
    return ValueError(
        "'lrp' passes relevance through linear, convolution, batch norm, activation, pooling and reshaping layers and "
        f"the addition of two activations; got {name!r}, for which there is no rule. "
        "Use another criterion, such as 'snip'"
    )


def _one_input(func: Callable[..., Any], name: str, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    places = [k for k, value in enumerate(args) if value is x]
    if len(places) != 1:
        raise _no_rule(name)
    result = _OneInput.apply(lambda y: func(*args[: places[0]], y, *args[places[0] + 1 :], **kwargs), x)
    if result.shape != x.shape:
        raise _no_rule(name)
    return result


class _OneInput(Function):
    """`y = f(x)`, value by value: all relevance passes on."""

    @staticmethod
    def forward(ctx: Any, call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        y = call(x)
        if y is x:
            ctx.mark_dirty(x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[None, Tensor]:
        return None, relevance


class _Shares(Function):
    """`y = f(x, ...)`, linear with positive coefficients: `R_i = x_i+ df/dx_i (R / f(x+))`.

    `call` may work in place; then `linear` is the same function that does not.
    """

    @staticmethod
    def forward(ctx: Any, call: Callable[..., Tensor], linear: Callable[..., Tensor] | None, *inputs: Tensor) -> Tensor:
        ctx.linear = linear or call
        ctx.save_for_backward(*(x.clamp(min=0) for x in inputs))
        y = call(*inputs)
        if y is inputs[0]:
            ctx.mark_dirty(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Any, ...]:
        return None, None, *_shared(ctx.linear, relevance, [list(ctx.saved_tensors)], [True] * len(ctx.saved_tensors))


class _Weighted(Function):
    """`y = f(x, w) + b` with f linear in each: `R_ij = (x_i w_ij)+ / sum_i (x_i w_ij)+ R_j`, nothing for b.

    The positive products are those of positive inputs and weights, and of negative inputs and weights.
    """

    @staticmethod
    def forward(
        ctx: Any, call: Callable[..., Tensor], x: Tensor, w: Tensor, b: Tensor | None, carrier: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.call, ctx.carried = call, carrier is not None
        return call(x, w, b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Any, ...]:
        x, w = ctx.saved_tensors
        wanted = [ctx.needs_input_grad[1], ctx.needs_input_grad[2] and not ctx.carried]
        channel = relevance.ndim - max(w.ndim - 1, 1)
        carried = relevance.sum([d for d in range(relevance.ndim) if d != channel]) if ctx.carried else None
        if not any(wanted):
            return None, None, None, None, carried
        parts = [[x.clamp(min=0), w.clamp(min=0)]]
        if bool((x < 0).any()):
            parts.append([x.clamp(max=0), w.clamp(max=0)])
        by_x, by_w = _shared(lambda *xw: ctx.call(*xw, None), relevance, parts, wanted)
        return None, by_x, by_w, None, carried


def _shared(
    linear: Callable[..., Tensor], relevance: Tensor, parts: list[list[Tensor]], wanted: list[bool]
) -> list[Tensor | None]:
    """Relevance of each argument, its shares summed over `parts`: signs of the arguments with positive contributions.

    The denominator is `z + e`, with e the root of the smallest normal number: where z = 0 nothing passes, and of a unit
    with z > 0 the part `e / (z + e)` is lost, which is below one rounding for z above 1e-11 (float32; float64: 1e-137).
    """
    with torch.enable_grad():
        leaves = [[t.detach().requires_grad_(w) for t, w in zip(part, wanted, strict=True)] for part in parts]
        each = [linear(*part) for part in leaves]
    total = torch.stack([z.detach() for z in each]).sum(0) if len(each) > 1 else each[0].detach()
    share = relevance / (total + torch.finfo(total.dtype).tiny ** 0.5)
    shares: list[Tensor | None] = [None] * len(wanted)
    for part, z in zip(leaves, each, strict=True):
        chosen = [k for k, want in enumerate(wanted) if want]
        for k, grad in zip(chosen, torch.autograd.grad(z, [part[k] for k in chosen], share), strict=True):
            product, before = grad * part[k].detach(), shares[k]
            shares[k] = product if before is None else before + product
    return shares


def relevances(model: nn.Module, batch: Batch, masks: Masks | None, granularity: str) -> dict[str, Tensor]:
    """Absolute relevance of every prunable weight, or output channel, summed over the samples of the batch.

    Each sample starts from its true logit's absolute value: as shares are positive, that gives absolute relevances.
    """
    weights = masked_weights(model, masks)
    owned = {id(model.get_parameter(name)) for name in weights}
    constants = {n: p.detach() for n, p in model.named_parameters() if id(p) not in owned}
    leaves, carriers = weights, {}
    if granularity == "channel":
        leaves = {n: weights[n].new_zeros(count, requires_grad=True) for n, count in channels(model, (), False).items()}
        carriers = {id(weights[n]): leaf for n, leaf in leaves.items()}
    with torch.enable_grad(), Relevances(carriers):
        outputs = run_model(model, batch.inputs, weights | constants)
    if outputs.ndim != 2:
        raise ValueError(
            f"relevance starts from outputs [n, classes]; the model returns {tuple(outputs.shape)}. "
            "Use another criterion"
        )
    check_labels(outputs, batch.targets)
    chosen = batch.targets[:, None]
    start = torch.zeros_like(outputs).scatter_(1, chosen, outputs.detach().gather(1, chosen).abs())
    return derivatives(outputs, leaves, start)
