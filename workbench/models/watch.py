"""Follow a layer's output channels through a model: the steps behind them, and the layers that read them."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from workbench.models import prunable
from workbench.models.kernels import plain_kernels
from workbench.models.running import evaluating, fitted, outputs
from workbench.types import Batch, Masks

LAYER = re.compile(r"linear|conv(_transpose)?[123]d")
ACTIVATION = re.compile(
    r"(celu|clamp|clamp_min|elu|gelu|hard(shrink|sigmoid|swish|tanh)|leaky_relu|logsigmoid|mish|prelu|relu|relu6|rrelu|"
    r"selu|sigmoid|silu|soft(plus|shrink|sign)|tanh|tanhshrink)_?"
)
KEEPING = re.compile(
    r"(adaptive_)?(avg|max|lp)_pool[123]d|(feature_)?(alpha_)?dropout([123]d|_)?|batch_norm|instance_norm|interpolate|"
    r"pad|clone|contiguous|to|float|double|half|bfloat16"
)
RESHAPING = re.compile(r"flatten|view|reshape|squeeze|unsqueeze")
TURNING = re.compile(r"transpose|permute|movedim|swapaxes")
REDUCING = re.compile(r"mean|sum|amax")
"""Functions, by name, that leave every channel for itself; any other may mix them."""

NORMS = dict.fromkeys((functional.batch_norm, functional.instance_norm), (("weight", 3), ("bias", 4)))
"""Norms that take channels one by one, with the names and places of the arguments that have an entry a channel."""


def masked_state(model: nn.Module, masks: Masks | None) -> dict[str, Tensor]:
    """The parameters that `masks` names, masked."""
    return {name: model.get_parameter(name).detach() * mask for name, mask in (masks or {}).items()}


@dataclass
class Place:
    """Where in a tensor a layer's output channels are, and the steps behind them: "layer", "norm", "relu", ..."""

    layer: str
    dim: int
    channels: int
    passed: tuple[str, ...] = ()
    uses: int = 0


@dataclass
class Follows:
    """What follows a layer.

    `steps` begins with "layer"; "norm" (the first BatchNorm) and "relu" or "activation" (the first such function) come
    in the network's order, as far as the channels take one way only. `norms` are the BatchNorms' weights, `entries` the
    weights and biases of all norms that take these channels one by one, and nothing but channels of layers. `readers`
    are the layers that read the channels; `mixed`: so does something else, a sum or the model's output.
    """

    steps: list[str] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    entries: list[Tensor] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    mixed: bool = False


class Call(NamedTuple):
    """A layer's call that reads another's channels: `function(inputs, weight, None, *rest, **named)`, without bias."""

    function: Callable[..., Tensor]
    inputs: Tensor
    weight: Tensor
    rest: tuple[Any, ...]
    named: dict[str, Any]


Told = Callable[[Place, Any], None] | None
"""What is called with a place, and the output of a step or the `Call` that reads it."""


class Watch(TorchFunctionMode):
    """Follow the output channels of layers through the torch functions that run in a `with` block.

    Functions are seen from every caller; nothing is changed. `weights` are the tensors that the layers use. Called are
    `on_step(place, output)` for each layer and step after it, `on_read(place, call)` where a layer reads another.
    """

    def __init__(self, weights: Mapping[str, Tensor], on_step: Told = None, on_read: Told = None) -> None:
        super().__init__()
        self.names = {id(weight): name for name, weight in weights.items()}
        self.places, self.follows = WeakTensorKeyDictionary(), dict[str, Follows]()
        self.branches, self.elsewhere = dict[str, int](), list[Tensor | None]()
        self.on_step, self.on_read = on_step, on_read

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named, name = kwargs or {}, getattr(func, "__name__", "")
        if LAYER.fullmatch(name):
            return self._layer(func, name, args, named)
        sources = [t for t in tensors((args, named)) if t in self.places]
        norm = [named.get(own, args[k] if len(args) > k else None) for own, k in NORMS.get(func, ())]
        shape = sources[0].shape if sources else None
        out = func(*args, **named)
        if shape is None:
            self.elsewhere += norm
            return out
        if next(tensors(out), None) is None:  # a question about its shape
            return out
        places = [self._use(t) for t in sources]
        if isinstance(out, Tensor):
            self.places.pop(out, None)  # changed in place
        moved = None
        if isinstance(out, Tensor) and len(places) == 1 and args and args[0] is sources[0]:
            moved = _moved(places[0], func, shape, out, args, named)
        if moved is None or (norm and moved.dim != 1):  # norms take dimension 1 for the channels
            self._mix(places)
            self.elsewhere += norm
        elif norm:
            self._norm(moved, func, norm, out)
        elif ACTIVATION.fullmatch(name):
            self._step(moved, "relu" if _rectifies(name, args, named) else "activation", out)
        else:
            self.places[out] = moved
        return out

    def _layer(self, func: Any, name: str, args: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | named
        inputs, weight = given["input"], given["weight"]
        layer, linear = self.names.get(id(weight)), name == "linear"
        dim = inputs.ndim - 1 if linear else 1  # of the channels, in inputs and outputs
        if inputs in self.places:
            place = self._use(inputs)
            if layer is None or place.dim != dim:
                self._mix([place])
            else:
                self.follows[place.layer].readers.append(layer)
                if self.on_read is not None:
                    rest = {key: value for key, value in named.items() if key not in ("input", "weight", "bias")}
                    self.on_read(place, Call(func, inputs, weight, args[3:], rest))
        out = func(*args, **named)
        if layer is not None and (linear or inputs.ndim == weight.ndim):
            self._step(Place(layer, dim, out.shape[dim]), "layer", out)
        return out

    def _norm(self, place: Place, func: Any, entries: list[Any], out: Tensor) -> None:
        follows, gamma = self.follows[place.layer], entries[0]
        follows.entries += [entry for entry in entries if entry is not None and len(entry) % place.channels == 0]
        self.places[out] = place
        if func is functional.batch_norm and gamma is not None and len(gamma) == place.channels:
            if "norm" not in place.passed and all(gamma is not norm for norm in follows.norms):
                follows.norms.append(gamma)
            self._step(place, "norm", out)

    def _step(self, place: Place, step: str, out: Tensor) -> None:
        self.places[out] = place
        if step in place.passed or (step != "norm" and {"relu", "activation"} & set(place.passed)):
            return
        self.places[out] = place = Place(place.layer, place.dim, place.channels, (*place.passed, step))
        follows = self.follows.setdefault(place.layer, Follows())
        if step not in follows.steps:
            follows.steps.append(step)
        if self.on_step is not None:
            self.on_step(place, out)

    def _use(self, tensor: Tensor) -> Place:
        place: Place = self.places[tensor]
        place.uses += 1
        if place.uses > 1:
            self.branches[place.layer] = min(len(place.passed), self.branches.get(place.layer, len(place.passed)))
        return place

    def _mix(self, places: list[Place]) -> None:
        for place in places:
            self.follows[place.layer].mixed = True

    def finish(self, outputs: Any) -> dict[str, Follows]:
        """What was seen, once `outputs` left the model."""
        self._mix([self._use(t) for t in tensors(outputs) if t in self.places])
        for layer, steps in self.branches.items():
            del self.follows[layer].steps[steps:]
        elsewhere = {id(entry) for entry in self.elsewhere}
        for follows in self.follows.values():
            follows.entries = list({id(e): e for e in follows.entries if id(e) not in elsewhere}.values())
        return self.follows


def tensors(values: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and dicts.

    >>> [t.item() for t in tensors((torch.tensor(1), {"a": [torch.tensor(2), None]}))]
    [1, 2]
    """
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple | dict):
        for value in values.values() if isinstance(values, dict) else values:
            yield from tensors(value)


def _rectifies(name: str, args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    low = named.get("min_val", named.get("min", args[1] if len(args) > 1 else None))
    cut = name.startswith(("clamp", "hardtanh")) and not isinstance(low, Tensor) and low == 0
    return cut or name in ("relu", "relu_", "relu6")


def _moved(place: Place, func: Any, shape: torch.Size, out: Tensor, args: Any, named: dict[str, Any]) -> Place | None:
    """Where the channels are after a function that keeps them apart; None after any other."""
    name, dim, size = getattr(func, "__name__", ""), place.dim, len(shape)
    if ACTIVATION.fullmatch(name) or KEEPING.fullmatch(name):
        if out.ndim != size or out.shape[dim] != shape[dim]:
            return None
    elif RESHAPING.fullmatch(name) and out.ndim > 1 and out.shape[0] == shape[0]:
        if dim != 1 or (out.ndim != 2 and out.shape[1] != shape[1]):  # flattened, a channel's values stand in a row
            if dim != size - 1 or out.shape[-1] != shape[-1]:
                return None
            dim = out.ndim - 1
    elif TURNING.fullmatch(name):
        order = func(torch.empty(*range(1, size + 1), device="meta"), *args[1:], **named).shape
        if order[0] != 1:
            return None
        dim = order.index(dim + 1)
    elif REDUCING.fullmatch(name) and (over := named.get("dim", args[1] if len(args) > 1 else None)) is not None:
        gone = {d % size for d in ([over] if isinstance(over, int) else over)}
        if gone & {0, dim}:
            return None
        dim -= sum(d < dim for d in gone) if out.ndim < size else 0
    else:
        return None
    return Place(place.layer, dim, place.channels, place.passed)


def following(model: nn.Module, batch: Batch) -> dict[str, Follows]:
    """What follows each prunable layer that the model runs, from a pass over one or two inputs in evaluation mode.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))
    >>> found = following(model, Batch(torch.zeros(1, 1, 3, 3), torch.zeros(1)))["0.weight"]
    >>> found.steps, found.readers, found.mixed
    (['layer', 'norm', 'relu'], ['4.weight'], False)
    """
    watch = Watch(prunable(model, strict=False))
    with plain_kernels(model), evaluating(model), torch.no_grad(), watch:
        given = outputs(model, fitted(model, batch.inputs[:2]))
    return watch.finish(given)


def example_of(model: nn.Module, example: Tensor | None) -> Tensor:
    """Inputs to pass through the model once: those given, or ones of the shape that the model says it takes."""
    if example is None and (shape := getattr(model, "input_shape", None)) is not None:
        return torch.ones(1, *shape, device=next(model.parameters()).device)
    if not isinstance(example, Tensor):
        raise TypeError(
            f"an example is a batch of inputs [n, ...], to see what follows each layer; got {type(example).__name__}. "
            "Pass example=task.batch(1).inputs, or a batch"
        )
    return example


def watch_pass(model: nn.Module, batch: Batch, masks: Masks | None, **on: Told) -> None:
    """Pass the batch through the masked model, without derivatives; `on_step` and `on_read` are those of `Watch`."""
    state = masked_state(model, masks)
    weights = {name: state.get(name, weight) for name, weight in prunable(model, strict=False).items()}
    with torch.no_grad(), Watch(weights, **on):
        outputs(model, batch.inputs, state)
