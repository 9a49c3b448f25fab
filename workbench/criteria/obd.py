"""OBD: optimal brain damage, loss change by the diagonal of the curvature (LeCun, Denker and Solla 1989)."""

from torch import nn

from workbench.criteria.curvature import curvature_diagonal
from workbench.criteria.passes import masked_weights
from workbench.criteria.registry import criterion
from workbench.models.running import Loss
from workbench.types import Batch, Masks, Scores


@criterion(
    "obd",
    family="loss change",
    derivatives="Hessian",
    cost="1 forward and a backward for each output, of each sample",
    source="LeCun et al. 1989 (Optimal Brain Damage)",
    bn="running",
    bn_fixed=True,
)
def obd(model: nn.Module, batch: Batch, masks: Masks | None, loss_fn: Loss, curvature: str = "gauss-newton") -> Scores:
    """`s = h w^2 / 2`, h the diagonal of the Hessian by its Gauss-Newton part, as in the paper, or "exact".

    Gauss-Newton leaves out the network's own second derivatives, so that h >= 0; "exact" costs a pass for every weight.
    Misleads where weights act together (see `obs`), and away from a minimum, where the gradient counts too (`taylor`).
    """
    weights = masked_weights(model, masks)
    diagonal = curvature_diagonal(model, weights, batch, loss_fn, curvature)
    return {name: w.detach().double().square() * diagonal[name] / 2 for name, w in weights.items()}
