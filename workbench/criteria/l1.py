"""The L1 norm of a filter (Li, Kadav, Durdanovic, Samet and Graf 2017, arXiv:1608.08710, section 3.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from workbench.criteria.channelwise import filters
from workbench.criteria.registry import builtin
from workbench.types import Batch, Masks, Scores


@builtin(
    "l1",
    needs="nothing",
    family="norm",
    granularity="channel",
    cost="none",
    source="Li et al. 2017, arXiv:1608.08710, section 3.1",
)
def l1(
    model: nn.Module, batch: Batch | None, *, masks: Masks | None = None, loss_fn: Any, generator: torch.Generator
) -> Scores:
    """`s_c = sum |w|` over the weights that make output channel c; biases do not count.

    Misleads when a BatchNorm follows, which undoes the scale of a filter; and under global allocation, since filters
    with more weights have larger sums.
    """
    return {name: rows.abs().sum(1) for name, rows in filters(model, masks).items()}
