"""Weights rounded to a few bits, as they are stored: to the nearest of 2^bits steps in each output row."""

import torch
from torch import Tensor

from workbench.types import check_count


def rounded(weight: Tensor, bits: int, mask: Tensor | None = None) -> Tensor:
    """Each kept weight of `[out, in]` at the nearest of `2^bits` even steps from its row's least to its largest.

    Asymmetric, a step and a zero point a row; only kept weights count and are rounded, removed ones are 0. Nothing
    makes up for what rounding changes, as GPTQ does (Frantar et al. 2022, arXiv:2210.17323). Misleads as a size: a row
    also stores its step and its least weight, and a mask takes up to a bit a weight.

    >>> rounded(torch.tensor([[0.0, 0.4, 3.0]]), 2).tolist()
    [[0.0, 0.0, 3.0]]
    >>> rounded(torch.tensor([[9.0, 0.5, 3.0]]), 1, torch.tensor([[False, True, True]])).tolist()
    [[0.0, 0.5, 3.0]]
    """
    steps = 2 ** check_count("bits", bits) - 1
    kept = torch.ones_like(weight, dtype=torch.bool) if mask is None else mask.bool()
    values = weight.to(torch.promote_types(weight.dtype, torch.float32))  # else bfloat16 counts steps wrongly
    least = values.masked_fill(~kept, torch.inf).amin(1, keepdim=True)
    most = values.masked_fill(~kept, -torch.inf).amax(1, keepdim=True)
    step = torch.where(most > least, (most - least) / steps, 1.0)
    return torch.where(kept, ((values - least) / step).round() * step + least, 0).to(weight.dtype)
