"""RigL: weights grow where the gradient of the dense network is largest (Evci et al. 2020)."""

from torch import nn

from workbench.methods.registry import Arguments, named
from workbench.methods.regrow import dropped, due, grown, random_start
from workbench.methods.schedules import cosine
from workbench.states import Progress
from workbench.types import Masks


@named(
    "rigl",
    source="Evci et al. 2020, arXiv:1911.11134",
    sparsity="constant",
    returns=True,
    memory="nothing",
    cost="the gradients of removed weights at each change; a sort of each layer",
    gradients="changes",
)
def rigl(
    model: nn.Module,
    sparsity: float,
    *,
    allocation: str = "erk",
    drop: float = 0.3,
    every: int = 20,
    stop: float = 0.75,
    may_return: bool = False,
    seed: int = 0,
) -> Arguments:
    """Every `every` steps each layer drops kept weights of least magnitude, and grows those of largest |gradient|.

    The share that goes is `drop (1 + cos(pi t / t_stop)) / 2`, and t_stop the share `stop` of the training (the paper:
    0.3, 0.75, every 100 steps of 32,000). New weights start at 0, with no moments. Weights just dropped come back in
    the same step only if there are no others, unless `may_return` (the paper's text allows it). At a change the paper
    makes no step of the optimizer; here the step follows, with the new masks.

    Misleads when steps are counted as sparse: a change needs the gradients of all weights.
    """

    def update(progress: Progress) -> Masks | None:
        if not due(progress, every, stop):
            return None
        masks, now = progress.masks, drop * cosine(progress.step / progress.total, 0.0, stop)
        for name, mask in masks.items():
            weight = progress.model.get_parameter(name)
            count = min(int(now * int(mask.sum())), int((~mask).sum()))
            kept = dropped(weight, mask, count)
            if weight.grad is not None:
                masks[name] = grown(weight.grad.abs(), kept, count, closed=None if may_return else mask)
        return masks

    return {"masks": random_start(model, sparsity, allocation, seed), "update": update}
