"""ProsPr: sensitivity of the loss after some steps of training (Alizadeh et al. 2022, arXiv:2202.08132)."""

import torch
from torch import nn

from workbench.criteria.passes import derivatives, loss_at, masked_weights
from workbench.criteria.registry import criterion
from workbench.models.running import Loss
from workbench.types import Batch, Masks, Scores, check_count


@criterion(
    "prospr",
    family="saliency",
    derivatives="Hessian",
    cost="steps + 1 forward and backward, and a backward through all of them",
    source="Alizadeh et al. 2022, arXiv:2202.08132",
    bn_fixed=True,
)
def prospr(
    model: nn.Module, batch: Batch, masks: Masks | None, loss_fn: Loss, steps: int = 3, lr: float = 0.1
) -> Scores:
    """`s = |dL(w_M)/dm|` at m = 1, with `w_0 = m w` and `w_(t+1) = w_t - lr dL(w_t)/dw_t` for M = `steps` steps.

    The derivative passes through the steps, in which biases and norms move too. Every step takes the whole batch (the
    authors' code can take a new one for each), which BatchNorm sees. With no steps this is SNIP. Memory grows too.
    Misleads with a rate at which these few steps diverge: then it measures the divergence.
    """
    check_count("steps", steps, least=0)
    start, masks = masked_weights(model, None), masks or {}
    ones = {n: (masks[n].to(w.dtype) if n in masks else torch.ones_like(w)).requires_grad_() for n, w in start.items()}
    others = {name: p.detach().requires_grad_() for name, p in model.named_parameters() if name not in start}
    there = {name: one.detach() for name, one in ones.items()}  # what is removed stays out of the steps
    with torch.enable_grad():
        weights = {name: w.detach() * ones[name] for name, w in start.items()} | others
        for _ in range(steps):
            grads = derivatives(loss_at(model, weights, batch, loss_fn), weights, create_graph=True)
            weights = {n: w - lr * (grads[n] * there[n] if n in there else grads[n]) for n, w in weights.items()}
        slopes = derivatives(loss_at(model, weights, batch, loss_fn), ones)
    return {name: slope.abs() for name, slope in slopes.items()}
