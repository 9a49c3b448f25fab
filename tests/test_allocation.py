"""Allocations: numbers by hand, exact totals, nesting, and how names pass through the doors."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import workbench as wb
from workbench.allocation import ALLOCATIONS, allocations, budgets, kept_count

NAMES = [name for name in allocations() if name != "global"]
Shapes = dict[str, tuple[int, ...]]


def at(shapes: Shapes, kept: int, name: str) -> list[int]:
    """Budgets where `kept` weights are kept in all."""
    total = sum(math.prod(s) for s in shapes.values())
    return list(budgets(shapes, 1 - kept / total, name).values())


# by hand

THREE: Shapes = {"conv": (4, 2, 3, 3), "hidden": (10, 40), "fc": (5, 10)}  # 72, 400 and 50 weights


def test_er_by_hand() -> None:
    # densities e 6/8, e 50/400, e 15/50: shares 6 * 9 = 54, 50, 15; e = 1 keeps 119
    assert at(THREE, 119, "er") == [54, 50, 15]
    # e = 4/3 makes the convolution dense; then 72 + e (50 + 15), e = 2: 202
    assert at(THREE, 202, "er") == [72, 100, 30]


def test_erk_by_hand() -> None:
    # shares 4 + 2 + 3 + 3 = 12, 50, 15; e = 2: 154
    assert at(THREE, 154, "erk") == [24, 100, 30]
    # fc is dense from e = 50/15 on; 72 is reached at e = 6: with e = 5, 60 + 250 + 50
    assert at(THREE, 360, "erk") == [60, 250, 50]
    assert at(THREE, 522, "erk") == [72, 400, 50]


def test_igq_by_hand() -> None:
    # kept = S / (1 + F S): of 100 and 300 with F = 1/100: 50 and 75; F = 1/300: 75 and 150
    two: Shapes = {"a": (100,), "b": (15, 20)}
    assert at(two, 125, "igq") == [50, 75]
    assert at(two, 225, "igq") == [75, 150]
    assert at(two, 400, "igq") == [100, 300]
    assert at(two, 2, "igq") == [1, 1]


def test_uniform_plus_by_hand() -> None:
    # 72 + d 400 + max(d, 1/5) 50: d = 1/10 keeps 72 + 40 + 10, d = 1/2 keeps 72 + 200 + 25
    assert at(THREE, 122, "uniform+") == [72, 40, 10]
    assert at(THREE, 297, "uniform+") == [72, 200, 25]
    assert at(THREE, 82, "uniform+") == [72, 0, 10]
    assert at(THREE, 41, "uniform+") == [36, 0, 5]  # less than the exceptions need
    # without a convolution the last linear layer alone is an exception: d 400 + 10
    assert at({"hidden": (10, 40), "fc": (5, 10)}, 30, "uniform+") == [20, 10]


def test_smart_ratio_by_hand() -> None:
    four: Shapes = {"a": (10, 10), "b": (10, 10, 1), "c": (200, 1, 1), "fc": (10, 10)}
    # densities a 20, b 12, c 6 parts, that is 20, 12 and 12 weights; fc 30
    assert at(four, 30 + 44, "smart-ratio") == [20, 12, 12, 30]
    assert at(four, 30 + 88, "smart-ratio") == [40, 24, 24, 30]
    assert at(four, 30 + 100 + 2 * 72, "smart-ratio") == [100, 72, 72, 30]  # a is dense: the rest in proportion
    assert at(four, 450, "smart-ratio") == [100, 100, 200, 50]
    assert at(four, 20, "smart-ratio") == [0, 0, 0, 20]
    # divided by 1, 4 and 9: 20, 3 and 2/3 parts, that is 60, 9 and 4 weights
    assert at(four, 30 + 73, "smart-ratio-vgg") == [60, 9, 4, 30]


# laws

layer_shapes = st.one_of(
    st.tuples(*[st.integers(1, 12)] * 2),
    st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 5)),
    st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([(300, 784), (10, 100), (64, 3, 3, 3), (512, 512, 3, 3), (1, 1)]),
)
networks = st.lists(layer_shapes, min_size=1, max_size=8).map(lambda all: {f"l{k}": s for k, s in enumerate(all)})


@settings(max_examples=60, deadline=None)
@given(networks, st.data())
@pytest.mark.parametrize("name", NAMES)
def test_totals_are_exact_and_nest(name: str, shapes: Shapes, data: st.DataObject) -> None:
    sizes = {n: math.prod(s) for n, s in shapes.items()}
    total = sum(sizes.values())
    picks = data.draw(st.lists(st.integers(1, total), min_size=1, max_size=12))
    picks += [p - 1 for p in picks if p > 1] + [min(len(shapes), total), total]
    before = None
    for kept in sorted(set(picks), reverse=True):
        sparsity = 1 - kept / total
        found = budgets(shapes, sparsity, name)
        assert list(found) == list(shapes)
        assert sum(found.values()) == kept_count(total, sparsity)
        assert all(isinstance(k, int) and 0 <= k <= sizes[n] for n, k in found.items())
        if before is not None:
            assert all(found[n] <= before[n] for n in found)
        before = found


@pytest.mark.parametrize("name", NAMES)
def test_every_step_of_a_small_network_nests(name: str) -> None:
    shapes = {"conv": (3, 2, 3, 3), "twin": (3, 2, 3, 3), "deep": (4, 3, 1, 1), "hidden": (6, 4), "fc": (3, 6)}
    total = sum(math.prod(s) for s in shapes.values())
    steps = [budgets(shapes, removed / total, name) for removed in range(total)]
    for more, less in itertools.pairwise(steps):
        assert sorted(more[n] - less[n] for n in shapes) == [0, 0, 0, 0, 1]
    assert steps[0] == {n: math.prod(s) for n, s in shapes.items()}


@settings(max_examples=60, deadline=None)
@given(networks, st.floats(0, 1, exclude_max=True))
def test_densities_follow_the_formulas(shapes: Shapes, sparsity: float) -> None:
    """Where a layer is neither dense nor empty its numbers are within a weight or two of the paper's formula."""
    sizes = {n: math.prod(s) for n, s in shapes.items()}

    def spread(values: list[tuple[float, float, float]]) -> None:
        """`(lowest, highest)` factor that each layer's rounding allows: they overlap."""
        assert max(low for low, _, _ in values) <= min(high for _, high, _ in values) * (1 + 1e-9)

    for name, raw in (
        ("erk", {n: float(sum(s)) for n, s in shapes.items()}),
        ("er", {n: (1 / s[0] + 1 / s[1]) * sizes[n] for n, s in shapes.items()}),
    ):
        kept = budgets(shapes, sparsity, name)
        inner = [n for n in shapes if kept[n] < sizes[n]]
        if inner:
            spread([((kept[n] - 0.5) / raw[n], (kept[n] + 0.5) / raw[n], 0) for n in inner])
    kept = budgets(shapes, sparsity, "igq")
    inner = [n for n in shapes if 0 < kept[n] < sizes[n]]
    if inner:
        spread([(1 / (1 / (kept[n] - 0.5) - 1 / sizes[n]), 1 / (1 / (kept[n] + 0.5) - 1 / sizes[n]), 0) for n in inner])


# doors


def test_the_registry_names_its_sources() -> None:
    assert {"er", "erk", "igq", "layer", "smart-ratio", "smart-ratio-vgg", "uniform+"} <= set(NAMES)
    assert all(entry.source and entry.function.__doc__ for entry in ALLOCATIONS.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_doors_agree(name: str, digits: wb.Task) -> None:
    """`allocate`, `keep_top` by name and by dict, `rank` and `find_masks` keep the same numbers."""
    model = wb.make("vgg", digits)
    scores = wb.score(model, None, "magnitude")
    densities = wb.allocate(model, 0.97, name)
    masks = wb.keep_top(scores, 0.97, allocation=name)
    counts = {n: int(m.sum()) for n, m in masks.items()}
    assert sum(counts.values()) == kept_count(sum(m.numel() for m in masks.values()), 0.97)
    assert {n: d * masks[n].numel() for n, d in densities.items()} == pytest.approx(counts, abs=1e-9)
    for other in (
        wb.keep_top(scores, 0.97, allocation=densities),
        wb.rank(scores, name).masks(0.97),
        wb.find_masks(model, None, "magnitude", 0.97, allocation=name, rounds=5),
    ):
        assert all(torch.equal(other[n], mask) for n, mask in masks.items())
    assert wb.rank(scores, name).counts(0.97) == counts
    assert wb.allocate(model, 0.97, name, scores) == densities


@pytest.mark.parametrize("name", NAMES)
def test_rounds_nest_under_every_name(name: str, digits: wb.Task) -> None:
    model = wb.make("resnet-20", digits)
    seen = [found.masks for found in wb.rounds(model, None, "random", 0.99, rounds=20, allocation=name)]
    for before, after in itertools.pairwise(seen):
        assert all(not bool((after[n] & ~before[n]).any()) for n in after)


def test_global_densities_come_from_the_scores(digits: wb.Task) -> None:
    model = wb.make("lenet-300-100", digits)
    scores = wb.score(model, None, "magnitude")
    densities = wb.allocate(model, 0.9, "global", scores)
    masks = wb.keep_top(scores, 0.9)
    assert densities == {n: int(m.sum()) / m.numel() for n, m in masks.items()}
    again = wb.keep_top(scores, 0.9, allocation=densities)
    assert all(torch.equal(again[n], masks[n]) for n in masks)


def test_layers_of_an_allocation(digits: wb.Task) -> None:
    model = wb.make("lenet-300-100", digits)
    assert list(wb.allocate(model, 0.5, "erk", exclude=["fc3"])) == ["fc1.weight", "fc2.weight"]
    scores = wb.score(model, None, "magnitude", exclude=["fc1"])
    assert list(wb.allocate(model, 0.5, "erk", scores)) == ["fc2.weight", "fc3.weight"]


def test_what_an_allocation_cannot_do() -> None:
    model = nn.Linear(4, 2)
    with pytest.raises(ValueError, match=r'"global" has no layer budgets: .*; got no scores. Use .*scores=scores'):
        wb.allocate(model, 0.5, "global")
    with pytest.raises(ValueError, match=r"allocation is one of er, erk, .*; got 'erc'. Did you mean 'er"):
        wb.allocate(model, 0.5, "erc")
    with pytest.raises(ValueError, match=r"scores name prunable weights, weight; got 'fc'. Score this model"):
        wb.allocate(model, 0.5, "erk", {"fc": torch.ones(2)})
    channels = {"weight": torch.ones(2)}
    for name in ("er", "erk", "smart-ratio", "smart-ratio-vgg", "uniform+"):
        for run in (lambda: wb.keep_top(channels, 0.5, allocation=name), lambda: wb.rank(channels, name)):  # noqa: B023
            with pytest.raises(
                ValueError, match=r"weights' shapes \[out, in, ...\]; 'weight' got \(2,\). For scores of"
            ):
                run()
    for name in ("global", "igq", "layer"):
        assert int(wb.keep_top(channels, 0.5, allocation=name)["weight"].sum()) == 1
