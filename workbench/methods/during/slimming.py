"""Network slimming: an L1 penalty on the scales of BatchNorm (Liu et al. 2017)."""

from torch import Tensor, nn
from torch.nn import functional

from workbench.masks import dense
from workbench.methods.channels import cut_once, penalised
from workbench.methods.registry import Arguments, named
from workbench.models.running import Loss
from workbench.models.watch import example_of, following
from workbench.types import Batch, Scores


@named(
    "slimming",
    source="Liu et al. 2017, arXiv:1708.06519",
    sparsity="at the end",
    returns=False,
    granularity="channel",
    memory="nothing",
    cost="a sum over the scales in each step",
)
def slimming(
    model: nn.Module,
    sparsity: float,
    *,
    allocation: str = "global",
    strength: float = 1e-3,
    stop: float = 0.75,
    loss_fn: Loss = functional.cross_entropy,
    example: Tensor | None = None,
) -> Arguments:
    """The loss gets `strength` times the sum of |gamma| over all BatchNorms that scale the channels of one layer.

    At the share `stop` of the training the channels with the least |gamma| are removed, in all such layers together,
    and the rest is trained without the penalty. `example` is one input, for a model without `input_shape`.

    Misleads where the next layer can grow: a small gamma with large weights behind it is the same function.
    """
    seen = example_of(model, example)
    found = {n: f.norms[0] for n, f in following(model, Batch(seen, seen)).items() if len(f.norms) == 1}
    if not found:
        told = "'slimming' removes channels that a BatchNorm with a weight scales; this model has none"
        raise ValueError(f"{told}. Use a network with BatchNorm, such as 'vgg', or 'group-lasso'")
    parameters = {id(parameter): name for name, parameter in model.named_parameters()}
    gammas = {name: parameters[id(gamma)] for name, gamma in found.items()}

    def sizes(now: nn.Module) -> Scores:
        return {name: now.get_parameter(gamma).abs() for name, gamma in gammas.items()}

    loss = penalised(sizes, strength, loss_fn)
    return {"masks": dense(model), "loss": loss, "update": cut_once(sizes, sparsity, allocation, stop)}
