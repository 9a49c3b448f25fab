"""Networks trained in one computation are those trained one by one; batches of runs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from zoo import ZOO

import workbench as wb
from workbench.data.measures import next_token, squared_error
from workbench.experiments.before import prune_then_train
from workbench.sweeps import batches, worth_it

SPARSITIES = (None, 0.5, 0.95)
SEEDS = [0, 0, 7]
RATES = [0.1, 0.05, 0.02]


def first(task: wb.Task, n: int, **more: Any) -> wb.Task:
    """The first training samples of a task: 70 of them make batches of 32, 32 and 6."""
    raw = task.splits["train"]
    splits = {**task.splits, "train": wb.Batch(raw.inputs[:n], raw.targets[:n])}
    return wb.Task(task.name, splits, task.classes, task.prepare, task.loss, task.measure, **more)


def tokens() -> wb.Task:
    windows = torch.randint(0, 20, (50, 9), generator=torch.Generator().manual_seed(0))
    batch = wb.Batch(windows[:, :-1], windows[:, 1:])
    splits = {"train": batch, "val": wb.Batch(*(t[:5] for t in batch)), "test": wb.Batch(*(t[:5] for t in batch))}
    names = tuple(map(str, range(20)))
    return wb.Task(
        "windows", splits, names, loss=next_token, measure=lambda o, t: {"loss": (float(next_token(o, t)), 1)}
    )


def some(network: str, task: wb.Task, width: float = 1.0) -> tuple[list[nn.Module], list[wb.Masks | None]]:
    """Three networks in float64, dense and pruned."""
    models = [wb.make(network, task, seed=seed, width=width).double() for seed in range(3)]
    scores = [wb.score(model, None, "magnitude") for model in models]
    return models, [s and wb.keep_top(score, s) for s, score in zip(SPARSITIES, scores, strict=True)]


def numbers(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "seconds"}


def assert_as_alone(
    models: list[nn.Module], task: wb.Task, masks: Any, seeds: Any = SEEDS, lr: Any = RATES, **how: Any
) -> list[Any]:
    """Train together and one by one: the same records and tensors in float64, removed weights exactly 0."""
    twins = copy.deepcopy(models)
    rows = wb.train_together(models, task, masks=masks, seeds=seeds, lr=lr, **how)
    for model, twin, mask, seed, rate, row in zip(models, twins, masks, seeds, lr, rows, strict=True):
        alone = wb.train(twin, task, masks=mask, seed=seed, lr=rate, fast=False, **how)[-1]
        assert numbers(row) == pytest.approx(numbers(alone), rel=1e-9)
        assert list(numbers(row)) == [name for name in alone if name != "seconds"]
        assert row["seconds"] > 0
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, twin.state_dict()[name], rtol=1e-9, atol=1e-11)
        assert not any(bool(model.get_parameter(n).detach()[~m].any()) for n, m in (mask or {}).items())
        assert not any(module.training for module in model.modules())
    return rows


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(("network", "width"), [("lenet-300-100", 1.0), ("vgg", 0.25), ("resnet-20", 0.25)])
def test_together_is_one_by_one(network: str, width: float, optimizer: str, digits: wb.Task) -> None:
    task = first(digits, 70)
    models, masks = some(network, task, width)
    rows = assert_as_alone(models, task, masks, epochs=2, optimizer=optimizer, batch_size=32)
    assert [(row["step"], row["samples"], row["epoch"]) for row in rows] == [(6, 6, 1)] * 3


def test_a_llama_too() -> None:
    task = tokens()
    models, masks = some("llama", task, 0.25)
    rows = assert_as_alone(models, task, masks, steps=4, optimizer="adamw", batch_size=16)
    assert all("val_loss" in row for row in rows)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_removed_weights_are_0_after_every_step(steps: int, digits: wb.Task) -> None:
    models, masks = some("vgg", digits, 0.25)
    for model in models:
        wb.train_together([model], digits, masks=[masks[2]], steps=steps, batch_size=32)
        assert masks[2] is not None
        assert not any(bool(model.get_parameter(name).detach()[~mask].any()) for name, mask in masks[2].items())


def test_in_float32_few_steps_are_near(digits: wb.Task) -> None:
    models = [wb.make("lenet-300-100", digits, seed=seed) for seed in range(3)]
    twins = copy.deepcopy(models)
    rows = wb.train_together(models, digits, seeds=4, lr=RATES, steps=3)
    for twin, rate, row in zip(twins, RATES, rows, strict=True):
        alone = wb.train(twin, digits, seed=4, lr=rate, steps=3, fast=False)[-1]
        assert row["loss"] == pytest.approx(alone["loss"], rel=1e-3)


def test_augmentation_follows_each_seed(digits: wb.Task) -> None:
    task = first(digits, 60, augment=True)
    models, masks = some("vgg", task, 0.25)
    assert_as_alone(models, task, masks, steps=5, batch_size=16)


@pytest.mark.parametrize(("n", "steps"), [(9, 2), (8, 2), (5, 1)])
def test_a_last_batch_of_one_is_left_out(n: int, steps: int, digits: wb.Task) -> None:
    task = first(digits, n)
    models, masks = some("vgg", task, 0.25)
    rows = assert_as_alone(models, task, masks, epochs=2, batch_size=4)
    assert [row["step"] for row in rows] == [2 * steps] * 3


def test_one_rate_and_one_seed_for_all(digits: wb.Task) -> None:
    models, masks = some("lenet-300-100", digits)
    twins = copy.deepcopy(models)
    wb.train_together(models, digits, masks=masks, seeds=3, lr=0.1, steps=3)
    wb.train_together(twins, digits, masks=masks, seeds=[3] * 3, steps=3)  # the recipe's rate is 0.1
    for model, twin in zip(models, twins, strict=True):
        assert all(torch.equal(value, twin.state_dict()[name]) for name, value in model.state_dict().items())


def test_frozen_parameters_and_norms_stay(digits: wb.Task) -> None:
    models, masks = some("vgg", digits, 0.25)
    for model in models:
        model.train()
        model.get_submodule("bn1").eval()
        model.get_submodule("conv2").requires_grad_(False)
    before = [copy.deepcopy(model) for model in models]
    assert_as_alone(models, digits, masks, steps=3)
    for model, old, mask in zip(models, before, masks, strict=True):
        assert torch.equal(model.bn1.running_mean, old.bn1.running_mean)
        assert torch.equal(model.conv2.weight, old.conv2.weight * (mask or {"conv2.weight": 1})["conv2.weight"])


def of_zoo(name: str) -> tuple[list[nn.Module], wb.Task]:
    made = [ZOO[name]() for _ in range(3)]
    batch = made[0][1]
    inputs = batch.inputs.double() if batch.inputs.is_floating_point() else batch.inputs
    return [model.double() for model, _ in made], wb.Task(
        name, dict.fromkeys(("train", "val", "test"), (inputs, batch.targets))
    )


@pytest.mark.parametrize("name", sorted(set(ZOO) - {"lstm", "gru", "rnn"}))
def test_models_of_others(name: str) -> None:
    torch.manual_seed(0)
    models, task = of_zoo(name)
    masks = [{n: torch.rand(w.shape) < 0.5 for n, w in wb.prunable(model).items()} for model in models]
    assert_as_alone(models, task, masks, steps=3, batch_size=4)


class Counting(nn.Module):
    """Its output depends on a number that it reads from a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * float(x.mean())


REFUSED: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: nn.Sequential(nn.Linear(5, 6), nn.Dropout(0.5), nn.Linear(6, 3)),
    "item": Counting,
    "lstm": lambda: ZOO["lstm"]()[0],
    "gru": lambda: ZOO["gru"]()[0],
    "rnn": lambda: ZOO["rnn"]()[0],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_mapped_is_refused_before_anything_changes(name: str) -> None:
    models = [REFUSED[name]() for _ in range(2)]
    inputs = ZOO[name]()[1].inputs if name in ZOO else torch.randn(6, 5)
    task = wb.Task(name, dict.fromkeys(("train", "val", "test"), (inputs, torch.arange(6) % 3)))
    before, random = [wb.snapshot(model) for model in models], torch.get_rng_state()
    with pytest.raises(
        ValueError,
        match=r"torch.vmap trains .*, and cannot take .*one by one: \[wb.train\(model, task\)",
    ):
        wb.train_together(models, task, steps=2)
    assert torch.equal(torch.get_rng_state(), random)
    for model, old in zip(models, before, strict=True):
        assert model.training
        assert all(torch.equal(value, old[name]) for name, value in model.state_dict().items())


def test_the_global_random_state_stays(digits: wb.Task) -> None:
    models, masks = some("lenet-300-100", digits)
    before = torch.get_rng_state()
    wb.train_together(models, digits, masks=masks, seeds=SEEDS, steps=2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fatal", [float("inf"), 1e200])
def test_a_lost_model_is_named_and_spoils_no_other(fatal: float, digits: wb.Task) -> None:
    models, masks = some("vgg", digits, 0.25)
    twins = copy.deepcopy(models)
    rates = [0.1, fatal, 0.05]
    with pytest.warns(UserWarning, match="of 3 models trained together, those whose loss is not finite: 1. Their rec"):
        rows = wb.train_together(models, digits, masks=masks, seeds=SEEDS, lr=rates, steps=5)
    with pytest.raises(ValueError, match="a finite loss") as alone:
        wb.train(twins[1], digits, masks=masks[1], seed=SEEDS[1], lr=rates[1], steps=5, fast=False)
    assert rows[1]["error"] == str(alone.value)
    assert f"that of step {rows[1]['step']} is" in rows[1]["error"]
    assert "val_accuracy" not in rows[1]
    assert masks[1] is not None
    assert not any(bool(models[1].get_parameter(name).detach()[~mask].any()) for name, mask in masks[1].items())
    for index in (0, 2):
        told = wb.train(
            twins[index], digits, masks=masks[index], seed=SEEDS[index], lr=rates[index], steps=5, fast=False
        )
        assert numbers(rows[index]) == pytest.approx(numbers(told[-1]), rel=1e-9)


def test_an_interrupt_leaves_valid_models(digits: wb.Task) -> None:
    batches_seen: list[int] = []

    def stops(inputs: Tensor) -> Tensor:
        batches_seen.append(len(inputs))
        if batches_seen.count(64) == 4:
            raise KeyboardInterrupt
        return digits.prepare(inputs)

    models, masks = some("vgg", digits, 0.25)
    before = [wb.snapshot(model) for model in models]
    task = wb.Task("digits", digits.splits, digits.classes, stops)
    with pytest.raises(KeyboardInterrupt):
        wb.train_together(models, task, masks=masks, steps=10, batch_size=64)
    for model, old, mask in zip(models, before, masks, strict=True):
        assert not torch.equal(model.fc.weight, old["fc.weight"])
        assert not any(bool(model.get_parameter(n).detach()[~m].any()) for n, m in (mask or {}).items())
        assert not any(module.training for module in model.modules())


def test_a_task_s_own_loss(digits: wb.Task) -> None:
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)).double()
    batch = wb.Batch(x, x[:, :3] * 2)
    task = wb.Task(
        "line", dict.fromkeys(("train", "val", "test"), batch), loss=functional.mse_loss, measure=squared_error
    )
    torch.manual_seed(0)
    models: list[nn.Module] = [nn.Linear(5, 3).double() for _ in range(3)]
    rows = assert_as_alone(models, task, [None] * 3, steps=4, batch_size=16)
    assert all("val_mse" in row for row in rows)


class Activated(nn.Module):
    """A function that its layers do not show."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(64, 10), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer(x.flatten(1)))


def linear() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def twice() -> list[nn.Module]:
    model = linear()
    return [model, model]


@pytest.mark.parametrize(
    ("models", "options", "words"),
    [
        (list, {}, "models are a list of at least one model; got none"),
        (lambda: [linear(), linear().double()], {}, "model 1 differs from model 0 in 1.weight, 1.bias"),
        (
            lambda: [linear(), nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.ReLU())],
            {},
            "model 1 differs from model 0 in its layers. Train each kind by itself",
        ),
        (lambda: [linear(), linear().requires_grad_(False)], {}, "differs from model 0 in 1.weight, 1.bias"),
        (twice, {}, r"share no tensor; some of these do. Make copies: copy.deepcopy\(model\)"),
        (
            lambda: [Activated(torch.relu), Activated(torch.tanh)],
            {},
            "compute what each computes alone; together, model 1 has the loss",
        ),
        (
            lambda: [linear()],
            {"seeds": [0, 1]},
            "seeds is one number, or a list with one for each of the 1 models; got 2",
        ),
        (
            lambda: [linear()],
            {"lr": [0.1, 0.2]},
            "lr is one number, or a list with one for each of the 1 models; got 2",
        ),
        (lambda: [linear()], {"lr": -1.0}, "Invalid learning rate"),
        (lambda: [linear()], {"masks": {}}, "masks are a list .* each of the 1 models; got one dict"),
        (lambda: [linear()], {"masks": [None, None]}, "each of the 1 models; got 2 masks"),
        (lambda: [linear()], {"seeds": -1}, "seed is a whole number of at least 0; got -1"),
        (lambda: [linear()], {"batch_size": 0}, "batch_size is a whole number of at least 1; got 0"),
        (lambda: [linear()], {"optimizer": "lion"}, "optimizer is one of adam, adamw, sgd; got 'lion'"),
        (lambda: [linear()], {"fast": True}, "option of training together is one of .*; got 'fast'"),
        (lambda: [linear()], {"epochs": 1, "steps": 1}, "a schedule is given in epochs or in steps"),
    ],
)
def test_bad_input_is_told(models: Any, options: dict[str, Any], words: str, digits: wb.Task) -> None:
    with pytest.raises(ValueError, match=words):
        wb.train_together(models(), digits, **options)


def test_an_optimizer_of_one_s_own_is_refused(digits: wb.Task) -> None:
    with pytest.raises(TypeError, match="optimizer is a name, one of adam, adamw, sgd; got <function"):
        wb.train_together([linear()], digits, optimizer=lambda p: torch.optim.SGD(p, lr=0.1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_together_on_cuda(optimizer: str) -> None:
    task = first(wb.load("digits", device="cuda"), 70)
    models, masks = some("vgg", task, 0.25)
    assert_as_alone(models, task, masks, epochs=2, optimizer=optimizer, batch_size=32)
    assert next(models[0].parameters()).is_cuda


# batches of runs


POINT = st.fixed_dictionaries(
    {"seed": st.integers(0, 3), "sparsity": st.sampled_from([0.5, 0.9]), "data": st.sampled_from("ab")},
    optional={"widths": st.lists(st.integers(1, 2), max_size=1)},
)


@given(st.lists(POINT, max_size=12), st.integers(1, 4))
def test_batches_hold_every_point_once_and_differ_in_nothing_else(points: list[dict[str, Any]], size: int) -> None:
    over = ("seed", "sparsity")
    points = [{**point, "place": place} for place, point in enumerate(points)]
    found = batches(points, (*over, "place"), size)
    assert sorted((p for batch in found for p in batch), key=lambda p: p["place"]) == points
    rests = [[{n: v for n, v in p.items() if n not in (*over, "place")} for p in batch] for batch in found]
    assert all(rest == batch[0] for batch in rests for rest in batch)
    assert all(1 <= len(batch) <= size for batch in found)
    places = [[p["place"] for p in batch] for batch in found]
    assert all(batch == sorted(batch) for batch in places)
    assert [batch[0] for batch in places] == sorted(batch[0] for batch in places)
    for index, rest in enumerate(rests):  # no batch is begun before one like it is full
        assert all(len(batch) == size for batch in rests[:index] if batch[0] == rest[0])


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="size is a whole number of at least 1; got 0"):
        batches([{"seed": 0}], ["seed"], 0)


def test_only_cuda_is_worth_it() -> None:
    assert [worth_it(device) for device in ("cpu", "cuda", "cuda:1", torch.device("cuda"))] == [False, True, True, True]


def test_a_batched_form_names_arguments_of_its_run() -> None:
    def run(seed: int) -> dict[str, int]:
        return {"seed": seed}

    with pytest.raises(ValueError, match=r"argument of run is one of seed; got 'seeds'. Did you mean 'seed'"):
        wb.batched(run, over=["seeds"])
    assert not hasattr(run, "batched")


def test_pruning_before_training_has_a_batched_form() -> None:
    """A dense network, a pruned one, one without a path, and a run that fails."""
    shared = {"network": "lenet-300-100", "epochs": 1}
    points = [
        {"criterion": "magnitude", "compression": 1, "seed": 0, **shared},
        {"criterion": "snip", "compression": 10, "seed": 1, **shared},
        {"criterion": "random", "compression": 100000, "seed": 0, **shared},
        {"criterion": "snip", "compression": 10, "seed": 0, "change": "invert", "rounds": 2, **shared},
        {"criterion": "random", "compression": 5, "seed": 2, "change": "shuffle", "allocation": "erk", **shared},
        {"criterion": "snip", "compression": 10, "seed": 1, "lr": 1e-9, **shared},
    ]
    form = prune_then_train.batched  # type: ignore[attr-defined]
    assert batches(points, form.over, 64) == [points]
    rows = form.function(points)
    for point, row in zip(points, rows, strict=True):
        if "rounds" in point:
            assert isinstance(row, ValueError)
            assert "scores are inverted in one round; got rounds=2" in str(row)
            continue
        alone = prune_then_train(**point)
        assert list(row) == list(alone)
        assert {**row, "accuracy": 0} == {**alone, "accuracy": 0}
        assert row["accuracy"] == pytest.approx(alone["accuracy"], abs=0.03)
    assert [row["steps"] for row in rows if isinstance(row, dict)] == [19, 19, 0, 19, 19]
