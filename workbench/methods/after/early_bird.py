"""Early-bird tickets: masks drawn while a network trains, and when they stop to change (You et al. 2020)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.types import Masks, check_count


def mask_distances(masks: Sequence[Masks]) -> Tensor:
    """The share of units in which each two of these masks differ, `[n, n]`: a Hamming distance, 0 on the diagonal.

    The paper draws channel masks by `|γ|` once an epoch: `wb.keep_top(scores, sparsity)` with `scores = wb.score(model,
    None, "bn-scale", granularity="channel", exclude=[last])`; the last layer has no norm.
    Source: You et al. 2020, arXiv:1909.11957, section 3.

    Misleads between sparsities: of two masks that remove the share s, at most 2 s of the units differ.

    >>> kept = [{"a": torch.tensor(bits)} for bits in ([True, True], [True, False], [False, False])]
    >>> mask_distances(kept).tolist()
    [[0.0, 0.5, 1.0], [0.5, 0.0, 0.5], [1.0, 0.5, 0.0]]
    """
    shapes = [{name: tuple(mask.shape) for name, mask in one.items()} for one in masks]
    if not shapes or shapes.count(shapes[0]) != len(shapes):
        told = f"distances need masks of one network, with the same names and shapes; got {len(shapes)} that differ"
        raise ValueError(f"{told}. Draw all of them from one training" if shapes else f"{told}. Pass at least one")
    flat = torch.stack([torch.cat([one[name].flatten() for name in shapes[0]]) for one in masks]).double()
    return torch.cdist(flat, flat, p=1) / flat.shape[1]


def first_settled(distances: Tensor, threshold: float = 0.1, window: int = 4) -> int | None:
    """The first mask that is within `threshold` of each of the `window` masks before it; None if there is none.

    Misleads if masks are drawn often: then neighbours differ little, because little time has passed.

    >>> first_settled(torch.tensor([[0.0, 0.3, 0.3], [0.3, 0.0, 0.05], [0.3, 0.05, 0.0]]), window=1)
    2
    """
    check_count("window", window)
    near = (row[max(0, at - window) : at].max() <= threshold for at, row in enumerate(distances) if at >= window)
    return next((at for at, settled in enumerate(near, start=window) if settled), None)
