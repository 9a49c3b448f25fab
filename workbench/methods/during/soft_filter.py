"""Soft filter pruning: filters are set to 0 and go on being trained (He et al. 2018)."""

import torch
from torch import nn

from workbench.masks import dense
from workbench.methods.channels import cut, filters, norms
from workbench.methods.registry import Arguments, named
from workbench.methods.regrow import due, last
from workbench.states import Progress
from workbench.types import Masks


@named(
    "soft-filter",
    source="He et al. 2018, arXiv:1808.06866",
    sparsity="at the end",
    returns=True,
    granularity="channel",
    memory="nothing",
    cost="norms and a sort of the filters at each change",
)
def soft_filter(
    model: nn.Module, sparsity: float, *, allocation: str = "layer", every: int = 20, stop: float = 0.75
) -> Arguments:
    """Every `every` steps the filters of least L2 norm are set to 0, and all filters are trained on.

    `sparsity` is the share of filters in each convolution, except a last layer. Only the weights are set to 0, not the
    bias or the norm behind them. A filter that grew again is kept if others are smaller. (The paper: once an epoch.)
    At the share `stop` of the training they go for good (the paper: at its end), and the rest trains without them.

    Misleads until then: no step of the training is cheaper, because filters are 0 only for a moment.
    """
    names = filters("soft-filter", model)

    @torch.no_grad()
    def update(progress: Progress) -> Masks | None:
        if not (final := last(progress, stop)) and not due(progress, every, stop):
            return None
        masks = cut(progress, norms(progress.model, names), sparsity, allocation)
        for name in names:
            progress.model.get_parameter(name).mul_(masks[name])
        return masks if final else None

    return {"masks": dense(model), "update": update}
