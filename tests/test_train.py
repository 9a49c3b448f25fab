"""Training as a generator: records, schedules, resuming, leaving early, recipes."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb
from workbench.data.measures import squared_error
from workbench.recipes import NETWORK_RECIPES, RECIPES, has_fast_bfloat16, recipe


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
        assert set(row) - {"val_accuracy"} == {"step", "total", "epoch", "samples", "loss", "lr", "seconds"}
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


def test_small_steps_keep_to_float32() -> None:
    """On every processor: 3 x 64 samples x 50,000 weights are less than `LARGE`."""
    task = wb.load("digits", device="cpu")
    losses = [wb.train(wb.make("lenet-300-100", task), task, steps=3, fast=fast)[-1]["loss"] for fast in (None, False)]
    assert losses[0] == losses[1]


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

    assert recipe(tasks["digits"], nn.Linear(1, 1)).epochs == 20
    for task, network in RECIPES:
        assert fits(network, tasks[task])
        assert recipe(tasks[task], wb.make(network, tasks[task])) == RECIPES[task, network]
    for network, expected in NETWORK_RECIPES.items():
        task = next(t for t in tasks.values() if fits(network, t) and (t.name, network) not in RECIPES)
        assert recipe(task, wb.make(network, task)) == expected


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
        (
            lambda p: torch.optim.LBFGS(p),
            "takes one step with the gradients of one batch; LBFGS evaluates the loss several times",
        ),
        (lambda p: None, "the function optimizer returns a torch optimizer; got NoneType"),
    ],
)
def test_optimizers_that_cannot_step_are_refused(optimizer: Any, words: str, digits: wb.Task) -> None:
    with pytest.raises(TypeError, match=words):
        wb.steps(Watch(), digits, optimizer=optimizer)


# updates of the masks


PAGE = Path(__file__).parents[1] / "docs" / "training.md"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page on training defines, after all of its code has run, twice where it goes on with a run."""
    blocks = re.findall(r"```python\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.S)
    space: dict[str, Any] = {}
    with contextlib.chdir(tmp_path_factory.mktemp("page")):
        for block in [*blocks, blocks[-1]]:
            exec(compile(block, str(PAGE), "exec"), space)
    return space


def test_the_page_runs_and_goes_on(page: dict[str, Any]) -> None:
    whole = wb.make("lenet-300-100", page["task"], seed=0)
    update = page["sparse_evolution"]()
    *_, last = wb.steps(whole, page["task"], masks=page["masks"], epochs=3, update=update)
    assert last["val_accuracy"] == page["rows"][-1]["val_accuracy"] > 0.8
    assert all(torch.equal(v, page["model"].state_dict()[n]) for n, v in whole.state_dict().items())
    assert page["state"].step == 40
    assert last["step"] == 57


def test_the_page_s_method_is_short(page: dict[str, Any]) -> None:
    source = re.search(r"^def sparse_evolution.+?^    return update$", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert source is not None
    assert len(source[0].splitlines()) <= 30


def gradual(final: float, first: int, last: int, every: int) -> Any:
    """Gradual magnitude pruning from dense, cubic (Zhu and Gupta 2017, arXiv:1710.01878, eq. 1)."""

    def update(progress: wb.Progress) -> wb.Masks | None:
        if not first <= progress.step <= last or (progress.step - first) % every:
            return None
        sparsity = final * (1 - (1 - (progress.step - first) / (last - first)) ** 3)
        return wb.keep_top(
            wb.score(progress.model, None, "magnitude"), sparsity, within=progress.masks or wb.dense(progress.model)
        )

    return update


def rigged(share: float, every: int, grown: list[wb.Masks]) -> Any:
    """RigL (Evci et al. 2020, arXiv:1911.11134): drops the smallest weights, grows the largest dense gradients."""

    def update(progress: wb.Progress) -> wb.Masks | None:
        if progress.step == 0 or progress.step % every:
            return None
        now = share / 2 * (1 + math.cos(math.pi * progress.step / progress.total))
        masks, came = progress.masks, {}
        for name, mask in masks.items():
            weight = progress.model.get_parameter(name)
            count = min(int(now * int(mask.sum())), int((~mask).sum()))
            alive = wb.keep_top({name: weight.detach().abs().masked_fill(~mask, -1)}, kept_share(mask, count))[name]
            gain = weight.grad.abs().masked_fill(mask, -1)
            came[name] = torch.zeros_like(mask).view(-1).index_fill(0, gain.view(-1).topk(count).indices, True)
            came[name] = came[name].view_as(mask)
            masks[name] = alive | came[name]
        grown.append(came)
        return masks

    return update


def kept_share(mask: Tensor, fewer: int) -> float:
    """The sparsity that keeps `fewer` weights less than the mask does."""
    return 1 - (int(mask.sum()) - fewer) / mask.numel()


OPTIMIZERS: dict[str, Any] = {
    "sgd": "sgd",
    "adam": "adam",
    "adamw": "adamw",
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.001, momentum=0.9, centered=True),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.001, amsgrad=True),
}


def moments(model: nn.Module, optimizer: torch.optim.Optimizer, name: str) -> list[Tensor]:
    weight = model.get_parameter(name)
    return [v for v in optimizer.state[weight].values() if isinstance(v, Tensor) and v.shape == weight.shape]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", ["set", "rigl", "gradual"])
def test_masks_that_change_are_exact_at_every_step(
    method: str, optimizer: str, page: dict[str, Any], digits: wb.Task
) -> None:
    model = wb.make("vgg", digits, width=0.25)
    grown: list[wb.Masks] = []
    masks = wb.keep_top(wb.score(model, None, "random"), 0.8, allocation="erk") if method != "gradual" else None
    inner = {
        "set": page["sparse_evolution"](zeta=0.3, every=4),
        "rigl": rigged(0.3, 4, grown),
        "gradual": gradual(0.9, 2, 14, 3),
    }[method]
    seen: list[tuple[wb.Masks, dict[str, Tensor], torch.optim.Optimizer]] = []

    def update(progress: wb.Progress) -> wb.Masks | None:
        seen.append((progress.masks, wb.snapshot(progress.model), progress.optimizer))
        for name, mask in seen[-1][0].items():  # gradients of all weights are there; the dead have moved nowhere
            assert bool(progress.model.get_parameter(name).grad[~mask].any()) or bool(mask.all())
            assert not any(bool(value[~mask].any()) for value in moments(progress.model, progress.optimizer, name))
        return inner(progress)

    run = wb.steps(model, digits, masks=masks, steps=20, update=update, optimizer=OPTIMIZERS[optimizer])
    counts = []
    for row in run:
        now = row.state().masks
        for name, mask in now.items():
            assert not bool(model.get_parameter(name).detach()[~mask].any())
        counts.append({name: int(mask.sum()) for name, mask in now.items()})
    total = sum(w.numel() for w in wb.prunable(model).values())
    if method == "gradual":
        expected = [0.9 * (1 - (1 - k / 4) ** 3) for k in range(5)]
        pruned = [total - sum(c.values()) if c else 0 for c in counts]
        assert pruned[:2] == [0, 0]
        assert pruned[2::3][:5] == [math.floor(total * s + 0.5) for s in expected]
        assert pruned[14:] == pruned[14:15] * 6
    else:
        assert masks is not None
        assert all(count == {name: int(mask.sum()) for name, mask in masks.items()} for count in counts)
        changed = [k for k in range(1, 20) if any(not torch.equal(seen[k][0][n], seen[k - 1][0][n]) for n in masks)]
        assert changed == [5, 9, 13, 17]
    for came, k in zip(grown, (5, 9, 13, 17), strict=False):
        before, after = seen[k - 1], seen[k]
        for name, new in came.items():
            assert not bool(before[0][name][new].any())
            assert bool(after[0][name][new].all())
            assert not bool(before[1][name][new].any())  # from 0
            assert bool(after[1][name][new].any()) == bool(new.any())  # and on their way after one step


def test_weights_that_go_and_come_have_no_moments(digits: wb.Task) -> None:
    """By hand: all of the moments are 1 before the masks change."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    first = torch.arange(640).view(10, 64) % 4
    found: list[Tensor] = []

    def filled(optimizer: torch.optim.Optimizer) -> None:
        optimizer.state[model[1].weight]["momentum_buffer"].fill_(1)

    class Still(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            found.append(self.state[model[1].weight].get("momentum_buffer", torch.ones(0)).clone())
            return super().step(closure)

    def update(progress: wb.Progress) -> wb.Masks | None:
        if progress.step != 1:
            return None
        filled(progress.optimizer)
        masks = progress.masks
        masks["1.weight"].copy_(first < 3)  # in place: the copy is the update's own
        assert torch.equal(progress.masks["1.weight"], first != 1)
        return masks

    masks = {"1.weight": first != 1}  # 1 is dead and comes, 3 lives and goes
    wb.train(model, digits, masks=masks, steps=2, update=update, optimizer=lambda p: Still(p, lr=0.1, momentum=0.9))
    expected = ((first == 0) | (first == 2)).float()
    assert torch.equal(found[1], expected)


def test_masks_that_an_update_returned_are_its_own(digits: wb.Task) -> None:
    model, kept = Watch(), {"1.weight": torch.ones(10, 64, dtype=torch.bool)}

    def update(progress: wb.Progress) -> wb.Masks | None:
        kept["1.weight"][:, progress.step] = False
        return kept if progress.step == 2 else None

    *_, last = wb.steps(model, digits, steps=5, update=update)
    assert [bool(column.any()) for column in last.state().masks["1.weight"].T][:6] == [False] * 3 + [True] * 3


def test_what_an_update_sees(digits: wb.Task) -> None:
    seen: list[wb.Progress] = []
    model = Watch()
    rows = wb.train(model, digits, steps=3, update=seen.append, batch_size=100, seed=4)
    assert [(p.step, p.total, p.masks) for p in seen] == [(0, 3, {}), (1, 3, {}), (2, 3, {})]
    assert [float(p.loss) for p in seen] == [row["loss"] for row in rows]
    assert all(p.model is model and not p.loss.requires_grad and len(p.batch.inputs) == 100 for p in seen)
    draws = [torch.rand(2, generator=p.generator) for p in seen]
    assert not torch.equal(draws[0], draws[1])
    again: list[wb.Progress] = []
    wb.train(model, digits, steps=3, start=2, update=again.append, batch_size=100, seed=4)
    assert torch.equal(torch.rand(2, generator=again[0].generator), draws[2])


@pytest.mark.parametrize(
    ("masks", "error", "words"),
    [
        ({"2.weight": torch.ones(1, dtype=torch.bool)}, ValueError, "'2.weight' is not one of them"),
        ({"1.weight": torch.ones(10, 63, dtype=torch.bool)}, ValueError, "its mask"),
        ({"1.weight": torch.ones(10, 64)}, TypeError, "masks are bool tensors"),
        (True, TypeError, "masks are a dict of parameter name -> bool tensor; got bool"),
    ],
)
def test_an_update_that_returns_no_masks_is_refused(masks: Any, error: type, words: str, digits: wb.Task) -> None:
    model = Watch()
    with pytest.raises(error, match=words):
        wb.train(model, digits, steps=2, update=lambda progress: masks)
    assert valid(model, {})


# losses


def test_a_penalty_is_a_term_of_the_loss(digits: wb.Task) -> None:
    """One step from weights of 1: the penalty's gradient is its strength, on top of the cross entropy's."""

    def penalised(model: nn.Module, batch: wb.Batch) -> Tensor:
        return functional.cross_entropy(model(batch.inputs), batch.targets) + 0.5 * model[1].weight.abs().sum()

    models = [Watch(), Watch()]
    losses = []
    for model, loss in zip(models, (None, penalised), strict=True):
        nn.init.ones_(model[1].weight)
        options = {**PLAIN, "weight_decay": 0.0, "lr": 0.1, "fast": False}
        losses.append(wb.train(model, digits, steps=1, loss=loss, **options)[0]["loss"])
    assert losses[1] == pytest.approx(losses[0] + 320, rel=1e-5)
    torch.testing.assert_close(models[1][1].weight, models[0][1].weight - 0.05)


@pytest.mark.parametrize(
    ("loss", "got"),
    [
        (lambda m, b: 1.0, "got float"),
        (lambda m, b: m(b.inputs), r"got a tensor of shape \(\d+, 10\)"),
        (lambda m, b: m(b.inputs).mean().detach(), "got a tensor without a gradient"),
    ],
)
def test_a_loss_that_is_none_is_refused(loss: Any, got: str, digits: wb.Task) -> None:
    model = Watch()
    with pytest.raises(TypeError, match=rf"loss\(model, batch\) is .*; {got}"):
        wb.train(model, digits, steps=1, loss=loss)
    assert not bool(model[1].weight.any())


# tasks that are more than classification


class Words(nn.Module):
    """A classifier of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.read, self.head = nn.Embedding(20, 8), nn.LSTM(8, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.read(self.embedding(tokens))[0][:, -1])


class Next(nn.Module):
    """A model of the next token, tied."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.mix, self.head = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.mix(self.embedding(tokens)).relu()).transpose(1, 2)


class Named(nn.Module):
    """As in transformers: a dict whose logits count, other arguments that may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        hidden = self.a(inputs).relu()
        return {"hidden": hidden, "logits": self.b(hidden)}


class Maps(nn.Module):
    """A small U-Net: a class at each place."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.middle, self.up = nn.Conv2d(4, 8, 3, padding=1, stride=2), nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.norm(self.down(x)).relu()
        return self.head(torch.cat([wide, self.up(self.middle(wide).relu())], 1))


def bits_right(outputs: Tensor, targets: Tensor) -> dict[str, tuple[float, int]]:
    return {"bits": (int(((outputs > 0) == (targets > 0.5)).sum()), targets.numel())}


def mean_error(model: nn.Module, batch: wb.Batch) -> Tensor:
    return (model(batch.inputs) - batch.targets).abs().mean()


DRAW = torch.Generator().manual_seed(0)
ROWS, TOKENS = torch.randn(40, 5, generator=DRAW), torch.randint(0, 20, (40, 7), generator=DRAW)
MAPS = torch.randn(40, 1, 8, 8, generator=DRAW)
KINDS: dict[str, tuple[Callable[[], nn.Module], Tensor, Tensor, dict[str, Any], dict[str, Any], str]] = {
    "named outputs": (Named, ROWS, torch.arange(40) % 3, {}, {}, "accuracy"),
    "text": (Words, TOKENS, torch.arange(40) % 3, {}, {"optimizer": "adam", "lr": 0.5}, "accuracy"),
    "language": (Next, TOKENS[:, :-1], TOKENS[:, 1:], {}, {"optimizer": "adamw", "lr": 0.5}, "accuracy"),
    "maps": (Maps, MAPS, (MAPS[:, 0] > 0).long(), {}, {}, "accuracy"),
    "amounts": (
        lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2)),
        ROWS,
        ROWS[:, :2].sin(),
        {"loss": functional.mse_loss, "measure": squared_error},
        {},
        "mse",
    ),
    "amounts, own loss": (
        lambda: nn.Linear(5, 2),
        ROWS,
        ROWS[:, :2].sin(),
        {"loss": functional.mse_loss, "measure": squared_error},
        {"loss": mean_error},
        "mse",
    ),
    "several labels": (
        lambda: nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)),
        ROWS,
        (ROWS[:, :4] > 0).float(),
        {"loss": functional.binary_cross_entropy_with_logits, "measure": bits_right},
        {},
        "bits",
    ),
}


def redrawn(progress: wb.Progress) -> wb.Masks | None:
    """The largest weights, scored every third step, which leaves the gradients as they are."""
    if progress.step % 3 != 2:
        return None
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in progress.model.named_parameters()}
    masks = wb.keep_top(wb.score(progress.model, progress.batch, "magnitude"), 0.3 + progress.step / 100)
    for name, parameter in progress.model.named_parameters():
        assert (parameter.grad is None) == (grads[name] is None)
        assert parameter.grad is None or torch.equal(parameter.grad, grads[name])
    return masks


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_of_every_kind_train_and_go_on(kind: str) -> None:
    make, inputs, targets, own, options, measure = KINDS[kind]
    parts = {"train": slice(20), "val": slice(20, 30), "test": slice(30, 40)}
    task = wb.Task(kind, {split: wb.Batch(inputs[part], targets[part]) for split, part in parts.items()}, **own)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, again = make(), make()
    options = {"epochs": 20, "batch_size": 8, "lr": 0.05, "update": redrawn, **options}
    rows, state = [], None
    for row in wb.steps(model, task, **options):
        rows.append(row)
        state = row.state() if row["step"] == 9 else state
    assert sum(r["loss"] for r in rows[-6:]) < sum(r["loss"] for r in rows[:6])
    assert rows[-1][f"val_{measure}"] == wb.evaluate(model, task)[measure]
    rest = wb.train(again, task, state=state, **options)
    assert [r["loss"] for r in rest] == [r["loss"] for r in rows[9:]]
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_whole_numbers_of_numpy_are_seeds_and_sizes() -> None:
    task = wb.load("moons", device="cpu")
    runs = []
    for seed, size in ((1, 32), (np.int64(1), np.int64(32))):
        model = wb.make("lenet-300-100", task, seed)
        runs.append([row["loss"] for row in wb.train(model, task, steps=2, seed=seed, batch_size=size)])
    assert runs[0] == runs[1]
    assert torch.equal(task.batch(4, seed=np.int64(1)).inputs, task.batch(4, seed=1).inputs)


def test_gradients_of_weights_that_are_not_trained_do_not_pile_up() -> None:
    task = wb.load("moons", device="cpu")
    model = wb.make("lenet-300-100", task)

    def compared(progress: wb.Progress) -> None:
        last = list(model.parameters())[-1]
        loss = functional.cross_entropy(model(progress.batch.inputs), progress.batch.targets)
        torch.testing.assert_close(last.grad, torch.autograd.grad(loss, last)[0])

    def some(weights: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(list(weights)[:2], lr=0.1)

    assert len(wb.train(model, task, steps=3, optimizer=some, update=compared)) == 3


def test_inputs_come_in_their_own_dtype_where_the_model_has_several() -> None:
    moons = wb.load("moons", device="cpu")
    splits = {name: wb.Batch(x.double(), y) for name, (x, y) in moons.splits.items()}
    model = nn.Sequential(nn.Linear(2, 2).double(), Cast(), nn.Linear(2, 2))
    records = wb.train(model, wb.Task("double", splits, moons.classes), steps=2)
    assert records[-1]["step"] == 2


class Cast(nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.float()


@pytest.mark.parametrize("name", ["loss", "update"])
def test_what_is_called_in_a_step_is_a_function(name: str, digits: wb.Task) -> None:
    with pytest.raises(TypeError, match=rf"{name} is a function {name}\(.*\); got 5"):
        wb.steps(Watch(), digits, **{name: 5})
