"""LAMP: magnitude relative to what is left of the layer (Lee et al. 2021, arXiv:2010.07611)."""

import torch
from torch import Tensor, nn

from workbench.criteria.passes import masked_weights
from workbench.criteria.registry import criterion
from workbench.types import Masks, Scores


@criterion("lamp", family="magnitude", cost="none (a sort of each layer)", source="Lee et al. 2021, arXiv:2010.07611")
def lamp(model: nn.Module, masks: Masks | None) -> Scores:
    """`s_u = w_u^2 / sum of w_v^2 over the layer's weights v that rank with u or above it`; equal weights by index.

    The largest weight of every layer scores 1: under global allocation none empties before all have one weight left.
    Misleads as a measure of a single weight's effect: it compares within a layer and sets layers equal by construction.
    """
    return {name: _share(weight.detach()) for name, weight in masked_weights(model, masks).items()}


def _share(weight: Tensor) -> Tensor:
    square, order = weight.double().square().reshape(-1).sort(descending=True, stable=True)
    share = square / square.cumsum(0).clamp_min_(torch.finfo(torch.float64).tiny)
    return torch.empty_like(share).scatter_(0, order, share).reshape(weight.shape)
