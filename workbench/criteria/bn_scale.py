"""The scale of the BatchNorm behind a channel (Liu et al. 2017, arXiv:1708.06519, section 3)."""

import torch
from torch import nn

from workbench.criteria.passes import no_layer, wide
from workbench.criteria.registry import criterion
from workbench.models.watch import following
from workbench.types import Batch, Masks, Scores


@criterion(
    "bn-scale",
    needs="shape",
    family="magnitude",
    granularity="channel",
    cost="1 forward of one input",
    source="Liu et al. 2017, arXiv:1708.06519, section 3",
)
def bn_scale(model: nn.Module, batch: Batch, masks: Masks | None) -> Scores:
    """`s_c = |γ_c|`, the weight of the BatchNorm that the layer's channels pass before they meet others.

    Layers without such a norm have no score and must be left out with `exclude`; ValueError if no layer has one.
    Misleads at initialisation, where every γ is 1, and after training without the paper's L1 penalty on γ.
    """
    found = {n: f.norms[0] for n, f in following(model, batch).items() if "norm" in f.steps and len(f.norms) == 1}
    if not found:
        what = "layers whose output a BatchNorm with a weight scales"
        raise no_layer("bn-scale", what, model, "Use a model with BatchNorm, or 'l1'")
    parameters = {id(parameter): name for name, parameter in model.named_parameters()}
    masks, whole = masks or {}, torch.tensor(True)
    kept = {name: masks.get(parameters.get(id(gamma), ""), whole) for name, gamma in found.items()}
    return {name: wide(gamma).abs() * kept[name].to(gamma.device) for name, gamma in found.items()}
