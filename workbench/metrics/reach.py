"""What of a network's tensors depends on an input, as tangents of dual numbers; nothing hides a path."""

import contextlib
import inspect
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from workbench.models.watch import ACTIVATION, LAYER

PASSED_THROUGH = re.compile(r"(batch|group|instance|layer|rms)_norm|(feature_)?(alpha_)?dropout([123]d)?")
RECURRENT = ("gru", "lstm", "rnn_relu", "rnn_tanh")
LARGEST = ("amax", "amin", "max", "maximum", "min", "minimum")

_ONE_LEVEL = threading.Lock()
"""Forward mode knows one level for all threads together."""


@contextlib.contextmanager
def dual_numbers() -> Iterator[None]:
    """Run a block in forward mode, without torch's warnings about itself at first use."""
    with _ONE_LEVEL, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is|TF32 acceleration on top")
        with forward_ad.dual_level():
            yield


class Values:
    """Random numbers away from zero, in the shape of a tensor and on its device."""

    def __init__(self, draw: torch.Generator, dtype: torch.dtype) -> None:
        self.draw, self.dtype = draw, dtype

    def __call__(self, like: Tensor) -> Tensor:
        return (torch.rand(like.shape, generator=self.draw, dtype=self.dtype) + 0.5).to(like.device)

    def parameter(self, like: Tensor) -> Tensor:
        """The same, those of a matrix divided by its inputs: the gates of a recurrent layer saturate otherwise."""
        return self(like) / (like[:1].numel() if like.ndim > 1 else 1)


class _Layer(torch.autograd.Function):
    """A layer on yes and no: forward what depends on an input, backward what an output depends on."""

    @staticmethod
    def forward(ctx: Any, reached: Tensor, weight: Tensor, run: Callable[..., Tensor], values: Values) -> Tensor:
        ctx.values = values
        with torch.enable_grad():
            ctx.leaves = [(t != 0).to(values.dtype).requires_grad_() for t in (reached, weight)]
            ctx.counts = run(*ctx.leaves)
        return (ctx.counts > 0.5) * values(ctx.counts)  # counts of paths: whole numbers, except for rounding

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        wanted = (grads[0] != 0).to(ctx.counts.dtype)
        with torch.enable_grad():
            total = (ctx.counts * wanted).sum()
        inputs, weights = torch.autograd.grad(total, ctx.leaves, retain_graph=True)
        return (inputs > 0.5) * ctx.values(inputs), (weights > 0.5) * ctx.values(weights[:1]), None, None


class Reached(TorchFunctionMode):
    """Within a block, tensors are dual numbers, random except zeros, with a tangent where they depend on an input."""

    def __init__(self, values: Values, inputs: Tensor, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values, self.inputs, self.used = values, inputs, set[str]()
        self.names = {id(w): name for name, w in weights.items()}

    def start(self, like: Tensor) -> Tensor:
        """A tensor all of whose entries are inputs."""
        return forward_ad.make_dual(self.values(like), self.values(like))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, options = getattr(func, "__name__", "").rstrip("_"), dict(kwargs or {})
        self.used |= {self.names[id(a)] for a in (*args, *options.values()) if id(a) in self.names}
        first, rest = (args[0], args[1:]) if args else (options.get("input"), ())
        if isinstance(first, Tensor) and first.is_floating_point():
            if PASSED_THROUGH.fullmatch(name):
                return first
            if LAYER.fullmatch(name):
                return self._layer(func, *args, **options)
            if "max_pool" in name or name in LARGEST or ACTIVATION.fullmatch(name):
                options.pop("input", None)
                return _open(func, name, first, rest, options)
            if name == "scaled_dot_product_attention":
                return _attention(*args, **options)
            if name == "glu":
                value, gate = first.chunk(2, *(rest or (options.get("dim", -1),)))
                return value * gate.sigmoid()
        if name == "multi_head_attention_forward":
            given = inspect.signature(func).bind(*args, **options)
            given.apply_defaults()
            return self._heads(given.arguments), None
        # oneDNN's recurrent layers have no derivative in forward mode, torch's own have.
        with torch.backends.mkldnn.flags(enabled=False) if name in RECURRENT else contextlib.nullcontext():
            found = func(*args, **options)
        if self.inputs.is_floating_point() or not isinstance(found, Tensor) or not found.is_floating_point():
            return found
        return self.start(found) if name == "embedding" or first is self.inputs else found

    def _layer(
        self, func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **options: Any
    ) -> Tensor:
        def run(inputs: Tensor, weights: Tensor) -> Tensor:
            return func(inputs, weights, None, *rest, **options)

        value, reached = forward_ad.unpack_dual(input)
        if forward_ad.unpack_dual(weight).tangent is not None:  # weights made from the inputs
            return func(input, weight, bias, *rest, **options)
        with torch.no_grad():
            counts = run(*((t != 0).to(self.values.dtype) for t in (value, weight)))
            found = ((counts > 0.5) | (bias is not None)) * self.values(counts)
        if reached is None:
            return found
        return forward_ad.make_dual(found, _Layer.apply(reached, weight, run, self.values))

    def _heads(self, given: dict[str, Any]) -> Tensor:
        """What `nn.MultiheadAttention` gives, layer by layer."""
        parts = [given[f"{part}_proj_weight"] for part in "qkv"]
        weights = parts if given["use_separate_proj_weight"] else given["in_proj_weight"].chunk(3)
        sources, n, bias = (
            [given[part] for part in ("query", "key", "value")],
            given["num_heads"],
            given["in_proj_bias"],
        )
        inner = [self._layer(functional.linear, x, w, bias) for x, w in zip(sources, weights, strict=True)]
        query, key, value = (x.unflatten(-1, (n, -1)).movedim(0, -2) for x in inner)
        mask, padding = given["attn_mask"], given["key_padding_mask"]
        if query.ndim == 4:
            mask = mask.unflatten(0, (-1, n)) if mask is not None and mask.ndim == 3 else mask
            padding = padding if padding is None else padding[:, None, None]
        total = torch.zeros((), dtype=query.dtype, device=query.device)
        for hidden in (mask, padding):
            if hidden is not None:
                total = total + (_minus_infinity(hidden, query) if hidden.dtype == torch.bool else hidden)
        found = _attention(query, key, value, total).movedim(-2, 0).flatten(-2)
        return self._layer(functional.linear, found, given["out_proj_weight"], given["out_proj_bias"])


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attention in single steps: the fused function has no derivative in forward mode."""
    if enable_gqa:
        key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], -3) for t in (key, value))
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        scores = scores + (_minus_infinity(~attn_mask, scores) if attn_mask.dtype == torch.bool else attn_mask)
    return scores.softmax(-1) @ value


def _minus_infinity(hidden: Tensor, like: Tensor) -> Tensor:
    """Minus infinity where attention sees nothing, 0 elsewhere."""
    return torch.zeros_like(hidden, dtype=like.dtype).masked_fill(hidden, -torch.inf)


def _open(func: Callable[..., Any], name: str, tensor: Tensor, rest: Sequence[Any], options: dict[str, Any]) -> Any:
    """An activation function or a maximum: its values, with tangents that pass all of what came in."""
    value, reached = forward_ad.unpack_dual(tensor)
    others = [forward_ad.unpack_dual(v) if isinstance(v, Tensor) else (v, None) for v in (*rest, *options.values())]
    plain = [v for v, _ in others]
    given, named = plain[: len(rest)], dict(zip(options, plain[len(rest) :], strict=True))
    opens = ACTIVATION.fullmatch(name)
    found = func(value.abs() if opens else value, *given, **named)
    if reached is None and (opens or all(t is None for _, t in others)):
        return found
    passed = torch.zeros_like(value) if reached is None else reached
    if "pool" in name:
        passed = _mean_pool(name, passed, given, named)
    elif not opens and plain and isinstance(plain[0], Tensor):  # of two tensors
        passed = passed + (0 if others[0][1] is None else others[0][1])
    elif not opens:
        passed = passed.mean(*given[:2], **named)
    if isinstance(found, tuple):
        return type(found)((forward_ad.make_dual(found[0], passed), *found[1:]))
    return forward_ad.make_dual(found, passed)


def _mean_pool(name: str, tensor: Tensor, given: Sequence[Any], named: dict[str, Any]) -> Tensor:
    name = name.removesuffix("_with_indices")
    mean = getattr(functional, name.replace("max", "avg"))
    size = given[0] if given else named.get("kernel_size", named.get("output_size"))
    if "adaptive" in name:
        return mean(tensor, size)
    options = dict(zip(("stride", "padding", "dilation", "ceil_mode"), given[1:], strict=False)) | named
    if options.get("dilation", 1) not in (1, (1, 1)):
        return getattr(functional, name)(tensor, *given, **{**named, "return_indices": False})
    return mean(tensor, size, **{k: options[k] for k in ("stride", "padding", "ceil_mode") if k in options})
