"""Notebook 11: self-checks know right from wrong."""

from __future__ import annotations

from typing import Any

import exercises

NOTEBOOK = "11-large-language-models.ipynb"
RIGHT: dict[int, dict[str, Any]] = {
    1: {"mask_1": [[0, 1, 1, 0], [1, 0, 0, 1]], "bits_1": 3},
    2: {"weight_2": 2.5, "error_2": 1.5},
}
# Exercise, what is answered wrongly, and words of the message that names the mistake.
WRONG = [
    (1, {"mask_1": [[1, 0, 1, 0], [1, 0, 0, 1]]}, "the inputs count, too"),
    (1, {"mask_1": [[1, 1, 1, 1], [0, 0, 0, 0]]}, "the whole layer competes"),
    (1, {"mask_1": [[1, 0, 0, 1], [0, 1, 1, 0]]}, "1 is kept, 0 is removed"),
    (1, {"bits_1": 2}, "the mask has a price"),
    (1, {"bits_1": 6}, "of a kept weight"),
    (1, {"bits_1": 2.5}, "every weight has its bit in the mask"),
    (1, {"bits_1": 5}, "only kept weights have 4 bits"),
    (2, {"weight_2": 2}, "nothing makes up for what went"),
    (2, {"weight_2": 1.5}, "the wrong direction"),
    (2, {"weight_2": 3}, "if both inputs were always equal"),
    (2, {"error_2": 2}, "the error without the update"),
    (2, {"error_2": 0.5}, "only the first weight's part"),
    (2, {"error_2": 2.5}, "without the mixed terms"),
    (2, {"error_2": 0.75}, "the formula has no 1/2"),
]

test_right, test_wrong, test_other_form = exercises.tests(NOTEBOOK, RIGHT, WRONG)
