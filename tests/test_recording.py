"""A recording of a training: counts, masks and multiply-adds that can be done by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import workbench as wb
from workbench.recording import Recording
from workbench.states import Progress
from workbench.types import Masks


@pytest.fixture
def task() -> wb.Task:
    x = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    return wb.Task.from_arrays(x, y, x, y, val=4, device="cpu")


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 2, bias=False)


def moving(progress: Progress) -> Masks | None:
    """At step 1 weights 0 to 3 go; at step 3 weight 0 comes back and 4 goes."""
    mask = torch.ones(8, dtype=torch.bool)
    if progress.step == 1:
        mask[:4] = False
    elif progress.step == 3:
        mask[1:5] = False
    else:
        return None
    return {"weight": mask.view(2, 4)}


def filmed(task: wb.Task, gradients: str = "kept", **more: object) -> Recording:
    model = net()
    film = Recording(model, task, gradients=gradients, **more)
    list(film.watch(wb.steps(model, task, steps=5, batch_size=10, update=moving)))
    return film


def test_changes_are_counted_by_hand(task: wb.Task) -> None:
    film = filmed(task)
    assert film.layers.to_dict("list") == {
        "at": [1, 2, 4],
        "layer": ["weight"] * 3,
        "size": [8] * 3,
        "kept": [8, 4, 4],
        "born": [0, 0, 1],
        "died": [0, 4, 1],
    }
    assert film.steps["density"].tolist() == [1, 0.5, 0.5, 0.5, 0.5]
    assert film.masks(3)["weight"].int().flatten().tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert film.masks(5)["weight"].int().flatten().tolist() == [1, 0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("gradients", "macs"),
    [
        (
            "kept",
            10 * (2 * 3 * 8 + 3 * 3 * 4),
        ),  # two passes were dense: the masks of the second step came after its pass
        ("changes", 10 * (2 * 3 * 8 + 2 * 3 * 4 + (2 * 4 + 8))),
        ("all", 10 * (2 * 3 * 8 + 3 * (2 * 4 + 8))),
    ],
)
def test_the_ledger_by_hand(task: wb.Task, gradients: str, macs: int) -> None:
    ledger = filmed(task, gradients).ledger()
    assert ledger["training_macs"] == macs
    assert ledger["training_macs_dense"] == 5 * 10 * 3 * 8
    assert (ledger["inference_macs"], ledger["inference_macs_dense"]) == (4, 8)
    assert (ledger["steps"], ledger["samples"]) == (5, 50)
    assert ledger["weight_bytes"] == 8 * 4  # the first step is dense
    assert ledger["optimizer_bytes"] == 8 * 4  # one momentum


def test_masks_of_channels_are_recorded_with_their_biases(task: wb.Task) -> None:
    model = nn.Linear(4, 2)
    masks = {"weight": torch.ones_like(model.weight, dtype=torch.bool), "bias": torch.tensor([True, False])}
    film = Recording(model, task)
    list(film.watch(wb.steps(model, task, steps=2, masks=masks)))
    assert {name: mask.tolist() for name, mask in film.masks(2).items()} == {n: m.tolist() for n, m in masks.items()}
    assert film.layers["died"].tolist() == [0]  # only weights count


def test_bytes_are_those_of_kept_values(task: wb.Task) -> None:
    model = net()
    film = Recording(model, task)
    mask = torch.tensor([[True, False, False, False], [True, False, False, False]])
    for row in wb.steps(model, task, steps=2, batch_size=10, masks={"weight": mask}, optimizer="adam"):
        film.add(row)
    assert (film.ledger()["weight_bytes"], film.ledger()["optimizer_bytes"]) == (2 * 4, 2 * 2 * 4)


def test_memory_is_bounded_and_the_ends_stay(task: wb.Task) -> None:
    film = filmed(task, most=2)
    assert film.size <= 2
    assert film.changes[0] == 1
    assert film.changes[-1] == 4
    assert film.layers["at"].tolist() == [1, 2, 4]


def test_bad_input_is_named(task: wb.Task) -> None:
    with pytest.raises(ValueError, match=r"gradients .*'al'"):
        Recording(net(), task, gradients="al")
    film = filmed(task)
    for at in (0, 6):
        with pytest.raises(ValueError, match=r"at is .* got"):
            film.masks(at)


def test_a_recording_of_phases_counts_on(task: wb.Task) -> None:
    model = net()
    film = Recording(model, task)
    for phase in ("one", "two"):
        for row in wb.steps(model, task, steps=2, batch_size=10):
            film.add(row, phase)
    assert film.steps["at"].tolist() == [1, 2, 3, 4]
    assert film.steps["phase"].tolist() == ["one", "one", "two", "two"]


def test_masks_of_a_new_phase_count_in_its_first_pass(task: wb.Task) -> None:
    model, mask = net(), torch.tensor([[True, False, False, False], [True, False, False, False]])
    film = Recording(model, task)
    for masks in (None, {"weight": mask}):
        for row in wb.steps(model, task, steps=1, batch_size=10, masks=masks):
            film.add(row)
    assert film.steps["macs"].tolist() == [10 * 3 * 8, 10 * 3 * 2]
    assert film.layers["died"].tolist() == [0, 6]
