"""Hard filter pruning, the twin of soft filter pruning: what is removed first stays removed."""

import torch
from torch import nn

from workbench.masks import dense
from workbench.methods.channels import cut, filters, norms
from workbench.methods.registry import Arguments, named
from workbench.states import Progress
from workbench.types import Masks, check_count


@named(
    "hard-filter",
    source="He et al. 2018, arXiv:1808.06866 (its rival); Li et al. 2017, arXiv:1608.08710",
    sparsity="rises",
    returns=False,
    granularity="channel",
    memory="nothing",
    cost="norms and a sort of the filters, once",
)
def hard_filter(model: nn.Module, sparsity: float, *, allocation: str = "layer", after: int = 20) -> Arguments:
    """After `after` steps the filters of least L2 norm are removed, and stay removed.

    These are the filters that "soft-filter" with `every=after` sets to 0 first. `sparsity` is the share of filters in
    each convolution, except a last layer. A removed filter takes its bias and its entries in the norm with it.

    Misleads early in a training: the norms are still those of the initialisation.
    """
    names, after = filters("hard-filter", model), check_count("after", after, least=0)

    @torch.no_grad()
    def update(progress: Progress) -> Masks | None:
        if progress.step != min(after, progress.total - 1):
            return None
        return cut(progress, norms(progress.model, names), sparsity, allocation)

    return {"masks": dense(model), "update": update}
