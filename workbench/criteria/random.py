"""Random scores: the baseline every criterion must beat."""

import torch
from torch import nn

from workbench.criteria.registry import criterion
from workbench.models import prunable
from workbench.types import Scores


@criterion("random", family="baseline", source="baseline; seed= chooses the draw")
def random(model: nn.Module, generator: torch.Generator) -> Scores:
    """`s ~ U[0, 1)`, independent for every weight.

    Misleads with one seed: the spread over seeds is the message.
    """
    weights = prunable(model, strict=False)
    return {name: torch.rand(w.shape, generator=generator).to(w.device) for name, w in weights.items()}
