"""The L1 norm of a filter (Li, Kadav, Durdanovic, Samet and Graf 2017, arXiv:1608.08710, section 3.1)."""

from torch import nn

from workbench.criteria.passes import filters
from workbench.criteria.registry import criterion
from workbench.types import Masks, Scores


@criterion("l1", family="norm", granularity="channel", source="Li et al. 2017, arXiv:1608.08710, section 3.1")
def l1(model: nn.Module, masks: Masks | None) -> Scores:
    """`s_c = sum |w|` over the weights that make output channel c; biases do not count.

    Misleads before a BatchNorm, which undoes a filter's scale; and under global allocation, where larger filters win.
    """
    return {name: rows.abs().sum(1) for name, rows in filters(model, masks).items()}
