"""FORCE: iterated SNIP in which removed weights may return (de Jorge et al. 2021, arXiv:2006.09081)."""

from torch import nn

from workbench.criteria.registry import ONE_PASS, criterion
from workbench.criteria.snip import snip
from workbench.models.running import Loss
from workbench.types import Batch, Masks, Scores


@criterion("force", family="saliency", source="de Jorge et al. 2021, arXiv:2006.09081", returns=True, **ONE_PASS)
def force(model: nn.Module, batch: Batch, masks: Masks | None, loss_fn: Loss) -> Scores:
    """`s = |w dL/dw|`: the gradient of the network as pruned so far, the weights as they were, also removed ones.

    One round is SNIP on the batch's BatchNorm statistics, as in the authors' code. In `find_masks(..., rounds=K)` every
    round chooses among all weights, so that masks do not nest: a weight removed too early can come back.
    Misleads once a layer is empty: no gradient passes it, all scores are 0 and nothing can return.
    """
    return snip(model, batch, masks, loss_fn)
