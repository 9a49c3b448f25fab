"""From scores to masks: exact, stable, nested; against torch's own pruning."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

import workbench as wb
from workbench.allocation import budgets, kept_count, on_the_way

SPARSITIES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 0.999)


def test_four_weights_by_hand() -> None:
    scores = {"a": torch.tensor([4.0, 1.0]), "b": torch.tensor([[2.0], [3.0]])}
    masks = wb.keep_top(scores, 0.5)
    assert masks["a"].tolist() == [True, False]
    assert masks["b"].tolist() == [[False], [True]]
    masks = wb.keep_top(scores, 0.75)
    assert masks["a"].tolist() == [True, False]
    assert masks["b"].tolist() == [[False], [False]]
    assert wb.keep_top(scores, 0.9)["a"].tolist() == [False, False]  # floor(4 * 0.9 + 1/2) = 4: nothing is left
    layer = wb.keep_top(scores, 0.5, allocation="layer")
    assert layer["a"].tolist() == [True, False]
    assert layer["b"].tolist() == [[False], [True]]
    split = wb.keep_top(scores, 0.25, allocation={"a": 0.5, "b": 1.0})
    assert split["a"].tolist() == [True, False]
    assert split["b"].tolist() == [[True], [True]]


def test_counts_are_exact_at_every_size() -> None:
    for n in [*range(1, 130), 255, 256, 257, 1000, 1023, 1024, 2047, 3333, 4095, 4096]:
        scores = {"a": torch.randn(n, generator=torch.Generator().manual_seed(n))}
        for sparsity in SPARSITIES:
            removed = math.floor(n * sparsity + 0.5)
            mask = wb.keep_top(scores, sparsity)["a"]
            assert n - int(mask.sum()) == removed == n - kept_count(n, sparsity)
            if 0 < removed < n:
                assert scores["a"][mask].min() >= scores["a"][~mask].max()


def test_equal_scores_are_kept_by_index() -> None:
    scores = {"a": torch.ones(5), "b": torch.ones(2, 2)}
    masks = wb.keep_top(scores, 1 / 3)
    assert masks["a"].all()
    assert masks["b"].tolist() == [[True, False], [False, False]]
    some = {"a": torch.tensor([1.0, 2.0, 1.0, 0.0, 1.0])}
    assert wb.keep_top(some, 0.4)["a"].tolist() == [True, True, True, False, False]
    zeros = {"a": torch.tensor([0.0, -0.0, 0.0, -0.0])}
    assert wb.keep_top(zeros, 0.5)["a"].tolist() == [True, True, False, False]


finite = st.floats(-10, 10, width=32) | st.sampled_from([0.0, -0.0, 1.0])
layers = st.lists(st.lists(finite, min_size=1, max_size=40), min_size=1, max_size=5)
fractions = st.floats(0, 1, exclude_max=True)


def as_scores(values: list[list[float]]) -> dict[str, torch.Tensor]:
    return {f"layer{i}": torch.tensor(v) for i, v in enumerate(values)}


def by_sorting(values: list[float], kept: int) -> list[bool]:
    """The definition, in plain Python: the first `kept` of the indices in stable descending order."""
    chosen = set(sorted(range(len(values)), key=lambda i: -values[i])[:kept])
    return [i in chosen for i in range(len(values))]


@settings(max_examples=150)
@given(layers, fractions)
def test_any_scores_against_plain_sorting(values: list[list[float]], sparsity: float) -> None:
    scores = as_scores(values)
    everything = [v for layer in values for v in layer]
    expected = by_sorting(everything, kept_count(len(everything), sparsity))
    assert torch.cat(list(wb.keep_top(scores, sparsity).values())).tolist() == expected
    budget = budgets({name: s.shape for name, s in scores.items()}, sparsity)
    masks = wb.keep_top(scores, sparsity, allocation="layer")
    for (name, mask), layer in zip(masks.items(), values, strict=True):
        assert mask.tolist() == by_sorting(layer, budget[name])


@settings(max_examples=100)
@given(layers, fractions, st.sampled_from(["global", "layer"]))
def test_a_ranking_gives_the_same_masks(values: list[list[float]], sparsity: float, allocation: str) -> None:
    scores = as_scores(values)
    ranking, masks = wb.rank(scores, allocation), wb.keep_top(scores, sparsity, allocation=allocation)
    for name, mask in ranking.masks(sparsity).items():
        assert torch.equal(mask, masks[name])
        assert torch.equal(mask, ranking.mask(name, sparsity))
    assert ranking.counts(sparsity) == {name: int(mask.sum()) for name, mask in masks.items()}
    kept = torch.cat([scores[name][mask] for name, mask in masks.items()])
    cut = ranking.cut(sparsity)
    assert cut == (float(kept.min()) if allocation == "global" and len(kept) else None)


@settings(max_examples=100)
@given(layers, layers, st.tuples(fractions, fractions), st.sampled_from(["global", "layer"]))
def test_within_nests(
    first: list[list[float]], second: list[list[float]], pair: tuple[float, float], allocation: str
) -> None:
    scores = as_scores(first)
    flat = [v for layer in second for v in layer]
    later = {name: torch.tensor([flat[i % len(flat)] for i in range(len(s))]) for name, s in scores.items()}
    low, high = sorted(pair)
    before = wb.keep_top(scores, low, allocation=allocation)
    after = wb.keep_top(later, high, allocation=allocation, within=before)
    total = sum(len(s) for s in scores.values())
    assert sum(int(m.sum()) for m in after.values()) == kept_count(total, high)
    for name, mask in after.items():
        assert not bool((mask & ~before[name]).any())
        alive, dead = later[name][mask], later[name][before[name] & ~mask]
        if allocation == "layer" and len(alive) and len(dead):
            assert alive.min() >= dead.max()


sizes = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 500), min_size=1)


def lines(sizes: dict[str, int]) -> dict[str, tuple[int]]:
    """Layers of these sizes, as shapes."""
    return {name: (size,) for name, size in sizes.items()}


@settings(max_examples=200)
@given(sizes, fractions, st.integers(0, 3))
def test_layer_budgets_are_exact_and_nest(sizes: dict[str, int], sparsity: float, fewer: int) -> None:
    total = sum(sizes.values())
    kept = budgets(lines(sizes), sparsity)
    assert sum(kept.values()) == kept_count(total, sparsity)
    density = sum(kept.values()) / total
    assert all(abs(kept[name] - size * density) <= max(1, len(sizes) / 2) for name, size in sizes.items())
    less = max(sum(kept.values()) - fewer, 1) if sum(kept.values()) else 0
    if less:
        smaller = budgets(lines(sizes), 1 - less / total)
        assert all(smaller[name] <= kept[name] for name in sizes)


def webster(total: int, sizes: dict[str, int]) -> dict[str, int]:
    """The rule written out: hand the weights out one by one, to the lowest (kept + 1/2) / size."""
    kept = dict.fromkeys(sizes, 0)
    for _ in range(total):
        name = min((n for n in sizes if kept[n] < sizes[n]), key=lambda n: (kept[n] + 0.5) / sizes[n])
        kept[name] += 1
    return kept


@settings(max_examples=100)
@given(sizes, fractions)
def test_layer_budgets_against_the_rule_written_out(sizes: dict[str, int], sparsity: float) -> None:
    assert budgets(lines(sizes), sparsity) == webster(kept_count(sum(sizes.values()), sparsity), sizes)


@settings(max_examples=100)
@given(sizes, st.lists(st.floats(0, 1), min_size=8, max_size=8), st.integers(1, 30))
def test_densities_come_down_together(sizes: dict[str, int], values: list[float], rounds: int) -> None:
    densities = dict(zip(sizes, values, strict=False))
    total = sum(sizes.values())
    density = sum(sizes[n] * densities[n] for n in sizes) / total
    if not 1e-9 < density < 1:
        return
    before = sizes
    for k in range(1, rounds):
        now = 1 - density ** (k / rounds)
        shares = on_the_way(sizes, now, densities)
        kept = budgets(lines(sizes), now, shares)
        assert sum(kept.values()) == kept_count(total, now)
        assert all(kept[n] <= before[n] for n in sizes)
        before = kept
    final = budgets(lines(sizes), 1 - density, densities)
    assert all(final[n] <= before[n] for n in sizes if densities[n] > 0)


def random_model(seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 7, 3), nn.ReLU(), nn.Conv2d(7, 5, 3), nn.Flatten(), nn.Linear(80, 10))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9, 0.99])
def test_global_magnitude_equals_torch_prune(seed: int, sparsity: float) -> None:
    model = random_model(seed)
    scores = wb.score(model, None, "magnitude")
    masks = wb.keep_top(scores, sparsity)
    modules = [m for m in model if isinstance(m, nn.Conv2d | nn.Linear)]
    removed = math.floor(sum(s.numel() for s in scores.values()) * sparsity + 0.5)
    prune.global_unstructured([(m, "weight") for m in modules], prune.L1Unstructured, amount=removed)
    for mask, module in zip(masks.values(), modules, strict=True):
        assert torch.equal(mask, module.weight_mask.bool())


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
def test_layer_magnitude_equals_torch_prune(sparsity: float) -> None:
    model = random_model(0)
    masks = wb.keep_top(wb.score(model, None, "magnitude"), sparsity, allocation="layer")
    for name, mask in masks.items():
        module = model.get_submodule(name.removesuffix(".weight"))
        amount = mask.numel() - int(mask.sum())
        assert abs(amount - mask.numel() * sparsity) <= 1
        prune.l1_unstructured(module, "weight", amount=amount)
        assert torch.equal(mask, module.weight_mask.bool())


def test_float_types_are_compared_without_loss() -> None:
    double = torch.tensor([1 + 1e-12, 2.0], dtype=torch.float64)
    scores = {"half": torch.tensor([1.0, 3.0], dtype=torch.bfloat16), "double": double}
    masks = wb.keep_top(scores, 0.25)
    assert masks["half"].tolist() == [False, True]
    assert masks["double"].tolist() == [True, True]
    assert all(mask.dtype == torch.bool for mask in masks.values())


@pytest.mark.parametrize("allocation", ["global", "layer"])
def test_rounds_keep_the_exponential_schedule_and_nest(digits: wb.Task, allocation: str) -> None:
    model = wb.make("vgg", digits)
    masks = wb.find_masks(model, None, "synflow", 0.99, rounds=7, allocation=allocation)
    seen = [found.masks for found in wb.rounds(model, None, "synflow", 0.99, rounds=7, allocation=allocation)]
    n = sum(m.numel() for m in masks.values())
    assert [sum(int(m.sum()) for m in ms.values()) for ms in seen] == [
        n - math.floor(n * (1 - 0.01 ** (k / 7)) + 0.5) for k in range(1, 8)
    ]
    for before, after in itertools.pairwise(seen):
        assert all(not bool((after[name] & ~before[name]).any()) for name in after)
    assert all(torch.equal(seen[-1][name], masks[name]) for name in masks)


def test_many_rounds_of_layer_budgets(digits: wb.Task) -> None:
    """Rounding by largest remainder can hand a layer one weight more at a smaller total; then rounds could not nest."""
    masks = wb.find_masks(wb.make("vgg", digits), None, "magnitude", 0.999, rounds=100, allocation="layer")
    assert wb.sparsity(masks) == pytest.approx(0.999, abs=1e-5)


def test_a_dict_of_densities_in_rounds(moons: wb.Task) -> None:
    model = wb.make("lenet-300-100", moons)
    densities = {"fc1.weight": 1.0, "fc2.weight": 0.01, "fc3.weight": 0.5}
    sparsity = 1 - (600 + 300 + 100) / 30800
    masks = wb.find_masks(model, None, "magnitude", sparsity, rounds=5, allocation=densities)
    assert {name: int(m.sum()) for name, m in masks.items()} == {
        "fc1.weight": 600,
        "fc2.weight": 300,
        "fc3.weight": 100,
    }
    none = {"fc1.weight": 0.0, "fc2.weight": 0.01, "fc3.weight": 0.0}
    masks = wb.find_masks(model, None, "magnitude", 1 - 300 / 30800, rounds=5, allocation=none)
    assert {name: int(m.sum()) for name, m in masks.items()} == {"fc1.weight": 0, "fc2.weight": 300, "fc3.weight": 0}


def test_excluded_layers_are_in_no_mask(tiny: nn.Module, digits: wb.Task) -> None:
    batch = digits.batch(32)
    for criterion in wb.criteria():
        masks = wb.find_masks(tiny, batch, criterion, 0.9, rounds=2, exclude=["9"])
        assert list(masks) == ["0.weight", "4.weight"]
        assert wb.sparsity(masks) == pytest.approx(0.9, abs=1e-2)
    assert list(wb.dense(tiny, exclude=["0", "4"])) == ["9.weight"]


def test_masks_on_a_model_by_hand() -> None:
    model = nn.Linear(2, 2)
    masks = {"weight": torch.tensor([[True, False], [False, True]])}
    nn.init.constant_(model.weight, float("nan"))
    wb.apply_masks_(model, masks)
    assert model.weight[0, 1] == 0
    assert model.weight[0, 0].isnan()
    wb.mask_grads_(model, masks)  # without gradients there is nothing to do
    model(torch.ones(1, 2)).sum().backward()
    wb.mask_grads_(model, masks)
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("make", "moments"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), ["momentum_buffer"]),
        (lambda p: torch.optim.Adam(p, lr=0.1), ["exp_avg", "exp_avg_sq"]),
        (lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True), ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"]),
    ],
)
def test_moments_of_dead_weights_are_cleared(make: Callable[..., torch.optim.Optimizer], moments: list[str]) -> None:
    model = nn.Linear(3, 2)
    optimizer = make(model.parameters())
    wb.reset_state_(optimizer, model, wb.dense(model))  # nothing yet
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
    masks = {"weight": torch.tensor([[True, False, True], [False, True, True]])}
    before = {name: optimizer.state[model.weight][name].clone() for name in moments}
    steps = [v.clone() for v in optimizer.state[model.weight].values() if isinstance(v, torch.Tensor) and v.ndim == 0]
    wb.reset_state_(optimizer, model, masks)
    for name in moments:
        assert torch.equal(optimizer.state[model.weight][name], before[name] * masks["weight"])
        assert before[name].all()
    after = [v for v in optimizer.state[model.weight].values() if isinstance(v, torch.Tensor) and v.ndim == 0]
    assert all(torch.equal(a, b) for a, b in zip(steps, after, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_masks_of_the_cpu() -> None:
    scores = {"a": torch.randn(300, 7), "b": torch.randn(50).round()}
    there = {name: s.cuda() for name, s in scores.items()}
    for allocation in ("global", "layer"):
        here = wb.keep_top(scores, 0.77, allocation=allocation)
        found = wb.keep_top(there, 0.77, allocation=allocation, within=None)
        ranked = wb.rank(there, allocation).masks(0.77)
        assert all(torch.equal(here[n], found[n].cpu()) and torch.equal(here[n], ranked[n].cpu()) for n in here)


def test_numpy_sparsities() -> None:
    assert int(wb.keep_top({"a": torch.arange(10.0)}, np.float64(0.3))["a"].sum()) == 7


def test_rounds_are_lazy_and_leave_the_model_bit_equal(tiny: nn.Module, digits: wb.Task) -> None:
    batch, before = digits.batch(16), {name: value.clone() for name, value in tiny.state_dict().items()}
    random_state, kept = torch.get_rng_state(), wb.dense(tiny)
    tiny.train()
    run = wb.rounds(tiny, batch, "snip", 0.9, rounds=5)
    for k, scores, masks in run:
        assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())
        assert all(module.training for module in tiny.modules())
        assert all(p.requires_grad and p.grad is None for p in tiny.parameters())
        assert torch.equal(torch.get_rng_state(), random_state)
        expected = wb.score(tiny, batch, "snip", masks=kept)
        assert all(torch.equal(value, expected[name]) for name, value in scores.items())
        kept = masks
        if k == 3:
            break
    run.close()
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())
    first = next(wb.rounds(tiny, batch, "snip", 1 - 0.1 ** (3 / 5), rounds=1)).masks
    assert wb.sparsity(first) == wb.sparsity(kept)  # round 3 of 5 keeps 0.1 ** (3 / 5)


def test_a_model_that_changes_between_rounds_is_scored_as_it_is_then(tiny: nn.Module) -> None:
    run = wb.rounds(tiny, None, "magnitude", 0.9, rounds=2)
    next(run)
    with torch.no_grad():
        tiny[0].weight.mul_(2)
    changed = next(run).scores["0.weight"]
    assert float(changed.max()) == float(tiny[0].weight.detach().abs().max())


def test_wrong_arguments_of_rounds_are_told_at_once(tiny: nn.Module) -> None:
    for wrong in ({"sparsity": 10}, {"sparsity": 0.5, "allocation": "layers"}, {"sparsity": 0.5, "rounds": 0}):
        with pytest.raises(ValueError, match="got"):
            wb.rounds(tiny, None, "magnitude", **wrong)
