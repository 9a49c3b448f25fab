"""FPGM: drop the filters that the others can replace (He, Liu, Wang, Hu and Yang 2019, arXiv:1811.00250, section 3)."""

import torch
from torch import nn

from workbench.criteria.passes import filters
from workbench.criteria.registry import criterion
from workbench.models.channels import by_channel
from workbench.types import Masks, Scores


@criterion("fpgm", family="norm", granularity="channel", source="He et al. 2019, arXiv:1811.00250, section 3")
def fpgm(model: nn.Module, masks: Masks | None) -> Scores:
    """`s_c = sum_j ||F_c - F_j||`, the Euclidean distances from filter c to the layer's filters that are still there.

    The filters with the least sum lie next to the layer's geometric median and are taken to be redundant.
    Misleads under global allocation: the sum grows with the number of filters.
    """
    scores: Scores = {}
    for name, rows in filters(model, masks).items():
        there = by_channel(model, name, masks[name]).any(1) if masks and name in masks else slice(None)
        # The way by matrix products would lose the digits of small distances.
        scores[name] = torch.cdist(rows, rows[there], compute_mode="donot_use_mm_for_euclid_dist").sum(1)
    return scores
