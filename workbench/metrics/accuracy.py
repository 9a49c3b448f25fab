"""What a task measures, over a whole split."""

import math

import torch

from workbench.data.measures import Sums
from workbench.data.task import SPLITS, Task
from workbench.models import work
from workbench.models.running import evaluating, fitted, measured, outputs
from workbench.seeds import threads
from workbench.types import Masks, check_choice, check_masks


@torch.no_grad()
def evaluate(
    model: torch.nn.Module, task: Task, masks: Masks | None = None, split: str = "val", batch_size: int = 1000
) -> dict[str, float]:
    """The task's `measure` over a whole split, in evaluation mode: accuracy and mean cross entropy ("loss") if not set.

    Returns {name: sum / count, ..., "n": samples}, added up over the batches and divided once; NaN if there is nothing
    to count. With `masks` the masked network is measured; the model stays as it was. Inputs come in the model's
    floating dtype, whole numbers as they are; accuracy takes the logits, a measure of your own the outputs as given.
    Choose models by "val"; use "test" once.

    Misleads on small splits: on the 300 validation digits one image is 0.33 points.

    >>> import workbench as wb
    >>> task = wb.load("digits", device="cpu")
    >>> 0 <= evaluate(wb.make("vgg", task), task)["accuracy"] <= 1
    True
    """
    masks = {} if masks is None else check_masks(model, masks)
    own = {name: model.get_parameter(name) for name in masks}
    weights = {name: weight.masked_fill(~masks[name].to(weight.device), 0) for name, weight in own.items()}
    amount = work(model, task.splits[check_choice("split", split, SPLITS)].inputs[:batch_size])
    sums: Sums = {}
    with evaluating(model), threads(amount):
        for inputs, targets in task.batches(split, batch_size):
            given = outputs(model, fitted(model, inputs), weights)
            for name, (total, count) in measured(task.measure, given, targets).items():
                before, counted = sums.get(name, (0.0, 0.0))
                sums[name] = before + total, counted + count
    found = {name: total / count if count else math.nan for name, (total, count) in sums.items()}
    return found | {"n": task.size(split)}
