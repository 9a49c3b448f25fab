"""Dynamic pruning with feedback: masks act forward, and all weights are trained behind them (Lin et al. 2020)."""

from torch import nn

from workbench.masks import dense, keep_top
from workbench.methods.registry import Arguments, named
from workbench.methods.regrow import magnitudes, rising
from workbench.states import Progress
from workbench.types import Masks


@named(
    "dpf",
    source="Lin et al. 2020, arXiv:2006.07253",
    sparsity="rises",
    returns=True,
    gradients="all",
    memory="the weights behind the masks, dense",
    cost="the gradients of removed weights at every step; a sort of all weights at each change",
)
def dynamic_pruning_with_feedback(
    model: nn.Module,
    sparsity: float,
    *,
    allocation: str = "global",
    schedule: str = "cubic",
    every: int = 20,
    start: float = 0.0,
    stop: float = 0.75,
) -> Arguments:
    """Every `every` steps the masks keep the largest of all weights, removed ones included, which are trained on.

    The gradient is that of the masked network, and moves all weights behind the masks; so a weight that was removed too
    early comes back with the value it has there. The sparsity rises as in "gradual", and masks change until the share
    `stop` of the training. (The paper: every 16 steps, until the last but few epochs.)

    Misleads as sparse training: weights, gradients and moments are dense.
    """
    rise = rising(sparsity, schedule, every, start, stop)

    def update(progress: Progress) -> Masks | None:
        if (now := rise(progress)) is None:
            return None
        return keep_top(magnitudes(progress.behind), now, allocation=allocation)

    return {"masks": dense(model), "update": update, "straight_through": True}
