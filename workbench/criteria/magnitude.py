"""Magnitude: keep the largest weights (Han, Pool, Tran and Dally 2015, arXiv:1506.02626, section 3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from workbench.criteria.registry import builtin
from workbench.models import prunable
from workbench.types import Batch, Masks, Scores


@builtin(
    "magnitude",
    needs="nothing",
    family="magnitude",
    derivatives="none",
    cost="none",
    source="Han et al. 2015, arXiv:1506.02626, section 3",
)
def magnitude(
    model: nn.Module, batch: Batch | None, *, masks: Masks | None = None, loss_fn: Any, generator: torch.Generator
) -> Scores:
    """`s = |w|`.

    Misleads at initialisation under global allocation: layers differ in scale by fan-in alone, so wide layers go first.
    """
    return {name: w.detach().abs() for name, w in prunable(model, strict=False).items()}
