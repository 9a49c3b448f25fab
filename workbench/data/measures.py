"""What is measured of a network's outputs, as sums that `evaluate` divides once, and what losses ask of targets."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

Sums = dict[str, tuple[float, float]]
"""Name -> (sum, number of things summed over); the first name is the one that models are chosen by."""

IGNORED = -100
"""The label of a place without a class, which the cross entropy leaves out."""

BY_NUMBER = {
    functional.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
    functional.huber_loss: nn.HuberLoss,
    functional.l1_loss: nn.L1Loss,
    functional.mse_loss: nn.MSELoss,
    functional.smooth_l1_loss: nn.SmoothL1Loss,
}
"""Losses of torch, as function and as module, that compare each number with its own target."""


def by_number(loss: Callable[..., Any]) -> bool:
    """Whether a loss of torch compares each number with its own target, so that both have one shape.

    >>> by_number(functional.mse_loss), by_number(nn.MSELoss()), by_number(functional.cross_entropy)
    (True, True, False)
    """
    return any(loss is function or type(loss) is module for function, module in BY_NUMBER.items())


def accuracy(outputs: Tensor, targets: Tensor) -> Sums:
    """How many classes are right, and the sum of cross entropies, of outputs `[n, classes]` or `[n, classes, ...]`.

    Targets are int64 `[n]`, or `[n, ...]` with a class at each place; those of -100 are left out.

    >>> import torch
    >>> accuracy(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))["accuracy"]
    (1, 2)
    """
    n = targets.numel() - int((targets == IGNORED).sum()) if targets.ndim > 1 else len(targets)
    loss = functional.cross_entropy(outputs.float(), targets, reduction="sum")
    return {"accuracy": (int((outputs.argmax(1) == targets).sum()), n), "loss": (float(loss), n)}


def squared_error(outputs: Tensor, targets: Tensor) -> Sums:
    """The sum of squared errors of a regression, both `[n, k]`, over all numbers; `evaluate` gives the mean, "mse".

    Misleads where the columns have different scales: the largest decides.

    >>> import torch
    >>> squared_error(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [5.0]]))
    {'mse': (9.0, 2)}
    """
    if outputs.shape != targets.shape:
        got = f"{tuple(outputs.shape)} and {tuple(targets.shape)}"
        told = f"squared errors need outputs and targets of one shape; got {got}"
        raise ValueError(f"{told}. Give targets the shape of the outputs, such as targets[:, None]")
    return {"mse": (float((outputs.double() - targets.double()).square().sum()), targets.numel())}


def next_token(outputs: Any, targets: Tensor) -> Tensor:
    """The mean cross entropy, in nats, of a language model's outputs `[n, t, tokens]` or with such `logits`.

    `targets` `[n, t]` hold the token that follows each place; -100: none.

    >>> import torch
    >>> round(next_token(torch.zeros(1, 2, 4), torch.tensor([[0, 3]])).item() / math.log(4), 5)
    1.0
    """
    return functional.cross_entropy(_rows(outputs), targets.flatten())


def bits_per_byte(outputs: Any, targets: Tensor) -> Sums:
    """Bits a byte of a model of bytes, and how many bytes it predicts; 2 to the power of these bits is its perplexity.

    All places count alike, the first of a window, which sees one byte, too.

    >>> import torch
    >>> bits, count = bits_per_byte(torch.zeros(1, 2, 4), torch.tensor([[0, 3]]))["bits_per_byte"]
    >>> round(bits, 5), count
    (4.0, 2)
    """
    rows, wanted = _rows(outputs), targets.flatten()
    nats = functional.cross_entropy(rows.float(), wanted, reduction="sum")
    count = int((wanted != IGNORED).sum())
    return {
        "bits_per_byte": (float(nats) / math.log(2), count),
        "accuracy": (int((rows.argmax(1) == wanted).sum()), count),
    }


def _rows(outputs: Any) -> Tensor:
    """The logits, a row for each place."""
    found: Tensor = getattr(outputs, "logits", outputs)
    return found.flatten(0, 1)
