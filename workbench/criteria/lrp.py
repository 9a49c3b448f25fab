"""LRP: the share of the true logit that flows through a weight or channel (Yeom et al. 2021, arXiv:1912.08881)."""

from typing import Any

import torch
from torch import nn

from workbench.criteria.registry import criterion
from workbench.criteria.relevance import relevances
from workbench.types import Batch, Masks, Scores

FACTS: dict[str, Any] = dict(
    family="saliency", cost="2 forward, 1 backward", bn="running", bn_fixed=True, memory="activations"
)


@criterion("lrp", source="Yeom et al. 2021, arXiv:1912.08881 (alpha 1, beta 0; there for channels)", **FACTS)
def lrp(model: nn.Module, batch: Batch, masks: Masks | None) -> Scores:
    """`s_ij = sum |R_ij|` over samples and positions, with `R_ij = (x_i w_ij)+ / sum_i (x_i w_ij)+ R_j`.

    The relevance R starts as each sample's true logit (no loss is used) and passes down to the inputs; biases get no
    share, so that every layer hands on all it got where some contribution is positive. Behind a ReLU this is the z+
    rule. Batch norm passes relevance on. (The authors' code for ResNets takes the epsilon rule in linear layers.)
    Misleads above half density: behind a ReLU every negative weight scores 0, and among equals the index decides.
    """
    return relevances(model, batch, masks, "weight")


@criterion("lrp", granularity="channel", source="Yeom et al. 2021, arXiv:1912.08881 (alpha 1, beta 0)", **FACTS)
def lrp_channels(model: nn.Module, batch: Batch, masks: Masks | None, normalise: bool = True) -> Scores:
    """`s_c = sum |sum R|`: the relevance of a channel's outputs, over positions, then absolute over samples.

    Divided by the layer's sum, as in the paper, unless `normalise=False`; without shortcuts all layers have the same.
    Misleads in networks of unequal widths: a layer's scores sum to 1, so that wide layers are pruned first.
    """
    scores = relevances(model, batch, masks, "channel")
    if not normalise:
        return scores
    return {name: score / score.sum().clamp(min=torch.finfo(score.dtype).tiny) for name, score in scores.items()}
