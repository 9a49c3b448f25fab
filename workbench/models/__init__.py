"""Networks by name, which data each fits, and which of a model's weights can be pruned.

A new family is one file here and one import line below.
"""

import math

import torch
from torch import Tensor, nn

from workbench.data.task import Task
from workbench.models import lenet, llama, resnet, vgg  # noqa: F401  (importing registers the networks)
from workbench.models.registry import NETWORKS
from workbench.models.weights import PRUNABLE_LAYERS, left_out, prunable
from workbench.seeds import seeded

__all__ = ["fast_layout", "fits", "fitting", "left_out", "make", "networks", "prunable"]


def networks() -> list[str]:
    """Names of all networks that `make` knows.

    >>> networks()
    ['lenet-300-100', 'lenet-5', 'llama', 'resnet-20', 'resnet-32', 'resnet-56', 'vgg', 'vgg-16']
    """
    return list(NETWORKS)


def fits(name: str, task: Task) -> bool:
    """Whether network `name` takes the task's inputs."""
    spec, inputs = NETWORKS[name], task.take("train", slice(1)).inputs
    return spec.tokens != inputs.is_floating_point() and spec.fits(task.shape)


def fitting(task: Task) -> list[str]:
    """Names of the networks that take the task's inputs.

    >>> import workbench as wb
    >>> fitting(wb.load("moons", device="cpu"))
    ['lenet-300-100']
    """
    return [name for name in NETWORKS if fits(name, task)]


def make(name: str, task: Task, seed: int = 0, width: float = 1.0) -> nn.Module:
    """A freshly initialised network for a task, on the task's device; the global random state stays as it was.

    Weights are drawn from N(0, 2 / fan-in) (He et al. 2015, arXiv:1502.01852, eq. 10) under `seed`, biases start at 0;
    a language model draws its own, N(0, 0.02²).
    `width` multiplies the channels of every hidden layer. The network has a name (`model.network`) and the shape of one
    input (`model.input_shape`). Raises ValueError for an unknown name, a pair that does not fit, or a width below 0.

    Misleads when compared across processors: torch's random numbers can differ in the last digits between CPU types.

    >>> import workbench as wb
    >>> model = make("vgg", wb.load("digits", device="cpu"))
    >>> sum(w.numel() for w in prunable(model).values())
    294032
    """
    spec = NETWORKS[name]
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width < math.inf:
        raise ValueError(f"width multiplies the network's channels, a number above 0; got {width!r}. 1 is as published")
    if not fits(name, task):
        raise ValueError(
            f"{name!r} takes {spec.inputs}; {task.name!r} has inputs of shape {task.shape}. "
            f"Networks that fit {task.name!r}: {', '.join(fitting(task))}"
        )
    with seeded(seed):
        model = spec.build(task.shape, task.outputs, width)
        for module in () if spec.tokens else model.modules():
            if isinstance(module, PRUNABLE_LAYERS):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    model.network, model.input_shape = name, task.shape  # type: ignore[assignment]
    return model.to(task.device)


def fast_layout(model: nn.Module, tensor: Tensor) -> Tensor:
    """Images, or a convolution's weights, in the memory layout the model is fastest with; other tensors as they are.

    Channels-last for the workbench's own networks saves 10 to 35 % of a pass on CPUs. Networks of the user's own keep
    the default layout: many of them use `view`, which needs it.

    >>> import workbench as wb
    >>> fast_layout(wb.make("vgg", wb.load("digits", device="cpu")), torch.zeros(2, 3, 8, 8)).stride()
    (192, 1, 24, 3)
    """
    if tensor.ndim != 4 or getattr(model, "network", None) not in NETWORKS:
        return tensor
    # `to` would leave tensors of one channel as they are.
    return torch.empty_like(tensor, memory_format=torch.channels_last).copy_(tensor)


def work(model: nn.Module, inputs: Tensor) -> float:
    """At most how many multiply-adds a pass of `inputs` is: every weight at every position of the input's map, or
    of its sequence (whole numbers `[n, t, ...]`, numbers `[n, t, c]`).

    An estimate without a pass, for `seeds.threads`; `wb.macs` counts.

    >>> work(nn.Linear(3, 2), torch.zeros(5, 3))
    30
    """
    maps = math.prod(inputs.shape[2:])
    steps = 1 if inputs.is_floating_point() and inputs.ndim != 3 else math.prod(inputs.shape[1:2])  # tokens, sequences
    return len(inputs) * sum(
        p.numel() * (max(maps, steps) if p.ndim > 2 else steps) for p in model.parameters() if p.ndim > 1
    )
