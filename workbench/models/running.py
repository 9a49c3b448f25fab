"""A model that is run: in evaluation mode, in its own dtype, with the one tensor of its outputs that counts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from workbench.models import fast_layout

Loss = Callable[[Tensor, Tensor], Tensor]
"""`loss_fn(outputs, targets)`, a mean over the batch."""


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run a block with the model in evaluation mode and put every train flag back."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training


def logits(outputs: object) -> Tensor:
    """The one tensor that counts of what a model gave.

    That is the tensor itself; what is called "logits" (an attribute or a key, as in outputs of `transformers`); the
    first item of a tuple or list; the only tensor of a dict. Raises TypeError where it is none of these.

    >>> logits((torch.ones(2, 3), None)).shape
    torch.Size([2, 3])
    """
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, Mapping):
        named, items = outputs.get("logits"), [item for item in outputs.values() if isinstance(item, Tensor)]
        items, got = items if len(items) == 1 else [], f"{type(outputs).__name__} of {', '.join(map(str, outputs))}"
    else:
        named, items = getattr(outputs, "logits", None), list(outputs[:1]) if isinstance(outputs, tuple | list) else []
        got = f"{type(outputs).__name__}" + (f" that begins with {type(items[0]).__name__}" if items else "")
    for found in (named, *items):
        if isinstance(found, Tensor):
            return found
    raise TypeError(
        f"a model gives one tensor, outputs with one called 'logits', or a tuple that begins with one; got {got}. "
        "Wrap the model in a module whose forward returns the tensor"
    )


def run_model(model: nn.Module, inputs: Tensor, state: Mapping[str, Tensor] | None = None, tie: bool = True) -> Tensor:
    """The `logits` of the model's outputs; TypeError where it gives no tensor. Arguments and errors as of `outputs`."""
    return logits(outputs(model, inputs, state, tie))


def outputs(model: nn.Module, inputs: Tensor, state: Mapping[str, Tensor] | None = None, tie: bool = True) -> Any:
    """The model's outputs as they are, with `state` in place of its own parameters and buffers of these names.

    A tensor that the model uses under two names is replaced under both; a `state` that holds both saves looking for
    them (`tie=False`). Raises ValueError where the inputs do not pass through the model, and TypeError where it takes
    other arguments.
    """
    try:
        if inputs.dtype != torch.float64:  # there the layout pays only where the weights have it too
            inputs = fast_layout(model, inputs)
        return functional_call(model, dict(state), (inputs,), tie_weights=tie) if state else model(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"the model takes one tensor of inputs; inputs of shape {tuple(inputs.shape)} and {inputs.dtype} do not "
            f"pass through it: {error}. Use data of the shape the model was made for; wrap a model that takes other "
            "arguments in a module whose forward takes the inputs alone"
        ) from error


def own_dtype(model: nn.Module, otherwise: torch.dtype = torch.float32) -> torch.dtype:
    """The floating dtype that all the model's parameters share; `otherwise`, as data have it, where they share none."""
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()}
    return dtypes.pop() if len(dtypes) == 1 else otherwise


def fitted(model: nn.Module, inputs: Tensor) -> Tensor:
    """Inputs in the model's own floating dtype; whole numbers, such as tokens, as they are."""
    return inputs.to(own_dtype(model, inputs.dtype)) if inputs.is_floating_point() else inputs


def loss_of(loss_fn: Callable[[Any, Tensor], Tensor], outputs: object, targets: Tensor) -> Tensor:
    """The loss of a model's outputs: the cross entropy gets their `logits`, a loss of the user's own all of them."""
    if loss_fn is not functional.cross_entropy:
        return loss_fn(outputs, targets)
    found = logits(outputs)
    check_labels(found, targets)
    return loss_fn(found, targets)


def check_labels(outputs: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless `targets` are class numbers of `outputs` `[n, classes]`."""
    if targets.dtype != torch.int64 or targets.ndim != 1:
        raise ValueError(
            f"labels are int64 class numbers of shape [n]; got {targets.dtype} of shape {tuple(targets.shape)}. "
            "Use targets.long(), or for other targets your own loss_fn"
        )
    if outputs.ndim != 2 or len(outputs) != len(targets):
        raise ValueError(
            f"the cross entropy takes outputs [n, classes]; the model gives {tuple(outputs.shape)} for {len(targets)} "
            "inputs. Pass your own loss_fn, or wrap the model in a module that gives such outputs"
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= outputs.shape[1]:
        raise ValueError(
            f"labels are class numbers from 0 to {outputs.shape[1] - 1}, as the model has {outputs.shape[1]} outputs; "
            f"got labels from {low} to {high}. Check the labels or the last layer"
            + ("; a network of one logit needs a second, 0, for the other class" if outputs.shape[1] == 1 else "")
        )
