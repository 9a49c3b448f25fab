"""The channel criteria: numbers one can check with a pencil, and what must hold on every network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import _get_current_function_mode_stack

import workbench as wb
from workbench.criteria.contract import check_criterion
from workbench.criteria.next_layer import channel_contributions
from workbench.models.watch import following

OWN = ["apoz", "bn-scale", "cp", "fpgm", "hrank", "l1", "l2", "taylor", "thinet"]
BEHIND = ["apoz", "bn-scale", "cp", "hrank", "thinet"]
"""Criteria that say nothing about the last layer."""


def score(model: nn.Module, batch: wb.Batch | None, criterion: str, **knobs: Any) -> wb.Scores:
    return wb.score(model, batch, criterion, granularity="channel", **knobs)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spread_(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in float64, in evaluation mode, with random parameters and statistics."""
    model.double().eval()
    with torch.no_grad():
        for k, (name, tensor) in enumerate([*model.named_parameters(), *model.named_buffers()]):
            if tensor.is_floating_point():
                tensor.copy_(drawn(*tensor.shape, seed=seed + k) / 2)
                if name.endswith("running_var"):
                    tensor.abs_().add_(0.5)
    return model


def convnet() -> nn.Module:
    """Convolutions with BatchNorm, ReLU, pooling and flattening before a linear layer."""
    return spread_(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 3),
        )
    )


def some(n: int = 8) -> wb.Batch:
    return wb.Batch(drawn(n, 2, 6, 6, seed=9), torch.arange(n) % 3)


# norms and distances


def linear(*rows: list[float]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = torch.tensor(rows)
    return layer


def test_norms_by_hand() -> None:
    layer = linear([3.0, -4.0], [0.0, 2.0])
    assert score(layer, None, "l1")["weight"].tolist() == [7.0, 2.0]
    assert score(layer, None, "l2")["weight"].tolist() == [5.0, 2.0]


def test_fpgm_by_hand() -> None:
    # On a line at 0, 3 and 5: 3 + 5, 3 + 2, 5 + 2. The middle one goes first, though it is not the smallest.
    layer = linear([0.0], [3.0], [5.0])
    assert score(layer, None, "fpgm")["weight"].tolist() == [8.0, 5.0, 7.0]
    # Distances are between the filters themselves: 1 and -1 are 2 apart.
    assert score(linear([1.0], [-1.0]), None, "fpgm")["weight"].tolist() == [2.0, 2.0]


def test_fpgm_keeps_the_digits_of_small_distances() -> None:
    weight = 1000 + 1e-3 * torch.arange(40.0)[:, None] * torch.ones(1, 30)
    expected = (weight.double()[:, None] - weight.double()).norm(dim=2).sum(1)
    layer = linear(*weight.tolist())
    torch.testing.assert_close(score(layer, None, "fpgm")["weight"].double(), expected, rtol=1e-5, atol=0)


def test_removed_filters_are_no_neighbours() -> None:
    layer = linear([1.0, 0.0], [3.0, 0.0], [7.0, 0.0])
    masks = {"weight": torch.tensor([[True, True], [True, False], [False, False]])}
    assert score(layer, None, "fpgm", masks=masks)["weight"].tolist() == [2.0, 2.0, 4.0]
    assert score(layer, None, "l1", masks=masks)["weight"].tolist() == [1.0, 3.0, 0.0]


LAYERS = {
    "linear": nn.Linear(3, 4),
    "conv1d": nn.Conv1d(2, 4, 3),
    "conv2d": nn.Conv2d(2, 4, 3, dilation=2),
    "conv3d": nn.Conv3d(2, 4, 2),
    "grouped": nn.Conv2d(4, 6, 3, groups=2),
    "depthwise": nn.Conv2d(4, 4, 3, groups=4),
    "transposed": nn.ConvTranspose2d(2, 4, 3),
    "transposed in groups": nn.ConvTranspose2d(4, 6, 3, groups=2),
    "transposed 1d, depthwise": nn.ConvTranspose1d(4, 8, 2, groups=4),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_filters_are_those_that_make_an_output(name: str) -> None:
    """The weights of channel c are those that its output has a gradient by."""
    layer = copy.deepcopy(LAYERS[name]).double()
    outputs = layer(drawn(2, getattr(layer, "in_channels", 3), *[7] * (layer.weight.ndim - 2)))
    found = {n: score(layer, None, n)["weight"] for n in ("l1", "l2", "fpgm")}
    rows = []
    for channel in range(outputs.shape[1]):
        (slope,) = torch.autograd.grad(outputs[:, channel].sum(), layer.weight, retain_graph=True)
        rows.append(layer.weight.detach()[slope != 0])
    assert len({len(r) for r in rows}) == 1
    assert len(rows) == len(found["l1"])
    torch.testing.assert_close(found["l1"], torch.stack([r.abs().sum() for r in rows]))
    torch.testing.assert_close(found["l2"], torch.stack([r.norm() for r in rows]))
    distances = [[(a - b).norm() for b in rows] for a in rows]
    torch.testing.assert_close(found["fpgm"], torch.tensor(distances, dtype=torch.float64).sum(1))


# what follows a layer


class Block(nn.Module):
    """A residual block with functions instead of modules, changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.fc = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu_(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.fc(functional.relu(out).mean((2, 3)))


class Swish(nn.Module):
    """The output of a layer goes two ways before its activation function ends."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.second(x * torch.sigmoid(x))


class Along(nn.Module):
    """What comes next reads other dimensions than the channels'."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.across, self.mixed = nn.Conv2d(2, 4, 1), nn.Linear(4, 4), nn.Linear(4, 4)
        self.averaged, self.rows = nn.Conv2d(2, 4, 1), nn.Conv1d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.mixed(self.across(self.conv(x)).mean(1)) + self.rows(self.averaged(x).mean(1))


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.last = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([self.left(x).clamp(min=0), self.right(x).relu()], 1))


class Forked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.stem(x))
        return self.left(x), self.right(x)


def twice() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    model[2].weight = model[0].weight
    return model


LAYER, RELU = ["layer"], ["layer", "relu"]
FOLLOWING = {
    "the model as a chain": (
        convnet,
        (2, 6, 6),
        {
            "0.weight": (["layer", "norm", "relu"], ["3.weight"], False),
            "3.weight": (["layer", "norm", "relu"], ["8.weight"], False),
            "8.weight": (LAYER, [], True),
        },
    ),
    "a residual block": (
        Block,
        (2, 5, 5),
        {
            "conv1.weight": (["layer", "norm", "relu"], ["conv2.weight"], False),
            "conv2.weight": (["layer", "norm"], [], True),
            "fc.weight": (LAYER, [], True),
        },
    ),
    "two ways": (Swish, (3,), {"first.weight": (LAYER, [], True), "second.weight": (LAYER, [], True)}),
    "along other dimensions": (
        Along,
        (2, 4, 4),
        {"conv.weight": (LAYER, [], True), "across.weight": (LAYER, ["mixed.weight"], False)}
        | {name: (LAYER, [], True) for name in ("mixed.weight", "averaged.weight", "rows.weight")},
    ),
    "a norm of single features": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.Flatten(), nn.BatchNorm1d(15), nn.ReLU(), nn.Linear(15, 2)),
        (2, 6),
        {"0.weight": (RELU, ["4.weight"], False), "4.weight": (LAYER, [], True)},
    ),
    "joined": (
        Joined,
        (3,),
        {"left.weight": (RELU, [], True), "right.weight": (RELU, [], True), "last.weight": (LAYER, [], True)},
    ),
    "forked": (
        Forked,
        (3,),
        {
            "stem.weight": (RELU, ["left.weight", "right.weight"], False),
            "left.weight": (LAYER, [], True),
            "right.weight": (LAYER, [], True),
        },
    ),
    "one weight in two layers": (
        twice,
        (3,),
        {"0.weight": (RELU, ["0.weight", "4.weight"], False), "4.weight": (LAYER, [], True)},
    ),
    "the activation before the norm": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 1), nn.GELU(), nn.BatchNorm2d(3), nn.ReLU6(), nn.ConvTranspose2d(3, 2, 2)
        ),
        (2, 4, 4),
        {"0.weight": (["layer", "activation", "norm"], ["4.weight"], False), "4.weight": (LAYER, [], True)},
    ),
    "tokens": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU6(), nn.Dropout(), nn.Linear(4, 5), nn.LayerNorm(5)),
        (7, 3),
        {"0.weight": (RELU, ["3.weight"], False), "3.weight": (LAYER, [], True)},
    ),
    "a norm without weights": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3, affine=False), nn.ReLU(), nn.Conv1d(3, 1, 2)),
        (2, 6),
        {"0.weight": (RELU, ["3.weight"], False), "3.weight": (LAYER, [], True)},
    ),
}


@pytest.mark.parametrize("name", FOLLOWING)
def test_what_follows_a_layer(name: str) -> None:
    build, shape, expected = FOLLOWING[name]
    model = build()
    found = following(model, wb.Batch(torch.zeros(3, *shape), torch.zeros(3)))
    assert {layer: (f.steps, f.readers, f.mixed) for layer, f in found.items()} == expected


def test_nothing_is_left_behind_when_the_model_fails() -> None:
    class Broken(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            raise KeyError("inner")

    model = Broken(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3)).train()
    for criterion in [*BEHIND, "taylor"]:
        with pytest.raises(KeyError, match="inner"):
            score(model, wb.Batch(torch.zeros(2, 2, 6, 6), torch.zeros(2, dtype=torch.long)), criterion)
        assert _get_current_function_mode_stack() == []
        assert all(module.training for module in model.modules())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


# the scales of norms


def test_bn_scale_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.MaxPool2d(2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))
    model[2].weight.data = torch.tensor([0.5, -2.0, 0.0])
    batch = wb.Batch(torch.ones(1, 1, 2, 2), torch.zeros(1, dtype=torch.long))
    assert score(model, batch, "bn-scale", exclude=["4"])["0.weight"].tolist() == [0.5, 2.0, 0.0]
    masks = {"2.weight": torch.tensor([True, False, True])}
    assert score(model, batch, "bn-scale", exclude=["4"], masks=masks)["0.weight"].tolist() == [0.5, 0.0, 0.0]


@pytest.mark.parametrize("name", ["vgg", "resnet-20"])
def test_bn_scale_finds_the_norm_without_a_batch(digits: wb.Task, name: str) -> None:
    model = wb.make(name, digits).double()
    norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    for k, norm in enumerate(norms.values()):
        nn.init.constant_(norm.weight, -float(k + 1))
    found = score(model, None, "bn-scale", exclude=["fc"])
    expected = {n.replace("bn", "conv") + ".weight": k + 1.0 for k, n in enumerate(norms)}
    assert {n: s.unique().tolist() for n, s in found.items()} == {n: [k] for n, k in expected.items()}


@pytest.mark.parametrize("criterion", BEHIND)
def test_layers_without_an_answer_are_named(criterion: str, digits: wb.Task) -> None:
    model, batch = wb.make("vgg", digits), digits.batch(8)
    with pytest.raises(ValueError, match=r"'fc.weight' with shape \(10,\); '" + criterion + "' gave nothing"):
        score(model, batch, criterion)
    assert "fc.weight" not in score(model, batch, criterion, exclude=["fc"])
    plain = nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(1))
    with pytest.raises(ValueError, match=rf"'{criterion}' scores .*; none of 0\.weight"):
        score(plain, wb.Batch(torch.ones(2, 4), torch.zeros(2, dtype=torch.long)), criterion)


# activations


def test_apoz_by_hand() -> None:
    # Channel 0 is the input, channel 1 its negative, channel 2 always 1: 3 of 8 values are positive, 4 negative.
    inputs = torch.tensor([[1.0, -1.0, 2.0, -3.0], [0.0, 5.0, -1.0, -1.0]])[:, None]
    for act in (nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6()):
        model = nn.Sequential(nn.Conv1d(1, 3, 1), act, nn.Flatten(), nn.Linear(12, 2))
        model[0].weight.data = torch.tensor([1.0, -1.0, 0.0])[:, None, None]
        model[0].bias.data = torch.tensor([0.0, 0.0, 1.0])
        found = score(model, wb.Batch(inputs, torch.zeros(2, dtype=torch.long)), "apoz", exclude=["3"])
        assert found["0.weight"].tolist() == [3 / 8, 4 / 8, 1.0]


def test_hrank_by_hand() -> None:
    # Maps: the input (rank 2), zero (0), a constant (1); the second sample has rank 1.
    inputs = torch.stack([torch.diag(torch.tensor([1.0, 2.0, 0.0])), torch.ones(3, 3)])[:, None]
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(27, 2))
    model[0].weight.data = torch.tensor([1.0, -1.0, 0.0])[:, None, None, None]
    model[0].bias.data = torch.tensor([0.0, 0.0, 1.0])
    found = score(model, wb.Batch(inputs, torch.zeros(2, dtype=torch.long)), "hrank", exclude=["3"])
    assert found["0.weight"].tolist() == [1.5, 0.0, 1.0]


def test_a_layer_used_twice_counts_all_its_outputs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 1, 1, bias=False), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(torch.cat([self.conv(part).relu().mean((2, 3)) for part in (x, -x)], 1))

    model = Twice()
    nn.init.ones_(model.conv.weight)
    inputs = torch.tensor([[1.0, 1.0], [1.0, -1.0]])[None, None]
    batch = wb.Batch(inputs, torch.zeros(1, dtype=torch.long))
    assert score(model, batch, "apoz", exclude=["fc"])["conv.weight"].tolist() == [0.5]  # (3 + 1) of 8
    assert score(model, batch, "hrank", exclude=["fc"])["conv.weight"].tolist() == [1.5]  # ranks 2 and 1


# Taylor


def first_output(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs[:, 0] * targets).mean()


def test_taylor_by_hand() -> None:
    # a = relu(w x) with w = (1, 2, -1); L = mean of t (3 a_0 + a_1 + a_2); samples x = 1, 2, -1 and t = 1, -1, 1.
    model = nn.Sequential(nn.Linear(1, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False)).double()
    model[0].weight.data = torch.tensor([[1.0], [2.0], [-1.0]], dtype=torch.float64)
    model[2].weight.data = torch.tensor([[3.0, 1.0, 1.0]], dtype=torch.float64)
    batch = wb.Batch(torch.tensor([[1.0], [2.0], [-1.0]]).double(), torch.tensor([1.0, -1.0, 1.0]).double())

    def found(kind: str) -> Tensor:
        return score(model, batch, "taylor", loss_fn=first_output, kind=kind)["0.weight"]

    # t v a of the samples: (3, -6, 0), (2, -4, 0), (0, 0, 1); a gate sums them, over 3 samples: -1, -2/3, 1/3.
    torch.testing.assert_close(found("gates"), torch.tensor([1.0, 4 / 9, 1 / 9]).double())
    # The size of each sample counts: 9, 6, 1 of norm sqrt(118).
    torch.testing.assert_close(found("activations"), torch.tensor([9.0, 6.0, 1.0]).double() / 118**0.5)
    # dL/dw: (3 - 6) / 3, (1 - 2) / 3, -1 / 3; times w and squared.
    torch.testing.assert_close(found("weights"), torch.tensor([1.0, 4 / 9, 1 / 9]).double())


def test_gates_stand_behind_the_norm() -> None:
    """With the batch's statistics the loss does not change with the scale of what enters the norm, so before it every
    gate would have the slope 0; behind it the slope is γ dL/dγ + β dL/dβ."""
    model, batch = convnet(), some()
    found = score(model, batch, "taylor")
    twin = copy.deepcopy(model).train()
    functional.cross_entropy(twin(batch.inputs), batch.targets).backward()
    for layer, norm in (("0.weight", twin[1]), ("3.weight", twin[4])):
        expected = (norm.weight * norm.weight.grad + norm.bias * norm.bias.grad).square().detach()
        torch.testing.assert_close(found[layer], expected, rtol=1e-9, atol=1e-16)
        assert int((found[layer] > 1e-12).sum()) >= 3


@pytest.mark.parametrize("kind", ["activations", "gates"])
def test_changes_in_place_do_not_count(kind: str) -> None:
    """The value is the one where the gate stands: a later `+=` does not reach it, an ignored return does no harm."""

    class Plain(Block):
        def forward(self, x: Tensor) -> Tensor:
            out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return self.fc((out + x).relu().mean((2, 3)))

    class Careless(Block):
        def forward(self, x: Tensor) -> Tensor:
            out = self.bn1(self.conv1(x))
            functional.relu(out, inplace=True)
            out = self.bn2(self.conv2(out))
            out.add_(x)
            out.relu_()
            return self.fc(out.mean((2, 3)))

    twin = spread_(Plain())
    expected = score(twin, some(), "taylor", kind=kind)
    for build in (Block, Careless):
        model = build().double()
        model.load_state_dict(twin.state_dict())
        found = score(model, some(), "taylor", kind=kind)
        for layer, numbers in expected.items():
            torch.testing.assert_close(found[layer], numbers, rtol=1e-10, atol=0)


def test_frozen_weights_and_unused_layers_are_scored() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.spare(x)
            return self.used(x)

    batch = wb.Batch(torch.eye(2), torch.arange(2))
    for kind in ("activations", "gates", "weights"):
        found = score(Spare().requires_grad_(False), batch, "taylor", kind=kind)
        assert bool((found["used.weight"] > 0).all())
        assert found["spare.weight"].tolist() == [0.0, 0.0]


def test_taylor_kinds_are_checked() -> None:
    with pytest.raises(ValueError, match=r"one of activations, gates, weights; got 'gate'. Did you mean 'gates'"):
        score(convnet(), some(), "taylor", kind="gate")


# the next layer

READERS: dict[str, tuple[Callable[[], list[nn.Module]], tuple[int, ...]]] = {
    "linear": (lambda: [nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)], (5,)),
    "tokens": (lambda: [nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)], (6, 5)),
    "flattened": (lambda: [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)], (2, 5, 5)),
    "pooled": (
        lambda: [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)],
        (2, 5, 5),
    ),
    "conv1d": (lambda: [nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 3, 2, stride=2)], (2, 9)),
    "conv2d": (lambda: [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1)], (2, 6, 6)),
    "conv3d": (lambda: [nn.Conv3d(1, 4, 2), nn.ReLU(), nn.Conv3d(4, 3, 2)], (1, 4, 4, 4)),
    "dilated, wrapped": (
        lambda: [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3, dilation=2, padding=2, padding_mode="circular")],
        (2, 8, 8),
    ),
    "the same size": (lambda: [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3, padding="same")], (2, 6, 6)),
    "grouped": (lambda: [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2)], (2, 6, 6)),
    "depthwise": (lambda: [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3, groups=4)], (2, 6, 6)),
    "transposed": (lambda: [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 3, 3, stride=2)], (2, 6, 6)),
    "transposed in groups": (
        lambda: [nn.ConvTranspose2d(2, 4, 2), nn.ReLU(), nn.ConvTranspose2d(4, 6, 3, padding=1, groups=2)],
        (2, 4, 4),
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_the_contributions_sum_to_the_outputs(name: str) -> None:
    """And a channel's part is how much the outputs change without it; its norm is that of the weights it meets."""
    build, shape = READERS[name]
    model = spread_(nn.Sequential(*build()))
    batch = wb.Batch(drawn(3, *shape), torch.zeros(3, dtype=torch.long))
    found = channel_contributions("thinet", model, batch, None, None, torch.Generator())
    assert list(found) == ["0.weight"]
    parts, norms = found["0.weight"]
    reader, middle, made = model[-1], model[1:-1], model[0](batch.inputs).detach()
    dim = -1 if isinstance(model[0], nn.Linear) else 1

    def outputs(channel: int | None) -> Tensor:
        inputs = nn.Sequential(*middle)(made)
        if channel is not None:
            each = inputs.shape[dim] // 4
            inputs = inputs.clone()
            inputs.narrow(dim, channel * each, each).zero_()
        return reader(inputs).detach()

    bias = reader.bias.detach()
    full = outputs(None) - (bias if dim == -1 or reader.weight.ndim == 2 else bias.reshape(-1, *[1] * (made.ndim - 2)))
    torch.testing.assert_close(parts.sum(1), full.flatten())
    for channel in range(4):
        torch.testing.assert_close(parts[:, channel], (outputs(None) - outputs(channel)).flatten())
        reader.zero_grad()
        inputs = nn.Sequential(*middle)(made)
        only = torch.zeros_like(inputs)
        each = inputs.shape[dim] // 4
        only.narrow(dim, channel * each, each).fill_(1.0)
        reader(only).sum().backward()
        torch.testing.assert_close(norms[channel], reader.weight.detach()[reader.weight.grad != 0].norm())


def chain(columns: Tensor) -> tuple[nn.Module, wb.Batch]:
    """A model whose one output is the sum of the columns, one a channel."""
    count = columns.shape[1]
    model = nn.Sequential(nn.Linear(count, count, bias=False), nn.Linear(count, 1, bias=False)).double()
    model[0].weight.data = torch.eye(count, dtype=torch.float64)
    model[1].weight.data = torch.ones(1, count, dtype=torch.float64)
    return model, wb.Batch(columns.double(), torch.zeros(len(columns), dtype=torch.long))


def test_thinet_by_hand() -> None:
    # Errors alone: 9, 4, 1.44, 1. With channel 3 gone, 10, (1 - 2)² = 1, 2.44; with 1 gone too, 10 or 2.44.
    model, batch = chain(torch.tensor([[0.0, -2.0, 0.0, 1.0], [3.0, 0.0, 1.2, 0.0]]))
    assert score(model, batch, "thinet", exclude=["1"])["0.weight"].tolist() == [4.0, 2.0, 3.0, 1.0]


def test_thinet_errors_are_the_least_at_every_step() -> None:
    model, batch = convnet(), some()
    found = score(model, batch, "thinet", exclude=["8"], samples=None, bn="running")
    inputs = model[:3](batch.inputs).detach()
    order = found["0.weight"].argsort().tolist()
    gone: list[int] = []

    def error(channels: list[int]) -> float:
        kept = inputs.clone()
        kept[:, channels] = 0
        return (model[3](inputs) - model[3](kept)).square().sum().item()

    for step in range(4):
        errors = {c: error([*gone, c]) for c in range(4) if c not in gone}
        assert min(errors, key=errors.__getitem__) == order[step]
        gone.append(order[step])


def test_cp_by_hand() -> None:
    # Orthogonal columns of norms 1, 2 and 3 under weights of norm 1: channel c leaves at λ = x_c·y / N = |x_c|² / 3.
    model, batch = chain(torch.diag(torch.tensor([1.0, 2.0, 3.0])))
    torch.testing.assert_close(
        score(model, batch, "cp", exclude=["1"])["0.weight"], torch.tensor([1 / 3, 4 / 3, 9 / 3]).double()
    )
    # The next layer's weights are scaled to norm 1: 1 * 4, 2 * 1 and 3 * 0.5 instead of their squares.
    model[1].weight.data = torch.tensor([[-4.0, 1.0, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(
        score(model, batch, "cp", exclude=["1"])["0.weight"], torch.tensor([4 / 3, 4 / 3, 4.5 / 3]).double()
    )


def repeated(columns: Tensor) -> Tensor:
    """Channel 1 adds what channel 0 adds, channel 2 nothing."""
    return torch.stack([columns[:, 0], columns[:, 0], 0 * columns[:, 0], columns[:, 1]], 1)


def test_cp_drops_channels_that_an_earlier_one_replaces() -> None:
    found = score(*chain(repeated(drawn(20, 2))), "cp", exclude=["1"])["0.weight"]
    assert (found > 0).tolist() == [True, False, False, True]
    assert not score(*chain(torch.zeros(5, 3)), "cp", exclude=["1"])["0.weight"].any()


DEPENDENT: dict[str, Callable[[Tensor], Tensor]] = {
    "repeated": repeated,
    "all equal": lambda c: c[:, :1].expand(-1, 4),
    "of tiny size": lambda c: 1e-9 * repeated(c),
    "sums of others": lambda c: torch.cat([c, c[:, :2] + c[:, 1:3]], 1),
    "opposite": lambda c: torch.cat([c, -0.5 * c[:, :1]], 1),
    "more than samples": lambda c: c[:2],
    "orthogonal and alike": lambda c: torch.eye(5, dtype=c.dtype),
}


@pytest.mark.parametrize("kind", DEPENDENT)
@pytest.mark.parametrize("criterion", ["cp", "thinet"])
def test_scores_of_dependent_channels_do_not_hang_on_rounding(criterion: str, kind: str) -> None:
    """Inputs changed in their last bit: no score moves beyond a part in 10^9, and no step of ThiNet at all."""
    columns = DEPENDENT[kind](drawn(20, 3))
    found = score(*chain(columns), criterion, exclude=["1"])["0.weight"]
    for seed in range(5):
        shaken = columns * (1 + 1e-15 * drawn(*columns.shape, seed=seed))
        again = score(*chain(shaken), criterion, exclude=["1"])["0.weight"]
        torch.testing.assert_close(again, found, rtol=1e-9, atol=1e-9 * float(found.max()))


def test_cp_scores_are_where_lasso_lets_go() -> None:
    """A hair above a score the coefficient of an independent coordinate descent is zero, a hair below it is not."""
    from sklearn.linear_model import Lasso

    model, batch = convnet(), some()
    found = score(model, batch, "cp", exclude=["8"], samples=None, bn="running")["0.weight"]
    parts, norms = channel_contributions("cp", model, batch, None, None, torch.Generator())["0.weight"]
    columns, target = (parts / norms).numpy(), parts.sum(1).numpy()
    for channel, penalty in enumerate(found.tolist()):
        for factor in (1.001, 0.999):
            fit = Lasso(penalty * factor, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(columns, target)
            assert (fit.coef_[channel] != 0) == (factor < 1)


def test_channels_that_a_sum_reads_too_have_no_contributions(digits: wb.Task) -> None:
    model = wb.make("resnet-20", digits)
    found = channel_contributions("cp", model, digits.batch(2), None, 1, torch.Generator())
    assert list(found) == [f"blocks.{k}.conv1.weight" for k in range(9)]


@pytest.mark.parametrize("criterion", ["thinet", "cp"])
def test_samples_of_the_outputs(criterion: str) -> None:
    model, batch = convnet(), some(32)

    def found(**knobs: Any) -> list[float]:
        return score(model, batch, criterion, exclude=["8"], **knobs)["3.weight"].tolist()

    assert found(seed=1) == found(seed=1)
    assert len({tuple(found(samples=1, seed=seed)) for seed in range(9)}) > 1
    assert found(samples=3) == found(samples=None)  # the linear layer has three outputs
    with pytest.raises(ValueError, match="samples is a whole number of at least 1; got 0"):
        found(samples=0)


# all of them


@pytest.mark.parametrize("criterion", OWN)
def test_the_contract_holds(criterion: str) -> None:
    knobs = {"samples": None} if criterion in ("cp", "thinet") else {}
    check_criterion(criterion, granularity="channel", exclude=["fc"], **knobs)
    if criterion == "taylor":
        for kind in ("activations", "weights"):
            check_criterion(criterion, granularity="channel", kind=kind)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("criterion", OWN)
def test_other_dtypes_give_the_same_to_their_precision(criterion: str, dtype: torch.dtype) -> None:
    model, batch = convnet(), some()
    low = copy.deepcopy(model).to(dtype)
    knobs = {"exclude": ["8"], "bn": "running"} | ({"samples": None} if criterion in ("cp", "thinet") else {})
    found = score(low, wb.Batch(batch.inputs.to(dtype), batch.targets), criterion, **knobs)
    for layer, expected in score(model, batch, criterion, **knobs).items():
        assert found[layer].dtype in (torch.float32, torch.float64)
        if dtype == torch.float32 and criterion != "hrank":
            torch.testing.assert_close(found[layer].double(), expected.double(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("criterion", [c for c in OWN if c != "fpgm"])  # there a removed filter is no neighbour
def test_masked_scores_are_those_of_the_masked_network(criterion: str) -> None:
    model, batch = convnet(), some()
    masks = {n: drawn(*w.shape, seed=3) > -0.5 for n, w in wb.prunable(model).items()}
    masks["0.weight"][1] = False
    pruned = copy.deepcopy(model)
    wb.apply_masks_(pruned, masks)
    knobs = {"exclude": ["8"]} | ({"samples": None} if criterion in ("cp", "thinet") else {})
    found, expected = score(model, batch, criterion, masks=masks, **knobs), score(pruned, batch, criterion, **knobs)
    whole = score(model, batch, criterion, **knobs)
    for layer in expected:
        torch.testing.assert_close(found[layer], expected[layer], rtol=1e-9, atol=1e-15)
    if criterion != "bn-scale":
        assert any(not torch.allclose(found[layer], whole[layer]) for layer in whole)


@pytest.mark.parametrize("name", ["vgg", "lenet-5", "lenet-300-100"])
@pytest.mark.parametrize("criterion", OWN)
def test_the_workbench_s_networks_have_scores(criterion: str, name: str, network: Any) -> None:
    model, task = network(name)
    last = list(wb.prunable(model))[-1]
    run = lambda: score(model, task.batch(8), criterion, exclude=[last] if criterion in BEHIND else [])  # noqa: E731
    if (criterion, name) in {("bn-scale", "lenet-5"), ("bn-scale", "lenet-300-100"), ("hrank", "lenet-300-100")}:
        with pytest.raises(ValueError, match=rf"'{criterion}' .*none of"):
            run()
    elif (criterion, name) == ("hrank", "lenet-5"):
        with pytest.raises(ValueError, match=r"'fc1.weight' .* gave nothing"):
            run()
    else:
        assert all(bool((s >= 0).all()) and s.ndim == 1 for s in run().values())


def test_channel_masks_from_scores(digits: wb.Task) -> None:
    """A criterion of channels is found under its name at channel granularity only."""
    with pytest.raises(ValueError, match="criterion is one of"):
        wb.score(wb.make("vgg", digits), None, "l1")
    assert set(OWN) <= set(wb.criteria("channel"))
