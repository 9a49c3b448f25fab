"""Notebook 06: self-checks know right from wrong."""

from __future__ import annotations

from typing import Any

import exercises

NOTEBOOK = "06-run-time.ipynb"
RIGHT: dict[int, dict[str, Any]] = {
    1: {"saliencies_1": [1, 2.5, 0], "macs_1": 582},
    2: {"mean_2": 850, "batch_2": 1600},
}
# Exercise, what is answered wrongly, and words of the message that names the mistake.
WRONG = [
    (1, {"saliencies_1": [1, 2.5, -1]}, "the ReLU is missing"),
    (1, {"saliencies_1": [1, 1.5, 0]}, "without b"),
    (1, {"saliencies_1": [0, 2.5, 0]}, "before the cut"),
    (1, {"macs_1": 576}, "the gate itself has a cost"),
    (1, {"macs_1": 870}, "one filter is closed"),
    (1, {"macs_1": 864}, "and no gate"),
    (1, {"macs_1": 672}, "not at every place"),
    (1, {"macs_1": 294}, "a share of 2/3 of 3 channels is 2"),
    (1, {"macs_1": 42}, "places of the map are missing"),
    (2, {"mean_2": 625}, "the mean of a product is not the product of the means"),
    (2, {"mean_2": 1600}, "that is A alone"),
    (2, {"mean_2": 1700}, "the sum of both images"),
    (2, {"mean_2": 1000}, "counted as a quarter"),
    (2, {"batch_2": 850}, "a batch costs what its dearest image costs"),
    (2, {"batch_2": 3200}, "of the whole batch"),
    (2, {"batch_2": 100}, "that all images open"),
    (2, {"batch_2": 625}, "MACs of the mean image"),
]

test_right, test_wrong, test_other_form = exercises.tests(NOTEBOOK, RIGHT, WRONG)
