"""PHEW's random walks: paths, chances, kernels and flattened maps, masks, and what is refused."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

import workbench as wb
from workbench.criteria.phew import phew  # noqa: F401  (importing registers the criterion)


def batch_of(*shape: int) -> wb.Batch:
    return wb.Batch(torch.ones(1, *shape), torch.zeros(1, dtype=torch.int64))


def mlp(*sizes: int) -> nn.Sequential:
    draw = torch.Generator().manual_seed(0)
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    for layer in layers:
        layer.weight.data = torch.randn(layer.weight.shape, generator=draw)
    return nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())][:-1])


def test_the_first_walk_is_a_path_and_scores_highest() -> None:
    model = mlp(5, 7, 6, 3)
    for seed in range(20):
        scores = list(wb.score(model, batch_of(5), "phew", seed=seed).values())
        steps = [torch.nonzero(score == 1).tolist() for score in scores]
        assert [len(step) for step in steps] == [1, 1, 1]
        (first,), (second,), (third,) = steps
        assert (first[0], second[0]) == (second[1], third[1])


def test_chances_are_in_proportion_to_magnitude() -> None:
    """The first step of 2,000 walks: |w| over the sum of those of the same input, over the number of inputs."""
    model = mlp(2, 3)
    model[0].weight.data = torch.tensor([[1.0, -2.0], [-2.0, 2.0], [3.0, 0.0]])
    draws = 2000
    first = [wb.score(model, batch_of(2), "phew", seed=s, walks=1)["0.weight"] == 1 for s in range(draws)]
    count = torch.stack(first).double().sum(0)
    chance = torch.tensor([[1 / 12, 1 / 4], [1 / 6, 1 / 4], [1 / 4, 0]], dtype=torch.float64)
    assert bool(((count - draws * chance).abs() <= 4 * (draws * chance * (1 - chance)).sqrt()).all())


def test_what_no_walk_visits_is_ranked_by_magnitude() -> None:
    model = mlp(4, 6, 3)
    scores = wb.score(model, batch_of(4), "phew", walks=1)
    largest = max(float(w.detach().abs().max()) for w in wb.prunable(model).values())
    for name, score in scores.items():
        weight = model.get_parameter(name).detach().double()
        torch.testing.assert_close(score[score < 1], (weight.abs() / largest - 1)[score < 1])
        assert int((score == 1).sum()) == 1


def test_kernels_and_flattened_maps() -> None:
    """Only one path has weights, through a kernel's corner and the last place of a map of the second channel."""
    model = nn.Sequential(
        nn.Conv2d(2, 3, 2, bias=False), nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 2)
    )
    with torch.no_grad():
        for weight in wb.prunable(model).values():
            weight.zero_()
        model[0].weight[1, 0, 1, 0] = -1
        model[4].weight[1, 7] = 2  # channel 1 of the map holds the inputs 4 to 7
        model[4].weight[0, 8] = 5  # channel 2 has no way in
    scores = wb.score(model, batch_of(2, 5, 5), "phew", walks=100)
    visited = {name: torch.nonzero(score > 0).tolist() for name, score in scores.items()}
    assert visited == {"0.weight": [[1, 0, 1, 0]], "4.weight": [[1, 7]]}
    assert float(scores["4.weight"][0, 8]) == 0  # the largest of those not visited


def test_walks_keep_to_the_masks() -> None:
    model, task = mlp(6, 8, 8, 4), batch_of(6)
    masks = wb.keep_top(wb.score(model, None, "random"), 0.6)
    for name, score in wb.score(model, task, "phew", masks=masks).items():
        assert bool((score[~masks[name]] == -1).all())
        assert bool((score[masks[name]] > -1).all())


def test_kept_weights_lie_on_paths(digits: wb.Task) -> None:
    """Cut between two walks, nothing is kept that no path uses."""
    model = wb.make("lenet-300-100", digits)
    scores = wb.score(model, None, "phew")
    flat = torch.cat([s.reshape(-1) for s in scores.values()])
    border = float(flat.sort(descending=True).values[2000])
    masks = {name: score > border for name, score in scores.items()}
    reached = torch.ones(64, dtype=torch.bool)
    for mask in masks.values():
        assert bool(mask.any(0)[~reached].logical_not().all())
        reached = mask[:, reached].any(1)
    wanted = torch.ones(10, dtype=torch.bool)
    for mask in reversed(masks.values()):
        assert bool(mask.any(1)[~wanted].logical_not().all())
        wanted = mask[wanted].any(0)


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Custom(), r"'the model' \(Custom\)"),
        (nn.Sequential(nn.Linear(4, 4), Custom()), r"'1' \(Custom\)"),
        (nn.Sequential(nn.Conv1d(4, 4, 1, groups=2), nn.Conv1d(4, 4, 1)), r"'0' \(Conv1d\)"),
        (nn.Sequential(nn.ConvTranspose1d(4, 4, 1)), r"'0' \(ConvTranspose1d\)"),
        (nn.Sequential(nn.Linear(4, 3), nn.Linear(4, 3)), r"'1' \(Linear\)"),
        (nn.Sequential(nn.Conv1d(2, 4, 1), nn.Conv1d(8, 4, 1)), r"'1' \(Conv1d\)"),
    ],
)
def test_what_is_no_chain_is_named(model: nn.Module, name: str) -> None:
    with pytest.raises(ValueError, match=rf"phew walks through an nn.Sequential .*; got {name}. Use another criterion"):
        wb.score(model, batch_of(4, 4), "phew")


def test_the_number_of_walks_is_checked() -> None:
    with pytest.raises(ValueError, match="walks is a whole number of at least 1; got 0"):
        wb.score(mlp(2, 2), batch_of(2), "phew", walks=0)


def test_walks_repeat_under_a_seed(digits: wb.Task) -> None:
    model = wb.make("vgg", digits)
    first, again, other = (wb.score(model, None, "phew", seed=s) for s in (1, 1, 2))
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not torch.equal(first["conv8.weight"], other["conv8.weight"])
    assert math.isclose(max(float(s.max()) for s in first.values()), 1)
