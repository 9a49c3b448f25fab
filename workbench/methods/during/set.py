"""SET: sparse evolutionary training (Mocanu et al. 2018)."""

from torch import nn

from workbench.methods.registry import Arguments, named
from workbench.methods.regrow import dropped, due, grown, random_start, randomly
from workbench.states import Progress
from workbench.types import Masks


@named(
    "set",
    source="Mocanu et al. 2018, arXiv:1707.04780",
    sparsity="constant",
    returns=True,
    memory="nothing",
    cost="a sort of each layer",
)
def sparse_evolution(
    model: nn.Module,
    sparsity: float,
    *,
    allocation: str = "erk",
    drop: float = 0.3,
    every: int = 20,
    stop: float = 1.0,
    seed: int = 0,
) -> Arguments:
    """Every `every` steps each layer drops the share `drop` of its kept weights and grows as many at random.

    Those of least magnitude go. (The paper drops the least positive and the largest negative ones, once an epoch, and
    gives new weights random values; here they start at 0.) Each layer keeps its number of weights.

    Misleads at very high sparsity: a layer with fewer than `1 / drop` weights never changes.
    """

    def update(progress: Progress) -> Masks | None:
        if not due(progress, every, stop):
            return None
        masks = progress.masks
        for name, mask in masks.items():
            count = min(int(drop * int(mask.sum())), int((~mask).sum()))
            kept = dropped(progress.model.get_parameter(name), mask, count)
            masks[name] = grown(randomly(mask, progress), kept, count, closed=mask)
        return masks

    return {"masks": random_start(model, sparsity, allocation, seed), "update": update}
