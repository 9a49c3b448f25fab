"""The nouns of the workbench as plain data, and the checks that name what is wrong with them."""

import difflib
import math
import sys
import warnings
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import NamedTuple

import torch
from torch import Tensor, nn

Scores = dict[str, Tensor]
"""Parameter name -> float tensor of the parameter's shape, or `[units]` at a coarser granularity; higher = keep."""

Masks = dict[str, Tensor]
"""Parameter name -> bool tensor of the parameter's shape; True = kept."""


class Batch(NamedTuple):
    """Inputs and targets `[n, ...]` on one device: class numbers and tokens are int64, amounts are floats."""

    inputs: Tensor
    targets: Tensor


def warn(told: str) -> None:
    """Warn at the first line outside this package that led here."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
        frame, level = frame.f_back, level + 1
    warnings.warn(told, stacklevel=level)


def check_choice(what: str, value: object, options: Iterable[str]) -> str:
    """Return `value` if it is one of `options`; otherwise a ValueError with the nearest and all of them.

    >>> check_choice("criterion", "snip", ["grasp", "snip"])
    'snip'
    """
    names = sorted(options)
    if not isinstance(value, str):
        raise TypeError(f"{what} is a name, one of {', '.join(names)}; got {value!r} ({type(value).__name__})")
    if value in names:
        return value
    near = difflib.get_close_matches(value.lower(), names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{what} is one of {', '.join(names)}; got {value!r}.{hint}")


def check_count(what: str, value: object, least: int = 1) -> int:
    """Return `value` if it is a whole number of at least `least`.

    >>> check_count("rounds", 5)
    5
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{what} is a whole number of at least {least}; got {value!r} ({type(value).__name__})")
    if value < least:
        raise ValueError(f"{what} is a whole number of at least {least}; got {value}")
    return int(value)


def check_sparsity(value: object) -> float:
    """Return `value` as a float if it is a sparsity: the fraction removed, in [0, 1).

    >>> check_sparsity(0.9)
    0.9
    """
    rule = "sparsity is the fraction removed, in [0, 1)"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{rule}; got {value!r} ({type(value).__name__}). Pass a number such as 0.9")
    sparsity = float(value)
    if 0 <= sparsity < 1:
        return sparsity
    if math.isnan(sparsity):
        raise ValueError(f"{rule}; got NaN. Check the expression it comes from")
    if sparsity < 0:
        remedy = "0 removes nothing"
    elif sparsity == 1:
        remedy = "1 would remove every weight; the highest useful value keeps one a layer"
    elif math.isinf(sparsity):
        remedy = "Pass a number below 1"
    else:
        remedy = f"For {sparsity:g}x compression pass sparsity={1 - 1 / sparsity:.4g}"
        remedy += f"; for {sparsity:g} % pass sparsity={sparsity / 100:g}" if 10 < sparsity < 100 else ""
    raise ValueError(f"{rule}; got {value}. {remedy}")


def count_not_finite(values: Tensor) -> int:
    """How many values are NaN or infinite; a finite sum says at once that none is.

    >>> count_not_finite(torch.tensor([1.0, float("inf"), float("nan")]))
    2
    """
    values = values.detach()
    return 0 if math.isfinite(values.sum()) else int((~torch.isfinite(values)).sum())


def check_scores(scores: object) -> Scores:
    """Return `scores`, without their graph, if every entry is a finite floating tensor; else say which layer is not.

    >>> sorted(check_scores({"fc.weight": torch.ones(2, 2)}))
    ['fc.weight']
    """
    if not isinstance(scores, Mapping):
        raise TypeError(f"scores are a dict of parameter name -> tensor; got {type(scores).__name__}")
    if not scores:
        raise ValueError("scores are a dict of parameter name -> tensor; got an empty one. Score a model first")
    for name, score in scores.items():
        if not isinstance(score, Tensor) or not score.is_floating_point():
            raise TypeError(f"scores are floating-point tensors; {name!r} holds {_kind(score)}")
        if bad := count_not_finite(score):
            found = f"{bad:,} of {score.numel():,} in {name!r} are NaN or infinite"
            raise ValueError(f"scores are finite numbers; {found}. Check the weights and the loss, or score in float64")
    return {name: score.detach() if score.requires_grad else score for name, score in scores.items()}


def check_bools(masks: object) -> Masks:
    """Return `masks` if they are a dict of bool tensors, of whatever model.

    >>> sorted(check_bools({"weight": torch.tensor([True, False])}))
    ['weight']
    """
    if not isinstance(masks, Mapping):
        raise TypeError(f"masks are a dict of parameter name -> bool tensor; got {type(masks).__name__}")
    for name, mask in masks.items():
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            raise TypeError(f"masks are bool tensors, True = kept; {name!r} is {_kind(mask)}. Use mask.bool()")
    return dict(masks)


def _kind(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__


def check_weights(masks: object) -> Masks:
    """Return those of `masks` that count: not those of one dimension (biases, norms), unless there are no others.

    >>> list(check_weights({"weight": torch.ones(2, 3).bool(), "bias": torch.ones(2).bool()}))
    ['weight']
    """
    found = check_bools(masks)
    return {name: mask for name, mask in found.items() if mask.ndim > 1} or found


def check_masks(model: nn.Module, masks: object) -> Masks:
    """Return `masks` if they fit `model`: known names, equal shapes, bool.

    >>> check_masks(nn.Linear(2, 1), {"weight": torch.tensor([[True, False]])})["weight"].sum().item()
    1
    """
    found, shapes = check_bools(masks), {name: tuple(p.shape) for name, p in model.named_parameters()}
    for name, mask in found.items():
        if name not in shapes:
            told = f"masks name parameters of the model; {name!r} is not one of them. The model has "
            raise ValueError(f"{told}{', '.join(sorted(shapes))}. Were these masks made for another model?")
        if mask.shape != shapes[name]:
            told = f"a mask has its parameter's shape; {name!r} is {shapes[name]}, its mask {tuple(mask.shape)}"
            raise ValueError(f"{told}. Were these masks made for another model?")
    return found


def check_batch(batch: object) -> Batch:
    """Return `batch` as a Batch if it is one: as many targets as inputs, at least one.

    >>> check_batch((torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))).inputs.shape
    torch.Size([3, 2])
    """
    if not (isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(t, Tensor) for t in batch)):
        parts = f" of {', '.join(type(part).__name__ for part in batch)}" if isinstance(batch, tuple | list) else ""
        got = f"{type(batch).__name__}{parts}"
        raise TypeError(f"a batch is (inputs, targets), two tensors; got {got}. Use task.batch(256) or wb.Batch(x, y)")
    inputs, targets = batch
    if inputs.ndim < 2 or targets.ndim == 0:
        raise ValueError(
            f"a batch is inputs [n, ...] and targets [n, ...]; got shapes {tuple(inputs.shape)} and "
            f"{tuple(targets.shape)}. x[None] makes a batch of a single sample"
        )
    if len(inputs) == 0:
        raise ValueError("a batch holds at least one sample; got 0. Use task.batch(256)")
    if len(inputs) != len(targets):
        raise ValueError(f"a batch has one target per input; got {len(inputs)} inputs and {len(targets)} targets")
    return Batch(inputs, targets)
