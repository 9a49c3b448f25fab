"""What attention and recurrent layers do with labels: heads, and the gates of units."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from workbench.models.watch import tensors
from workbench.removal.functions import BIAS, INPUT
from workbench.removal.trace import Labels, Trace, bound, rule

ATTENTION = "attention with a tensor that cannot shrink"


@rule("scaled_dot_product_attention")
def _attention(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    names = "query key value attn_mask dropout_p is_causal scale enable_gqa"
    query, key, value, mask, _, _, scale, _ = bound(names, args, named)
    inner = trace.join(trace.at(query, -1), trace.at(key, -1), ATTENTION)
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
                heads = trace.join(heads, labels, ATTENTION)
        if mask is not None and mask.ndim >= dim and mask.shape[-dim] > 1:
            heads = trace.join(heads, trace.at(mask, -dim), "attention has a mask for each head")
        found.insert(0, heads)
    trace.put(out, [*found, trace.at(query, -2), trace.at(value, -1)])


@rule("multi_head_attention_forward")
def _heads(trace: Trace, args: Any, named: Any, out: Any) -> None:
    names = "query key value embed_dim_to_check num_heads in_proj_weight in_proj_bias bias_k bias_v add_zero_attn "
    names += "dropout_p out_proj_weight out_proj_bias"
    query, key, value, _, heads, stacked, biases, k, v, zero, _, after, bias = bound(names, args, named)
    last = trace.at(after, 1, "reads")
    units = trace.merge(last, heads)
    own = [named.get(f"{letter}_proj_weight") for letter in "qkv"]
    for place, inputs in enumerate((query, key, value)):
        weight = own[place] if stacked is None else stacked
        trace.join(trace.read(inputs, -1), trace.at(weight, 1, "reads"), INPUT)
        for tensor in (weight, biases):
            labels = trace.at(tensor, 0, "writes" if tensor is weight else "")
            part = labels if labels is None or len(labels) == len(last) else labels.reshape(3, -1)[place]
            if part is not None:
                trace.join(trace.merge(part, heads), units, "")
    if k is not None or v is not None or zero:
        trace.fix(units, "attention adds a key and a value")
    wrote = trace.at(after, 0, "writes")
    trace.along(wrote, bias, 0, BIAS)
    trace.put(out[0], [None] * (out[0].ndim - 1) + [wrote])


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(trace: Trace, args: Any, named: Any, out: Any) -> None:
    inputs, states, weights, _, layers, _, _, both, *_ = args
    if not isinstance(layers, int) or isinstance(layers, bool):  # a packed sequence: data, batch sizes, states, ...
        inputs, _, states, weights, _, layers, _, _, both = args
    below, step = trace.read(inputs, -1), len(weights) // (layers * (1 + both))
    hidden, wrote = list[Labels](), list[Labels]()
    for layer in range(layers):
        for start in range(layer * step * (1 + both), (layer + 1) * step * (1 + both), step):
            read, back, *rest = weights[start : start + step]
            trace.join(below, trace.at(read, 1, "reads"), INPUT)
            projection = rest.pop() if len(rest) in (1, 3) else None
            hidden.append(_units(trace, read, back, rest, projection))
            wrote.append(hidden[-1] if projection is None else trace.at(projection, 0, "writes"))
            trace.join(hidden[0], hidden[-1], "")  # one number is the size of all layers and directions
            trace.join(wrote[0], wrote[-1], "")
        below = np.concatenate(wrote[-1 - both :])
    trace.put(out[0], [*[None] * (out[0].ndim - 1), below])
    for tensor, labels in zip(out[1:], (wrote[0], hidden[0]), strict=False):
        trace.put(tensor, [*[None] * (tensor.ndim - 1), labels])
    for tensor, labels in zip(tensors(states), (wrote[0], hidden[0]), strict=False):
        if trace.at(tensor, -1) is not None:  # a state that is made of zeros takes its size from the layer
            trace.along(labels, tensor, -1, "")


def _units(trace: Trace, read: Tensor, back: Tensor, biases: list[Tensor], projection: Tensor | None) -> Labels:
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


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _cell(trace: Trace, args: Any, named: Any, out: Any) -> None:
    inputs, states, read, back, *biases = args
    trace.join(trace.read(inputs, -1), trace.at(read, 1, "reads"), INPUT)
    units = _units(trace, read, back, [b for b in biases if b is not None], None)
    for tensor in tensors(states):
        if (labels := trace.at(tensor, -1)) is not None:
            trace.join(units, labels, "")
    for tensor in tensors(out):
        trace.put(tensor, [*[None] * (tensor.ndim - 1), units])
