"""NTK-SAP: how much of the tangent kernel's trace a weight holds (Wang et al. 2023, arXiv:2304.02840, section 5.3)."""

import torch
from torch import Tensor, nn

from workbench.criteria.passes import Weights, check_real, derivatives
from workbench.criteria.registry import criterion
from workbench.criteria.scorer import BATCH_NORMS
from workbench.models import prunable
from workbench.models.running import run_model
from workbench.types import Batch, Masks, Scores, check_count


@criterion(
    "ntk-sap",
    needs="shape",
    family="saliency",
    derivatives="gradients",
    cost="4 forward, 2 backward of samples random inputs for every draw",
    source="Wang et al. 2023, arXiv:2304.02840, section 5.3",
)
def ntk_sap(
    model: nn.Module,
    batch: Batch,
    masks: Masks | None,
    generator: torch.Generator,
    draws: int = 1,
    samples: int = 64,
    epsilon: float = 0.01,
    redraw: bool = True,
) -> Scores:
    """`s = |d/dm sum over x of ||f(x; m w) - f(x; m w + m e)||^2|` at m = 1, with Gaussian x and `e ~ N(0, epsilon^2)`.

    The sum is, to first order, epsilon^2 times the trace of the tangent kernel. Every draw takes new inputs, a new e
    and, with `redraw`, weights drawn again with each layer's own standard deviation, so that the score is not of one
    initialisation. BatchNorm takes the statistics of these inputs under these weights. Weights already removed score 0.
    Misleads with few draws, as the score is an estimate; average more, or iterate.
    """
    check_count("draws", draws)
    check_real("ntk-sap", batch)
    own = prunable(model, strict=False)
    total: Weights = {}
    for _ in range(draws):
        inputs = _normal(next(iter(own.values())).new_empty(samples, *batch.inputs.shape[1:]), generator)
        start = generator.get_state()

        @torch.no_grad()
        def draw(start: Tensor = start) -> Weights:
            """The weights of this draw, masked: drawn again when they are needed again, and not kept."""
            generator.set_state(start)
            drawn = {n: _normal(w, generator) * w.std(correction=0) if redraw else w.clone() for n, w in own.items()}
            return {n: w.mul_(masks[n]) if masks and n in masks else w for n, w in drawn.items()}

        weights = draw()
        with torch.no_grad():
            statistics = _statistics(model, inputs, weights)
            plain = run_model(model, inputs, weights | statistics)
            for name, w in weights.items():
                w += _normal(w, generator).mul_(epsilon * masks[name] if masks and name in masks else epsilon)
        end = generator.get_state()
        moved = _add_slopes_(total, model, inputs, weights, statistics, plain)
        _add_slopes_(total, model, inputs, draw(), statistics, moved)
        generator.set_state(end)
    return {name: value.abs_() for name, value in total.items()}


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)


def _statistics(model: nn.Module, inputs: Tensor, weights: Weights) -> Weights:
    """The running statistics that BatchNorms take from one pass of `inputs` under these weights, by name."""
    norms = {n: m for n, m in model.named_modules() if isinstance(m, BATCH_NORMS) and m.track_running_stats}
    taken = {f"{name}.{own}": buffer.clone() for name, norm in norms.items() for own, buffer in norm.named_buffers()}
    momenta = [norm.momentum for norm in norms.values()]
    try:
        for norm in norms.values():
            norm.momentum, norm.training = 1.0, True
        if norms:
            run_model(model, inputs, weights | taken)  # writes into what was taken
    finally:
        for norm, momentum in zip(norms.values(), momenta, strict=True):
            norm.momentum, norm.training = momentum, False
    return taken


def _add_slopes_(
    total: Weights, model: nn.Module, inputs: Tensor, weights: Weights, statistics: Weights, other: Tensor
) -> Tensor:
    """Add `w d|f(x; w) - other|^2/dw` to `total`, which is the derivative by the masks; returns f(x; w)."""
    with torch.enable_grad():
        outputs = run_model(model, inputs, {name: w.requires_grad_() for name, w in weights.items()} | statistics)
        slopes = derivatives((outputs - other).square().sum(), weights)
    with torch.no_grad():
        for name in list(weights):
            part = weights.pop(name).detach().mul_(slopes.pop(name))
            total[name] = total[name].add_(part) if name in total else part
    return outputs.detach()
