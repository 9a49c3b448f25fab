"""Overlap and rank correlation against enumeration, draws and pencil."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

import workbench as wb
from workbench.metrics.agreement import agreement, chance, jaccard, rank_correlation


def kept(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def test_jaccard_by_hand() -> None:
    a = {"x": kept(1, 1, 0), "y": kept(1, 0)}
    b = {"y": kept(1, 1), "x": kept(0, 1, 0)}  # in another order
    assert jaccard(a, b) == 2 / 4
    assert jaccard(a, a) == 1
    assert jaccard({"x": kept(1, 0)}, {"x": kept(0, 1)}) == 0
    assert math.isnan(jaccard({"x": kept(0)}, {"x": kept(0)}))


@pytest.mark.parametrize(("total", "first", "second"), [(6, 2, 3), (5, 5, 2), (5, 0, 2), (6, 5, 4), (1, 1, 1)])
def test_chance_over_all_pairs_of_sets(total: int, first: int, second: int) -> None:
    overlaps = sorted(
        len(set(a) & set(b)) / len(set(a) | set(b))
        for a in itertools.combinations(range(total), first)
        for b in itertools.combinations(range(total), second)
    )
    found = chance(total, first, second)
    assert found.mean == pytest.approx(sum(overlaps) / len(overlaps), abs=1e-12)
    assert found.low == pytest.approx(overlaps[max(math.ceil(0.025 * len(overlaps)) - 1, 0)])
    assert found.high == pytest.approx(overlaps[math.ceil(0.975 * len(overlaps)) - 1])


def test_random_masks_overlap_as_chance_says() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 10))
    masks = [wb.keep_top(wb.score(model, None, "random", seed=seed), 0.9) for seed in range(40)]
    overlaps = torch.tensor([jaccard(a, b) for a, b in itertools.combinations(masks, 2)])
    expected = chance(900, 90, 90)
    assert float(overlaps.mean()) == pytest.approx(expected.mean, abs=0.003)
    inside = (overlaps >= expected.low) & (overlaps <= expected.high)
    assert 0.93 < float(inside.float().mean()) < 0.99


def test_chance_of_nothing_and_of_too_much() -> None:
    assert math.isnan(chance(3, 0, 0).mean)
    with pytest.raises(ValueError, match=r"at most 3; got 4"):
        chance(3, 4, 1)
    with pytest.raises(ValueError, match="total is a whole number"):
        chance(0, 0, 0)


def test_the_table_separates_layers_from_weights() -> None:
    a = {"x": kept(1, 1, 1, 1), "y": kept(0, 0, 0, 0)}
    b = {"x": kept(1, 1, 1, 1), "y": kept(0, 0, 0, 0)}
    table = agreement(a, b)
    assert list(table.index) == ["x", "y", "all layers", "all layers, at these densities"]
    assert table.loc["x", "overlap"] == table.loc["x", "chance"] == 1
    assert table.loc["y", ["overlap", "chance"]].isna().all()
    assert table.loc["all layers", "chance"] == pytest.approx(chance(8, 4, 4).mean)
    assert table.loc["all layers, at these densities", "chance"] == 1  # the densities alone explain all of it
    c = {"x": kept(1, 1, 0, 0), "y": kept(1, 1, 0, 0)}
    d = {"x": kept(0, 1, 1, 0), "y": kept(1, 0, 0, 1)}
    table = agreement(c, d)
    assert table["both"].tolist() == [1, 1, 2, 2]
    assert table.loc["all layers, at these densities", "chance"] == pytest.approx(2 / 6)  # 1 + 1 in common of 4 + 4 - 2


def test_rank_correlation_by_hand() -> None:
    a = {"x": torch.tensor([1.0, 2.0]), "y": torch.tensor([[3.0]])}
    assert rank_correlation(a, {"y": torch.tensor([[-3.0]]), "x": torch.tensor([-1.0, -2.0])}) == -1
    # Ranks 1, 2.5, 2.5 against 1, 2, 3: cov = 1.5, deviations of squares 1.5 and 2, so 1.5 / sqrt(3).
    tied = {"x": torch.tensor([0.0, 1.0]), "y": torch.tensor([[1.0]])}
    assert rank_correlation(tied, a) == pytest.approx(math.sqrt(3) / 2)
    assert math.isnan(rank_correlation(a, {"x": torch.zeros(2), "y": torch.zeros(1, 1)}))


@pytest.mark.parametrize("other", [{"x": torch.zeros(3)}, {"x": torch.zeros(2), "y": torch.zeros(1)}, {}])
def test_other_networks_are_refused(other: dict[str, Tensor]) -> None:
    scores = {"x": torch.zeros(2)}
    with pytest.raises(ValueError, match=r"same model|Score a model first"):
        rank_correlation(scores, other)
    if other:
        with pytest.raises(ValueError, match="compared on one network"):
            jaccard({"x": kept(1, 0)}, {name: value.bool() for name, value in other.items()})
