"""Fisher: loss change by the diagonal of the empirical Fisher matrix (Theis et al. 2018, arXiv:1801.05787)."""

import torch
from torch import nn

from workbench.criteria.curvature import sample_gradients
from workbench.criteria.passes import masked_weights
from workbench.criteria.registry import ONE_PASS, criterion
from workbench.criteria.taylor import output_products
from workbench.models.running import Loss
from workbench.types import Batch, Masks, Scores

SOURCE = "Theis et al. 2018, arXiv:1801.05787"


@criterion(
    "fisher",
    family="loss change",
    derivatives="gradients",
    cost="1 forward and 1 backward of each sample",
    source=SOURCE,
    bn="running",
    bn_fixed=True,
    memory="samples",
)
def fisher(model: nn.Module, batch: Batch, masks: Masks | None, loss_fn: Loss) -> Scores:
    """`s = w^2 / 2 * mean over samples n of g_n^2`, with `g_n = dL_n/dw` of sample n's own loss.

    The mean of squares, not the square of the mean, which vanishes at a minimum; in float64, as they can be too small
    for float32. BatchNorm runs on its running statistics, as a sample alone has none.
    Misleads far from a minimum and with wrong labels: there the empirical Fisher is not the curvature.
    """
    weights = masked_weights(model, masks)
    total = {name: torch.zeros_like(w, dtype=torch.float64) for name, w in weights.items()}
    for grads in sample_gradients(model, weights, batch, loss_fn):
        for name, grad in grads.items():
            total[name] += grad.double().square().sum(0)
    return {name: w.detach().double().square() * total[name] / (2 * len(batch.inputs)) for name, w in weights.items()}


@criterion("fisher", family="loss change", granularity="channel", source=SOURCE, memory="activations", **ONE_PASS)
def fisher_channels(model: nn.Module, batch: Batch, masks: Masks | None, loss_fn: Loss) -> Scores:
    """`s = mean over samples n of (dL_n/dz)^2 / 2`, z = 1 a gate that multiplies the channel's output.

    `dL_n/dz` is `sum over positions of a dL_n/da` of sample n's own loss; the batch's loss is taken as their mean. The
    gate stands behind the norm and activation that follow the layer. Group Fisher (Liu et al. 2021, arXiv:2108.00708)
    adds up coupled layers before the square and divides by the cost saved; this does neither.
    Misleads far from a minimum and with wrong labels: there the empirical Fisher is not the curvature.
    """
    products = output_products(model, batch, masks, loss_fn)
    return {name: (product.double() * len(batch.inputs)).square().mean(0) / 2 for name, product in products.items()}
