"""Training as a generator: records, schedules, resuming, leaving early, recipes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb
from workbench.recipes import RECIPES, has_fast_bfloat16, recipe


class Watch(nn.Sequential):
    """A linear network that notes what it was trained on."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 10))
        nn.init.zeros_(self[1].weight)
        nn.init.zeros_(self[1].bias)
        self.seen: list[bytes] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append(x.numpy().tobytes())
        return super().forward(x)


PLAIN: dict[str, Any] = {"momentum": 0.0, "batch_size": 100, "lr": 0.5}  # 12 steps an epoch; no optimizer state


def test_records(digits: wb.Task) -> None:
    rows = wb.train(Watch(), digits, epochs=2, batch_size=100)
    assert [r["step"] for r in rows] == list(range(1, 25))
    assert [r["epoch"] for r in rows] == [0] * 12 + [1] * 12
    assert [r["step"] for r in rows if "val_accuracy" in r] == [12, 24]
    for row in rows:
        assert set(row) - {"val_accuracy"} == {"step", "total", "epoch", "loss", "lr", "seconds"}
        assert row["total"] == 24
        assert math.isfinite(row["loss"])
        assert row["seconds"] > 0
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_the_last_record_carries_the_accuracy_of_the_model_it_leaves(digits: wb.Task) -> None:
    model = Watch()
    rows = wb.train(model, digits, steps=5)
    assert [("val_accuracy" in r) for r in rows] == [False] * 4 + [True]
    assert rows[-1]["val_accuracy"] == wb.evaluate(model, digits)["accuracy"]
    assert not model.training


def test_the_rate_rises_linearly_and_falls_by_a_cosine(digits: wb.Task) -> None:
    rates = [r["lr"] for r in wb.train(Watch(), digits, steps=20, lr=0.4, warmup=0.2)]
    assert rates[:4] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    expected = [0.2 * (1 + math.cos(math.pi * k / 16)) for k in range(16)]
    assert rates[4:] == pytest.approx(expected)
    assert min(rates) > 0


def test_one_step_is_plain_gradient_descent(digits: wb.Task) -> None:
    """A step by hand: softmax of zero logits is 1/10 everywhere, the gradient a difference of means."""
    model = Watch()
    wb.train(model, digits, steps=1, batch_size=50, lr=1.0, momentum=0.0, weight_decay=0.0, fast=False)
    inputs, targets = next(digits.batches("train", 50, seed=0))
    error = torch.full((50, 10), 0.1) - functional.one_hot(targets, 10)
    torch.testing.assert_close(model[1].weight.detach(), -(error.T @ inputs.flatten(1)) / 50)
    torch.testing.assert_close(model[1].bias.detach(), -error.mean(0))


@pytest.mark.parametrize("network", ["lenet-300-100", "vgg"])
def test_float32_training_is_a_plain_loop(network: str, digits: wb.Task) -> None:
    model, twin = wb.make(network, digits), wb.make(network, digits)
    rows = wb.train(model, digits, steps=6, batch_size=64, lr=0.1, fast=False)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    twin.train()
    for row, (inputs, targets) in zip(rows, digits.batches("train", 64, seed=0), strict=False):
        optimizer.param_groups[0]["lr"] = row["lr"]
        loss = functional.cross_entropy(twin(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert row["loss"] == pytest.approx(loss.item(), rel=1e-4)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[name], rtol=1e-3, atol=1e-4)


def test_fast_training_learns_as_well(digits: wb.Task) -> None:
    accuracies = [
        wb.train(wb.make("vgg", digits), digits, epochs=2, fast=fast)[-1]["val_accuracy"] for fast in (True, False)
    ]
    assert min(accuracies) > 0.9


def test_bfloat16_is_asked_of_the_processor() -> None:
    assert has_fast_bfloat16(torch.device("cpu")) in (True, False)
    assert not has_fast_bfloat16(torch.device("meta"))


# schedules, start and stop


@pytest.mark.parametrize("k", [1, 7, 12, 13, 24, 30])
def test_start_resumes_rate_and_order(k: int, digits: wb.Task) -> None:
    whole, rest = Watch(), Watch()
    rows = wb.train(whole, digits, steps=30, seed=5, batch_size=100)
    resumed = wb.train(rest, digits, steps=30, seed=5, batch_size=100, start=k)
    assert [(r["step"], r["epoch"], r["lr"]) for r in resumed] == [(r["step"], r["epoch"], r["lr"]) for r in rows[k:]]
    assert rest.seen == whole.seen[k:]


@pytest.mark.parametrize("k", [5, 12, 17])
def test_stopping_and_starting_again_is_one_run(k: int, digits: wb.Task) -> None:
    """Bit for bit, where the optimizer keeps no state."""
    whole, parts = Watch(), Watch()
    wb.train(whole, digits, epochs=2, **PLAIN)
    first = wb.train(parts, digits, epochs=2, stop=k, **PLAIN)
    assert first[-1]["step"] == k
    assert "val_accuracy" in first[-1]
    early = wb.snapshot(parts)
    wb.train(parts, digits, epochs=2, start=k, **PLAIN)
    assert torch.equal(whole[1].weight, parts[1].weight)
    parts.load_state_dict(early)  # rewinding
    wb.train(parts, digits, epochs=2, start=k, **PLAIN)
    assert torch.equal(whole[1].weight, parts[1].weight)


def test_dropout_resumes_too(digits: wb.Task) -> None:
    def run(*spans: tuple[int, int]) -> Tensor:
        model = Watch()
        model.insert(1, nn.Dropout(0.5))
        for start, stop in spans:
            wb.train(model, digits, steps=8, start=start, stop=stop, **PLAIN)
        return model[2].weight.detach()

    assert torch.equal(run((0, 8)), run((0, 3), (3, 8)))


def test_augmentation_resumes_too(digits: wb.Task) -> None:
    raw = [digits.splits[s] for s in ("train", "test")]
    task = wb.Task.from_arrays(*raw[0], *raw[1], augment=True, device="cpu")
    whole, rest = Watch(), Watch()
    wb.train(whole, task, steps=20, batch_size=100)
    wb.train(rest, task, steps=20, batch_size=100, start=14)
    assert rest.seen == whole.seen[14:]


def test_a_snapshot_is_a_copy() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = wb.snapshot(model)
    model(torch.randn(4, 2)).sum().backward()
    nn.init.zeros_(model[0].weight)
    assert bool(before["0.weight"].any())
    assert not before["1.running_mean"].any()
    assert not any(v.requires_grad for v in before.values())
    model.load_state_dict(before)
    assert bool(model[0].weight.any())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 1, "steps": 1}, "a schedule is given in epochs or in steps; got epochs=1 and steps=1. Pass one"),
        ({"epochs": 0}, "epochs is a whole number of at least 1; got 0"),
        ({"steps": 0}, "steps is a whole number of at least 1; got 0"),
        ({"steps": 5, "start": 6}, "start <= stop <= the schedule's 5 steps; got start=6 and stop=5"),
        ({"steps": 5, "start": 3, "stop": 2}, "got start=3 and stop=2"),
        ({"steps": 5, "stop": 9}, "got start=0 and stop=9"),
        ({"steps": 5, "start": -1}, "start is a whole number of at least 0; got -1"),
        ({"steps": 5, "batch_size": 0}, "batch_size is a whole number of at least 1; got 0"),
        ({"steps": 5, "optimizer": "adamax"}, "optimizer is one of adam, adamw, sgd; got 'adamax'"),
        ({"steps": 5, "learning_rate": 1}, "training option is one of .*; got 'learning_rate'"),
        ({"steps": 5, "lr": -1.0}, "Invalid learning rate"),
    ],
)
def test_wrong_schedules_are_refused_at_the_call(options: dict[str, Any], words: str, digits: wb.Task) -> None:
    with pytest.raises(ValueError, match=words):
        wb.steps(Watch(), digits, **options)  # not even iterated over


def test_an_optimizer_that_holds_parameters_is_refused(digits: wb.Task) -> None:
    model = Watch()
    with pytest.raises(TypeError, match=r"a name or a function of the parameters; got an optimizer that holds"):
        wb.steps(model, digits, optimizer=torch.optim.SGD(model.parameters()))  # type: ignore[arg-type]


def test_an_empty_span_changes_nothing(digits: wb.Task) -> None:
    model = Watch()
    assert wb.train(model, digits, steps=5, start=5) == []
    assert not bool(model[1].weight.any())


# generators


def test_nothing_happens_before_the_first_step(digits: wb.Task) -> None:
    model = Watch()
    run = wb.steps(model, digits, steps=3)
    assert model.seen == []
    assert next(run)["step"] == 1
    assert len(model.seen) == 1


def valid(model: nn.Module, masks: wb.Masks) -> bool:
    dead = [bool(model.get_parameter(n).detach()[~m].any()) for n, m in masks.items()]
    finite = all(bool(torch.isfinite(v).all()) for v in model.state_dict().values())
    return finite and not any(dead) and not any(m.training for m in model.modules())


def broken_off(run: Iterator[dict[str, float]]) -> None:
    for row in run:
        if row["step"] == 3:
            break


def thrown_into(run: Any) -> None:
    next(run)
    with pytest.raises(KeyboardInterrupt):
        run.throw(KeyboardInterrupt)
    with pytest.raises(StopIteration):
        next(run)


@pytest.mark.parametrize("leave", [broken_off, thrown_into, lambda run: (next(run), run.close())])
def test_leaving_early_leaves_a_valid_model(leave: Callable[[Any], object], digits: wb.Task) -> None:
    model = wb.make("vgg", digits)
    masks = wb.keep_top(wb.score(model, None, "magnitude"), 0.9)
    leave(wb.steps(model, digits, masks=masks, steps=20))
    assert valid(model, masks)
    assert 0 <= wb.evaluate(model, digits)["accuracy"] <= 1
    assert len(wb.train(model, digits, masks=masks, steps=2)) == 2


def test_an_interrupt_inside_the_optimizer_leaves_a_valid_model(digits: wb.Task) -> None:
    """As if Ctrl-C came between the new weights and their masks."""

    class Interrupted(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            with torch.no_grad():
                for group in self.param_groups:
                    for parameter in group["params"]:
                        parameter.add_(1.0)
            raise KeyboardInterrupt

    model = wb.make("vgg", digits)
    masks = wb.keep_top(wb.score(model, None, "magnitude"), 0.9)
    with pytest.raises(KeyboardInterrupt):
        wb.train(model, digits, masks=masks, steps=5, optimizer=lambda p: Interrupted(p, lr=0.1))
    assert valid(model, masks)


def test_what_the_loop_s_body_does_to_the_mode_is_put_right(digits: wb.Task) -> None:
    model = wb.make("vgg", digits)
    for row in wb.steps(model, digits, steps=3):
        assert row["step"] == 3 or model.training
        model.eval()
    again = wb.make("vgg", digits)
    wb.train(again, digits, steps=3)
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in model.state_dict().items())


# optimizers and recipes


@pytest.mark.parametrize(("name", "kind"), [("sgd", "SGD"), ("adam", "Adam"), ("adamw", "AdamW")])
def test_optimizers_by_name_learn(name: str, kind: str, digits: wb.Task) -> None:
    rows = wb.train(wb.make("lenet-300-100", digits), digits, epochs=3, optimizer=name)
    assert rows[-1]["val_accuracy"] > 0.9
    peak = max(r["lr"] for r in rows)
    assert peak == pytest.approx(0.1 if name == "sgd" else 0.002)


def test_an_optimizer_of_ones_own_keeps_its_rates(digits: wb.Task) -> None:
    made = []

    def two_groups(parameters: Any) -> torch.optim.Optimizer:
        weight, bias = parameters
        made.append(torch.optim.SGD([{"params": [weight]}, {"params": [bias], "lr": 0.02}], lr=0.2))
        return made[0]

    seen = []
    for _ in wb.steps(Watch(), digits, steps=10, optimizer=two_groups, warmup=0.0):
        seen.append([g["lr"] for g in made[0].param_groups])
    assert seen[0] == [0.2, 0.02]
    assert all(a == pytest.approx(10 * b) for a, b in seen)
    assert seen[-1][0] < 0.01


def test_frozen_parameters_stay(digits: wb.Task) -> None:
    model = wb.make("lenet-300-100", digits)
    model[1].requires_grad_(False)
    before = model[1].weight.clone()
    masks = wb.keep_top(wb.score(model, None, "magnitude"), 0.5)
    wb.train(model, digits, masks=masks, steps=3)
    assert torch.equal(model[1].weight, before * masks["fc1.weight"])
    with pytest.raises(ValueError, match=r"all are frozen. Use model.requires_grad_\(\)"):
        wb.steps(model.requires_grad_(False), digits)


def test_recipes_are_for_pairs_that_exist(tasks: dict[str, wb.Task]) -> None:
    from workbench.models import fits

    for task, network in RECIPES:
        assert fits(network, tasks[task])
    assert recipe(tasks["digits"], nn.Linear(1, 1)).epochs == 20
    for name in wb.networks():
        task = next(t for t in tasks.values() if fits(name, t))
        assert recipe(task, wb.make(name, task)) != recipe(task, nn.Linear(1, 1))


@pytest.mark.parametrize(("task", "accuracy"), [("moons", 0.95), ("circles", 0.97), ("spirals", 0.9)])
def test_default_recipes_train_well(task: str, accuracy: float, tasks: dict[str, wb.Task]) -> None:
    model = wb.make("lenet-300-100", tasks[task])
    assert wb.train(model, tasks[task])[-1]["val_accuracy"] >= accuracy


def test_the_small_vgg_reaches_98_percent_on_digits(digits: wb.Task) -> None:
    assert wb.train(wb.make("vgg", digits), digits)[-1]["val_accuracy"] >= 0.98


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_cuda() -> None:
    task = wb.load("digits", device="cuda")
    model = wb.make("vgg", task)
    masks = wb.find_masks(model, task.batch(64), "snip", 0.9)
    assert wb.train(model, task, masks=masks)[-1]["val_accuracy"] > 0.9
    assert valid(model, masks)


# models of others


def ragged(n: int) -> wb.Task:
    """A task of `n` training samples in two classes."""
    x = torch.randn(n + 4, 3, generator=torch.Generator().manual_seed(0))
    return wb.Task.from_arrays(x, torch.arange(n + 4) % 2, x[:4], [0, 1, 0, 1], val=4, device="cpu")


def normed() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


@pytest.mark.parametrize(("n", "batches"), [(9, 2), (10, 3), (8, 2), (5, 1), (4, 1)])
def test_a_last_batch_of_one_sample_is_left_out(n: int, batches: int) -> None:
    rows = wb.train(normed(), ragged(n), epochs=3, batch_size=4)
    assert [r["epoch"] for r in rows] == [e for e in range(3) for _ in range(batches)]
    assert [r["step"] for r in rows if "val_accuracy" in r] == [batches * e for e in (1, 2, 3)]
    resumed = wb.train(normed(), ragged(n), epochs=3, batch_size=4, start=batches)
    assert [r["step"] for r in resumed] == [r["step"] for r in rows[batches:]]


def test_batches_of_one_sample_that_were_asked_for_stay() -> None:
    assert len(wb.train(nn.Linear(3, 2), ragged(5), epochs=1, batch_size=1)) == 5


def test_a_frozen_norm_stays_frozen() -> None:
    model, free = normed(), normed()
    for net in (model, free):
        before = net[1].running_mean.clone()
        if net is model:
            net[1].eval()
        for _ in wb.steps(net, ragged(8), steps=4, batch_size=4):
            net.eval()
        assert torch.equal(net[1].running_mean, before) == (net is model)
        assert not any(m.training for m in net.modules())
    wb.train(model, ragged(8), steps=1)  # it came back in evaluation mode as a whole, which freezes nothing
    assert bool(model[1].running_mean.any())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_models_of_another_dtype(dtype: torch.dtype) -> None:
    model = normed().to(dtype)
    rows = wb.train(model, ragged(8), steps=3, batch_size=4)
    assert all(math.isfinite(r["loss"]) for r in rows)
    assert {v.dtype for v in model.parameters()} == {dtype}
    assert 0 <= wb.evaluate(model, ragged(8), wb.dense(model))["accuracy"] <= 1


def test_a_loss_that_is_not_finite_stops(digits: wb.Task) -> None:
    model = wb.make("lenet-300-100", digits)
    with pytest.raises(ValueError, match=r"a finite loss; that of step \d+ is (nan|inf), at a rate of .* Lower lr"):
        wb.train(model, digits, steps=30, lr=1e12, fast=False)
    assert not model.training


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (lambda p: torch.optim.LBFGS(p), "steps by the gradients of one batch; LBFGS evaluates the loss several times"),
        (lambda p: None, "the function optimizer returns a torch optimizer; got NoneType"),
    ],
)
def test_optimizers_that_cannot_step_are_refused(optimizer: Any, words: str, digits: wb.Task) -> None:
    with pytest.raises(TypeError, match=words):
        wb.steps(Watch(), digits, optimizer=optimizer)
