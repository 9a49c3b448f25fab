"""The cubic schedule against torch's own."""

from __future__ import annotations

import pytest

from workbench.methods.schedules import cubic

ao = pytest.importorskip("torch.ao.pruning")


@pytest.mark.parametrize(("start", "every", "changes"), [(0, 10, 10), (20, 7, 5), (50, 1, 50)])
def test_cubic_is_torch_s(start: int, every: int, changes: int) -> None:
    end = start + every * changes
    for step in range(end + 5):
        theirs = ao.CubicSL.sparsity_compute_fn(0.0, 0.9, step, start, every, changes)
        assert 0.9 * cubic(step / 1000, start / 1000, end / 1000) == pytest.approx(theirs, abs=1e-12)
