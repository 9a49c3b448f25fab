"""Accuracy and loss over a split."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from workbench.data.task import SPLITS, Task
from workbench.models import work
from workbench.models.running import check_labels, evaluating, own_dtype, run_model
from workbench.seeds import threads
from workbench.types import Masks, check_choice, check_masks


@torch.no_grad()
def evaluate(
    model: nn.Module, task: Task, masks: Masks | None = None, split: str = "val", batch_size: int = 1000
) -> dict[str, float]:
    """Accuracy (fraction right) and mean cross entropy over a whole split, in evaluation mode.

    Sums over samples and divides once. With `masks` the masked network is measured; the model stays as it was. Inputs
    are passed in the model's own floating dtype; of outputs that are no tensor, what is called "logits" or a tuple's
    first item counts. Returns {"accuracy", "loss", "n"}. Choose models by "val"; touch "test" once.

    Misleads on small splits: on the 300 validation digits one image is 0.33 points.

    >>> import workbench as wb
    >>> task = wb.load("digits", device="cpu")
    >>> 0 <= evaluate(wb.make("vgg", task), task)["accuracy"] <= 1
    True
    """
    masks = {} if masks is None else check_masks(model, masks)
    weights = {name: model.get_parameter(name).masked_fill(~mask, 0) for name, mask in masks.items()}
    dtype, right, loss, n = own_dtype(model), 0, 0.0, 0
    amount = work(model, task.splits[check_choice("split", split, SPLITS)].inputs[:batch_size])
    with evaluating(model), threads(amount):
        for inputs, targets in task.batches(split, batch_size):
            outputs = run_model(model, inputs.to(dtype), weights)
            check_labels(outputs, targets)
            loss += float(functional.cross_entropy(outputs.float(), targets, reduction="sum"))
            right += int((outputs.argmax(1) == targets).sum())
            n += len(targets)
    return {"accuracy": right / n, "loss": loss / n, "n": n}
