"""The functions behind the recorded loss and units that notebooks call themselves."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.criteria.curvature import curvature_matrix, flat
from workbench.experiments.loss import PENALTY, Minimum, at_minimum, cuts, one_by_one, rise
from workbench.experiments.units import drawn, toy_network, unit_scores
from workbench.models import prunable
from workbench.types import Batch


@pytest.fixture(scope="module")
def minimum() -> Minimum:
    return at_minimum(0, width=4, points=60)


def test_the_minimum_is_one(minimum: Minimum) -> None:
    assert minimum.facts["largest slope"] < 1e-8
    assert minimum.facts["lowest eigenvalue"] > 0
    assert rise(minimum, flat(dict(prunable(minimum.model)))) == 0


def test_at_the_minimum_taylor_is_magnitude(minimum: Minimum) -> None:
    table = one_by_one(minimum)
    w = flat(dict(prunable(minimum.model)))
    taylor = torch.tensor(table.loc[table["criterion"] == "taylor", "predicted rise"].to_list())
    torch.testing.assert_close(taylor, (PENALTY * w.square()).to(taylor), rtol=1e-4, atol=1e-9)


def test_every_way_to_cut_removes_as_many(minimum: Minimum) -> None:
    w = flat(dict(prunable(minimum.model)))
    left = cuts(minimum, 0.5)
    assert {name: int((row == 0).sum()) for name, row in left.items()} == dict.fromkeys(
        left, math.floor(len(w) / 2 + 0.5)
    )
    assert w[left["magnitude"] == 0].abs().max() <= w[left["magnitude"] != 0].abs().min()


def test_the_correction_for_one_weight_is_that_of_obs(minimum: Minimum) -> None:
    weights = dict(prunable(minimum.model))
    w = flat(weights)
    matrix = curvature_matrix(minimum.model, weights, minimum.batch, torch.nn.functional.cross_entropy, "gauss-newton")
    inverse = torch.linalg.inv(matrix.detach() + PENALTY * torch.eye(len(w)).double())
    q = int(w.abs().argmin())
    corrected = cuts(minimum, 1 / len(w))["magnitude, corrected"]
    torch.testing.assert_close(corrected, w - w[q] / inverse[q, q] * inverse[:, q], rtol=1e-6, atol=1e-9)


def test_a_larger_draw_holds_the_smaller_ones() -> None:
    targets = torch.tensor([0, 1] * 10)
    few, more = drawn(targets, 2, seed=3), drawn(targets, 5, seed=3)
    assert targets[few].tolist() == [0, 0, 1, 1]
    assert {*few.tolist()} <= {*more.tolist()}


@pytest.mark.parametrize(("criterion", "power"), [("l1", 1), ("lrp", 1), ("taylor", 2), ("gradient", 2)])
def test_units_of_every_layer_are_on_one_scale(criterion: str, power: int) -> None:
    model, task = toy_network("moons", 0, 20)
    inputs, targets = task.take("train")
    scores = unit_scores(model, Batch(inputs, targets), criterion)
    assert [round(float(score.norm(power)), 4) for score in scores.values()] == [1.0] * 3
