"""Small networks in float64 for the checks, and their losses as plain functions."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

import workbench as wb

Loss = Callable[[dict[str, Tensor]], Tensor]


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small() -> tuple[nn.Module, wb.Batch]:
    """Convolution, BatchNorm with statistics of its own, ReLU, pooling and a linear layer: 102 weights."""
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 4),
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw(1), dtype=torch.float64) / 3)
        model[1].running_mean.copy_(torch.rand(3, generator=draw(2)) - 0.5)
        model[1].running_var.copy_(torch.rand(3, generator=draw(3)) + 0.5)
    inputs = torch.randn(8, 2, 6, 6, generator=draw(4), dtype=torch.float64)
    return model.eval(), wb.Batch(inputs, torch.arange(8) % 4)


def mlp(*sizes: int, seed: int = 0) -> nn.Sequential:
    """Linear layers without biases and ReLU between, weights from a standard normal distribution."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layer = nn.Linear(before, after, bias=False).double()
        layer.weight.data = torch.randn(after, before, generator=draw(seed + len(layers)), dtype=torch.float64)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: w.detach().clone() for name, w in wb.prunable(model).items()}


def loss_of(model: nn.Module, batch: wb.Batch, temperature: float = 1.0) -> Loss:
    """The mean cross entropy as a function of the prunable weights."""
    return lambda weights: functional.cross_entropy(
        functional_call(model, weights, (batch.inputs,)) / temperature, batch.targets
    )


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors.values()])


def apart(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference, as a share of the largest number expected."""
    assert list(found) == list(expected)
    return relative(flat(found).detach(), flat(expected).detach())


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest number expected."""
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())
