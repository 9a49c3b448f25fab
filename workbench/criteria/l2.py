"""The L2 norm of a filter (He, Kang, Dong, Fu and Yang 2018, arXiv:1808.06866, section 3.2)."""

import torch
from torch import nn

from workbench.criteria.passes import filters
from workbench.criteria.registry import criterion
from workbench.types import Masks, Scores


@criterion("l2", family="norm", granularity="channel", source="He et al. 2018, arXiv:1808.06866, section 3.2")
def l2(model: nn.Module, masks: Masks | None) -> Scores:
    """`s_c = sqrt(sum w²)` over the weights that make output channel c; biases do not count.

    Misleads before a BatchNorm, which undoes a filter's scale; and under global allocation, where larger filters win.
    """
    return {name: torch.linalg.vector_norm(rows, dim=1) for name, rows in filters(model, masks).items()}
