"""Networks by name, what fits what, and the rule of what can be pruned."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import workbench as wb
from workbench.models import fits, fitting

WEIGHTS = {
    # weights of convolutions and linear layers, counted by hand from the papers' tables (ten classes)
    ("lenet-300-100", "mnist"): 784 * 300 + 300 * 100 + 100 * 10,
    ("lenet-5", "mnist"): 25 * 6 + 25 * 6 * 16 + 400 * 120 + 120 * 84 + 84 * 10,
    ("vgg", "digits"): 9 * (16 + 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128) + 1280,
    ("vgg-16", "cifar10"): 9
    * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 2 * 256 * 256 + 256 * 512 + 5 * 512 * 512)
    + 5120,
    ("resnet-20", "cifar10"): 9 * (3 * 16 + 6 * 16**2 + 16 * 32 + 5 * 32**2 + 32 * 64 + 5 * 64**2) + 640,
    ("resnet-32", "cifar10"): 9 * (3 * 16 + 10 * 16**2 + 16 * 32 + 9 * 32**2 + 32 * 64 + 9 * 64**2) + 640,
    ("resnet-56", "cifar10"): 9 * (3 * 16 + 18 * 16**2 + 16 * 32 + 17 * 32**2 + 32 * 64 + 17 * 64**2) + 640,
}


@pytest.mark.parametrize(("name", "task"), list(WEIGHTS))
def test_prunable_weights_are_those_of_the_papers(name: str, task: str, tasks: dict[str, wb.Task]) -> None:
    model = wb.make(name, tasks[task])
    assert sum(w.numel() for w in wb.prunable(model).values()) == WEIGHTS[name, task]


def test_the_contract_of_the_small_vgg() -> None:
    assert WEIGHTS["vgg", "digits"] == 294_032
    assert {name for name, _ in WEIGHTS} == set(wb.networks())


def test_every_pair_fits_or_is_refused_with_the_pairs_that_do(tasks: dict[str, wb.Task]) -> None:
    seen = set()
    for task in tasks.values():
        assert fitting(task)
        for name in wb.networks():
            seen.add(fits(name, task))
            if fits(name, task):
                model = wb.make(name, task)
                assert model.network == name
                assert model.input_shape == task.shape
                with torch.no_grad():
                    assert model.eval()(task.batch(2).inputs).shape == (2, len(task.classes))
            else:
                with pytest.raises(ValueError, match=f"{name!r} takes .*; {task.name!r} has inputs of shape") as found:
                    wb.make(name, task)
                assert str(found.value).endswith(", ".join(fitting(task)))
    assert seen == {True, False}


@pytest.mark.parametrize(("name", "task"), list(WEIGHTS))
def test_width_multiplies_every_hidden_layer(name: str, task: str, tasks: dict[str, wb.Task]) -> None:
    """Twice the width: two times the weights that read inputs or give outputs, four times those between."""
    data = tasks[task]
    one, two = (list(wb.prunable(wb.make(name, data, width=width)).values()) for width in (1, 2))
    inner = [b.numel() / a.numel() for a, b in zip(one[1:-1], two[1:-1], strict=True)]
    assert inner == [4] * len(inner)
    assert two[0].numel() == 2 * one[0].numel()
    assert two[-1].numel() == 2 * one[-1].numel()
    narrow = wb.make(name, data, width=0.01).eval()
    with torch.no_grad():
        assert narrow(data.batch(2).inputs).shape == (2, len(data.classes))


@pytest.mark.parametrize("width", [0, -1, float("inf"), float("nan"), True, "2"])
def test_a_width_that_is_none_is_refused(width: object, digits: wb.Task) -> None:
    with pytest.raises(ValueError, match="width multiplies the network's channels, a number above 0; got"):
        wb.make("vgg", digits, width=width)  # type: ignore[arg-type]


def test_weights_depend_on_the_seed_alone(digits: wb.Task) -> None:
    state = torch.get_rng_state()
    first = wb.make("vgg", digits, seed=3)
    torch.rand(5)
    second, other = wb.make("vgg", digits, seed=3), wb.make("vgg", digits, seed=4)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert not torch.equal(first[0].weight, other[0].weight)
    torch.set_rng_state(state)
    wb.make("vgg", digits)
    assert torch.equal(torch.get_rng_state(), state)


def test_initial_weights_have_the_variance_of_he(digits: wb.Task) -> None:
    for name, weight in wb.prunable(wb.make("vgg", digits)).items():
        if weight.numel() > 4000:
            assert float(weight.detach().std()) == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.05), name


def test_outputs_at_the_start_are_of_order_one(network: Callable[..., tuple[nn.Module, wb.Task]]) -> None:
    for name in wb.networks():
        model, task = network(name)
        with torch.no_grad():
            spread = float(model(task.batch(8).inputs).std())
        assert 0.01 < spread < 100, name


def test_the_rule_of_prunable() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(5, 4)
            self.head = nn.Linear(4, 5)
            self.head.weight = self.words.weight  # tied: an embedding is not pruned
            self.one = nn.Linear(4, 4)
            self.two = nn.Linear(4, 4)
            self.two.weight = self.one.weight  # tied: counts once
            self.conv = nn.Conv1d(2, 2, 3)
            self.up = nn.ConvTranspose2d(2, 2, 3)
            self.norm = nn.LayerNorm(4)
            self.attention = nn.MultiheadAttention(4, 2)
            self.cross = nn.MultiheadAttention(4, 2, kdim=3, vdim=3)

    names = list(wb.prunable(Mixed()))
    assert names == [
        "one.weight",
        "conv.weight",
        "up.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "cross.q_proj_weight",
        "cross.k_proj_weight",
        "cross.v_proj_weight",
        "cross.out_proj.weight",
    ]
    assert set(names) < set(dict(Mixed().named_parameters()))


def test_exclude_takes_layers_parameters_and_wildcards(digits: wb.Task) -> None:
    model = wb.make("lenet-300-100", digits)
    assert list(wb.prunable(model, "fc1")) == ["fc2.weight", "fc3.weight"]
    assert list(wb.prunable(model, ["fc1.weight", "fc3"])) == ["fc2.weight"]
    assert list(wb.prunable(wb.make("resnet-20", digits), ["blocks.*"])) == ["conv.weight", "fc.weight"]
    with pytest.raises(
        ValueError, match=r"exclude names layers of the model; \['fc6'\] match none. Prunable here: fc1.weight"
    ):
        wb.prunable(model, ["fc6"])
    with pytest.raises(ValueError, match=r"at least one .* Sequential has none outside exclude=\['\*'\]"):
        wb.prunable(model, "*")


def test_a_model_on_its_own_is_a_layer() -> None:
    assert list(wb.prunable(nn.Linear(2, 3))) == ["weight"]
    assert list(wb.keep_top(wb.score(nn.Linear(2, 3), None, "magnitude"), 0.5)) == ["weight"]
