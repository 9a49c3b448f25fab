"""HRank: the mean rank of a channel's feature map (Lin et al. 2020, arXiv:2002.10179)."""

import torch
from torch import Tensor, nn

from workbench.criteria.passes import no_layer, wide
from workbench.criteria.registry import MAPS, criterion
from workbench.models import prunable
from workbench.models.watch import Place, following, watch_pass
from workbench.types import Batch, Masks, Scores


@criterion(
    "hrank",
    cost="1 forward, a singular value decomposition of every feature map",
    source="Lin et al. 2020, arXiv:2002.10179",
    **MAPS,
)
def hrank(model: nn.Module, batch: Batch, masks: Masks | None) -> Scores:
    """`s_c`: the matrix rank of channel c's feature map, averaged over the batch.

    The map is taken after the norm and the activation function that follow the layer, where there are any. Layers
    without two-dimensional maps have no score and must be left out with `exclude`; ValueError if none has them.
    Misleads under global allocation, as the rank is at most the map's shorter side; small maps leave many ties, and
    maps that pass no ReLU have nearly always full rank.
    """
    follows, maps = following(model, batch), {n for n, w in prunable(model, strict=False).items() if w.ndim == 4}
    ranks: dict[str, list[Tensor]] = {}

    def measure(place: Place, output: Tensor) -> None:
        if place.layer in maps and output.ndim == 4 and list(place.passed) == follows[place.layer].steps:
            ranks.setdefault(place.layer, []).append(torch.linalg.matrix_rank(wide(output.movedim(place.dim, 1))))

    watch_pass(model, batch, masks, on_step=measure)
    if not ranks:
        what = "two-dimensional convolutions, by their feature maps [height, width]"
        raise no_layer("hrank", what, model, "Use a convolutional network, or 'taylor'")
    return {name: torch.cat(found).double().mean(0) for name, found in ranks.items()}
