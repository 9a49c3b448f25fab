"""Networks by name, what fits what, and the rule of what can be pruned."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from zoo import ZOO, Conv1D

import workbench as wb
from workbench.models import fits, fitting
from workbench.models.channels import by_channel, entries, whole
from workbench.models.running import logits
from workbench.models.watch import following

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
    # four blocks of queries and outputs, keys and values, a gated layer; and the head
    ("llama", "text"): 4 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 320) + 128 * 256,
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
                    outputs = logits(model.eval()(task.batch(2).inputs))
                assert (len(outputs), outputs.shape[-1]) == (2, len(task.classes))
            else:
                with pytest.raises(ValueError, match=f"{name!r} takes .*; {task.name!r} has inputs of shape") as found:
                    wb.make(name, task)
                assert str(found.value).endswith(", ".join(fitting(task)))
    assert seen == {True, False}


@pytest.mark.parametrize(("name", "task"), [pair for pair in WEIGHTS if pair[0] != "llama"])
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
            spread = float(logits(model(task.batch(8).inputs)).std())
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


class Mixture(nn.Module):
    """What users bring beside layers: stacked experts, low-rank factors, tables that are added, scales, a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 5)
        self.experts = nn.Parameter(torch.ones(3, 4, 5))
        self.block = nn.Module()
        self.block.down = nn.Parameter(torch.ones(2, 10))
        self.words = nn.Embedding(9, 4)
        self.norm = nn.LayerNorm((3, 4))
        self.pos_embed = nn.Parameter(torch.ones(1, 7, 4))
        self.cls_token = nn.Parameter(torch.ones(1, 2, 4))
        self.relative_position_bias_table = nn.Parameter(torch.ones(9, 2))
        self.gamma = nn.Parameter(torch.ones(4, 1, 1))
        self.attention = nn.MultiheadAttention(4, 2, bias=False, add_bias_kv=True)


def test_matrices_that_are_left_out_are_named_with_their_share() -> None:
    model = Mixture()
    assert list(wb.prunable(model)) == ["fc.weight", "attention.in_proj_weight", "attention.out_proj.weight"]
    total = 20 + 64 + 60 + 20
    assert wb.left_out(model) == {"experts": 60 / total, "block.down": 20 / total}
    assert wb.left_out(model, ["experts", "attention"]) == {"block.down": 20 / total}
    assert wb.left_out(model, ["block*"]) == {"experts": 60 / total}


def test_what_is_left_out_is_a_warning_where_masks_are_made_or_a_model_is_scored() -> None:
    model, batch = Mixture(), wb.Batch(torch.ones(2, 4), torch.zeros(2, dtype=torch.long))
    words = (
        r"Mixture 48.8% are in no known layer and stay whole: experts \(36.6%\), block.down \(12.2%\). Put them into"
    )
    for run in (
        lambda exclude: wb.score(model, batch, "magnitude", exclude=exclude),
        lambda exclude: wb.find_masks(model, batch, "random", 0.5, rounds=2, exclude=exclude),
        lambda exclude: wb.dense(model, exclude),
        lambda exclude: wb.allocate(model, 0.5, "erk", exclude=exclude),
    ):
        with pytest.warns(UserWarning, match=words) as seen:
            run(())
        assert len(seen) == 1
        assert "fc.weight" in run(iter(["experts", "block"]))  # chosen, and so no warning
    wb.prunable(model), wb.macs(wb.make("vgg", wb.load("digits", device="cpu")), torch.ones(1, 1, 8, 8))


@pytest.mark.parametrize("kind", ZOO)
def test_nothing_is_left_out_of_models_of_layers(kind: str) -> None:
    assert wb.left_out(ZOO[kind]()[0]) == {}


def test_nothing_is_left_out_of_the_workbench_s_own_networks(tasks: dict[str, wb.Task]) -> None:
    for name, task in WEIGHTS:
        assert wb.left_out(wb.make(name, tasks[task])) == {}


def test_a_weight_that_is_computed_is_excluded_by_the_name_it_is_used_by() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3), nn.Linear(3, 2))
    nn.utils.parametrizations.weight_norm(model[0])
    prune.random_unstructured(model[1], "weight", 0.5)
    assert wb.left_out(model) == {"0.parametrizations.weight.original1": 0.4, "1.weight_orig": 0.4}
    assert wb.left_out(model, ["0", "1.weight"]) == wb.left_out(model, ["0.weight", "1"]) == {}


def test_a_tied_weight_is_excluded_by_any_of_its_names() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    for name in ("0", "1", "1.weight"):
        assert list(wb.prunable(model, [name])) == ["2.weight"]


def test_the_weights_of_recurrent_layers_and_of_transformers_conv1d() -> None:
    assert list(wb.prunable(nn.LSTM(3, 4, bidirectional=True, proj_size=2))) == [
        "weight_ih_l0",
        "weight_hh_l0",
        "weight_hr_l0",
        "weight_ih_l0_reverse",
        "weight_hh_l0_reverse",
        "weight_hr_l0_reverse",
    ]
    assert list(wb.prunable(nn.GRUCell(3, 4))) == ["weight_ih", "weight_hh"]
    assert list(wb.prunable(nn.Bilinear(3, 4, 5))) == ["weight"]
    assert list(wb.prunable(Conv1D(5, 3))) == ["weight"]
    assert list(wb.prunable(nn.RNN(3, 4))) == ["weight_ih_l0", "weight_hh_l0"]


@pytest.mark.parametrize("layer", [nn.Linear(3, 4), Conv1D(4, 3), nn.RNN(3, 4), nn.GRU(3, 4), nn.LSTM(3, 4)])
def test_a_channel_s_weights_are_those_that_make_its_output(layer: nn.Module) -> None:
    """What changes in the weights of channel 2 changes output 2 and, from its first values, no other."""

    def run() -> torch.Tensor:
        with torch.no_grad():
            out = layer(torch.ones(1, 2, 3))  # a recurrent layer takes one step of two samples
        return out[0][0, 0] if isinstance(out, tuple) else out[0, 0]

    for name in wb.prunable(layer):
        weight = layer.get_parameter(name)
        places = by_channel(layer, name, torch.arange(weight.numel()).view_as(weight))
        assert len(places) == 4
        assert sorted(places.flatten().tolist()) == list(range(weight.numel()))
        before = run()
        with torch.no_grad():
            weight.reshape(-1)[places[2]] += 1.0
        changed = [False, False, "hh" not in name, False]  # the state is 0 at first
        assert (run() != before).tolist() == changed


@pytest.mark.parametrize(("cell", "gates"), [(nn.RNNCell, 1), (nn.GRUCell, 3), (nn.LSTMCell, 4)])
def test_a_hidden_unit_s_weights_are_the_rows_of_its_gates(cell: type[nn.RNNCellBase], gates: int) -> None:
    rows = torch.arange(gates * 4)[:, None].expand(-1, 4)
    found = by_channel(cell(3, 4), "weight_hh", rows)
    assert [sorted(set(unit.tolist())) for unit in found] == [list(range(k, gates * 4, 4)) for k in range(4)]


@pytest.mark.parametrize(
    "turn",
    [
        lambda x: x.transpose(1, 2),
        lambda x: torch.transpose(x, 2, 1),
        lambda x: x.permute(0, 2, 1),
        lambda x: x.movedim(1, -1),
        lambda x: torch.permute(x, dims=(0, 2, 1)),
    ],
)
def test_channels_are_followed_through_turned_dimensions(turn: Callable[[Tensor], Tensor]) -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = nn.Conv1d(2, 3, 1), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(turn(self.conv(x)).relu())

    found = following(Turned(), wb.Batch(torch.zeros(2, 2, 5), torch.zeros(2)))["conv.weight"]
    assert (found.steps, found.readers, found.mixed) == (["layer", "relu"], ["linear.weight"], False)


def test_channels_that_become_samples_are_not_followed() -> None:
    class Swapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2, 3), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x).transpose(0, 1))

    assert following(Swapped(), wb.Batch(torch.zeros(2, 2), torch.zeros(2)))["first.weight"].mixed


def test_values_of_channels_take_the_weights_shape() -> None:
    """By the definition of `by_channel`, in layers that order their weights in every way."""
    for layer in (
        nn.Linear(3, 4),
        nn.Conv2d(4, 6, 3, groups=2),
        nn.ConvTranspose2d(4, 6, 2, groups=2),
        Conv1D(4, 3),
        nn.Bilinear(2, 3, 4),
        nn.LSTMCell(3, 2),
    ):
        for name, weight in wb.prunable(layer).items():
            rows = by_channel(layer, name, weight)
            values = torch.arange(len(rows))
            spread = whole(layer, name, values)
            assert spread.shape == weight.shape
            assert torch.equal(by_channel(layer, name, spread), values[:, None].expand_as(rows))


def test_a_bias_of_a_tied_weight_belongs_to_its_channels() -> None:
    model, (inputs, _) = ZOO["tied"]()
    found = {own: [name for name, _ in owners] for own, owners in entries(model, inputs).items()}
    assert found == {"first.bias": ["first.weight"], "second.bias": ["first.weight"], "out.bias": ["out.weight"]}
