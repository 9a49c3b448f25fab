"""Mistakes of users: a clear error that says what, allowed, got and remedy; and nothing is lost."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import workbench as wb
from workbench.allocation import budgets
from workbench.masks import Ranking

SCORES = {"a": torch.arange(4.0), "b": torch.arange(6.0)}


def model() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


BATCH = wb.Batch(torch.ones(5, 4), torch.tensor([0, 1, 0, 1, 0]))

# sparsity

TAKES_SPARSITY: dict[str, Callable[[Any], object]] = {
    "keep_top": lambda x: wb.keep_top(SCORES, x),
    "keep_top layer": lambda x: wb.keep_top(SCORES, x, allocation="layer"),
    "find_masks": lambda x: wb.find_masks(model(), BATCH, "snip", x, rounds=3),
    "rank counts": lambda x: wb.rank(SCORES).counts(x),
    "rank mask": lambda x: wb.rank(SCORES, "layer").mask("a", x),
    "rank cut": lambda x: wb.rank(SCORES).cut(x),
    "allocate": lambda x: wb.allocate(model(), x, "layer"),
}
RULE = "sparsity is the fraction removed, in [0, 1); got "


@pytest.mark.parametrize("run", TAKES_SPARSITY.values(), ids=TAKES_SPARSITY)
@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (10, ValueError, "got 10. For 10x compression pass sparsity=0.9"),
        (2, ValueError, "For 2x compression pass sparsity=0.5"),
        (95.0, ValueError, "For 95x compression pass sparsity=0.9895; for 95 % pass sparsity=0.95"),
        (1000, ValueError, "For 1000x compression pass sparsity=0.999"),
        (float("inf"), ValueError, "got inf. Pass a number below 1"),
        (-0.1, ValueError, "got -0.1. 0 removes nothing"),
        (1.0, ValueError, "got 1.0. 1 would remove every weight; the highest useful value keeps one a layer"),
        (1, ValueError, "got 1. 1 would remove every weight"),
        (float("nan"), ValueError, "got NaN. Check the expression it comes from"),
        (np.float64("nan"), ValueError, "got NaN"),
        ("0.9", TypeError, "got '0.9' (str). Pass a number such as 0.9"),
        (None, TypeError, "got None (NoneType)"),
        (True, TypeError, "got True (bool)"),
        (0.5 + 0j, TypeError, "(complex)"),
        ([0.5], TypeError, "got [0.5] (list)"),
    ],
)
def test_sparsities(run: Callable[[Any], object], value: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as found:
        run(value)
    assert str(found.value).startswith(RULE)
    assert words in str(found.value)


# names


@pytest.mark.parametrize(
    ("run", "nearest", "options"),
    [
        (lambda t: wb.load("cifar-10"), "cifar10", "circles, digits"),
        (lambda t: wb.make("resnet20", t), "resnet-20", "lenet-300-100, lenet-5"),
        (lambda t: wb.score(model(), BATCH, "sinp"), "snip", "fisher, force, grasp"),
        (lambda t: wb.score(model(), BATCH, "SNIP"), "snip", "fisher, force, grasp"),
        (lambda t: wb.find_masks(model(), BATCH, "magnitud", 0.5), "magnitude", "grasp"),
        (lambda t: wb.score(model(), BATCH, "snip", bn="runing"), "running", "batch, running"),
        (lambda t: wb.keep_top(SCORES, 0.5, allocation="globl"), "global", "erk, global, igq"),
        (lambda t: wb.rank(SCORES, "layers"), "layer", "igq, layer, smart-ratio"),
        (lambda t: wb.find_masks(model(), BATCH, "snip", 0.5, allocation="layers"), "layer", "igq, layer, smart-ratio"),
        (lambda t: wb.evaluate(wb.make("vgg", t), t, split="valid"), "val", "test, train, val"),
        (lambda t: wb.steps(wb.make("vgg", t), t, optimizer="adamww"), "adamw", "adam, adamw, sgd"),
        (lambda t: wb.steps(wb.make("vgg", t), t, batchsize=3), "batch_size", "lr"),
    ],
)
def test_unknown_names(run: Callable[[wb.Task], object], nearest: str, options: str, digits: wb.Task) -> None:
    with pytest.raises(ValueError, match=f"one of .*{options}") as found:
        run(digits)
    assert f"Did you mean {nearest!r}?" in str(found.value)


def test_names_that_are_no_names(digits: wb.Task) -> None:
    for run in (lambda: wb.load(3), lambda: wb.make(None, digits), lambda: wb.score(model(), BATCH, 5)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="is a name, one of"):
            run()


# models


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def quantised() -> nn.Module:
    net = model()
    net[1].weight = nn.Parameter(torch.ones(3, 4, dtype=torch.int8), requires_grad=False)
    return net


def parametrised() -> nn.Module:
    net = model()
    nn.utils.parametrizations.weight_norm(net[1])
    return net


def pruned_by_torch() -> nn.Module:
    from torch.nn.utils import prune

    net = model()
    prune.random_unstructured(net[1], "weight", 0.5)
    return net


def with_nan() -> nn.Module:
    net = model()
    with torch.no_grad():
        net[1].weight[0, :2] = float("nan")
        net[1].weight[1, 0] = float("inf")
    return net


BAD_MODELS: dict[str, tuple[Callable[[], Any], type[Exception], list[str]]] = {
    "nothing": (Nothing, ValueError, ["at least one weight of a linear, convolution", "Nothing has none"]),
    "norms": (lambda: nn.BatchNorm1d(3), ValueError, ["BatchNorm1d has none"]),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), ValueError, ["'0.weight' is lazy", "Pass one batch through"]),
    "integer": (quantised, ValueError, ["'1.weight' is torch.int8", "exclude=['1.weight']"]),
    "computed": (parametrised, ValueError, ["'1.weight' is computed from others", "remove function"]),
    "torch prune": (pruned_by_torch, ValueError, ["'1.weight' is computed from others", "torch.nn.utils.prune"]),
    "a class": (lambda: nn.Linear, TypeError, ["model is an nn.Module; got type"]),
    "a dict": (dict, TypeError, ["model is an nn.Module; got dict"]),
    "a name": (lambda: "vgg", TypeError, ["got str. Use wb.make(name, task)"]),
}


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(("make", "error", "words"), BAD_MODELS.values(), ids=BAD_MODELS)
@pytest.mark.parametrize(
    "run",
    [
        wb.prunable,
        wb.dense,
        wb.max_compression,
        lambda m: wb.score(m, BATCH, "magnitude"),
        lambda m: wb.find_masks(m, BATCH, "snip", 0.5),
        lambda m: wb.critical_iterated(m, BATCH, "snip"),
    ],
)
def test_models_that_cannot_be_pruned(
    run: Callable[[Any], object], make: Callable[[], Any], error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as found:
        run(make())
    assert all(w in str(found.value) for w in words), str(found.value)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_an_empty_layer() -> None:
    net = nn.Sequential(nn.Linear(4, 0), nn.Linear(0, 2))
    with pytest.raises(ValueError, match=r"'0.weight' has shape \(0, 4\). Pass exclude=\['0.weight'\]"):
        wb.score(net, BATCH, "snip")


def test_nan_weights_are_counted_and_named() -> None:
    for criterion in wb.criteria():
        with pytest.raises(ValueError, match=r"'1.weight' holds 3 NaN or infinite ones. Reload the model or lower"):
            wb.score(with_nan(), BATCH, criterion)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_the_remedy_exclude_works() -> None:
    """A layer that cannot be pruned, left out, stands in nobody's way."""
    narrow = nn.Sequential(nn.Linear(4, 0), nn.Linear(0, 4), nn.Linear(4, 2))
    nn.init.ones_(narrow[1].bias)
    for net in (parametrised(), pruned_by_torch(), narrow):
        bad = ["0", "1"] if isinstance(net[0], nn.Linear) else ["1"]
        for criterion in ("random", "magnitude", "snip", "grasp", "synflow"):
            masks = wb.find_masks(net, BATCH, criterion, 0.5, rounds=2, exclude=bad)
            assert wb.sparsity(masks) == 0.5
        assert wb.macs(net, BATCH.inputs) > 0


def test_frozen_and_tied_models_are_no_mistake() -> None:
    net = model().requires_grad_(False)
    net[3] = nn.Linear(3, 4)
    net.append(nn.Linear(4, 3)).append(nn.Linear(3, 4))
    net[5].weight = net[3].weight
    assert list(wb.prunable(net)) == ["1.weight", "3.weight", "4.weight"]
    assert wb.sparsity(wb.find_masks(net, BATCH, "snip", 0.5)) == 0.5
    masks = wb.dense(net)
    with pytest.raises(ValueError, match=r"'5.weight' is not one of them"):  # a tied weight has one name
        wb.apply_masks_(net, masks | {"5.weight": masks["3.weight"]})


# batches

IMAGES = wb.Batch(torch.ones(5, 1, 3, 3), BATCH.targets)


@pytest.mark.parametrize(
    ("batch", "error", "words"),
    [
        (IMAGES, ValueError, ["inputs of shape (5, 1, 3, 3)", "do not pass through", "the model was made for"]),
        (wb.Batch(torch.ones(5, 4).long(), BATCH.targets), ValueError, ["torch.int64 do not pass through"]),
        (wb.Batch(torch.ones(0, 4), BATCH.targets[:0]), ValueError, ["at least one sample; got 0", "task.batch(256)"]),
        (wb.Batch(torch.ones(4), torch.tensor(0)), ValueError, ["inputs [n, ...]", "got shapes (4,)", "x[None]"]),
        (wb.Batch(BATCH.inputs, BATCH.targets[:3]), ValueError, ["one target per input; got 5 inputs and 3 targets"]),
        (wb.Batch(BATCH.inputs, BATCH.targets + 1), ValueError, ["from 0 to 1", "2 outputs", "labels from 1 to 2"]),
        (wb.Batch(BATCH.inputs, BATCH.targets - 1), ValueError, ["got labels from -1 to 0", "Check the labels"]),
        (wb.Batch(BATCH.inputs, BATCH.targets.float()), ValueError, ["got torch.float32", "targets.long()", "loss_fn"]),
        (wb.Batch(BATCH.inputs, BATCH.targets.int()), ValueError, ["got torch.int32", "targets.long()"]),
        (wb.Batch(BATCH.inputs, torch.zeros(5, 2).long()), ValueError, ["[n, classes]", "for labels of shape (5, 2)"]),
        (wb.Batch(BATCH.inputs * float("nan"), BATCH.targets), ValueError, ["scores are finite", "Check the batch"]),
        (BATCH.inputs, TypeError, ["(inputs, targets), two tensors; got Tensor"]),
        ((BATCH.inputs, [0, 1, 0, 1, 0]), TypeError, ["two tensors; got tuple"]),
        (None, ValueError, ["needs inputs and targets; got batch=None", "task.batch(256, seed=0)"]),
    ],
)
@pytest.mark.parametrize("criterion", ["snip", "grasp"])
def test_batches_that_do_not_fit(criterion: str, batch: Any, error: type[Exception], words: list[str]) -> None:
    net = model()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(error) as found:
        wb.score(net, batch, criterion)
    assert all(w in str(found.value) for w in words), str(found.value)
    assert all(torch.equal(v, before[n]) for n, v in net.state_dict().items())
    assert all(m.training for m in net.modules())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_inputs_take_the_model_s_dtype(dtype: torch.dtype) -> None:
    """A task's float32 batch, or a float64 one of one's own, goes through any model."""
    net, inputs = model().to(dtype), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    for batch in (wb.Batch(inputs, BATCH.targets), wb.Batch(inputs.double(), BATCH.targets)):
        assert all(bool(s.any()) for s in wb.score(net, batch, "snip").values())
        assert wb.macs(net, batch.inputs) == 18
        assert wb.layers(net, wb.dense(net), batch.inputs)[["effective", "macs"]].notna().all(axis=None)
        assert wb.latency(net, batch.inputs, repeats=2, warmup=0)["repeats"] == 2


def test_a_mistake_in_ones_own_loss_is_not_the_criterion_s() -> None:
    with pytest.raises(RuntimeError, match="must match the size"):
        wb.score(model(), wb.Batch(BATCH.inputs, torch.ones(5, 3)), "snip", loss_fn=lambda out, y: (out - y).sum())


def test_the_table_of_a_network_whose_costs_cannot_be_counted() -> None:
    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return (x[:, None] * self.fc.weight).sum(-1)

    table = wb.layers(Sums(), wb.dense(Sums()), BATCH.inputs)
    assert bool(table["macs"].isna().all())
    assert "multiply-adds are counted" in table.attrs["macs"]
    assert table["kept"].tolist() == [12]


def test_synflow_needs_a_shape(digits: wb.Task) -> None:
    with pytest.raises(ValueError, match="'synflow' needs the shape of one input; got batch=None"):
        wb.score(model(), None, "synflow")
    with pytest.raises(ValueError, match=r"inputs of shape \(1, 1, 3, 3\) .* do not pass through it"):
        wb.score(model(), IMAGES, "synflow")
    assert wb.score(wb.make("vgg", digits), None, "synflow")


@pytest.mark.parametrize(
    "run",
    [
        lambda m, x: wb.macs(m, x),
        lambda m, x: wb.latency(m, x, repeats=2),
        lambda m, x: wb.effective(m, wb.dense(m), x),
        lambda m, x: wb.effective_sparsity(m, wb.dense(m), x),
        lambda m, x: wb.layers(m, wb.dense(m), x),
    ],
)
def test_examples_that_do_not_fit(run: Callable[[nn.Module, Tensor], object]) -> None:
    net = model()
    with pytest.raises(ValueError, match=r"inputs of shape \(\d, 1, 3, 3\) .* do not pass through it"):
        run(net, IMAGES.inputs)
    assert all(m.training and not m._forward_hooks for m in net.modules())


def test_tasks_that_do_not_fit(digits: wb.Task, moons: wb.Task) -> None:
    net = wb.make("vgg", digits)
    for run in (lambda: wb.evaluate(net, moons), lambda: wb.steps(net, moons), lambda: wb.train(net, moons)):
        with pytest.raises(ValueError, match=r"inputs of shape \(\d+, 2\) and torch.float32 do not pass through it"):
            run()
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(64, 9))
    for run in (lambda: wb.evaluate(narrow, digits), lambda: wb.steps(narrow, digits)):
        with pytest.raises(ValueError, match="from 0 to 8, as the model has 9 outputs; got labels from 0 to 9"):
            run()
    wide = nn.Sequential(nn.Linear(8, 10))
    with pytest.raises(ValueError, match=r"takes outputs \[n, classes\].*; the model returns .* Pass your own loss_fn"):
        wb.evaluate(wide, digits)


# scores


@pytest.mark.parametrize(
    ("scores", "error", "words"),
    [
        ({"a": torch.tensor([1.0, float("nan")])}, ValueError, "1 of 2 in 'a' are NaN or infinite"),
        ({"a": torch.tensor([float("inf"), float("-inf"), 1.0])}, ValueError, "2 of 3 in 'a' are NaN or infinite"),
        ({"a": torch.ones(2), "b": torch.tensor([1, 2])}, TypeError, "'b' holds torch.int64"),
        ({"a": torch.tensor([True])}, TypeError, "'a' holds torch.bool"),
        ({"a": [1.0, 2.0]}, TypeError, "'a' holds list"),
        ({"a": np.ones(2)}, TypeError, "'a' holds ndarray"),
        ({}, ValueError, "got an empty one. Score a model first"),
        (torch.ones(3), TypeError, "scores are a dict of parameter name -> tensor; got Tensor"),
        (None, TypeError, "got NoneType"),
    ],
)
@pytest.mark.parametrize("run", [lambda s: wb.keep_top(s, 0.5), wb.rank, lambda s: wb.rank(s, "layer"), wb.critical])
def test_scores(run: Callable[[Any], object], scores: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as found:
        run(scores)
    assert words in str(found.value)


# masks

GOOD = {"1.weight": torch.ones(3, 4, dtype=torch.bool)}


def optimizer_of(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=0.1)


TAKES_MASKS: dict[str, Callable[[nn.Module, Any], object]] = {
    "apply_masks_": wb.apply_masks_,
    "mask_grads_": wb.mask_grads_,
    "reset_state_": lambda m, masks: wb.reset_state_(optimizer_of(m), m, masks),
    "score": lambda m, masks: wb.score(m, BATCH, "snip", masks=masks),
    "size_ratio": wb.size_ratio,
    "macs": lambda m, masks: wb.macs(m, BATCH.inputs, masks),
    "effective": lambda m, masks: wb.effective(m, masks, BATCH.inputs),
    "layers": wb.layers,
    "evaluate": lambda m, masks: wb.evaluate(m, FOUR, masks),
    "steps": lambda m, masks: wb.steps(m, FOUR, masks=masks),
}
FOUR = wb.Task.from_arrays(np.eye(4).repeat(5, 0), np.arange(20) % 2, np.eye(4), [0, 1, 0, 1], device="cpu")


@pytest.mark.parametrize("run", TAKES_MASKS.values(), ids=TAKES_MASKS)
@pytest.mark.parametrize(
    ("masks", "error", "words"),
    [
        (
            {"fc.weight": GOOD["1.weight"]},
            ValueError,
            ["'fc.weight' is not one of them", "1.bias, 1.weight", "another"],
        ),
        ({"1.weight": GOOD["1.weight"].T}, ValueError, ["'1.weight' is (3, 4), its mask (4, 3)", "another model"]),
        ({"1.weight": GOOD["1.weight"].float()}, TypeError, ["'1.weight' is torch.float32. Use mask.bool()"]),
        ({"1.weight": GOOD["1.weight"].byte()}, TypeError, ["True = kept", "torch.uint8"]),
        ({"1.weight": [[True] * 4] * 3}, TypeError, ["'1.weight' is list"]),
        ([GOOD["1.weight"]], TypeError, ["masks are a dict of parameter name -> bool tensor; got list"]),
    ],
)
def test_masks(run: Callable[[nn.Module, Any], object], masks: Any, error: type[Exception], words: list[str]) -> None:
    net = model()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(error) as found:
        run(net, masks)
    assert all(w in str(found.value) for w in words), str(found.value)
    assert all(torch.equal(v, before[n]) for n, v in net.state_dict().items())


@pytest.mark.parametrize("run", [wb.sparsity, wb.compression, wb.collapsed])
def test_masks_without_a_model(run: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=r"'a' is torch.float32. Use mask.bool"):
        run({"a": torch.ones(2)})
    with pytest.raises(TypeError, match="masks are a dict of parameter name -> bool tensor; got Tensor"):
        run(torch.ones(2, dtype=torch.bool))


@pytest.mark.parametrize("run", [wb.sparsity, wb.compression])
def test_no_masks_at_all(run: Callable[[Any], object]) -> None:
    with pytest.raises(ValueError, match=r"masks cover at least one weight; got none. Use wb.dense\(model\)"):
        run({})


@pytest.mark.parametrize(
    ("within", "error", "words"),
    [
        ({"a": torch.ones(4, dtype=torch.bool)}, ValueError, "'b' has shape (6,), got nothing"),
        ({"a": torch.ones(4).bool(), "b": torch.ones(5).bool()}, ValueError, "'b' has shape (6,), got torch.bool (5,)"),
        (
            {"a": torch.ones(4), "b": torch.ones(6)},
            TypeError,
            "masks are bool tensors, True = kept; 'a' is torch.float32",
        ),
        ([1], TypeError, "masks are a dict of parameter name -> bool tensor; got list"),
    ],
)
def test_within(within: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as found:
        wb.keep_top(SCORES, 0.9, within=within)
    assert words in str(found.value)


def test_budgets_that_the_masks_cannot_meet() -> None:
    within = wb.keep_top(SCORES, 0.8)
    with pytest.raises(ValueError, match=r"stays removed; 2 are left within the masks.*keeps 5. Pass a higher"):
        wb.keep_top(SCORES, 0.5, within=within)
    lopsided = {"a": torch.zeros(4, dtype=torch.bool), "b": torch.ones(6, dtype=torch.bool)}
    with pytest.raises(ValueError, match=r"0 of 'a' are left within the masks"):
        wb.keep_top(SCORES, 0.5, allocation="layer", within=lopsided)


# allocations


@pytest.mark.parametrize(
    ("densities", "words"),
    [
        ({"a": 0.5}, "names each layer once, a, b; missing or unknown: b"),
        ({"a": 0.5, "b": 0.5, "c": 1.0}, "missing or unknown: c"),
        ({"a": 1.5, "b": 0.0}, "densities, kept / all, in [0, 1]; got 1.5 for 'a'"),
        ({"a": float("nan"), "b": 0.0}, "in [0, 1]; got nan for 'a'"),
        ({"a": 0.0, "b": 0.1}, "the densities remove 0.94, sparsity is 0.5. Pass sparsity=0.94"),
        ({"a": 1.0, "b": 0.0}, "the densities remove 0.6, sparsity is 0.5. Pass sparsity=0.6"),
    ],
)
@pytest.mark.parametrize("rounds", [None, 1, 3])
def test_densities(densities: dict[str, float], words: str, rounds: int | None) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 3)

    def run() -> None:
        if rounds is None:
            wb.keep_top(SCORES, 0.5, allocation=densities)
        else:
            named = {f"{name}.weight": d for name, d in densities.items()}
            wb.find_masks(Two(), None, "magnitude", 0.5, rounds=rounds, allocation=named)

    with pytest.raises(ValueError) as found:
        run()
    assert words in str(found.value).replace(".weight", "")


def test_global_has_no_budgets() -> None:
    with pytest.raises(ValueError, match='"global" has no layer budgets: all scores compete'):
        budgets({"a": (4,)}, 0.5, "global")


# the rest


@pytest.mark.parametrize(
    ("run", "error", "words"),
    [
        (lambda: wb.find_masks(model(), BATCH, "snip", 0.5, rounds=0), ValueError, "rounds is a whole number of at"),
        (lambda: wb.find_masks(model(), BATCH, "snip", 0.5, rounds=2.5), TypeError, "got 2.5 (float)"),
        (lambda: wb.critical_iterated(model(), BATCH, "snip", rate=0), ValueError, "rate is the share of what is left"),
        (lambda: wb.critical_iterated(model(), BATCH, "snip", rate=True), ValueError, "in (0, 1); got True"),
        (lambda: wb.latency(model(), BATCH.inputs, warmup=-1), ValueError, "warmup is a whole number of at least 0"),
        (
            lambda: wb.score(model(), None, "random", seed=-1),
            ValueError,
            "seed is a whole number of at least 0; got -1",
        ),
        (lambda: wb.score(model(), None, "random", seed=0.5), TypeError, "got 0.5 (float)"),
        (lambda: wb.make("vgg", wb.load("digits"), seed="a"), TypeError, "seed is a whole number"),
        (lambda: wb.latency(model(), BATCH.inputs, repeats=1), ValueError, "repeats is a whole number of at least 2"),
        (lambda: wb.latency(model(), BATCH.inputs, threads=0), ValueError, "threads is a whole number of at least 1"),
        (lambda: wb.score(model(), BATCH, "snip", exclude=["9"]), ValueError, "['9'] match none. Prunable here: 1.wei"),
        (lambda: wb.score(model(), BATCH, "snip", exclude="*"), ValueError, "has none outside exclude=['*']"),
    ],
)
def test_other_arguments(run: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as found:
        run()
    assert words in str(found.value)


def test_an_unknown_name_of_the_package() -> None:
    with pytest.raises(AttributeError, match="module 'workbench' has no attribute 'skore'"):
        wb.skore  # noqa: B018


def test_a_ranking_names_its_layers() -> None:
    ranking = wb.rank(SCORES)
    assert isinstance(ranking, Ranking)
    with pytest.raises(ValueError, match="layer is one of a, b; got 'c'"):
        ranking.mask("c", 0.5)
