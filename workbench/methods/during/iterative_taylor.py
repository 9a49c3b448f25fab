"""Iterative pruning of channels by Taylor scores, a few at a time while a network is tuned (Molchanov et al. 2017)."""

from typing import Any

from torch import nn
from torch.nn import functional

from workbench.criteria import score
from workbench.masks import dense
from workbench.methods.channels import cut, hidden
from workbench.methods.registry import Arguments, named
from workbench.methods.regrow import due, last
from workbench.methods.schedules import linear
from workbench.models.running import Loss
from workbench.states import Progress
from workbench.types import Masks


@named(
    "iterative-taylor",
    source="Molchanov et al. 2017, arXiv:1611.06440, section 2; 2019, arXiv:1906.10771",
    sparsity="rises",
    returns=False,
    granularity="channel",
    memory="the sum of the scores since the last cut",
    cost="a pass forward and backward in each step until the last cut, for the scores",
)
def iterative_taylor(
    model: nn.Module,
    sparsity: float,
    *,
    allocation: str = "global",
    kind: str = "gates",
    every: int = 10,
    stop: float = 0.5,
    loss_fn: Loss = functional.cross_entropy,
) -> Arguments:
    """Every `every` steps the channels go that change the loss least, by the mean of their scores since the last cut.

    A batch's score of a channel with outputs a is `(sum of a dL/da)^2`, or another `kind` of the criterion "taylor",
    whose `loss_fn` it takes. The share of removed channels rises along a line to `sparsity` at the share `stop` of the
    training; a last layer is left out. Start from trained weights, at a low rate:
    `wb.train(model, task, lr=0.01, warmup=0, **wb.method("iterative-taylor", model, 0.5))`.

    Misleads from new weights: gradients are large everywhere, and say little of what a channel will do.
    """
    names = hidden("iterative-taylor", model)
    others = [name for name in dense(model) if name not in names]

    def update(progress: Progress) -> Masks | None:
        if "cut" in progress.memory:
            return None
        knobs: dict[str, Any] = {"granularity": "channel", "exclude": others, "kind": kind, "loss_fn": loss_fn}
        sums = progress.memory.setdefault("scores", {})
        for name, found in score(progress.model, progress.batch, "taylor", masks=progress.in_force, **knobs).items():
            sums[name] = sums.get(name, 0) + found
        if not (final := last(progress, stop)) and not due(progress, every, stop):
            return None
        now = sparsity if final else sparsity * linear(progress.step / progress.total, 0.0, stop)
        return cut(progress, progress.memory.pop("scores"), now, allocation, within=progress.masks)

    return {"masks": dense(model), "update": update}
