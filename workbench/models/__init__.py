"""Networks by name, which data each fits, and which of a model's weights can be pruned.

A new family is one file here and one import line below.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from workbench.data.task import Task
from workbench.models import lenet, resnet, vgg  # noqa: F401  (importing registers the networks)
from workbench.models.registry import _NETWORKS
from workbench.seeds import seeded
from workbench.types import check_choice

__all__ = ["fast_layout", "fits", "fitting", "make", "networks", "prunable"]

PRUNABLE_LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def networks() -> list[str]:
    """Names of all networks that `make` knows.

    >>> networks()
    ['lenet-300-100', 'lenet-5', 'resnet-20', 'resnet-32', 'resnet-56', 'vgg', 'vgg-16']
    """
    return sorted(_NETWORKS)


def fits(name: str, task: Task) -> bool:
    """Whether network `name` takes the task's inputs."""
    return _NETWORKS[check_choice("network", name, networks())].fits(task.shape)


def fitting(task: Task) -> list[str]:
    """Names of the networks that take the task's inputs.

    >>> import workbench as wb
    >>> fitting(wb.load("moons", device="cpu"))
    ['lenet-300-100']
    """
    return [name for name in networks() if fits(name, task)]


def make(name: str, task: Task, seed: int = 0, width: float = 1.0) -> nn.Module:
    """A freshly initialised network for a task, on the task's device; the global random state stays as it was.

    Weights are drawn from N(0, 2 / fan-in) (He et al. 2015, arXiv:1502.01852, eq. 10) under `seed`; biases start at 0.
    `width` multiplies the channels or units of every hidden layer. The network carries its name (`model.network`) and
    the shape of one input (`model.input_shape`). Raises ValueError for an unknown name, a pair that does not fit or a
    width that is not positive.

    Misleads when compared across processors: torch's random numbers can differ in the last digits between CPU types.

    >>> import workbench as wb
    >>> model = make("vgg", wb.load("digits", device="cpu"))
    >>> sum(w.numel() for w in prunable(model).values())
    294032
    """
    spec = _NETWORKS[check_choice("network", name, networks())]
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width < math.inf:
        raise ValueError(f"width multiplies the network's channels, a number above 0; got {width!r}. 1 is as published")
    if not spec.fits(task.shape):
        raise ValueError(
            f"{name!r} takes {spec.inputs}; {task.name!r} has inputs of shape {task.shape}. "
            f"Networks that fit {task.name!r}: {', '.join(fitting(task))}"
        )
    with seeded(seed):
        model = spec.build(task.shape, len(task.classes), width)
        _initialise_(model)
    model.network = name  # type: ignore[assignment]
    model.input_shape = task.shape  # type: ignore[assignment]
    return model.to(task.device)


def _initialise_(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, PRUNABLE_LAYERS):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def fast_layout(model: nn.Module, tensor: Tensor) -> Tensor:
    """Images, or a convolution's weights, in the memory layout the model is fastest with; other tensors as they are.

    That is channels-last for the workbench's own networks, which saves 10 to 35 % of a pass on CPUs. Networks of the
    user's own keep the default layout: many of them use `view`, which needs it.

    >>> import workbench as wb
    >>> fast_layout(wb.make("vgg", wb.load("digits", device="cpu")), torch.zeros(2, 3, 8, 8)).stride()
    (192, 1, 24, 3)
    """
    if tensor.ndim != 4 or getattr(model, "network", None) not in _NETWORKS:
        return tensor
    # `to` would leave tensors of one channel as they are.
    return torch.empty_like(tensor, memory_format=torch.channels_last).copy_(tensor)


def work(model: nn.Module, inputs: Tensor) -> float:
    """At most how many multiply-adds a pass of `inputs` is: every weight at every position of the input's map.

    An estimate without a pass, for `seeds.threads`; `wb.macs` counts.

    >>> work(nn.Linear(3, 2), torch.zeros(5, 3))
    30
    """
    positions = math.prod(inputs.shape[2:])
    return len(inputs) * sum(p.numel() * (positions if p.ndim > 2 else 1) for p in model.parameters() if p.ndim > 1)


def prunable(model: nn.Module, exclude: Iterable[str] = (), strict: bool = True) -> dict[str, nn.Parameter]:
    """The weights that pruning may remove: parameter name -> parameter, in the model's order.

    The rule: the `weight` of every linear, convolution and transposed convolution layer, and the projections inside
    `nn.MultiheadAttention`; no biases, no norms, no embeddings; a tensor used under several names counts once, under
    its first name, and not at all when it is also an embedding. `exclude` takes parameter or layer names, with `*` as
    wildcard. Raises ValueError if nothing is left, or where a weight cannot be pruned (uninitialised, empty, integer,
    computed from others); `strict=False` passes such weights over, for criteria whose caller has excluded them.

    Misleads when ratios are compared with papers that leave out the first or last layer: use `exclude` for those.

    >>> list(prunable(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), exclude=["2"]))
    ['0.weight']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model is an nn.Module; got {type(model).__name__}. Use wb.make(name, task) or your own module"
        )
    patterns = [exclude] if isinstance(exclude, str) else list(exclude)
    found: dict[str, nn.Parameter] = {}
    modules = list(model.named_modules())
    seen = {id(m.weight) for _, m in modules if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
    unused = set(patterns)
    for layer, module in modules:
        for own, weight in _weights(module):
            name = f"{layer}.{own}" if layer else own
            matching = {p for p in patterns if fnmatch.fnmatchcase(name, p) or fnmatch.fnmatchcase(layer, p)}
            unused -= matching
            if matching or id(weight) in seen:
                continue
            seen.add(id(weight))
            fault = _fault(name, weight)
            if fault and strict:
                raise ValueError(fault)
            if not fault:
                found[name] = weight  # type: ignore[assignment]
    if unused:
        everything = ", ".join(found) or "nothing"
        raise ValueError(f"exclude names layers of the model; {sorted(unused)} match none. Prunable here: {everything}")
    if not found:
        raise ValueError(
            f"a model needs at least one linear or convolution weight to prune; {type(model).__name__} has none"
            + (f" outside exclude={patterns}" if patterns else "")
        )
    return found


def _weights(module: nn.Module) -> list[tuple[str, Tensor]]:
    if isinstance(module, PRUNABLE_LAYERS):
        return [("weight", module.weight)] if isinstance(module.weight, Tensor) else []
    if isinstance(module, nn.MultiheadAttention):
        names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        return [(n, getattr(module, n)) for n in names if getattr(module, n) is not None]
    return []


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
