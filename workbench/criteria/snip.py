"""SNIP: the loss's sensitivity to removing a connection (Lee, Ajanthan and Torr 2019, arXiv:1810.02340, eq. 4-6)."""

from torch import nn

from workbench.criteria.passes import gradients
from workbench.criteria.registry import ONE_PASS, criterion
from workbench.models import prunable
from workbench.models.running import Loss
from workbench.types import Batch, Masks, Scores


@criterion("snip", family="saliency", source="Lee et al. 2019, arXiv:1810.02340, eq. 4-6", bn="running", **ONE_PASS)
def snip(model: nn.Module, batch: Batch, masks: Masks | None, loss_fn: Loss) -> Scores:
    """`s = |w dL/d(w m)| = |dL/dm|`, one forward and backward pass; the paper's normalisation by the sum is left out.

    BatchNorm takes its running statistics, as in the authors' code; with the batch's the masks of a fresh vgg are far
    worse at high compression. Weights already removed keep a score: the derivative by their mask is not 0 at m = 0.
    Misleads when one-shot at high sparsity: the derivative describes removing one weight, not nearly all of them.
    """
    _, grads = gradients(model, batch, masks, loss_fn)
    weights = prunable(model, strict=False)
    return {name: (weights[name].detach() * grads.pop(name)).abs_() for name in list(grads)}
