"""Schedules: pure functions of how far a training is, from 0 to 1."""

import math


def share(progress: float, start: float = 0.0, end: float = 1.0) -> float:
    """How far `progress` is between `start` and `end`, from 0 to 1.

    >>> share(0.5, 0.25, 0.75), share(0.1, 0.25, 0.75), share(0.9, 0.25, 0.75)
    (0.5, 0.0, 1.0)
    """
    if not 0 <= start < end <= 1:
        raise ValueError(f"a schedule starts before it ends, 0 <= start < end <= 1; got start={start} and end={end}")
    return min(1.0, max(0.0, (progress - start) / (end - start)))


def cubic(progress: float, start: float = 0.0, end: float = 1.0) -> float:
    """`1 - (1 - p)^3`: fast at first, slow at the end, when little is left (Zhu and Gupta 2017, arXiv:1710.01878).

    The sparsity of gradual pruning is this share of the final one.

    >>> cubic(0.0), cubic(0.5), cubic(1.0)
    (0.0, 0.875, 1.0)
    """
    return 1 - (1 - share(progress, start, end)) ** 3


def linear(progress: float, start: float = 0.0, end: float = 1.0) -> float:
    """`p`: the same number of weights goes at each step.

    >>> linear(0.25)
    0.25
    """
    return share(progress, start, end)


def cosine(progress: float, start: float = 0.0, end: float = 1.0) -> float:
    """`(1 + cos(pi p)) / 2`: from 1 down to 0, as RigL's drop fraction falls (Evci et al. 2020, arXiv:1911.11134).

    >>> cosine(0.0), round(cosine(0.5), 12), cosine(1.0)
    (1.0, 0.5, 0.0)
    """
    return (1 + math.cos(math.pi * share(progress, start, end))) / 2


SCHEDULES = {"cubic": cubic, "linear": linear}
"""How the sparsity of gradual pruning rises, by name."""
