"""Weights that are trained behind masks, and tensors that a loss learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import workbench as wb
from workbench.states import Progress
from workbench.types import Batch, Masks


@pytest.fixture(scope="module")
def task() -> wb.Task:
    x = torch.randn(44, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    return wb.Task.from_arrays(x, y, x, y, val=4, device="cpu")


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 2, bias=False)


MASK = torch.tensor([[True, False, True, False], [False, True, True, True]])
OTHER = ~MASK


def test_the_step_is_that_of_the_masked_network_on_all_weights(task: wb.Task) -> None:
    """Against plain gradient descent written out: `w -= lr dL/dv` at `v = m w`."""
    model, batches, seen = net(), [], []
    dense = model.weight.detach().clone()

    def update(progress: Progress) -> Masks | None:
        batches.append(progress.batch)
        seen.append(progress.behind["weight"].clone())
        assert not progress.model.weight[~progress.masks["weight"]].any()
        return {"weight": OTHER} if progress.step == 2 else None

    plain = dict(batch_size=10, momentum=0.0, weight_decay=0.0, warmup=0.0, lr=0.5)
    rows = list(wb.steps(model, task, steps=4, masks={"weight": MASK}, update=update, straight_through=True, **plain))
    mask = MASK
    for step, (batch, row) in enumerate(zip(batches, rows, strict=True)):
        torch.testing.assert_close(seen[step], dense)
        masked = (dense * mask).requires_grad_()
        loss = functional.cross_entropy(functional.linear(batch.inputs, masked), batch.targets)
        dense = dense - row["lr"] * torch.autograd.grad(loss, masked)[0]
        mask = OTHER if step == 2 else mask
    torch.testing.assert_close(model.weight.detach(), dense * OTHER)


def test_without_masks_all_prunable_weights_are_kept_behind(task: wb.Task) -> None:
    model = net()
    row = list(wb.steps(model, task, steps=1, batch_size=10, straight_through=True))[-1]
    assert torch.equal(row.state().memory["behind"]["weight"], model.weight)
    assert row.masks["weight"].all()


def learned(model: nn.Module, batch: Batch, memory: dict[str, Any]) -> torch.Tensor:
    scale = memory.setdefault("scale", torch.ones(())).requires_grad_()
    return functional.cross_entropy(scale * model(batch.inputs), batch.targets)


def stepped(progress: Progress) -> Masks | None:
    scale = progress.memory["scale"]
    progress.memory["scale"] = (scale - 0.1 * scale.grad).detach()
    return {"weight": MASK if progress.step % 3 else OTHER}


@pytest.mark.parametrize("straight_through", [False, True])
def test_a_run_goes_on_bit_for_bit(straight_through: bool, task: wb.Task, tmp_path: Any) -> None:
    def run(**more: Any) -> tuple[nn.Module, wb.State]:
        model = net()
        how: dict[str, Any] = dict(loss=learned, update=stepped, optimizer="adam", batch_size=10)
        rows = wb.steps(model, task, steps=9, straight_through=straight_through, **how, **more)
        return model, [row.state() for row in rows][-1]

    whole, end = run()
    run(stop=5)[1].save(tmp_path / "state.safetensors")
    resumed, again = run(state=wb.State.load(tmp_path / "state.safetensors"))
    assert torch.equal(whole.weight, resumed.weight)
    assert torch.equal(end.memory["scale"], again.memory["scale"])
    assert end.memory["scale"] != 1


def test_a_state_of_the_other_kind_is_refused(task: wb.Task) -> None:
    row = list(wb.steps(net(), task, steps=2, stop=1, batch_size=10, straight_through=True))[-1]
    with pytest.raises(ValueError, match="straight through was True"):
        wb.steps(net(), task, steps=2, batch_size=10, state=row.state())
