"""New BatchNorm statistics for a network whose weights have changed (Li et al. 2020, EagleEye)."""

import torch
from torch import nn

from workbench.data import Task
from workbench.models.running import evaluating, fitted, outputs


@torch.no_grad()
def recalibrate(model: nn.Module, task: Task, batch_size: int = 128, seed: int = 0) -> None:
    """Set every BatchNorm's running mean and variance to their means over the training batches, in place.

    A cut changes what a layer passes on, and the statistics still belong to the network before the cut. No weight
    moves; one pass forward. Give pruned weights as zeros (`wb.apply_masks_`, or a trained masked model). The split is
    the training split, in the order of `seed`; a last batch of one sample has no variance and is left out, as in
    `wb.steps`. Train flags stay. Source: Li et al. 2020, arXiv:2007.02491, section 3.3.

    Misleads as an estimate of what training can do: it repairs the statistics, and no weight.

    >>> import workbench as wb
    >>> task = wb.load("digits", device="cpu")
    >>> model = wb.make("vgg", task, seed=0)
    >>> recalibrate(model, task)
    >>> 0 < wb.evaluate(model, task)["accuracy"] < 1
    True
    """
    kind = nn.modules.batchnorm._BatchNorm
    norms = [module for module in model.modules() if isinstance(module, kind) and module.track_running_stats]
    if not norms:
        told = "recalibration renews the running statistics of BatchNorms"
        raise ValueError(f"{told}; {type(model).__name__} has none. Use a model with BatchNorm, such as 'vgg'")
    momenta = [norm.momentum for norm in norms]
    with evaluating(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum, norm.training = None, True  # None: the mean over all batches
        try:
            for at, batch in enumerate(task.batches("train", batch_size, seed)):
                if at == 0 or len(batch.inputs) > 1:
                    outputs(model, fitted(model, batch.inputs))
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
