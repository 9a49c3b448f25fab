"""Distillation: a pruned network learns from the outputs of the dense one (Hinton et al. 2015, arXiv:1503.02531)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.data.measures import IGNORED, by_number
from workbench.models.running import Loss, evaluating, fitted, logits, loss_of
from workbench.train import BatchLoss
from workbench.types import Batch


def distilled(
    teacher: nn.Module, loss_fn: Loss = functional.cross_entropy, *, temperature: float = 2.0, share: float = 0.5
) -> BatchLoss:
    """A loss for `wb.steps`: `share T² KL(teacher, student)` and `1 - share` of `loss_fn` with the labels.

    The divergence is of the class probabilities at temperature T, the mean over samples, or over the places of a
    sequence that have a label; T² keeps its gradients as large as those of the labels. Classes are along dimension 1
    under the cross entropy, as torch has them, else along the last, as in a language model. The teacher runs in
    evaluation mode, without a gradient. `loss_fn` is the task's, `task.loss`.
    Source: Hinton et al. 2015, arXiv:1503.02531, section 2.
    Misleads at a share of 1: then the labels do not count, and the student copies the teacher's errors.

    >>> model, teacher = nn.Linear(1, 2), nn.Linear(1, 2)
    >>> teacher.load_state_dict(model.state_dict())
    <All keys matched successfully>
    >>> batch = Batch(torch.ones(1, 1), torch.tensor([0]))
    >>> distilled(teacher, share=1.0)(model, batch).item()
    0.0
    """
    if by_number(loss_fn):
        told = f"distillation compares probabilities of classes; got {loss_fn}, which compares numbers"
        raise ValueError(f"{told}. Pass a function to wb.steps that takes the teacher's outputs as targets")
    if not temperature > 0 or not 0 <= share <= 1:
        told = "temperature is a number above 0, share the teacher's part of the loss, in [0, 1]"
        raise ValueError(f"{told}; got temperature={temperature} and share={share}. Pass 2 and 0.5")
    dim = 1 if loss_fn is functional.cross_entropy else -1

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        if model is teacher:
            raise ValueError("a student has a teacher beside it; got one model for both. Pass a copy made before")
        with torch.no_grad(), evaluating(teacher):
            wanted = logits(teacher(fitted(teacher, batch.inputs))).float() / temperature
        outputs = model(batch.inputs)
        given = logits(outputs).float() / temperature
        if given.shape != wanted.shape:
            told = f"teacher and student have outputs of one shape; got {tuple(wanted.shape)} and {tuple(given.shape)}"
            raise ValueError(f"{told}. Take a teacher of the same classes or tokens")
        far = functional.kl_div(given.log_softmax(dim), wanted.log_softmax(dim), reduction="none", log_target=True)
        far = far.sum(dim)
        known = batch.targets != IGNORED if batch.targets.shape == far.shape else torch.ones_like(far, dtype=torch.bool)
        return share * temperature**2 * far[known].mean() + (1 - share) * loss_of(loss_fn, outputs, batch.targets)

    return loss
