"""What is measured of a network's outputs, as sums that `evaluate` divides once."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

Sums = dict[str, tuple[float, int]]
"""Name -> (sum, number of things summed over); the first name is the one that models are chosen by."""


def accuracy(outputs: Tensor, targets: Tensor) -> Sums:
    """How many classes are right, and the sum of cross entropies, of a batch `[n, classes]`.

    >>> import torch
    >>> accuracy(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))["accuracy"]
    (1, 2)
    """
    n = len(targets)
    loss = functional.cross_entropy(outputs.float(), targets, reduction="sum")
    return {"accuracy": (int((outputs.argmax(1) == targets).sum()), n), "loss": (float(loss), n)}
