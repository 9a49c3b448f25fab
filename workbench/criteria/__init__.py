"""Functions that score weights, higher = keep; `score` runs one. A new criterion is a file here, found by itself."""

import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any

from torch import nn

from workbench.criteria.registry import Criterion, criteria, criterion_table, own_criteria, register_criterion
from workbench.criteria.scorer import Scorer
from workbench.models.running import Loss
from workbench.models.untouched import untouched
from workbench.types import Batch, Masks, Scores, check_masks

__all__ = ["criteria", "criterion_table", "own_criteria", "register_criterion", "score"]

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")


def score(
    model: nn.Module,
    batch: Batch | None,
    criterion: str | Criterion,
    *,
    masks: Masks | None = None,
    loss_fn: Loss | None = None,
    exclude: Iterable[str] = (),
    bn: str | None = None,
    seed: int = 0,
    granularity: str = "weight",
    reduce: str = "sum",
    **knobs: Any,
) -> Scores:
    """Score every prunable weight, or every output channel, higher = keep; the model does not change in any bit.

    `criterion` is a name, or a function that takes what it needs of `model, batch, masks, loss_fn, generator`, and
    knobs. `batch=None` is allowed for criteria that need no batch (random, magnitude; SynFlow for networks made by
    `wb.make`). `loss_fn` is the mean cross entropy over the batch. `masks` mark the weights still there in iterative
    scoring; `exclude` leaves layers out; `seed` feeds the generator that random criteria draw from.
    `bn` says which BatchNorm statistics data-driven criteria see, the "batch"'s or the "running" ones; by default those
    of the authors' code (`wb.criterion_table()`). Criteria that look at samples one by one or need only a shape always
    see the running ones (NTK-SAP those of its own inputs); dropout is off; half precision is scored in float32.
    `granularity="channel"` gives `[out]` scores by each weight's name; a criterion with no formula for channels is
    summed over a channel's weights, or reduced by the "mean", "max" or "norm" (root of the sum of squares).
    Raises ValueError for weights that are not finite, or a batch, labels or scores that do not fit the model.
    Misleads when scores of different layers are compared under a criterion that does not normalise for layer size.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, -3)
    >>> score(model, None, "magnitude")["weight"].tolist()
    [[3.0, 3.0]]
    """
    run = Scorer(model, batch, criterion, loss_fn, exclude, bn, seed, granularity, reduce, **knobs)
    with untouched(model):
        return run(check_masks(model, masks) if masks is not None else None)
