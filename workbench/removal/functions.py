"""What single functions do with labels: layers, norms, products, and joining tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.models.watch import tensors
from workbench.removal.trace import RULES, Labels, Rule, Trace, bound, rule

INPUT = "they read an input that cannot shrink"
BIAS = "a bias that cannot shrink"
PRODUCT = "they are multiplied by a tensor that cannot shrink"
NORM = "a norm of an input that cannot shrink"


@rule("linear")
def _linear(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, weight, bias = bound("input weight bias", args, named)
    wrote = trace.at(weight, 0, "writes")
    trace.join(trace.read(inputs, -1), trace.at(weight, -1, "reads"), INPUT)
    trace.along(wrote, bias, 0, BIAS)
    trace.put(out, [*trace.of(inputs)[:-1], wrote])


@rule("bilinear")
def _bilinear(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    one, two, weight, bias = bound("input1 input2 weight bias", args, named)
    wrote = trace.at(weight, 0, "writes")
    trace.join(trace.read(one, -1), trace.at(weight, 1, "reads"), INPUT)
    trace.join(trace.read(two, -1), trace.at(weight, 2, "reads"), INPUT)
    trace.along(wrote, bias, 0, BIAS)
    trace.put(out, [*trace.of(one)[:-1], wrote])


def _convolution(turned: bool) -> Rule:
    names = "input weight bias stride padding " + ("output_padding groups" if turned else "dilation groups")

    def rule(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
        inputs, weight, bias, *_, groups = bound(names, args, named)
        groups = groups or 1
        dim = inputs.ndim - weight.ndim + 1
        own = trace.of(inputs)
        trace.read(inputs, dim)
        for labels in own[dim + 1 :]:
            trace.fix(labels, "a convolution moves over them")
        if groups == 1:
            wrote = trace.at(weight, int(turned), "writes")
            trace.join(own[dim], trace.at(weight, 1 - turned, "reads"), INPUT)
        else:  # a unit is a whole group, its inputs and its outputs
            wrote = trace.fresh(out.shape[dim]) if turned else trace.at(weight, 0, "writes")
            read = trace.at(weight, 0, "writes") if turned else None
            units = trace.merge(wrote, groups)
            for labels in (own[dim], read) if turned else (own[dim],):
                trace.join(trace.merge(labels, groups), units, INPUT)
        trace.along(wrote, bias, 0, BIAS)
        trace.put(out, [*own[:dim], wrote, *[None] * (out.ndim - dim - 1)])

    return rule


for _k in (1, 2, 3):
    RULES[f"conv{_k}d"], RULES[f"conv_transpose{_k}d"] = _convolution(False), _convolution(True)


@rule("batch_norm", "instance_norm")
def _norm(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, *held = bound("input running_mean running_var weight bias", args, named)
    own = trace.of(inputs)
    for tensor in held:
        own[1] = trace.along(own[1], tensor, 0, NORM)
    trace.put(out, own)


@rule("group_norm")
def _group_norm(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, groups, weight, bias = bound("input num_groups weight bias", args, named)
    own = trace.of(inputs)
    trace.merge(own[1], groups)
    if groups == 1:
        trace.fix(own[1], _mean(trace, weight))
    if weight is None:
        trace.fix(own[1], "a group norm without entries cannot tell how many groups are left")
    for tensor in (weight, bias):
        own[1] = trace.along(own[1], tensor, 0, NORM)
    trace.put(out, own)


@rule("prelu")
def _prelu(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, weight = bound("input weight", args, named)
    own = trace.of(inputs)
    if weight.numel() > 1:
        own[1] = trace.along(own[1], weight, 0, "a slope of an input that cannot shrink")
    trace.put(out, own)


@rule("pixel_shuffle")
def _pixel_shuffle(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, _ = bound("input upscale_factor", args, named)
    own = trace.of(inputs)
    own[-3] = trace.merge(own[-3], out.shape[-3])
    trace.put(out, own)


@rule("layer_norm", "rms_norm")
def _layer_norm(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, shape, weight, bias = bound("input normalized_shape weight bias", args, named)
    own = trace.of(inputs)
    for dim in range(-len(shape), 0):
        for tensor in (weight, bias):
            own[dim] = trace.along(own[dim], tensor, dim, NORM)
        trace.fix(own[dim], _mean(trace, weight))
    trace.put(out, own)


def _mean(trace: Trace, weight: Any) -> str:
    return f"the norm {trace.names.get(id(weight), '')} takes a mean over them".replace("  ", " ")


@rule("embedding")
def _embedding(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, weight = bound("input weight", args, named)
    trace.put(out, [*[None] * inputs.ndim, trace.at(weight, 1)])


def _product(trace: Trace, a: Tensor, b: Tensor, out: Tensor) -> None:
    if a.ndim < 2 or b.ndim < 2:
        raise TypeError("products of vectors have no rule")
    trace.summed((a, -1), (b, -2))
    trace.join(trace.at(a, -1, "reads"), trace.at(b, -2, "reads"), PRODUCT)
    batch = [trace.beside((a, b), dim, PRODUCT) for dim in range(-out.ndim, -2)]
    trace.put(out, [*batch, trace.at(a, -2, "writes"), trace.at(b, -1, "writes")])


@rule("matmul", "__matmul__", "bmm", "mm")
def _matmul(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    a, b = tensors((args, named))
    _product(trace, a, b, out)


@rule("addmm", "baddbmm")
def _addmm(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    added, a, b = tensors((args, named))
    _product(trace, a, b, out)
    product = torch.empty_like(out)
    trace.put(product, trace.of(out))
    trace.elementwise([added, product], out, "addmm")


@rule("einsum")
def _einsum(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    given, (written, _, result) = list(tensors(args[1:])), args[0].replace(" ", "").partition("->")
    terms, spread = written.split(","), ""
    for k, (term, tensor) in enumerate(zip(terms, given, strict=True)):
        if "..." in term:  # dimensions without a letter
            spread = max(spread, own := "ABCDEFGH"[5 + len(term) - tensor.ndim :], key=len)
            terms[k] = term.replace("...", own)
    result = result.replace("...", spread)
    found, gone = dict[str, Labels](), dict[str, list[tuple[Tensor, int]]]()
    for term, tensor in zip(terms, given, strict=True):
        if not (term + result).isalpha():
            raise TypeError("einsum without a result has no rule")
        for dim, letter in enumerate(term):
            labels = trace.at(tensor, dim, "writes" if letter in result else "reads")
            gone.setdefault(letter, []).append((tensor, dim))
            known = letter in found and tensor.shape[dim] > 1
            found[letter] = trace.join(found[letter], labels, PRODUCT) if known else labels
    for letter in gone.keys() - {*result}:
        trace.summed(*gone[letter])
    trace.put(out, [found[letter] for letter in result])


@rule("glu")
def _glu(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, dim = bound("input dim", args, named)
    own, dim = trace.of(inputs), -1 if dim is None else dim
    if own[dim] is not None:
        first, second = np.split(own[dim], 2)
        own[dim] = trace.join(first, second, "")
    trace.put(out, own)


@rule("cat", "concat", "concatenate")
def _cat(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    parts, dim = bound("tensors dim", args, {("dim" if key == "axis" else key): v for key, v in named.items()})
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
            found.append(trace.beside(parts, d - out.ndim, "they stand beside a tensor that cannot shrink"))
    trace.put(out, found)


@rule("stack")
def _stack(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    parts, dim = bound("tensors dim", args, named)
    told = "they are stacked on a tensor that cannot shrink"
    found = [trace.beside(parts, d, told) for d in range(1 - out.ndim, 0)]
    found.insert((dim or 0) % out.ndim, None)
    trace.put(out, found)


@rule("pad", "constant_pad_nd")
def _pad(trace: Trace, args: Any, named: Any, out: Tensor) -> None:
    inputs, pad, mode = bound("input pad mode", args, named)
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
