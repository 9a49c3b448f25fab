"""Which of a model's weights can be pruned, and which matrices that leaves out."""

import fnmatch
import re
from collections.abc import Iterable

import torch  # noqa: F401  (for the doctests)
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from workbench.types import warn

TRANSPOSED = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
PRUNABLE_LAYERS = nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED
"""Layers whose `weight` multiplies their one input."""

RECURRENT = nn.RNNBase, nn.RNNCellBase
QUERY_KEY_VALUE = "q_proj_weight", "k_proj_weight", "v_proj_weight"
"""Matrices that share one bias, `in_proj_bias`, in this order."""

EMBEDDINGS = nn.Embedding, nn.EmbeddingBag
NORM = re.compile(r"norm(\dd)?$", re.IGNORECASE)
ADDED = re.compile(r"bias|position|^pos|embed(ding)?s?$|tokens?$")
COMPUTED = re.compile(r"\.parametrizations\.(\w+)\.original\d*$|(?<=weight)_(orig|[gv])$")


def prunable(model: nn.Module, exclude: Iterable[str] = (), strict: bool = True) -> dict[str, nn.Parameter]:
    """The weights that pruning may remove: parameter name -> parameter, in the model's order.

    The rule: the `weight` of every linear, bilinear, convolution and transposed convolution layer (also of the `Conv1D`
    of transformers), the matrices of recurrent layers and cells, and the projections inside `nn.MultiheadAttention`; no
    biases, no norms, no embeddings; a tensor of several names counts once, under the first, and not at all when it is
    also an embedding. `left_out` names the matrices that this rule misses. `exclude` takes parameter or layer names,
    with `*` as wildcard. Raises ValueError if nothing is left, or where a weight cannot be pruned (uninitialised,
    empty, integer, computed from others); `strict=False` skips such weights.

    Misleads when ratios are compared with papers that leave out the first or last layer: use `exclude` for those.

    >>> list(prunable(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), exclude=["2"]))
    ['0.weight']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model is an nn.Module; got {type(model).__name__}. Use wb.make(name, task) or your own module"
        )
    patterns, found = _patterns(exclude), dict[str, nn.Parameter]()
    unused = set(patterns)
    for names, weight in _candidates(model):
        if matching := _matching(patterns, names):
            unused -= matching
        elif not (fault := _fault(names[0], weight)):
            found[names[0]] = weight  # type: ignore[assignment]
        elif strict:
            raise ValueError(fault)
    if unused and (unused := unused - _matching(patterns, left_out(model))):
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        everything = ", ".join([*found][:8]) + more or "nothing"
        raise ValueError(f"exclude names layers of the model; {sorted(unused)} match none. Prunable here: {everything}")
    if not found:
        missed, outside = ", ".join(left_out(model, patterns)), f" outside exclude={patterns}" if patterns else ""
        raise ValueError(
            f"a model needs at least one weight of a linear, convolution, recurrent or attention layer to prune; "
            f"{type(model).__name__} has none{outside}"
            + (f". Left out as matrices of no known layer: {missed}. Put them into nn.Linear layers" if missed else "")
        )
    return found


def left_out(model: nn.Module, exclude: Iterable[str] = ()) -> dict[str, float]:
    """Matrices that `prunable` misses: parameter name -> its share of the weights in all of the model's matrices.

    Matrices are the prunable weights and all other parameters with at least two dimensions longer than 1, such as the
    stacked weights of experts, except those of embeddings and norms, and those whose own name says that they are added
    (with "bias" or "position" in it, from "pos", or to "embedding" or "token"). What `exclude` names is not left out.
    Sparsity and compression do not count these weights: where they are 0.9 of all, 10x removes 9 % of all.

    Misleads as a list of matrix products: a table of numbers that the model adds is in it too.

    >>> model = nn.Linear(2, 3)
    >>> model.experts = nn.Parameter(torch.ones(2, 3, 3))
    >>> left_out(model)
    {'experts': 0.75}
    """
    patterns, known = _patterns(exclude), {id(weight) for _, weight in _candidates(model)}
    passing = [m for m in model.modules() if isinstance(m, EMBEDDINGS) or NORM.search(type(m).__name__)]
    passed = {id(p) for module in passing for p in module.parameters(recurse=False)}
    sizes, total = dict[str, int](), 0
    for name, p in model.named_parameters():
        if isinstance(p, UninitializedParameter):
            continue
        added = id(p) in passed or ADDED.search(name.rpartition(".")[2])
        if id(p) not in known and not added and sum(size > 1 for size in p.shape) > 1:
            sizes[name] = p.numel()
        total += p.numel() if id(p) in known or name in sizes else 0
    return {name: size / total for name, size in sizes.items() if not _matching(patterns, [name])}


def counted(model: nn.Module, exclude: Iterable[str] = ()) -> dict[str, nn.Parameter]:
    """`prunable`, with a warning of what it misses of the model's matrices, if anything.

    >>> list(counted(nn.Linear(2, 3)))
    ['weight']
    """
    patterns = _patterns(exclude)
    found = prunable(model, patterns)
    warn_of(left_out(model, patterns), model)
    return found


def warn_of(missed: dict[str, float], model: nn.Module) -> None:
    """Warn of matrices that stay whole, if there are any, and of their share of the weights (`left_out`)."""
    if missed:
        warn(
            f"sparsity and compression count the weights that can be pruned; of those in the matrices of "
            f"{type(model).__name__} {sum(missed.values()):.1%} are in no known layer and stay whole: "
            f"{shares(missed)}. Put them into layers such as nn.Linear, or name them in exclude if you want this"
        )


def shares(missed: dict[str, float], most: int = 3) -> str:
    """The largest of `left_out` in words.

    >>> shares({"a": 0.25, "b": 0.5})
    'b (50.0%), a (25.0%)'
    """
    names = sorted(missed, key=missed.__getitem__, reverse=True)
    listed = ", ".join(f"{name} ({missed[name]:.1%})" for name in names[:most])
    return listed + (f" and {len(names) - most} more" if len(names) > most else "")


def turned(module: nn.Module) -> bool:
    """Whether a layer is the `Conv1D` of transformers: linear, with a weight `[in, out]`.

    >>> turned(nn.Linear(2, 3))
    False
    """
    weight = module.weight if type(module).__name__ == "Conv1D" else None
    return isinstance(weight, Tensor) and weight.ndim == 2 and getattr(module, "nf", None) == weight.shape[1]


def _patterns(exclude: Iterable[str]) -> list[str]:
    return [exclude] if isinstance(exclude, str) else list(exclude)


def _matching(patterns: list[str], names: Iterable[str]) -> set[str]:
    """The patterns that name a parameter or its layer; of a computed weight also by the name it has when used."""
    spelt = {*names, *(COMPUTED.sub(lambda found: f".{found[1]}" if found[1] else "", name) for name in names)}
    spelt |= {name.rpartition(".")[0] for name in spelt}
    return {p for p in patterns if any(fnmatch.fnmatchcase(name, p) for name in spelt)}


def _candidates(model: nn.Module) -> list[tuple[list[str], Tensor]]:
    """The names of each weight that the rule covers, and the weight, whether or not it can be pruned."""
    modules = list(model.named_modules())
    found: dict[int, tuple[list[str], Tensor]] = {}
    for layer, module in modules:
        for own, weight in _weights(module):
            found.setdefault(id(weight), ([], weight))[0].append(f"{layer}.{own}" if layer else own)
    embedded = {id(m.weight) for _, m in modules if isinstance(m, EMBEDDINGS)}
    return [entry for key, entry in found.items() if key not in embedded]


def _weights(module: nn.Module) -> list[tuple[str, Tensor]]:
    names: Iterable[str] = []
    if isinstance(module, (*PRUNABLE_LAYERS, nn.Bilinear)) or turned(module):
        names = ["weight"]
    elif isinstance(module, nn.MultiheadAttention):
        names = ["in_proj_weight", *QUERY_KEY_VALUE]
    elif isinstance(module, RECURRENT):
        names = [name for name, _ in module.named_parameters(recurse=False) if name.startswith("weight")]
    return [(n, w) for n in names if isinstance(w := getattr(module, n), Tensor)]


def _fault(name: str, weight: Tensor) -> str:
    """Why a weight cannot be pruned; empty if it can."""
    if not isinstance(weight, nn.Parameter):
        return (
            f"prunable weights are parameters; {name!r} is computed from others (torch.nn.utils.prune, weight_norm or "
            f"a parametrization). Make it a parameter again with its remove function, or pass exclude=[{name!r}]"
        )
    if isinstance(weight, UninitializedParameter):
        return f"weights have a shape before they are pruned; {name!r} is lazy. Pass one batch through the model first"
    if weight.numel() == 0:
        return f"a prunable layer has weights; {name!r} has shape {tuple(weight.shape)}. Pass exclude=[{name!r}]"
    if not weight.is_floating_point():
        return f"prunable weights are floating-point numbers; {name!r} is {weight.dtype}. Pass exclude=[{name!r}]"
    return ""
