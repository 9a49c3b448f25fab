"""APoZ: the average percentage of zeros of a channel (Hu, Peng, Tai and Tang 2016, arXiv:1607.03250)."""

from torch import Tensor, nn

from workbench.criteria.passes import no_layer
from workbench.criteria.registry import MAPS, criterion
from workbench.models.watch import Place, following, watch_pass
from workbench.types import Batch, Masks, Scores


@criterion("apoz", cost="1 forward", source="Hu et al. 2016, arXiv:1607.03250", **MAPS)
def apoz(model: nn.Module, batch: Batch, masks: Masks | None) -> Scores:
    """`s_c = 1 - APoZ_c`, the share of samples and positions where channel c is not 0 after the ReLU that follows.

    Layers whose channels pass no ReLU before they meet others must be left out with `exclude`; ValueError if all are.
    Misleads about channels that are seldom active and matter then; and a channel that is never 0 may be constant.
    """
    found = [name for name, follows in following(model, batch).items() if "relu" in follows.steps]
    if not found:
        what = "layers whose channels pass a ReLU before they meet others"
        raise no_layer("apoz", what, model, "Use a model with ReLU, or 'taylor'")
    active: dict[str, Tensor] = {}
    positions = dict.fromkeys(found, 0)

    def count(place: Place, output: Tensor) -> None:
        if place.layer in positions and place.passed[-1] == "relu":
            there = (output != 0).movedim(place.dim, 0).flatten(1)
            active[place.layer] = there.sum(1) + active.get(place.layer, 0)
            positions[place.layer] += there.shape[1]

    watch_pass(model, batch, masks, on_step=count)
    return {name: total.double() / positions[name] for name, total in active.items()}
