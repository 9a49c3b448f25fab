"""Gradual magnitude pruning: the sparsity rises while the network trains (Zhu and Gupta 2017)."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from workbench.masks import dense, keep_top
from workbench.methods.registry import Arguments, named
from workbench.methods.regrow import magnitudes, rising
from workbench.states import Progress
from workbench.types import Masks


@named(
    "gradual",
    source="Zhu and Gupta 2017, arXiv:1710.01878",
    sparsity="rises",
    returns=False,
    memory="nothing",
    cost="a sort of all weights at each change",
)
def gradual(
    model: nn.Module,
    sparsity: float,
    *,
    allocation: str = "global",
    unit: str = "weight",
    exclude: Iterable[str] = (),
    schedule: str = "cubic",
    every: int = 20,
    start: float = 0.0,
    stop: float = 0.75,
) -> Arguments:
    """Every `every` steps the weights of least magnitude go, so that `s_t = s (1 - (1 - p)^3)` are removed.

    p runs from 0 to 1 between the shares `start` and `stop` of the training; `schedule="linear"` removes `s p`. Removed
    weights stay removed. The last change comes at the share `stop`, with exactly the sparsity asked for. With a
    `unit` other than a weight, such as "head", the sum of its weights' magnitudes counts. Layers in `exclude` stay.

    Misleads with few changes: then each removes as much as a single cut.
    """
    rise = rising(sparsity, schedule, every, start, stop)
    masks = dense(model, exclude)

    def update(progress: Progress) -> Masks | None:
        if (now := rise(progress)) is None:
            return None
        scores = magnitudes({name: progress.model.get_parameter(name) for name in masks})
        units: dict[str, Any] = dict(granularity=unit, model=progress.model, example=progress.batch.inputs)
        return keep_top(scores, now, allocation=allocation, within=progress.masks, **units)

    return {"masks": masks, "update": update}
