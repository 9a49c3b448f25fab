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


def test_the_first_two_walks_are_paths() -> None:
    """The first from the first input, the second, backward, from the first output; a weight of both has the score 1."""
    model = mlp(5, 7, 6, 3)
    for seed in range(20):
        scores = list(wb.score(model, batch_of(5), "phew", seed=seed, walks=2).values())
        firsts, seconds = ([torch.nonzero(score == value).tolist() for score in scores] for value in (1, 0.5))
        assert [len(steps) for steps in firsts] == [1, 1, 1]
        forward = [steps[0] for steps in firsts]
        backward = [(new or old)[0] for new, old in zip(seconds, firsts, strict=True)]
        assert forward[0][1] == 0
        assert backward[-1][0] == 0
        for path in (forward, backward):
            assert [output for output, _ in path[:-1]] == [source for _, source in path[1:]]


def test_walks_start_at_every_unit_in_turn() -> None:
    """Walks 0, 2, 4 leave the inputs 0, 1, 0, walks 1, 3, 5 the outputs 0, 1, 2; one step of walk 2 is a choice."""
    model = mlp(2, 3)
    model[0].weight.data = torch.tensor([[0.0, 1.0], [-1.0, 0.0], [0.0, 1e-12]])
    expected = torch.tensor([[-1, 5 / 6], [1, -1], [-1, 1 / 6]], dtype=torch.float64)
    torch.testing.assert_close(wb.score(model, batch_of(2), "phew", walks=6)["0.weight"], expected)


def near(count: Tensor, draws: int, chance: Tensor) -> bool:
    """Whether counts are within five standard deviations, and one, of what is expected."""
    return bool(((count - draws * chance).abs() <= 5 * (draws * chance * (1 - chance)).sqrt() + (chance > 0)).all())


@pytest.mark.parametrize(
    ("model", "weight", "forward", "backward"),
    [
        (
            mlp(2, 3),
            [[1.0, -2.0], [-2.0, 2.0], [3.0, 0.0]],
            [[1 / 6, 0], [1 / 3, 0], [1 / 2, 0]],
            [[1 / 3, 2 / 3], [0, 0], [0, 0]],
        ),
        (
            nn.Sequential(nn.Conv1d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(2, 2)),
            [[1.0, -3.0], [0.0, 1.0]],
            [[1 / 2, 3 / 8], [0, 1 / 8]],  # both places of the map have the same chance
            [[1 / 4, 3 / 4], [0, 0]],
        ),
    ],
    ids=["linear", "flattened"],
)
def test_chances_are_in_proportion_to_magnitude(
    model: nn.Sequential, weight: list[list[float]], forward: list[list[float]], backward: list[list[float]]
) -> None:
    """The first walk from the first input, the second from the first output, 1,000 times."""
    model[-1].weight.data = torch.tensor(weight)
    batch, draws = batch_of(1, 2) if len(model) > 1 else batch_of(2), 1000
    scores = [list(wb.score(model, batch, "phew", seed=s, walks=2).values())[-1] for s in range(draws)]
    there, back = (torch.tensor(chances, dtype=torch.float64) for chances in (forward, backward))
    assert near(torch.stack([score == 1 for score in scores]).sum(0), draws, there)
    assert near(torch.stack([score == 0.5 for score in scores]).sum(0), draws, back * (1 - there))


def visits(first: Tensor, second: Tensor, last: Tensor, walk: int) -> list[Tensor]:
    """The chances that a walk visits each weight of kernels, a layer behind maps of 3 places and a linear layer."""
    if walk % 2 == 0:
        at = torch.eye(2).double()[walk // 2 % 2]
        kernels = first * (at / first.sum((0, 2)))[None, :, None]
        at = kernels.sum((1, 2)).repeat_interleave(3) / 3
        middle = second * (at / second.sum(0))
        return [kernels, middle, last * (middle.sum(1) / last.sum(0))]
    at = torch.eye(3).double()[walk // 2 % 3]
    outer = last * (at / last.sum(1))[:, None]
    middle = second * (outer.sum(0) / second.sum(1))[:, None]
    at = middle.sum(0).reshape(3, 3).sum(1)
    return [first * (at / first.sum((1, 2)))[:, None, None], middle, outer]


def test_first_visits_are_those_of_the_markov_chain() -> None:
    """Eight walks, 1,000 times: walk t is the first on a weight with chance `p_t` times all `1 - p` of those before."""
    model = nn.Sequential(
        nn.Conv1d(2, 3, 2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(9, 4), nn.ReLU(), nn.Linear(4, 3)
    )
    draw, draws, walks = torch.Generator().manual_seed(3), 1000, 8
    for weight in wb.prunable(model).values():
        weight.data = torch.randn(weight.shape, generator=draw)
    scores = [list(wb.score(model, batch_of(2, 4), "phew", seed=s, walks=walks).values()) for s in range(draws)]
    strengths = [w.detach().abs().double() for w in wb.prunable(model).values()]
    unseen = [torch.ones_like(strength) for strength in strengths]
    for walk in range(walks):
        for layer, chance in enumerate(visits(*strengths, walk)):
            count = sum((score[layer] == 1 - walk / walks).double() for score in scores)
            assert isinstance(count, Tensor)
            assert near(count, draws, chance * unseen[layer]), (walk, layer)
            unseen[layer] *= 1 - chance


def test_a_layer_used_twice_is_walked_through_twice() -> None:
    """Forward from input 0 to 1 and 2, then backward from output 0 to 2 and 1."""
    layer = nn.Linear(3, 3)
    layer.weight.data = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    (score,) = wb.score(nn.Sequential(layer, nn.ReLU(), layer), batch_of(3), "phew", walks=2).values()
    assert score.tolist() == [[-1, -1, 0.5], [1, -1, -1], [-1, 1, -1]]


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
