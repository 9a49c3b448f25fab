"""ThiNet: drop the channels that the next layer misses least (Luo, Wu and Lin 2017, arXiv:1707.06342)."""

import torch
from torch import Tensor, nn

from workbench.criteria.next_layer import channel_contributions
from workbench.criteria.registry import MAPS, criterion
from workbench.models import prunable
from workbench.types import Batch, Masks, Scores


@criterion(
    "thinet",
    cost="2 forward; a greedy search over the channels of each layer",
    source="Luo et al. 2017, arXiv:1707.06342, the greedy selection",
    **MAPS,
)
def thinet(
    model: nn.Module, batch: Batch, masks: Masks | None, generator: torch.Generator, samples: int | None = 10
) -> Scores:
    """`s_c`: the step, from 1, at which channel c is removed; each step adds to T the channel with the least error.

    The error is `sum (sum over c in T of x_c)²` over `samples` outputs of the next layer drawn from each input (None:
    all), x_c being what channel c adds to the output. Equal errors (to 1e-12 of the largest channel's own) go to the
    earlier channel. The paper's least squares change no ranks. Layers without one certain next layer (residual sums,
    the last layer) have no score and must be left out with `exclude`; ValueError if no layer has one.
    Misleads under global allocation: steps count to the layer's own width.
    """
    found = channel_contributions("thinet", model, batch, masks, samples, generator)
    weights = prunable(model, strict=False)
    return {name: _steps(one.parts).to(weights[name].device) for name, one in found.items()}


def _steps(parts: Tensor) -> Tensor:
    products = parts.T @ parts
    steps = torch.zeros(len(products), dtype=parts.dtype)
    growth = products.diagonal().clone()  # of the error, if a channel joined those removed
    rounding = 1e-12 * products.diagonal().max()
    for step in range(1, len(products) + 1):
        channel = int((growth <= growth.min() + rounding).to(torch.int8).argmax())
        steps[channel] = step
        growth += 2 * products[channel]
        growth[steps > 0] = float("inf")
    return steps
