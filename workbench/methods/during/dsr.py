"""Dynamic sparse reparameterization: one threshold for all layers, which adapts (Mostafa and Wang 2019)."""

from torch import nn

from workbench.allocation import apportion
from workbench.methods.registry import Arguments, named
from workbench.methods.regrow import due, grown, random_start, randomly
from workbench.states import Progress
from workbench.types import Masks


@named(
    "dsr",
    source="Mostafa and Wang 2019, arXiv:1902.05967",
    sparsity="constant",
    returns=True,
    memory="one number, the threshold",
    cost="random numbers for each layer at each change",
)
def dynamic_reparameterization(
    model: nn.Module,
    sparsity: float,
    *,
    allocation: str = "layer",
    drop: float = 0.1,
    every: int = 20,
    stop: float = 1.0,
    threshold: float = 1e-3,
    tolerance: float = 0.1,
    seed: int = 0,
) -> Arguments:
    """Every `every` steps all kept weights below one threshold go, and as many grow at random.

    Layers grow in proportion to the weights that they have left, so weights move between layers. The threshold doubles
    when fewer than `(1 - tolerance) drop` of the kept weights went, and halves when more than `(1 + tolerance) drop`.

    Misleads early: until the threshold has found its place, far too many or too few weights move.
    """

    def update(progress: Progress) -> Masks | None:
        if not due(progress, every, stop):
            return None
        masks, level = progress.masks, progress.memory.get("threshold", threshold)
        kept = {
            name: mask & (progress.model.get_parameter(name).detach().abs() >= level) for name, mask in masks.items()
        }
        left, total = ({name: int(mask.sum()) for name, mask in some.items()} for some in (kept, masks))
        gone, wanted = sum(total.values()) - sum(left.values()), drop * sum(total.values())
        factor = 2.0 if gone < (1 - tolerance) * wanted else 0.5 if gone > (1 + tolerance) * wanted else 1.0
        progress.memory["threshold"] = level * factor
        room = {name: int((~mask).sum()) for name, mask in kept.items()}
        more = apportion(gone, room, {name: max(count, 1e-9) for name, count in left.items()})
        return {
            name: grown(randomly(mask, progress), mask, more[name], closed=masks[name]) for name, mask in kept.items()
        }

    return {"masks": random_start(model, sparsity, allocation, seed), "update": update}
