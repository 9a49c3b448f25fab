"""Which places of a model's tensors live or die together, from one pass: every function joins labels or moves them.

Each index of a dimension of a parameter has a label; an activation carries the labels of what made it. Where a function
needs two labels to be one (a sum, a matrix product, the gates of a unit), they are joined. This is the dependency graph
of Fang et al. 2023 (DepGraph, arXiv:2301.12900) for single indices, so that offsets, repeated and shared channels,
heads and fused projections need no rule of their own.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from workbench.models.watch import tensors

Labels = Any
"""An array with one label for each index of a dimension, -1 where there is none; None if indices are alike or fixed."""

ELEMENTWISE = re.compile(
    r"_*i?r?(add|sub|mul|div|truediv|true_divide|pow|neg|and|or|xor|invert|eq|ne|lt|le|gt|ge|floordiv|mod)_*|"
    r"(addcmul|addcdiv|abs|acos|asin|atan|ceil|celu|clamp|clamp_min|clamp_max|clone|contiguous|copy|cos|cpu|cuda|detach|double|elu|erf|"
    r"exp|expm1|fill|float|floor|gelu|half|bfloat16|hard(shrink|sigmoid|swish|tanh)|isfinite|isinf|isnan|leaky_relu|"
    r"lerp|log|log1p|logical_(and|or|not|xor)|logsigmoid|masked_fill|max|maximum|min|minimum|mish|multiply|nan_to_num|"
    r"reciprocal|relu|relu6|remainder|round|rrelu|rsqrt|rsub|selu|sigmoid|sign|silu|sin|soft(plus|shrink|sign)|sqrt|"
    r"square|tanh|tanhshrink|threshold|to|type|type_as|where|zero|tril|triu|requires_grad)_?|"
    r"(zeros|ones|full|empty|rand|randn)_like|(feature_)?(alpha_)?dropout([123]d|_)?|bernoulli"
)
MOVING = re.compile(
    r"__getitem__|__get__|chunk|diagonal|expand|expand_as|flatten|flip|gather|index_select|movedim|moveaxis|narrow|"
    r"permute|channel_shuffle|ravel|repeat|repeat_interleave|reshape|reshape_as|roll|select|split|"
    r"split_with_sizes|squeeze|swap(axes|dims)|t|tensor_split|tile|transpose|unbind|unflatten|unfold|unsafe_chunk|"
    r"unsafe_split|unsqueeze|view|view_as"
)
REDUCING = re.compile(
    r"(nan)?(mean|sum)|a?(max|min)|arg(max|min)|prod|var|std|(log_)?softmax|logsumexp|cum(sum|prod)|any|all|norm|"
    r"(linalg_)?vector_norm|normalize"
)
ZERO_ADDS_NOTHING = re.compile(r"(nan)?sum|any|norm|(linalg_)?vector_norm|normalize")
KEEPS_DIM = re.compile(r"(log_)?softmax|cum(sum|prod)|normalize")
CHANGING = re.compile(f"{ELEMENTWISE.pattern}|{REDUCING.pattern}")
CONSTANT = re.compile(r"new_\w+|is_\w+")
POOLING = re.compile(r"(adaptive_)?(avg|max|lp)_pool([123])d|interpolate|upsample")


class Place(NamedTuple):
    """Labels along each dimension of a tensor, and what stands in it where units are removed: None for 0, else why."""

    labels: list[Labels]
    left: Tensor | None = None
    why: str = ""


class Trace(TorchFunctionMode):
    """Labels of all that runs in a `with` block.

    `dims[name, d]` are the labels along dimension d of a parameter or buffer, `roles[name, d]` says whether it "writes"
    its labels (a layer's outputs) or "reads" them; `edges` are the joins, `fixed` labels that must stay, with why. A
    unit that is removed is 0 where it is written; so each function is asked once more what it makes of zeros, and a
    unit that is not 0 where it is read must stay: it would be missed there.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        held = [*model.named_parameters(), *model.named_buffers()]
        self.names = {id(t): name for name, t in held[::-1] if t.is_floating_point()}
        self.size = 0
        self.dims = dict[tuple[str, int], np.ndarray]()
        self.roles = dict[tuple[str, int], str]()
        self.edges, self.fixed = list[tuple[np.ndarray, np.ndarray]](), list[tuple[np.ndarray, str]]()
        self.places, self.overwritten = WeakTensorKeyDictionary(), WeakTensorKeyDictionary()
        self.modules = {id(module): name for name, module in model.named_modules()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        out, given = func(*args, **named), list(tensors((args, named)))
        known = any(id(t) in self.names or t in self.places for t in given)
        if known and (func is Tensor.__setitem__ or next(tensors(out), None) is not None):
            for tensor in given if self.overwritten else []:
                for labels in self.of(tensor) if tensor in self.overwritten else []:
                    self.fix(labels, "they are changed in place through a view")
            self._follow(func, getattr(func, "__name__", ""), args, named, out, given)
            if out is given[0] and out._base is not None:
                self.overwritten[out._base] = True
        return out

    def fresh(self, size: int) -> np.ndarray:
        """Labels that nothing has yet."""
        self.size += size
        return np.arange(self.size - size, self.size)

    def at(self, tensor: Any, dim: int, role: str = "") -> Labels:
        """The labels along a dimension of a tensor; a parameter's are made when first asked for."""
        if not isinstance(tensor, Tensor):
            return None
        dim %= tensor.ndim
        name = self.names.get(id(tensor))
        if name is None:
            return place.labels[dim] if (place := self.places.get(tensor)) else None
        if tensor.shape[dim] == 1:
            return None
        if role:
            self.roles[name, dim] = "writes" if self.roles.get((name, dim)) == "writes" else role
        if (name, dim) not in self.dims:
            self.dims[name, dim] = self.fresh(tensor.shape[dim])
        return self.dims[name, dim]

    def of(self, tensor: Tensor) -> list[Labels]:
        """The labels along each dimension."""
        return [self.at(tensor, dim) for dim in range(tensor.ndim)]

    def read(self, tensor: Tensor, dim: int) -> Labels:
        """The labels that a layer reads along a dimension; units that would not be 0 there must stay."""
        labels, (left, why) = self.at(tensor, dim), self.left(tensor)
        if left is not None and labels is not None:
            self.fix(labels[(left.movedim(dim, 0).flatten(1) != 0).any(1).cpu().numpy()], why)
        return labels

    def summed(self, *sides: tuple[Tensor, int]) -> None:
        """Products of these tensors are summed along these dimensions: one of the activations must be 0 there."""
        seen = [side for side in sides if side[0] in self.places]
        if all(self.left(tensor)[0] is not None for tensor, _ in seen):
            for side in seen:
                self.read(*side)

    def left(self, tensor: Tensor) -> tuple[Tensor | None, str]:
        """What stands in a tensor where units are removed, None for 0, and why."""
        if name := self.names.get(id(tensor)):
            return (None, "") if isinstance(tensor, nn.Parameter) else (tensor, f"the buffer {name} has no mask")
        place = self.places.get(tensor)
        return (place.left, place.why) if place else (None, "")

    def fix(self, labels: Labels, why: str) -> None:
        """These must stay."""
        if labels is not None and len(found := labels[labels >= 0].ravel()):
            self.fixed.append((found, why))

    def join(self, a: Labels, b: Labels, why: str) -> Labels:
        """Make one of two; what meets no labels is fixed for the reason `why`."""
        if a is None or b is None:
            self.fix(b if a is None else a, why)
            return None
        if a is not b:
            a, b = np.broadcast_arrays(a, b)
            both = (a >= 0) & (b >= 0) & (a != b)
            if both.any():
                self.edges.append((a[both], b[both]))
        return np.where(a >= 0, a, b)

    def along(self, labels: Labels, tensor: Tensor | None, dim: int, why: str) -> Labels:
        """Join the labels with those along a dimension of a tensor, if there is one."""
        return labels if tensor is None else self.join(labels, self.at(tensor, dim), why)

    def beside(self, given: Iterable[Tensor], dim: int, why: str) -> Labels:
        """Join what several tensors have along a dimension, where they are wider than 1 there."""
        found = [self.at(t, dim) for t in given if t.ndim >= -dim and t.shape[dim] > 1]
        return functools.reduce(lambda a, b: self.join(a, b, why), found) if found else None

    def merge(self, rows: Labels, parts: int) -> Labels:
        """Make one of the labels in each of `parts` equal rows; one label for each row."""
        if rows is None:
            return None
        found = rows.reshape(parts, -1)
        best = np.where(found >= 0, found, found.max(1, keepdims=True))[:, :1]
        self.join(np.broadcast_to(best, found.shape), found, "")
        return best[:, 0]

    def put(self, out: Any, labels: Iterable[Labels]) -> None:
        """What a function gave has these labels."""
        found = [None if size == 1 else own for own, size in zip(labels, out.shape, strict=True)]
        self.places.pop(out, None)
        if any(own is not None for own in found):
            self.places[out] = Place(found)

    def _follow(self, func: Any, name: str, args: Any, named: Any, out: Any, given: list[Tensor]) -> None:
        plain = name.removesuffix("_") if not name.startswith("__") else name
        first = args[0] if args and isinstance(args[0], Tensor) else named.get("input")
        reinterpreted = any(isinstance(word, torch.dtype) for word in args)
        lefts = [(tensor, why) for tensor in given for left, why in [self.left(tensor)] if left is not None]
        whys = [why for tensor, why in lefts if tensor in self.places or MOVING.fullmatch(plain)]
        zeros: Any = None
        if lefts or not self._keeps_zero(plain, given):
            zeros = self._removed(args), self._removed(named)
        try:
            if plain in RULES:
                RULES[plain](self, args, named, out)
            elif POOLING.fullmatch(plain):
                self._pool(first, out, plain)
            elif REDUCING.fullmatch(plain) and not (plain in ("max", "min") and len(given) > 1):
                self._reduce(plain, first, args, named, out)
            elif MOVING.fullmatch(plain) and not reinterpreted:
                self._move(func, first, args, named, out)
            elif ELEMENTWISE.fullmatch(plain):
                self.elementwise(given[:1] if plain in ("to", "type_as") else given, out, plain)
            elif not CONSTANT.fullmatch(plain):
                raise TypeError(f"no rule for {name}")
            if zeros is not None:
                self._leave(func, name.strip("_"), zeros, out, whys)
        except (ArithmeticError, AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            for tensor in given:
                for labels in self.of(tensor):
                    self.fix(labels, f"{name.strip('_') or func}{self._where()} is not known to keep channels apart")
            for tensor in tensors(out):
                self.places.pop(tensor, None)

    def _where(self) -> str:
        """The module whose code runs, in words."""
        frame: Any = inspect.currentframe()
        while frame and not (name := self.modules.get(id(frame.f_locals.get("self")))):
            frame = frame.f_back
        return f" in {name!r}" if frame else ""

    def _keeps_zero(self, name: str, given: list[Tensor]) -> bool:
        """Whether a function surely makes 0 of zeros; others are asked."""
        if name == "batch_norm":
            return any(isinstance(tensor, nn.Parameter) for tensor in given)
        if name in ("add", "__iadd__", "__add__"):
            return len(given) == 2 and all(tensor in self.places for tensor in given)
        return name == "relu" or not CHANGING.fullmatch(name)

    def _removed(self, values: Any) -> Any:
        """Copies of arguments in which all units are removed."""
        if isinstance(values, dict):
            return {key: self._removed(value) for key, value in values.items()}
        if type(values) in (list, tuple):
            return type(values)([self._removed(value) for value in values])
        if not isinstance(values, Tensor):
            return values
        left, _ = self.left(values)
        labelled = values in self.places or (isinstance(values, nn.Parameter) and values.numel() > 1)
        return torch.zeros_like(values) if left is None and labelled else (values if left is None else left).clone()

    def _leave(self, func: Any, name: str, zeros: Any, out: Any, whys: list[str]) -> None:
        """Note what a function makes of zeros, if that is not 0."""
        for tensor, left in zip(tensors(out), tensors(func(*zeros[0], **zeros[1])), strict=True):
            place = self.places.get(tensor)
            if place and (left != 0).any():
                told = f"{name} makes {float(left[left != 0][0]):.3g} of the 0 that a removed unit leaves"
                self.places[tensor] = Place(place.labels, left, whys[0] if whys else told)

    def elementwise(self, given: list[Tensor], out: Tensor, name: str) -> None:
        """Each place of the result comes from the same place of what was given, spread where it is of size 1."""
        told = f"{name.strip('_')} with a tensor of their width that cannot shrink"
        self.put(out, [self.beside(given, dim, told) for dim in range(-out.ndim, 0)])

    def _pool(self, first: Tensor, out: Tensor, name: str) -> None:
        places = int(found[3]) if (found := POOLING.fullmatch(name)) and found[3] else first.ndim - 2
        own = self.of(first)
        for labels in own[first.ndim - places :]:
            self.fix(labels, f"{name} mixes them")
        self.put(out, [*own[: first.ndim - places], *[None] * places])

    def _reduce(self, name: str, first: Tensor, args: Any, named: Any, out: Any) -> None:
        where = 2 if name.endswith(("norm", "normalize")) else 1
        dim = named.get("dim", named.get("axis", args[where] if len(args) > where else None))
        dim = 1 if dim is None and name == "normalize" else dim
        size, own = first.ndim, self.of(first)
        over = range(size) if dim is None else [dim % size] if isinstance(dim, int) else [d % size for d in dim]
        for d in over:
            if ZERO_ADDS_NOTHING.fullmatch(name):
                self.read(first, d)
            else:
                self.fix(own[d], f"{name} mixes them")
            if not KEEPS_DIM.fullmatch(name):
                own[d] = None
        kept = own if KEEPS_DIM.fullmatch(name) else [labels for d, labels in enumerate(own) if d not in over]
        for tensor in tensors(out):
            self.put(tensor, own if tensor.ndim == size else kept)

    def _move(self, func: Any, first: Tensor, args: Any, named: Any, out: Any) -> None:
        """Whatever moves elements moves labels alike: the function itself is called with these."""
        rest = {key: value for key, value in named.items() if key != "input"}
        results = list(tensors(out))
        found: list[list[Labels]] = [[None] * t.ndim for t in results]
        for dim, labels in enumerate(self.of(first)):
            if labels is None:
                continue
            shape = [-1 if d == dim else 1 for d in range(first.ndim)]
            spread = torch.from_numpy(labels).view(shape).expand(first.shape).contiguous().to(first.device)
            for own, moved in zip(found, tensors(func(spread, *args[1:], **rest)), strict=True):
                self._carry(moved.cpu().numpy(), own)
        for tensor, own in zip(results, found, strict=True):
            self.put(tensor, own)

    def _carry(self, now: np.ndarray, own: list[Labels]) -> None:
        """Put moved labels where they change; of several dimensions the last but one has them, and they are merged."""
        changing = [d for d in range(now.ndim) if now.shape[d] > 1 and (now.take([0], d) != now).any()]
        if changing:
            place = changing[max(len(changing) - 2, 0)]
            self.fix(own[place], "they are crossed with others in one dimension")
            own[place] = self.merge(np.moveaxis(now, place, 0), now.shape[place])
        elif now.size:
            self.fix(now.ravel()[:1], "they are taken by their numbers")


Rule = Callable[[Trace, Any, Any, Any], None]
RULES: dict[str, Rule] = {}
"""What functions do with labels, by name: `rule(trace, args, named, out)`."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register what functions of these names do with labels."""

    def add(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return add


def bound(names: str, args: Any, named: Any) -> list[Any]:
    """The arguments of these names, wherever they stand; None for those not given.

    >>> bound("input weight bias", (1, 2), {"weight": 3})
    [1, 3, None]
    """
    given = dict(zip(names.split(), args, strict=False)) | named
    return [given.get(name) for name in names.split()]
