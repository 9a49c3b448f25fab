"""Layer-wise relevance propagation against captum and against loops over single connections."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb
from parity import parity
from parity.nets import apart, draw, mlp

CAPTUM = (
    "captum counts biases in the denominator (set to 0 here by set_bias_to_zero), takes x w+ for (x w)+ (equal for the "
    "inputs >= 0 used here) and adds 1e-9 to denominators"
)


class FlatLinear(nn.Linear):
    """A linear layer on flattened maps: captum has no rule for `nn.Flatten`."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))


def positive(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=draw(seed), dtype=torch.float64)


def perceptron(biases: bool) -> tuple[nn.Sequential, wb.Batch]:
    model = mlp(6, 10, 8, 4, seed=5)
    for k, layer in enumerate(model):
        if biases and isinstance(layer, nn.Linear):
            layer.bias = nn.Parameter(torch.randn(len(layer.weight), generator=draw(k), dtype=torch.float64))
    return model, wb.Batch(positive(9, 6, seed=3), torch.arange(9) % 4)


def convolutions() -> tuple[nn.Sequential, wb.Batch]:
    """Strides, groups, padding and dilation, max and average pooling, biases."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        FlatLinear(6, 4),
    ).double()
    with torch.no_grad():
        for k, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=draw(k), dtype=torch.float64) / 2)
    return model.eval(), wb.Batch(positive(7, 2, 8, 8, seed=9), torch.arange(7) % 4)


def captum_relevances(model: nn.Sequential, batch: wb.Batch) -> dict[str, tuple[nn.Module, Tensor, Tensor]]:
    """By weight: its layer, the layer's input and captum's relevance of its output."""
    from captum.attr import LayerLRP
    from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule

    found, x = {}, batch.inputs
    for k, layer in enumerate(model):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            for other in model:
                if isinstance(other, nn.Linear | nn.Conv2d):
                    other.rule = Alpha1_Beta0_Rule(set_bias_to_zero=True)  # captum takes the rules off again
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                relevance = LayerLRP(model, layer).attribute(batch.inputs, target=batch.targets)
            logits = model(batch.inputs).gather(1, batch.targets[:, None]).detach()
            # captum starts from the logit of the first pass, before it changes the weights
            assert k < len(model) - 1 or torch.allclose(relevance.sum(1, keepdim=True), logits)
            found[f"{k}.weight"] = (layer, x.detach(), relevance.detach())
        x = layer(x)
    return found


def by_connection(layer: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """`sum |x_i w+_ij / sum_i x_i w+_ij R_j|` from patches, a group at a time."""
    weight = layer.weight.detach().clamp(min=0)
    if isinstance(layer, nn.Linear):
        x, relevance, groups = x.flatten(1)[:, :, None], relevance[:, :, None], 1
    else:
        x = functional.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        relevance, groups = relevance.flatten(2), layer.groups
    scores = []
    for patch, w, r in zip(x.chunk(groups, 1), weight.chunk(groups), relevance.chunk(groups, 1), strict=True):
        products = torch.einsum("nil,oi->noil", patch, w.flatten(1))
        total = products.sum(2, keepdim=True)
        shares = torch.where(total > 0, products / total, 0) * r[:, :, None]
        scores.append(shares.abs().sum((0, 3)))
    return torch.cat(scores).reshape(weight.shape)


def against_captum(make: Callable[[], tuple[nn.Sequential, wb.Batch]], granularity: str) -> float:
    model, batch = make()
    theirs = captum_relevances(model, batch)
    if granularity == "weight":
        expected = {name: by_connection(*values) for name, values in theirs.items()}
        return apart(wb.score(model, batch, "lrp"), expected)
    sums = {name: r.flatten(2).sum(2) if r.ndim > 2 else r for name, (_, _, r) in theirs.items()}
    raw = {name: r.abs().sum(0) for name, r in sums.items()}
    found = wb.score(model, batch, "lrp", granularity="channel", normalise=False)
    shared = wb.score(model, batch, "lrp", granularity="channel")
    return max(apart(found, raw), apart(shared, {name: r / r.sum() for name, r in raw.items()}))


@parity(
    "lrp", "captum LRP, Alpha1_Beta0_Rule: layer relevances of a CNN, shared out by unfolded patches", deviation=CAPTUM
)
def lrp_convolutions() -> float:
    return against_captum(convolutions, "weight")


@parity("lrp", "captum LRP, Alpha1_Beta0_Rule: an MLP with and one without biases", deviation=CAPTUM)
def lrp_perceptrons() -> float:
    return max(against_captum(lambda biases=b: perceptron(biases), "weight") for b in (False, True))


@parity("lrp", "captum LayerLRP, Alpha1_Beta0_Rule: a CNN and two MLPs", granularity="channel", deviation=CAPTUM)
def lrp_channels() -> float:
    nets = (convolutions, lambda: perceptron(False), lambda: perceptron(True))
    return max(against_captum(net, "channel") for net in nets)


@parity("lrp", "numpy: a loop over every connection of a 2-3-2 network with biases, inputs of both signs")
def lrp_by_hand() -> float:
    model = mlp(2, 3, 2, seed=2)
    for k in (0, 2):
        size = len(model[k].weight)
        model[k].bias = nn.Parameter(torch.randn(size, generator=draw(k), dtype=torch.float64))
    batch = wb.Batch(torch.randn(5, 2, generator=draw(8), dtype=torch.float64), torch.arange(5) % 2)
    (w1, b1), (w2, b2) = [[p.detach().numpy() for p in model[k].parameters()] for k in (0, 2)]
    scores = [np.zeros_like(w1), np.zeros_like(w2)]
    for x, target in zip(batch.inputs.numpy(), batch.targets.numpy(), strict=True):
        hidden = np.maximum(w1 @ x + b1, 0)
        relevance = np.zeros(2)
        relevance[target] = (w2 @ hidden + b2)[target]
        for k, (w, inputs) in reversed(list(enumerate(((w1, x), (w2, hidden))))):
            below = np.zeros(len(inputs))
            for j in range(w.shape[0]):
                total = sum(max(inputs[i] * w[j, i], 0) for i in range(w.shape[1]))
                for i in range(w.shape[1]):
                    share = max(inputs[i] * w[j, i], 0) / total * relevance[j] if total > 0 else 0.0
                    scores[k][j, i] += abs(share)
                    below[i] += share
            relevance = below
    expected = {f"{2 * k}.weight": torch.from_numpy(s) for k, s in enumerate(scores)}
    return apart(wb.score(model, batch, "lrp"), expected)
