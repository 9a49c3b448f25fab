"""A model that is run: in evaluation mode, in its own dtype, with the one tensor of its outputs that counts."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from workbench.data.measures import IGNORED, Sums, accuracy, by_number
from workbench.models import fast_layout

Loss = Callable[[Any, Tensor], Tensor]
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

    The tensor itself; what is called "logits" (attribute or key, as in `transformers`); the first item of a tuple or
    list; the only tensor of a dict. Raises TypeError where it is none of these.

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
        f"a model returns one tensor, outputs with a tensor 'logits', or a tuple that begins with a tensor; got {got}. "
        "Wrap the model in a module whose forward returns the tensor"
    )


def run_model(model: nn.Module, inputs: Tensor, state: Mapping[str, Tensor] | None = None, tie: bool = True) -> Tensor:
    """The `logits` of the model's outputs; TypeError where it gives no tensor. Arguments and errors as of `outputs`."""
    return logits(outputs(model, inputs, state, tie))


def outputs(model: nn.Module, inputs: Tensor, state: Mapping[str, Tensor] | None = None, tie: bool = True) -> Any:
    """The model's outputs as they are, with `state` in place of its own parameters and buffers of these names.

    A tensor used under two names is replaced under both; a `state` that holds both saves the search (`tie=False`).
    Raises ValueError where inputs do not pass through the model, TypeError where it takes other arguments.
    """
    try:
        if inputs.dtype != torch.float64:  # there the layout pays only where the weights have it too
            inputs = fast_layout(model, inputs)
        return functional_call(model, dict(state), (inputs,), tie_weights=tie) if state else model(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        where = next((p.device for p in model.parameters()), inputs.device)
        if where != inputs.device:
            told = f"a model and its inputs are on one device; got a model on {where}, inputs on {inputs.device}"
            raise ValueError(f"{told}. Move the model: model.to({str(inputs.device)!r})") from error
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


def taken(function: Callable[[Any, Tensor], Any], outputs: Any) -> Any:
    """What a loss or measure takes: the cross entropy and the accuracy `logits`, one of your own the outputs as given.

    >>> given = {"logits": torch.ones(1)}
    >>> taken(functional.cross_entropy, given), taken(functional.mse_loss, given) is given
    (tensor([1.]), True)
    """
    return logits(outputs) if function is functional.cross_entropy or function is accuracy else outputs


def loss_of(loss_fn: Loss, outputs: Any, targets: Tensor) -> Tensor:
    """`loss_fn` of what it takes of the model's outputs, and of targets that fit.

    Raises ValueError where labels do not fit, or torch would compare each output `[n, 1]` with every target `[n]`.

    >>> loss_of(functional.cross_entropy, (torch.tensor([[50.0, 0.0]]), None), torch.tensor([1])).item()
    50.0
    """
    outputs = taken(loss_fn, outputs)
    if loss_fn is functional.cross_entropy:
        check_labels(outputs, targets)
    elif by_number(loss_fn) and isinstance(outputs, Tensor) and outputs.shape != targets.shape:
        raise ValueError(
            f"this loss compares each output with its own target; got outputs of shape {tuple(outputs.shape)} and "
            f"targets of shape {tuple(targets.shape)}. Give both one shape, such as [n, 1], in the data or the model"
        )
    return one_number(loss_fn(outputs, targets), "loss_fn(outputs, targets)")


def one_number(value: Any, call: str) -> Tensor:
    """A loss, if it is one; TypeError for anything but a tensor of one number."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value
    got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise TypeError(f"{call} is a tensor of one number; got {got}. Take a mean, and do not call item()")


def measured(measure: Callable[[Any, Tensor], Sums], outputs: Any, targets: Tensor) -> Sums:
    """`measure` of what it takes of the model's outputs; TypeError where it does not give `{name: (sum, count)}`."""
    outputs = taken(measure, outputs)
    if measure is accuracy:
        check_labels(outputs, targets)
    sums = measure(outputs, targets)
    told = "a measure returns sums over a batch, {name: (sum, count)}, under names other than 'n', the samples"
    told += f"; got {sums!r}. Return a dict such as {{'error': (errors.sum(), len(errors))}}"
    try:
        found = {str(name): (float(total), float(count)) for name, (total, count) in sums.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise TypeError(told) from error
    if not found or "n" in found:
        raise ValueError(told)
    return found


def check_labels(outputs: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless `targets` `[n]`, or `[n, ...]` with -100 for none, are classes of `[n, classes, ...]`."""
    if targets.dtype != torch.int64:
        raise ValueError(
            f"labels are int64 class numbers of shape [n]; got {targets.dtype} of shape {tuple(targets.shape)}. "
            "Use targets.long(), or for other targets pass loss_fn=, as task.loss, to a criterion that "
            "takes one, such as 'taylor'"
        )
    if outputs.ndim < 2 or (len(outputs), *outputs.shape[2:]) != targets.shape:
        raise ValueError(
            "the cross entropy takes outputs [n, classes], or [n, classes, ...] with one label for each place; the "
            f"model returns {tuple(outputs.shape)} for labels of shape {tuple(targets.shape)}. Pass your own "
            "loss_fn, or wrap the model in a module that gives such outputs"
        )
    known = targets if targets.ndim == 1 else targets[targets != IGNORED]
    low, high = map(int, torch.aminmax(known)) if len(known) else (0, 0)
    if low < 0 or high >= outputs.shape[1]:
        raise ValueError(
            f"labels are class numbers from 0 to {outputs.shape[1] - 1}, as the model has {outputs.shape[1]} outputs; "
            f"got labels from {low} to {high}. Check the labels or the last layer"
            + ("; a network of one logit needs a second, 0, for the other class" if outputs.shape[1] == 1 else "")
        )
