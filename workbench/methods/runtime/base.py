"""Gated networks: what each input opens, layer by layer, and the multiply-adds that this takes."""

import inspect
import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.methods.schedules import share
from workbench.models.running import evaluating, fitted, loss_of, outputs
from workbench.registry import Registry
from workbench.seeds import seeded
from workbench.states import Progress
from workbench.types import Batch, check_choice

POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
KEEPING = (*POOLS, nn.ReLU, nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity)
"""Layers that leave a channel of zeros at zero, so that the layer after them can skip it."""
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
WEIGHTED = (nn.Conv2d, nn.Linear)


class Seen(NamedTuple):
    """What a layer did: the share of each output channel that it computed `[n, out]`, its MACs `[n]`, its term of the
    loss, and which of its channels are not zero for the next layer `[n, out]`."""

    open: Tensor
    macs: Tensor
    term: Tensor
    passing: Tensor


class Gate(nn.Module):
    """A convolution, its norm and its ReLU, of which an input computes a part; one for each method.

    `forward(x, passing, setting)` returns the outputs and what was `Seen`; `passing` `[n, in]` is 1 for input channels
    that are not zero.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, x: Tensor, passing: Tensor, setting: float) -> tuple[Tensor, Seen]:
        raise NotImplementedError


def macs_of(layer: nn.Conv2d | nn.Linear, out: Tensor, passing: Tensor, open: Tensor) -> Tensor:
    """MACs `[n]` of a layer that reads the `passing` channels and computes the `open` ones.

    >>> macs_of(nn.Conv2d(2, 3, 3), torch.ones(1, 3, 4, 4), torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    tensor([288.])
    """
    each = math.prod(layer.kernel_size) if isinstance(layer, nn.Conv2d) else 1
    return each * out.shape[2:].numel() * passing.sum(1) * open.sum(1)


def at_least(share: float, channels: int) -> int:
    """The fewest channels, one or more, that are a share of them all.

    >>> at_least(0.28, 25), 0.28 * 25  # the rounding of the product opens no channel
    (7, 7.000000000000001)
    """
    return max(1, math.ceil(round(share * channels, 9)))


class Gated(nn.Module):
    """A network of layers one after the other, some of them `Gate`s. Train it with `wb.steps(..., loss=net.loss)`.

    `setting` is the share or threshold of its gates: you can move it at any time, also after the training. It is a part
    of the state: `wb.snapshot` and a training that goes on keep it. It is from `least` to `most`; `takes` says so.
    """

    _setting: float

    def __init__(
        self,
        layers: dict[str, nn.Module],
        setting: float,
        penalty: float = 0.0,
        *,
        takes: str,
        least: float = 0.0,
        most: float = 1.0,
    ) -> None:
        super().__init__()
        self.takes, self.least, self.most = takes, least, most
        self.setting, self.penalty = setting, penalty
        for name, layer in layers.items():
            self._add(name.replace(".", "_"), layer)

    def _add(self, name: str, layer: nn.Module) -> None:
        """Add a layer; ValueError if its name is taken."""
        if hasattr(self, name):
            told = "each layer of a gated network has a name of its own, with '_' for '.', that is no attribute's name"
            raise ValueError(f"{told}; {name!r} is taken. Rename the layer in the plain network")
        self.add_module(name, layer)

    @property
    def setting(self) -> float:
        """The share of channels, or the threshold, at which the gates open."""
        return self._setting

    @setting.setter
    def setting(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"setting is {self.takes}; got {value!r} ({type(value).__name__}). Pass a number")
        if not self.least <= value <= self.most:
            raise ValueError(f"setting is {self.takes}; got {value!r}. Pass a number in this range")
        self._setting = float(value)

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.setting, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        self.setting = state.item()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.follow(inputs)[0]

    def follow(self, inputs: Tensor) -> tuple[Tensor, dict[str, Seen]]:
        """The outputs, and what each layer with weights did for each input."""
        return self._through(slice(None), inputs)

    def _through(self, part: slice, x: Tensor) -> tuple[Tensor, dict[str, Seen]]:
        passing, seen = x.new_ones(x.shape[:2]), dict[str, Seen]()
        layers = [(name, layer) for name, layer in self._modules.items() if layer is not None]
        for name, layer in layers[part]:  # a layer that is used twice comes twice
            if isinstance(layer, Gate):
                x, seen[name] = layer(x, passing, self.setting)
                passing = seen[name].passing
                continue
            read, x = x, layer(x)
            if isinstance(layer, WEIGHTED):
                passing = passing.repeat_interleave(read.shape[1] // passing.shape[1], 1)  # of a flattened map
                whole = x.new_ones(x.shape[:2])
                seen[name] = Seen(whole, macs_of(layer, x, passing, whole), x.new_zeros(()), whole)
            if not isinstance(layer, KEEPING):
                passing = x.new_ones(x.shape[:2])
        return x, seen

    @staticmethod
    def loss(model: "Gated", batch: Batch) -> Tensor:
        """The cross entropy and, times `penalty`, the terms of the gates: the loss to train with."""
        found, seen = model.follow(batch.inputs)
        terms = sum((one.term for one in seen.values()), found.new_zeros(()))
        return loss_of(functional.cross_entropy, found, batch.targets) + model.penalty * terms


GATED: Registry[Callable[..., Gated]] = Registry("gated network")


def registered(name: str) -> Callable[[Callable[..., Gated]], Callable[..., Gated]]:
    """Register a function of a model's layers, a setting and options that returns a `Gated`."""

    def register(function: Callable[..., Gated]) -> Callable[..., Gated]:
        GATED.add(name, function)
        return function

    return register


def gated(name: str, model: nn.Module, setting: float | None = None, *, seed: int = 0, **options: Any) -> Gated:
    """A copy of a plain network that decides for each input what it computes.

    Names: "fbs", "cgnet" and "ftwt" open channels, "early-exit" leaves after a stage; "static" opens the same channels
    for all inputs: the rival. `setting` is the share or threshold (None: the method's default), `options` are those of
    the method, `seed` draws the gates' own weights. Train it with `wb.steps(net, task, loss=net.loss)`, move
    `net.setting`, and count with `wb.input_macs`. A plain network is an `nn.Sequential` with a convolution, a BatchNorm
    and a ReLU in this order at least once.

    Misleads as a promise of time: a dense kernel computes closed channels too. Only "early-exit" skips for real.

    >>> import workbench as wb
    >>> task = wb.load("digits", device="cpu")
    >>> net = gated("fbs", wb.make("vgg", task), 0.5)
    >>> net.setting, net(task.batch(3).inputs).shape
    (0.5, torch.Size([3, 10]))
    """
    function = GATED[name]
    takes = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        check_choice(f"option of {name!r}", option, takes)
    device = next(model.parameters()).device if isinstance(model, nn.Module) else None
    with seeded(seed):
        net = function(model, **({} if setting is None else {"setting": setting}), **options)
    for fact in ("network", "input_shape"):  # the recipe of the plain network trains the gated one, too
        if hasattr(model, fact):
            setattr(net, fact, getattr(model, fact))
    return net.to(device).eval()


def gates(model: nn.Module, make: Callable[[str, nn.Conv2d, nn.BatchNorm2d], Gate | None]) -> dict[str, nn.Module]:
    """The layers of a copy of a plain network, with a gate wherever `make` gives one for a convolution and its norm.

    Raises TypeError for a network that is no chain of known layers, ValueError for one without a place for a gate.
    """
    layers, found, at = list(chain(model)), dict[str, nn.Module](), 0
    while at < len(layers):
        name, three = layers[at][0], [layer for _, layer in layers[at : at + 3]]
        fits = len(three) == 3 and all(map(isinstance, three, (nn.Conv2d, nn.BatchNorm2d, nn.ReLU)))
        gate = make(name, three[0], three[1]) if fits else None  # type: ignore[arg-type]
        found[name] = gate or three[0]
        at += 3 if gate else 1
    if not any(isinstance(layer, Gate) for layer in found.values()):
        raise ValueError(
            "a gate stands in place of a convolution, its BatchNorm2d and its ReLU, one after the other (in 'cgnet' of "
            "convolutions with more than one input channel); got a network of "
            f"{', '.join(type(layer).__name__ for _, layer in layers)}. Use one like wb.make('vgg', task)"
        )
    return found


def chain(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Names and layers of a copy of an `nn.Sequential`, without its nesting."""
    if not isinstance(model, nn.Sequential):
        raise TypeError(
            f"a gated network is made of an nn.Sequential, whose layers follow each other; got {type(model).__name__}, "
            "where other ways around a gate are possible. Use one like wb.make('vgg', task)"
        )
    for name, layer in _leaves(deepcopy(model)):
        known = (*KEEPING, *NORMS, *WEIGHTED)
        padding = getattr(layer, "padding_mode", "zeros")
        if not isinstance(layer, known) or getattr(layer, "groups", 1) != 1 or padding != "zeros":
            told = type(layer).__name__
            if isinstance(layer, nn.Conv2d):
                told = "grouped convolution" if padding == "zeros" else f"convolution with padding_mode={padding!r}"
            raise TypeError(
                f"the layers of a gated network are {', '.join(kind.__name__ for kind in known)}, without groups, "
                f"padded with zeros; {name!r} is a {told}. Replace it"
            )
        yield name, layer


def _leaves(model: nn.Sequential, above: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, layer in zip(model._modules, model, strict=True):  # a layer that is used twice comes twice
        if isinstance(layer, nn.Sequential):
            yield from _leaves(layer, f"{above}{name}.")
        else:
            yield above + name, layer


def lowering(setting: float, until: float = 0.6) -> Callable[[Progress], None]:
    """An update for `wb.steps` that lowers a share from 1 to `setting` in the first part, `until`, of the training.

    Gates learn slowly which channels matter; so FBS's authors lower the share step by step (arXiv:1810.05331, 4.1).

    Misleads at the first step: an update sets what the next step uses, so the second step is the one with share 1. The
    first has the setting that the network was made with; set `net.setting = 1.0` before the training to begin there.

    >>> from types import SimpleNamespace
    >>> net = SimpleNamespace()
    >>> lowering(0.5)(SimpleNamespace(step=3, total=11, model=net))
    >>> net.setting
    0.75
    """

    def update(progress: Progress) -> None:
        model: Any = progress.model
        model.setting = 1 - (1 - setting) * share(progress.step / max(progress.total - 1, 1), 0.0, until)

    return update


@torch.no_grad()
def input_macs(model: Gated, inputs: Tensor) -> Tensor:
    """Multiply-adds of each input `[n]`: those of the channels that really opened, and of the gates themselves.

    A closed channel saves the products of its layer and those of the next layer that read it. A gate's own products
    with weights count; averages, comparisons and scaling do not, as for `wb.macs`. The mean over a data set is
    `input_macs(model, inputs).mean()`.

    Misleads where inputs are computed together: a batch takes the channels of all its inputs.

    >>> import workbench as wb
    >>> task = wb.load("digits", device="cpu")
    >>> plain, images = wb.make("vgg", task), task.batch(2).inputs
    >>> input_macs(gated("static", plain, 1.0), images).tolist() == [wb.macs(plain, images)] * 2
    True
    """
    return torch.stack([one.macs for one in opened(model, inputs).values()]).sum(0)


@torch.no_grad()
def opened(model: Gated, inputs: Tensor) -> dict[str, Seen]:
    """What each layer with weights does for each input, by its name, in evaluation mode.

    >>> import workbench as wb
    >>> task = wb.load("digits", device="cpu")
    >>> seen = opened(gated("fbs", wb.make("vgg", task), 0.5), task.batch(2).inputs)
    >>> seen["conv3"].open.sum(1)
    tensor([16., 16.])
    """
    if not isinstance(model, Gated):
        raise TypeError(
            f"only a gated network has MACs of each input; got {type(model).__name__}. Use wb.macs for a plain one"
        )
    if not isinstance(inputs, Tensor) or len(inputs) == 0:
        raise ValueError(f"inputs are a tensor [n, c, h, w] with at least one input; got {inputs!r}")
    with evaluating(model):
        outputs(model, fitted(model, inputs[:1]))  # says what is wrong with them
        return model.follow(fitted(model, inputs))[1]
