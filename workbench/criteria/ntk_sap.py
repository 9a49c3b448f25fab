"""NTK-SAP: how much of the tangent kernel's trace a weight holds (Wang et al. 2023, arXiv:2304.02840, eq. 5-6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.criteria.passes import Loss, check_real, masked_weights, run_model
from workbench.criteria.registry import builtin
from workbench.types import Batch, Masks, Scores, check_count


@builtin(
    "ntk-sap",
    needs="shape",
    family="saliency",
    derivatives="gradients",
    cost="2 forward and backward of `samples` random inputs for every draw",
    source="Wang et al. 2023, arXiv:2304.02840, eq. 5-6",
)
def ntk_sap(
    model: nn.Module,
    batch: Batch,
    *,
    masks: Masks | None = None,
    loss_fn: Loss,
    generator: torch.Generator,
    draws: int = 1,
    samples: int = 64,
    epsilon: float = 0.01,
    redraw: bool = True,
) -> Scores:
    """`s = |d/dm sum over x of ||f(x; m w) - f(x; m w + m e)||^2|` at m = 1, with Gaussian x and `e ~ N(0, epsilon^2)`.

    The sum is, to first order in epsilon, epsilon^2 times the trace of the tangent kernel. No data and no labels. Every
    draw takes new inputs, a new e and, with `redraw`, weights drawn anew with each layer's own standard deviation, so
    that the score is of the architecture and not of one initialisation.
    Misleads with few draws, as the score is an estimate; average more, or iterate.
    """
    check_count("draws", draws)
    check_real("ntk-sap", batch)
    held = masked_weights(model, None)
    ones = {
        name: (masks[name].to(w.dtype) if masks and name in masks else torch.ones_like(w)).requires_grad_()
        for name, w in held.items()
    }

    def normal(like: Tensor, deviation: Tensor | float = 1.0, shape: tuple[int, ...] | None = None) -> Tensor:
        drawn = torch.randn(like.shape if shape is None else shape, generator=generator)
        return drawn.to(like.device, like.dtype) * deviation

    total = {name: torch.zeros_like(w) for name, w in held.items()}
    kind = next(iter(held.values())).detach()
    for _ in range(draws):
        inputs = normal(kind, shape=(samples, *batch.inputs.shape[1:]))
        weights = {name: w.detach() for name, w in held.items()}
        if redraw:
            weights = {name: normal(w, w.std(correction=0)) for name, w in weights.items()}
        shifts = {name: normal(w.detach(), epsilon) for name, w in held.items()}
        with torch.enable_grad():
            plain = run_model(model, inputs, {n: ones[n] * w for n, w in weights.items()})
            moved = run_model(model, inputs, {n: ones[n] * (w + shifts[n]) for n, w in weights.items()})
            apart = (plain - moved).square().sum()
            slopes = torch.autograd.grad(apart, list(ones.values()), allow_unused=True, materialize_grads=True)
        for name, slope in zip(ones, slopes, strict=True):
            total[name] += slope
    return {name: value.abs() for name, value in total.items()}
