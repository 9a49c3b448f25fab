"""Gradual magnitude pruning: the sparsity rises while the network trains (Zhu and Gupta 2017)."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from workbench.masks import dense, keep_top
from workbench.methods.registry import Arguments, named
from workbench.methods.regrow import last, magnitudes
from workbench.methods.schedules import SCHEDULES
from workbench.states import Progress
from workbench.types import Masks, check_choice, check_count


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
    granularity: str = "weight",
    exclude: Iterable[str] = (),
    schedule: str = "cubic",
    every: int = 20,
    start: float = 0.0,
    stop: float = 0.75,
) -> Arguments:
    """Every `every` steps the weights of least magnitude go, so that `s_t = s (1 - (1 - p)^3)` are removed.

    p runs from 0 to 1 between the shares `start` and `stop` of the training; `schedule="linear"` removes `s p`. Removed
    weights stay removed. The last change comes at the share `stop`, with exactly the sparsity asked for. Units of a
    coarser `granularity`, such as "head", have the sum of their weights' magnitudes; layers in `exclude` stay whole.

    Misleads with few changes: then each removes as much as a single cut.
    """
    rise = SCHEDULES[check_choice("schedule", schedule, SCHEDULES)]
    rise(0.0, start, stop)  # says what is wrong with them
    masks = dense(model, exclude)

    def update(progress: Progress) -> Masks | None:
        far = progress.step / progress.total
        final = last(progress, stop)
        if not final and (progress.step % check_count("every", every) or not start < far < stop):
            return None
        scores = magnitudes({name: progress.model.get_parameter(name) for name in masks})
        now = sparsity if final else sparsity * rise(far, start, stop)
        units: dict[str, Any] = dict(granularity=granularity, model=progress.model, example=progress.batch.inputs)
        return keep_top(scores, now, allocation=allocation, within=progress.masks, **units)

    return {"masks": masks, "update": update}
