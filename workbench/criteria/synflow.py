"""SynFlow: synaptic flow without data (Tanaka, Kunin, Yamins and Ganguli 2020, arXiv:2006.05467, the loss R_SF)."""

import torch
from torch import nn

from workbench.criteria.passes import check_real, derivatives
from workbench.criteria.registry import criterion
from workbench.models import fast_layout, prunable
from workbench.models.running import run_model
from workbench.types import Batch, Masks, Scores

ROUNDING = 1e-10
"""Layer sums of scores, as a share of the summed outputs, that are noise in float64: in a plain network they are 1."""


@criterion(
    "synflow",
    needs="shape",
    family="saliency",
    derivatives="gradients",
    cost="1 forward, 1 backward of one input",
    source="Tanaka et al. 2020, arXiv:2006.05467, the loss R_SF",
)
def synflow(model: nn.Module, batch: Batch, masks: Masks | None) -> Scores:
    """`s = |w dR/dw|`, R the summed outputs, on an all-one input, of the net with absolute parameters and statistics.

    Biases and BatchNorm's running statistics count by their absolute values, in float64; of the batch only the shape.
    ValueError where the outputs do not depend on the weights, as behind a softmax: the scores would be rounding.
    Misleads when one-shot: the widest layer has the smallest mean score and dies first; iterate it (100 rounds).
    """
    check_real("synflow", batch)
    names = prunable(model, strict=False)
    held = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    absolute = {id(value): value for _, value in held if value.is_floating_point()}
    with torch.no_grad():
        absolute = {key: fast_layout(model, value.abs()).double() for key, value in absolute.items()}
    state = {name: absolute[id(value)] for name, value in held if id(value) in absolute}
    for name, mask in (masks or {}).items():
        state[name].mul_(mask)
    weights = {name: state[name].requires_grad_() for name in names}
    with torch.enable_grad():
        outputs = run_model(model, torch.ones_like(batch.inputs[:1], dtype=torch.float64), state, tie=False)
        flows = derivatives(outputs.sum(), weights)  # each is let go when its score is there
    scores = {name: (flows.pop(name) * w.detach()).abs_().contiguous() for name, w in weights.items()}
    least = ROUNDING * float(outputs.detach().abs().sum())
    if masks is None and all(float(score.sum()) <= least for score in scores.values()):
        raise ValueError(
            "'synflow' scores by the derivative of the summed outputs, which do not depend on this model's weights "
            "beyond rounding: its outputs have a fixed sum (softmax, a norm), or nothing passes from input to output. "
            "Let the model return its logits, or use another criterion, such as 'snip'"
        )
    return scores
