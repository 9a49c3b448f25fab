"""What a task's own functions give is checked where they meet a model."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch
from torch import nn

import workbench as wb
from workbench.models import fitting, work
from workbench.models.kernels import REPEATABLE
from workbench.models.running import outputs


@pytest.mark.parametrize(("value", "got"), [(torch.ones(3), r"shape \(3,\)"), (0.5, "float"), (None, "NoneType")])
def test_a_loss_is_one_number(value: object, got: str) -> None:
    task, model = wb.load("moons", device="cpu"), nn.Linear(2, 2)
    told = rf"loss_fn\(outputs, targets\) is a tensor of one number; got .*{got}"
    for call in (
        lambda: wb.score(model, task.batch(8), "snip", loss_fn=lambda outputs, targets: value),
        lambda: wb.train(model, dataclasses.replace(task, loss=lambda outputs, targets: value), steps=1),
    ):
        with pytest.raises(TypeError, match=told):
            call()


@pytest.mark.parametrize("found", [{}, {"n": (1.0, 2)}, {"error": (1.0, 2), "n": (1.0, 2)}])
def test_a_measure_has_a_name_of_its_own(found: dict[str, tuple[float, int]]) -> None:
    task = dataclasses.replace(wb.load("moons", device="cpu"), measure=lambda outputs, targets: found)
    with pytest.raises(ValueError, match="under names other than 'n'"):
        wb.evaluate(nn.Linear(2, 2), task)


@pytest.mark.parametrize("name", ["prepare", "loss", "measure"])
def test_what_a_task_owns_is_a_function(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} is a function; got 'mse'"):
        dataclasses.replace(wb.load("moons", device="cpu"), **{name: "mse"})


class Two(nn.Module):
    """Two outputs by name, of which none is called logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.left, self.right = nn.Linear(2, 8), nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.body(inputs).relu()
        return {"left": self.left(hidden), "right": self.right(hidden)}


def test_outputs_of_any_kind_are_counted_timed_and_followed() -> None:
    model, example = Two(), torch.ones(4, 2)
    assert wb.macs(model, example) == 2 * 8 + 8 + 8
    assert wb.latency(model, example, repeats=2)["batch"] == 4
    assert wb.layers(model, wb.dense(model), example)["macs"].sum() == 32
    batch, loss = wb.Batch(example, torch.ones(4, 1)), lambda given, targets: given["left"].sub(targets).square().mean()
    assert wb.score(model, batch, "apoz", granularity="channel", loss_fn=loss, exclude=["left", "right"])


def test_the_bound_of_work_counts_tokens_and_steps() -> None:
    tokens = nn.Sequential(nn.Embedding(50, 16), nn.Linear(16, 4))
    assert work(tokens, torch.zeros(2, 128).long()) >= 2 * wb.macs(tokens, torch.zeros(2, 128).long())
    assert work(tokens, torch.zeros(2, 128, dtype=torch.long)) == 2 * 128 * (50 * 16 + 16 * 4)
    assert work(nn.LSTM(3, 5, batch_first=True), torch.zeros(2, 7, 3)) == 2 * 7 * (20 * 3 + 20 * 5)
    assert work(nn.Conv1d(3, 5, 2), torch.zeros(2, 3, 7)) == 2 * 7 * 30


def test_only_language_models_take_tokens() -> None:
    x = torch.zeros(20, 5, dtype=torch.long)
    task = wb.Task("tokens", {split: wb.Batch(x, torch.arange(20) % 2) for split in ("train", "val", "test")})
    assert fitting(task) == ["llama"]


def test_a_model_and_its_inputs_are_on_one_device() -> None:
    model = nn.Linear(2, 2, device="meta")  # which holds no numbers
    with pytest.raises(ValueError, match=r"got a model on meta, inputs on cpu. Move the model: model.to\('cpu'\)"):
        outputs(model, torch.ones(1, 2))


def test_what_a_gpu_is_told_is_put_back_and_read_by_old_and_new_names() -> None:
    library, before = torch.backends.cudnn, torch.backends.cudnn.allow_tf32
    with contextlib.ExitStack() as stack:
        for switch in REPEATABLE:
            stack.enter_context(switch.held())
        assert (library.deterministic, library.conv.fp32_precision != "tf32", library.allow_tf32) == (True, True, False)
        with library.flags(enabled=False):
            assert not library.enabled
    assert (library.deterministic, library.conv.fp32_precision, library.allow_tf32) == (False, "tf32", before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_scores_on_cuda_have_the_same_bits_each_time() -> None:
    task = wb.load("digits", device="cuda")
    model, batch = wb.make("vgg", task), task.batch(128)
    for criterion in ("snip", "grasp", "synflow", "taylor"):
        one, two = (wb.score(model, batch, criterion) for _ in range(2))
        for name in one:
            assert torch.equal(one[name], two[name]), (criterion, name)
