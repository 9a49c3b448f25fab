"""Structured sparsity learning: a penalty makes whole channels small (Wen et al. 2016)."""

from functools import partial

from torch import nn
from torch.nn import functional

from workbench.masks import dense
from workbench.methods.channels import cut_once, hidden, norms, penalised
from workbench.methods.registry import Arguments, named
from workbench.models.running import Loss


@named(
    "group-lasso",
    source="Wen et al. 2016, arXiv:1608.03665",
    sparsity="at the end",
    returns=False,
    granularity="channel",
    memory="nothing",
    cost="the norms of all channels in each step",
)
def group_lasso(
    model: nn.Module,
    sparsity: float,
    *,
    allocation: str = "layer",
    strength: float = 1e-3,
    stop: float = 0.75,
    loss_fn: Loss = functional.cross_entropy,
) -> Arguments:
    """The loss gets `strength` times the sum of the L2 norms of all output channels' weights.

    The gradient of a norm, w / |w|, pulls as hard on a small channel as on a large one, so weak channels go to 0. At
    the share `stop` of the training those of least norm are removed, and the rest is trained without the penalty. The
    last layer, whose channels are the outputs, is left out. (The paper also groups inputs, positions and layers.)

    Misleads if the penalty is weak: then the cut removes channels that are not small.
    """
    sizes = partial(norms, names=hidden("group-lasso", model))
    loss = penalised(sizes, strength, loss_fn)
    return {"masks": dense(model), "loss": loss, "update": cut_once(sizes, sparsity, allocation, stop)}
