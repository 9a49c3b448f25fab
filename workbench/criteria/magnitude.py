"""Magnitude: keep the largest weights (Han, Pool, Tran and Dally 2015, arXiv:1506.02626, section 3)."""

from torch import nn

from workbench.criteria.registry import criterion
from workbench.models import prunable
from workbench.types import Scores


@criterion("magnitude", family="magnitude", source="Han et al. 2015, arXiv:1506.02626, section 3")
def magnitude(model: nn.Module) -> Scores:
    """`s = |w|`.

    Misleads at initialisation under global allocation: layers differ in scale by fan-in alone, so wide layers go first.
    """
    return {name: w.detach().abs() for name, w in prunable(model, strict=False).items()}
