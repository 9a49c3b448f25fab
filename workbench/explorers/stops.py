"""The stops of a slider of compression."""

import math

STEPS = (1, 1.12, 1.25, 1.4, 1.6, 1.8, 2, 2.24, 2.5, 2.8, 3.15, 3.55, 4, 4.5, 5, 5.6, 6.3, 7.1, 8, 9)
"""Twenty steps a decade, evenly spaced on a log axis and rounded (Renard's preferred numbers, ISO 3)."""


def stops(maximum: float, every: int = 1) -> list[float]:
    """Compressions a slider stops at: from 1 (dense) to `maximum`, twenty a decade, or each `every`-th of them.

    >>> stops(4.2, every=4)
    [1.0, 1.6, 2.5, 4.0, 4.2]
    """
    decades = math.ceil(math.log10(max(maximum, 1))) + 1
    values = [round(step * 10**decade, 6) for decade in range(decades) for step in STEPS[::every]]
    return [float(value) for value in values if value < maximum] + [maximum]
