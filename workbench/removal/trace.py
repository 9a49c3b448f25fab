"""Which places of a model's tensors live or die together, from one pass: every function joins labels or moves them.

Each index of a dimension of a parameter has a label; an activation carries the labels of what made it. Where a function
needs two labels to be one (a sum, a matrix product, the gates of a unit), they are joined. This is the dependency graph
of Fang et al. 2023 (DepGraph, arXiv:2301.12900) for single indices, so that offsets, repeated and shared channels,
heads and fused projections need no rule of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from workbench.models.kernels import plain_kernels
from workbench.models.running import evaluating, fitted, logits, outputs
from workbench.models.untouched import untouched
from workbench.models.watch import tensors

Labels = np.ndarray | None
"""One label for each index of a dimension, -1 where there is none; None where all indices are alike, or are fixed."""

ELEMENTWISE = re.compile(
    r"_*i?r?(add|sub|mul|div|truediv|true_divide|pow|neg|and|or|xor|invert|eq|ne|lt|le|gt|ge|floordiv|mod)_*|addc(mul|div)_?|"
    r"(abs|acos|asin|atan|ceil|celu|clamp|clamp_min|clamp_max|clone|contiguous|copy|cos|cpu|cuda|detach|double|elu|erf|"
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
POOLING = re.compile(r"(adaptive_)?(avg|max|lp)_pool([123])d|interpolate|upsample")


class Trace(TorchFunctionMode):
    """Labels of all that runs in a `with` block.

    `dims[name, d]` are the labels along dimension d of a parameter or buffer, `roles[name, d]` says whether it "writes"
    its labels (a layer's outputs) or "reads" them; `edges` are the joins, `fixed` labels that must stay, with why.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        held = [*model.named_parameters(), *model.named_buffers()]
        self.names = {id(t): name for name, t in held[::-1] if t.is_floating_point()}
        self.size = 0
        self.dims = dict[tuple[str, int], np.ndarray]()
        self.roles = dict[tuple[str, int], str]()
        self.edges, self.fixed = list[tuple[np.ndarray, np.ndarray]](), list[tuple[np.ndarray, str]]()
        self.places = WeakTensorKeyDictionary()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        out = func(*args, **named)
        if any(True for _ in tensors(out)) or func is Tensor.__setitem__:
            given = list(tensors((args, named)))
            if any(t in self.places or id(t) in self.names for t in given):
                self._follow(func, getattr(func, "__name__", ""), args, named, out)
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
            return self.places.get(tensor, [None] * tensor.ndim)[dim]
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

    def merge(self, rows: Labels, parts: int, why: str = "") -> Labels:
        """Make one of the labels in each of `parts` equal rows; one label for each row."""
        if rows is None:
            return None
        found = rows.reshape(parts, -1)
        best = np.where(found >= 0, found, found.max(1, keepdims=True))[:, :1]
        self.join(np.broadcast_to(best, found.shape), found, why)
        return best[:, 0]

    def put(self, out: Any, labels: Iterable[Labels]) -> None:
        """What a function gave has these labels."""
        found = [None if size == 1 else own for own, size in zip(labels, out.shape, strict=True)]
        self.places.pop(out, None)
        if any(own is not None for own in found):
            self.places[out] = found

    def _follow(self, func: Any, name: str, args: Any, named: Any, out: Any) -> None:
        rule = RULES.get(name.removesuffix("_") if name.endswith("_") and not name.startswith("__") else name)
        first = args[0] if args and isinstance(args[0], Tensor) else named.get("input")
        reducing = REDUCING.fullmatch(name) and not (name in ("max", "min") and _second_tensor(args, named))
        if rule is not None:
            rule(self, args, named, out)
        elif POOLING.fullmatch(name) and isinstance(out, Tensor):
            self._pool(first, out, name)
        elif reducing:
            self._reduce(name, first, args, named, out)
        elif MOVING.fullmatch(name) and isinstance(first, Tensor) and not any(isinstance(a, torch.dtype) for a in args):
            self._move(func, first, args, named, out)
        elif ELEMENTWISE.fullmatch(name) and isinstance(out, Tensor):
            self.elementwise(list(tensors((args, named))), out, name)
        else:
            for tensor in tensors((args, named)):
                for labels in self.of(tensor):
                    self.fix(labels, f"{name.strip('_') or func} is not known to keep channels apart")
            for tensor in tensors(out):
                self.places.pop(tensor, None)

    def elementwise(self, given: list[Tensor], out: Tensor, name: str) -> None:
        """Each place of the result comes from the same place of what was given, spread where it is of size 1."""
        found: list[Labels] = []
        for dim in range(1, out.ndim + 1):
            wide = [t for t in given if t.ndim >= dim and t.shape[-dim] > 1]
            here = [self.at(t, -dim) for t in wide]
            for labels in here[1:]:
                here[0] = self.join(here[0], labels, f"{name.strip('_')} with a tensor of their width that cannot shrink")
            found.insert(0, here[0] if here else None)
        self.put(out, found)

    def _pool(self, first: Tensor, out: Tensor, name: str) -> None:
        places = int(found[3]) if (found := POOLING.fullmatch(name)) and found[3] else first.ndim - 2
        own = self.of(first)
        for labels in own[first.ndim - places :]:
            self.fix(labels, f"{name} mixes them")
        self.put(out, [*own[: first.ndim - places], *[None] * places])

    def _reduce(self, name: str, first: Tensor, args: Any, named: Any, out: Any) -> None:
        where = 2 if name in ("norm", "vector_norm", "linalg_vector_norm", "normalize") else 1
        dim = named.get("dim", named.get("axis", args[where] if len(args) > where else 1 if where == 2 else None))
        size, own = first.ndim, self.of(first)
        over = range(size) if dim is None else [dim % size] if isinstance(dim, int) else [d % size for d in dim]
        for d in over:
            if not ZERO_ADDS_NOTHING.fullmatch(name):
                self.fix(own[d], f"{name} mixes them")
            if not KEEPS_DIM.fullmatch(name):
                own[d] = None
        kept = own if KEEPS_DIM.fullmatch(name) else [labels for d, labels in enumerate(own) if d not in over]
        for tensor in tensors(out):
            self.put(tensor, own if tensor.ndim == size else kept)

    def _move(self, func: Any, first: Tensor, args: Any, named: Any, out: Any) -> None:
        """Whatever moves elements moves labels alike: the function itself is called with these."""
        own, results = self.of(first), list(tensors(out))
        found: list[list[Labels]] = [[None] * t.ndim for t in results]
        for dim, labels in enumerate(own):
            if labels is None:
                continue
            spread = torch.from_numpy(labels).view(-1, *[1] * (first.ndim - dim - 1)).expand(first.shape).contiguous().to(first.device)
            rest = {key: value for key, value in named.items() if key != "input"}
            try:
                moved = func(spread, *(args[1:] if args else ()), **rest)
            except (RuntimeError, TypeError):
                self.fix(labels, f"{func.__name__} is not known to keep channels apart")
                continue
            for own_labels, now in zip(found, tensors(moved), strict=True):
                place, carried = self._carrier(now.cpu().numpy())
                if place is not None:
                    own_labels[place] = carried
        for tensor, labels_of in zip(results, found, strict=True):
            self.put(tensor, labels_of)

    def _carrier(self, now: np.ndarray) -> tuple[int | None, Labels]:
        """The dimension along which moved labels change, and they along it; of several the last but one carries them."""
        if now.size == 0:
            return None, None
        start = [now.take([0], d) for d in range(now.ndim)]
        changing = [d for d in range(now.ndim) if now.shape[d] > 1 and (start[d] != now).any()]
        if not changing:
            self.fix(np.unique(now), "they are taken by their numbers")
            return None, None
        place = changing[max(len(changing) - 2, 0)]
        if len(changing) > 1:
            self.merge(np.moveaxis(now, place, 0), now.shape[place])
        return place, np.ascontiguousarray(np.moveaxis(now, place, 0).reshape(now.shape[place], -1)[:, 0])


def _second_tensor(args: Any, named: Any) -> bool:
    return len(list(tensors((args, named)))) > 1


Rule = Callable[[Trace, Any, Any, Any], None]
RULES: dict[str, Rule] = {}
"""What functions do with labels, by name: `rule(trace, args, named, out)`."""


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return add


def _bound(names: str, args: Any, named: Any) -> list[Any]:
    """The arguments of these names, wherever they stand; None for those not given."""
    given = dict(zip(names.split(), args, strict=False)) | named
    return [given.get(name) for name in names.split()]


@_rule("linear")
def _linear(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, weight, bias = _bound("input weight bias", args, named)
    wrote = trace.at(weight, 0, "writes")
    trace.join(trace.at(inputs, -1), trace.at(weight, -1, "reads"), "they read an input that cannot shrink")
    if bias is not None:
        trace.join(wrote, trace.at(bias, 0), "a bias that cannot shrink")
    trace.put(out, [*trace.of(inputs)[:-1], wrote])


@_rule("bilinear")
def _bilinear(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    one, two, weight, bias = _bound("input1 input2 weight bias", args, named)
    wrote = trace.at(weight, 0, "writes")
    trace.join(trace.at(one, -1), trace.at(weight, 1, "reads"), "they read an input that cannot shrink")
    trace.join(trace.at(two, -1), trace.at(weight, 2, "reads"), "they read an input that cannot shrink")
    if bias is not None:
        trace.join(wrote, trace.at(bias, 0), "a bias that cannot shrink")
    trace.put(out, [*trace.of(one)[:-1], wrote])


def _convolution(turned: bool) -> Rule:
    names = "input weight bias stride padding " + ("output_padding groups" if turned else "dilation groups")

    def rule(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
        inputs, weight, bias, *_, groups = _bound(names, args, named)
        groups = groups or 1
        dim = inputs.ndim - weight.ndim + 1
        own = trace.of(inputs)
        for labels in own[dim + 1 :]:
            trace.fix(labels, "a convolution moves over them")
        if groups == 1:
            wrote = trace.at(weight, int(turned), "writes")
            trace.join(own[dim], trace.at(weight, 1 - turned, "reads"), "they read an input that cannot shrink")
        else:  # a unit is a whole group, its inputs and its outputs
            wrote = trace.fresh(out.shape[dim]) if turned else trace.at(weight, 0, "writes")
            read = trace.at(weight, 0, "writes") if turned else None
            units = trace.merge(wrote, groups)
            for labels in (own[dim], read) if turned else (own[dim],):
                trace.join(trace.merge(labels, groups), units, "they read an input that cannot shrink")
        if bias is not None:
            trace.join(wrote, trace.at(bias, 0), "a bias that cannot shrink")
        trace.put(out, [*own[:dim], wrote, *[None] * (out.ndim - dim - 1)])

    return rule


for _k in (1, 2, 3):
    RULES[f"conv{_k}d"], RULES[f"conv_transpose{_k}d"] = _convolution(False), _convolution(True)


@_rule("batch_norm", "instance_norm")
def _norm(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, *held = _bound("input running_mean running_var weight bias", args, named)
    own = trace.of(inputs)
    for tensor in filter(lambda t: t is not None, held):
        own[1] = trace.join(own[1], trace.at(tensor, 0), "a norm of an input that cannot shrink")
    trace.put(out, own)


@_rule("group_norm")
def _group_norm(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, groups, weight, bias = _bound("input num_groups weight bias", args, named)
    own = trace.of(inputs)
    trace.merge(own[1], groups)
    if weight is None:
        trace.fix(own[1], "a group norm without entries cannot tell how many groups are left")
    for tensor in filter(lambda t: t is not None, (weight, bias)):
        own[1] = trace.join(own[1], trace.at(tensor, 0), "a norm of an input that cannot shrink")
    trace.put(out, own)


@_rule("prelu")
def _prelu(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, weight = _bound("input weight", args, named)
    own = trace.of(inputs)
    if weight.numel() > 1:
        own[1] = trace.join(own[1], trace.at(weight, 0), "a slope of an input that cannot shrink")
    trace.put(out, own)


@_rule("pixel_shuffle")
def _pixel_shuffle(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, _ = _bound("input upscale_factor", args, named)
    own = trace.of(inputs)
    own[-3] = trace.merge(own[-3], out.shape[-3])
    trace.put(out, own)


@_rule("layer_norm", "rms_norm")
def _layer_norm(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, shape, weight, bias = _bound("input normalized_shape weight bias", args, named)
    own, name = trace.of(inputs), trace.names.get(id(weight))
    for dim in range(-len(shape), 0):
        for tensor in filter(lambda t: t is not None, (weight, bias)):
            own[dim] = trace.join(own[dim], trace.at(tensor, dim), "a norm of an input that cannot shrink")
        trace.fix(own[dim], f"the norm {name or ''} takes a mean over them".replace("  ", " "))
    trace.put(out, own)


@_rule("embedding")
def _embedding(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, weight = _bound("input weight", args, named)
    trace.put(out, [*[None] * inputs.ndim, trace.at(weight, 1)])


def _product(trace: Trace, a: Tensor, b: Tensor, out: Tensor) -> None:
    if a.ndim < 2 or b.ndim < 2:
        for tensor in (a, b):
            for labels in trace.of(tensor):
                trace.fix(labels, "a product of vectors")
        return
    trace.join(trace.at(a, -1, "reads"), trace.at(b, -2, "reads"), "they are multiplied by a tensor that cannot shrink")
    rows, columns = trace.at(a, -2, "writes"), trace.at(b, -1, "writes")
    batch: list[Labels] = []
    for dim in range(3, out.ndim + 1):
        wide = [trace.at(t, -dim) for t in (a, b) if t.ndim >= dim and t.shape[-dim] > 1]
        if len(wide) > 1:
            wide[0] = trace.join(wide[0], wide[1], "they are multiplied by a tensor that cannot shrink")
        batch.insert(0, wide[0] if wide else None)
    trace.put(out, [*batch, rows, columns])


@_rule("matmul", "__matmul__", "bmm", "mm")
def _matmul(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    _product(trace, *tensors((args, named)), out)  # type: ignore[misc]


@_rule("addmm", "baddbmm")
def _addmm(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    added, a, b = tensors((args, named))
    _product(trace, a, b, out)
    product = torch.empty_like(out)
    trace.put(product, trace.of(out))
    trace.elementwise([added, product], out, "addmm")


@_rule("einsum")
def _einsum(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    equation, *operands = args
    operands = list(tensors(operands))
    terms, _, result = equation.replace(" ", "").partition("->")
    plain = result.isalpha() and all(term.isalpha() for term in terms.split(","))
    found = dict[str, Labels]()
    for term, tensor in zip(terms.split(","), operands, strict=True):
        for dim, labels in enumerate(trace.of(tensor)):
            letter = term[dim] if plain else ""
            if not plain:
                trace.fix(labels, f"einsum {equation!r} is not known to keep channels apart")
            else:
                role = "writes" if letter in result else "reads"
                labels = trace.at(tensor, dim, role)
                told = "they are multiplied by a tensor that cannot shrink"
                wide = tensor.shape[dim] > 1
                found[letter] = trace.join(found[letter], labels, told) if letter in found and wide else labels
    trace.put(out, [found[letter] for letter in result] if plain else [None] * out.ndim)


@_rule("scaled_dot_product_attention")
def _attention(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    names = "query key value attn_mask dropout_p is_causal scale enable_gqa"
    query, key, value, mask, _, _, scale, _ = _bound(names, args, named)
    inner = trace.join(trace.at(query, -1), trace.at(key, -1), "attention with a tensor that cannot shrink")
    if scale is None:
        trace.fix(inner, "attention divides by the root of their number")
    found: list[Labels] = []
    for dim in range(3, out.ndim + 1):
        heads = trace.at(query, -dim)
        for tensor in (key, value):
            ours, theirs = query.shape[-dim], tensor.shape[-dim]
            labels = trace.at(tensor, -dim)
            if labels is not None and 1 < theirs < ours:  # each serves several queries
                labels = np.repeat(labels, ours // theirs)
            if theirs > 1:
                heads = trace.join(heads, labels, "attention with a tensor that cannot shrink")
        if mask is not None and mask.ndim >= dim and mask.shape[-dim] > 1:
            heads = trace.join(heads, trace.at(mask, -dim), "attention has a mask for each head")
        found.insert(0, heads)
    trace.put(out, [*found, trace.at(query, -2), trace.at(value, -1)])


@_rule("multi_head_attention_forward")
def _heads(trace: Trace, args: Any, named: Any, out: Any) -> None:
    names = "query key value embed_dim_to_check num_heads in_proj_weight in_proj_bias bias_k bias_v add_zero_attn "
    names += "dropout_p out_proj_weight out_proj_bias"
    query, key, value, _, heads, stacked, biases, k, v, zero, _, after, bias = _bound(names, args, named)
    last = trace.at(after, 1, "reads")
    units = trace.merge(last, heads)
    own = [named.get(f"{letter}_proj_weight") for letter in "qkv"]
    for place, inputs in enumerate((query, key, value)):
        weight = own[place] if stacked is None else stacked
        trace.join(trace.at(inputs, -1), trace.at(weight, 1, "reads"), "they read an input that cannot shrink")
        for tensor in (weight, biases):
            labels = trace.at(tensor, 0, "writes" if tensor is weight else "")
            part = labels if labels is None or len(labels) == len(last) else labels.reshape(3, -1)[place]
            if part is not None:
                trace.join(trace.merge(part, heads), units, "")
    if k is not None or v is not None or zero:
        trace.fix(units, "attention adds a key and a value")
    wrote = trace.at(after, 0, "writes")
    if bias is not None:
        trace.join(wrote, trace.at(bias, 0), "a bias that cannot shrink")
    trace.put(out[0], [None] * (out[0].ndim - 1) + [wrote])


@_rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(trace: Trace, args: Any, named: Any, out: Any) -> None:
    inputs, states, weights, biased, layers, _, _, both, *_ = args
    if not isinstance(layers, int) or isinstance(layers, bool):  # a packed sequence: data, batch sizes, states, ...
        inputs, _, states, weights, biased, layers, _, _, both = args
    below, ways, units, wrote = trace.at(inputs, -1), 2 if both else 1, None, None
    step = len(weights) // (layers * ways)
    for layer in range(layers):
        for way in range(ways):
            read, back, *rest = weights[(layer * ways + way) * step :][:step]
            trace.join(below, trace.at(read, 1, "reads"), "they read an input that cannot shrink")
            projection = rest.pop() if len(rest) in (1, 3) else None
            hidden = _units(trace, read, back, rest, projection)
            given = hidden if projection is None else trace.at(projection, 0, "writes")
            units = hidden if units is None else trace.join(units, hidden, "")  # one size for all layers and directions
            wrote = given if wrote is None else trace.join(wrote, given, "")
        below = None if wrote is None else np.concatenate([wrote] * ways)
    for tensor, labels in zip(tensors((out, states)), (below, wrote, units, wrote, units), strict=False):
        if tensor is not out[0] and tensor in trace.places:
            trace.join(trace.at(tensor, -1), labels, "")
        trace.put(tensor, [*[None] * (tensor.ndim - 1), labels])


def _units(trace: Trace, read: Tensor, back: Tensor, biases: list[Tensor], projection: Tensor | None) -> np.ndarray:
    """One label for each hidden unit, of all its gates."""
    size = back.shape[1] if projection is None else projection.shape[1]
    units = None
    for tensor in (read, back, *biases):
        gates = trace.at(tensor, 0, "writes" if tensor.ndim > 1 else "")
        mine = trace.merge(gates.reshape(-1, size).T, size)
        units = mine if units is None else trace.join(units, mine, "")
    seen = trace.at(back, 1, "reads")
    if projection is None:
        trace.join(units, seen, "")
    else:
        trace.join(trace.at(projection, 1, "reads"), units, "")
        trace.join(trace.at(projection, 0, "writes"), seen, "")
    return units


@_rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _cell(trace: Trace, args: Any, named: Any, out: Any) -> None:
    inputs, states, read, back, *biases = args
    trace.join(trace.at(inputs, -1), trace.at(read, 1, "reads"), "they read an input that cannot shrink")
    units = _units(trace, read, back, [b for b in biases if b is not None], None)
    for tensor in tensors(states):
        if (labels := trace.at(tensor, -1)) is not None:
            trace.join(units, labels, "")
    for tensor in tensors(out):
        trace.put(tensor, [*[None] * (tensor.ndim - 1), units])


@_rule("glu")
def _glu(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, dim = _bound("input dim", args, named)
    own, dim = trace.of(inputs), -1 if dim is None else dim
    if own[dim] is not None:
        own[dim] = trace.join(*np.split(own[dim], 2), "")
    trace.put(out, own)


@_rule("cat", "concat", "concatenate")
def _cat(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    parts, dim = _bound("tensors dim", args, {("dim" if key == "axis" else key): v for key, v in named.items()})
    parts, dim = [t for t in parts if t.numel()], (dim or 0) % out.ndim
    found: list[Labels] = []
    for d in range(out.ndim):
        here = [trace.at(t, d) for t in parts]
        if d == dim and any(labels is not None for labels in here):
            sizes = [t.shape[d] for t in parts]
            none = [np.full(size, -1) for size in sizes]
            found.append(np.concatenate([n if own is None else own for own, n in zip(here, none, strict=True)]))
        elif d == dim or out.shape[d] == 1:
            found.append(None)
        else:
            for labels in here[1:]:
                here[0] = trace.join(here[0], labels, "they stand beside a tensor of their width that cannot shrink")
            found.append(here[0])
    trace.put(out, found)


@_rule("stack")
def _stack(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    parts, dim = _bound("tensors dim", args, named)
    found = trace.of(parts[0])
    for tensor in parts[1:]:
        own = trace.of(tensor)
        found = [trace.join(a, b, "they are stacked on a tensor that cannot shrink") for a, b in zip(found, own, strict=True)]
    found.insert((dim or 0) % out.ndim, None)
    trace.put(out, found)


@_rule("pad", "constant_pad_nd")
def _pad(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, pad, mode = _bound("input pad mode", args, named)
    own = trace.of(inputs)
    for k in range(len(pad) // 2):
        dim, (low, high) = inputs.ndim - 1 - k, pad[2 * k : 2 * k + 2]
        if own[dim] is not None and (low or high):
            if mode not in (None, "constant") or min(low, high) < 0:
                trace.fix(own[dim], f"they are padded in mode {mode!r}")
                own[dim] = None
            else:
                own[dim] = np.pad(own[dim], (low, high), constant_values=-1)
    trace.put(out, own)


def traced(model: nn.Module, example: Tensor) -> Trace:
    """The trace of one or two inputs in evaluation mode; the model is bit-equal afterwards."""
    trace = Trace(model)
    with untouched(model), plain_kernels(model), evaluating(model), torch.no_grad():
        inputs = fitted(model, example)[:2]
        with trace:
            given = outputs(model, inputs)
        for tensor in counting(given):
            for labels in trace.of(tensor):
                trace.fix(labels, OUTPUT)
    return trace


OUTPUT = "they are the model's outputs"


def counting(given: Any) -> list[Tensor]:
    """The tensors of a model's outputs that must stay equal: its `logits`, or all where it names none.

    >>> len(counting({"a": torch.ones(1), "b": torch.ones(1)}))
    2
    """
    try:
        return [logits(given)]
    except TypeError:
        return [t for t in tensors(given) if t.is_floating_point()]
