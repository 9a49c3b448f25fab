"""The checks of plain data, seeds and devices."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import workbench as wb
from workbench.seeds import generator, pick_device, seeded, versions
from workbench.types import (
    check_batch,
    check_bools,
    check_choice,
    check_count,
    check_masks,
    check_scores,
    check_sparsity,
)


def test_choice_names_the_nearest_and_all() -> None:
    with pytest.raises(ValueError, match=r"criterion is one of grasp, snip; got 'snp'\. Did you mean 'snip'\?"):
        check_choice("criterion", "snp", ["snip", "grasp"])
    with pytest.raises(ValueError, match=r"got 'xyzxyz'\.$"):
        check_choice("criterion", "xyzxyz", ["snip", "grasp"])
    with pytest.raises(TypeError, match=r"one of grasp, snip; got 3 \(int\)"):
        check_choice("criterion", 3, ["snip", "grasp"])


@pytest.mark.parametrize("value", [np.int64(3), np.uint8(3), 3])
def test_counts_may_come_from_numpy(value: int) -> None:
    found = check_count("rounds", value)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (2.0, TypeError), (True, TypeError), ("2", TypeError)])
def test_counts_are_whole_numbers(value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"rounds is a whole number of at least 1; got"):
        check_count("rounds", value)


@pytest.mark.parametrize("value", [0, 0.0, 0.5, np.float32(0.5), np.float64(0.999)])
def test_sparsities(value: float) -> None:
    found = check_sparsity(value)
    assert found == float(value)
    assert type(found) is float


def test_scores_may_sum_to_infinity() -> None:
    large = torch.full((4,), 3e38)
    assert torch.isinf(large.sum())
    assert check_scores({"a": large})["a"] is large


def test_masks_of_a_model() -> None:
    model = nn.Linear(2, 1)
    masks = {"weight": torch.tensor([[True, False]]), "bias": torch.tensor([True])}
    assert check_masks(model, masks) == masks
    assert check_bools({"anything": torch.tensor(True)})


def test_batches() -> None:
    batch = check_batch([torch.zeros(2, 3), torch.tensor([0, 1])])
    assert batch.inputs.shape == (2, 3)
    assert batch.targets.tolist() == [0, 1]
    assert check_batch((torch.zeros(2, 3), torch.zeros(2, 5))).targets.shape == (2, 5)  # for losses of one's own


def test_generators_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    first = torch.rand(3, generator=generator(7))
    assert torch.equal(first, torch.rand(3, generator=generator(7)))
    assert not torch.equal(first, torch.rand(3, generator=generator(8)))
    assert torch.equal(before, torch.get_rng_state())


def test_seeded_blocks_repeat_and_put_the_state_back() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    states = random.getstate(), np.random.get_state()[1].tolist()
    with seeded(0):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert torch.equal(torch.rand(3), inside)
    with pytest.raises(KeyError), seeded(1):
        raise KeyError
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states


def test_devices() -> None:
    assert pick_device().type in ("cpu", "cuda")
    with pytest.raises(ValueError, match=r"device is a torch device such as 'cpu' or 'cuda'; got 'gpu'"):
        pick_device("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_cuda_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"torch sees none here. Pass device='cpu'"):
        pick_device("cuda")


def test_versions_are_those_installed() -> None:
    assert torch.__version__.startswith(versions()["torch"])  # which may go on: +cu130
    assert versions()["numpy"] == np.__version__


def test_a_warning_points_at_the_callers_line() -> None:
    """However deep in the package it is raised, also through a generator and a decorator of torch."""
    model = nn.Linear(3, 3)
    model.experts = nn.Parameter(torch.ones(2, 3, 3))
    constant = {"weight": torch.ones(30, 30)}
    for call in (
        lambda: wb.score(model, None, "magnitude"),
        lambda: wb.find_masks(model, None, "magnitude", 0.5),
        lambda: wb.dense(model),
        lambda: wb.allocate(model, 0.5, "layer"),
        lambda: wb.keep_top(constant, 0.5),
        lambda: next(wb.rounds(nn.Linear(1, 300), None, lambda m, b, **_: {"weight": torch.ones(300, 1)}, 0.5)),
        lambda: wb.critical_iterated(model, None, "magnitude"),
    ):
        with pytest.warns(UserWarning, match="the scores do not decide|stay whole") as seen:
            call()
        assert {Path(told.filename).name for told in seen} == {Path(__file__).name}
        assert [told.lineno for told in seen] == [call.__code__.co_firstlineno] * len(seen)
