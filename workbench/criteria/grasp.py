"""GraSP: keep the weights whose removal would most reduce the gradient's norm (Wang et al. 2020, arXiv:2002.07376)."""

import torch
from torch import nn

from workbench.criteria.passes import derivatives, gradients
from workbench.criteria.registry import criterion
from workbench.criteria.second_derivatives import CheapSecondDerivatives
from workbench.models import prunable
from workbench.models.running import Loss
from workbench.types import Batch, Masks, Scores


@criterion(
    "grasp",
    family="loss change",
    derivatives="Hessian",
    cost="1 forward, 2 backward (the second through the first)",
    source="Wang et al. 2020, arXiv:2002.07376, eq. 8",
)
def grasp(
    model: nn.Module, batch: Batch, masks: Masks | None, loss_fn: Loss, temperature: float | None = None
) -> Scores:
    """`s = w (H g)`, with the Hessian-vector product `H g = d(g . stop(g))/dw` and logits divided by `temperature`.

    The default divides by 200 for the cross entropy, as the paper, and by 1 for another loss. The paper's score is
    `-w (H g)` and drops the highest. Its code first draws linear layers again; here the network is scored as it is.
    Where a BatchNorm on the batch's statistics follows a layer, its scores sum to `-|g|^2`, g that of the loss with
    divided logits: the narrow layers, with the largest `|g|^2` per weight, are thinned first, and faster every round.
    Misleads as a ranking of harm: a large negative score marks a weight that hinders gradient flow, not a small effect.
    """
    if temperature is None:
        temperature = (
            200.0 if loss_fn is nn.functional.cross_entropy or isinstance(loss_fn, nn.CrossEntropyLoss) else 1.0
        )
    with CheapSecondDerivatives():
        weights, grads = gradients(model, batch, masks, loss_fn, temperature, create_graph=True)
    masks = masks or {}
    along = [grad.detach() * masks[name] if name in masks else grad.detach() for name, grad in grads.items()]
    used = [(grad, way) for grad, way in zip(grads.values(), along, strict=True) if grad.requires_grad]
    if not used:  # the loss is linear in the weights
        return {name: torch.zeros_like(grad) for name, grad in grads.items()}
    outputs, ways = zip(*used, strict=True)
    products, full = derivatives(outputs, weights, ways), prunable(model, strict=False)
    return {name: full[name].detach() * product for name, product in products.items()}
