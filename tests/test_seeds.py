"""Threads by the amount of work: scoped, restored, overridable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import workbench as wb
from workbench.models import work
from workbench.seeds import SMALL, threads


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch as a user's notebook has it, with two threads."""
    monkeypatch.delenv("WORKBENCH_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two")
def test_small_work_takes_one_thread_and_large_work_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for amount, expected in ((0, 1), (SMALL - 1, 1), (SMALL, 2)):
        with threads(amount):
            assert torch.get_num_threads() == expected
    monkeypatch.setenv("WORKBENCH_THREADS", "3")
    for amount in (0, SMALL):
        with threads(amount):
            assert torch.get_num_threads() == 3
    with pytest.raises(KeyError), threads():
        raise KeyError
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("WORKBENCH_THREADS", wrong)
        with pytest.raises(ValueError, match=r"WORKBENCH_THREADS is a whole number of at least 1; got '"), threads():
            pass


def test_work_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    assert work(model, torch.zeros(5, 1, 7, 8)) == 5 * (4 * 9 * 7 * 8 + 8)


@pytest.mark.usefixtures("two")
def test_scoring_training_and_measuring_choose_for_themselves(digits: wb.Task) -> None:
    """What runs inside counts its threads; between two steps of training the caller has its own again."""
    seen: list[int] = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flatten, self.fc = nn.Flatten(), nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            seen.append(torch.get_num_threads())
            return self.fc(self.flatten(x))

    model = Counting()
    wb.score(model, digits.batch(8), "snip")
    for _ in wb.steps(model, digits, steps=2):
        assert torch.get_num_threads() == 2
    wb.evaluate(model, digits)
    wb.effective(model, wb.dense(model), torch.zeros(1, 1, 8, 8))
    assert seen
    assert set(seen) == {1}
