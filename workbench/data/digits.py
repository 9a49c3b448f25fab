"""digits: 1,797 real handwritten digits of 8 x 8 pixels, shipped with scikit-learn.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998
(the test part of that set, 43 writers).
"""

from pathlib import Path

import numpy as np
import torch

from workbench.data.registry import source
from workbench.data.task import Task


@source("digits")
def load_digits(root: Path | None, device: torch.device) -> Task:
    """1,197 / 300 / 300 images `[1, 8, 8]`, ten classes; always here, no network."""
    from sklearn.datasets import load_digits as read

    x, y = read(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x.reshape(-1, 8, 8)[order] / 16, y[order]
    return Task.from_arrays(x[300:], y[300:], x[:300], y[:300], val=300, name="digits", device=device)
