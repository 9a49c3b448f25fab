"""Gates at run time: by hand, against brute-force counts, and against a computation that skips for real."""

from __future__ import annotations

import copy
import itertools
import math
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb
from workbench.methods.runtime import GATED, Gated, lowering, opened
from workbench.methods.runtime.ftwt import holders
from workbench.types import Batch

CHANNELS = ["cgnet", "fbs", "ftwt", "static"]


def plain(*channels: int, classes: int = 3) -> nn.Sequential:
    """Convolutions of 3 x 3 with norms that are not trivial, a pooling, and a linear layer on 2 x 2 maps."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        norm = nn.BatchNorm2d(after)
        norm.weight.data.uniform_(0.5, 1.5)
        norm.bias.data.uniform_(-0.2, 0.2)
        norm.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), norm, nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * channels[-1], classes))


@pytest.fixture(autouse=True)
def draws() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def task() -> wb.Task:
    return wb.load("digits", device="cpu")


def two_channels(weight: list[list[float]], bias: list[float], setting: float = 0.5) -> Gated:
    """FBS on one 1 x 1 convolution of two channels, which doubles the first input and triples the second."""
    net = wb.gated("fbs", nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2, eps=0), nn.ReLU()), setting)
    gate: Any = next(net.children())
    gate.conv.weight.data.copy_(torch.tensor([[2.0, 0.0], [0.0, 3.0]])[:, :, None, None])
    gate.saliency.weight.data.copy_(torch.tensor(weight))
    gate.saliency.bias.data.copy_(torch.tensor(bias))
    return net


IMAGE = torch.tensor([[[[1.0, -3.0]], [[4.0, 0.0]]]])  # means of |x|: 2 and 2


def test_fbs_by_hand() -> None:
    # s = (0.5 * 2 + 1, 1 * 2 + 1) = (2, 3): the second channel opens, and is scaled by 3.
    net = two_channels([[0.5, 0.0], [0.0, 1.0]], [1.0, 1.0])
    assert net(IMAGE).tolist() == [[[[0.0, 0.0]], [[36.0, 0.0]]]]
    # 2 places x 2 inputs x 1 open channel, and 2 x 2 of the gate
    assert wb.input_macs(net, IMAGE).tolist() == [8.0]
    net.setting = 1.0
    assert net(IMAGE).tolist() == [[[[4.0, 0.0]], [[36.0, 0.0]]]]
    assert wb.input_macs(net, IMAGE).tolist() == [12.0]


def test_a_saliency_of_zero_closes_a_channel_too() -> None:
    net = two_channels([[-1.0, 0.0], [0.0, 1.0]], [1.0, 1.0], setting=1.0)
    assert opened(net, IMAGE)["0"].open.tolist() == [[0.0, 1.0]]


def test_where_every_channel_would_close_one_stays() -> None:
    net = two_channels([[-1.0, 0.0], [0.0, -2.0]], [1.0, 1.0], setting=1.0)  # -1 and -3
    assert opened(net, IMAGE)["0"].open.tolist() == [[1.0, 0.0]]
    shut = wb.gated("ftwt", plain(1, 4, 4), 1.0)  # no probability is above 1
    for seen in list(opened(shut, torch.randn(3, 1, 4, 4)).values())[:-1]:
        assert seen.open.sum(1).tolist() == [1.0, 1.0, 1.0]


def test_the_loss_of_fbs_is_the_cross_entropy_and_a_lasso() -> None:
    net = wb.gated("fbs", plain(1, 4), 0.5, penalty=0.25)
    inputs, targets = torch.randn(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
    gate: Any = next(net.children())
    s = gate.saliency(inputs.abs().mean((2, 3))).relu()
    right = functional.cross_entropy(net(inputs), targets) + 0.25 * s.sum(1).mean()
    assert net.loss(net, Batch(inputs, targets)).item() == pytest.approx(right.item())


def test_the_holders_of_the_mass_by_hand() -> None:
    maps = torch.tensor([[5.0, 0.0, 3.0, 2.0]])[:, :, None, None]
    assert holders(maps, 0.5).tolist() == [[1, 0, 0, 0]]
    assert holders(maps, 0.51).tolist() == [[1, 0, 1, 0]]
    assert holders(maps, 1.0).tolist() == [[1, 0, 1, 1]]


def test_channel_gating_by_hand() -> None:
    """The first input decides: where its sum is below the threshold, the second is not added."""
    net = wb.gated(
        "cgnet", nn.Sequential(nn.Conv2d(2, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0), nn.ReLU()), 2.0, first=0.5
    )
    gate: Any = next(net.children())
    gate.conv.weight.data.fill_(1.0)
    gate.gate_norm.eps = 0.0
    image = torch.tensor([[[[1.0, 2.0, 3.0]], [[10.0, 10.0, 10.0]]]])
    assert torch.allclose(net(image), torch.tensor([1.0, 12.0, 13.0]))
    assert wb.input_macs(net, image).tolist() == [3 + 2]
    gate.shift.data.fill_(0.5)  # a learned threshold of 2.5
    assert torch.allclose(net(image), torch.tensor([1.0, 2.0, 13.0]))
    net.setting = -5.0
    assert wb.input_macs(net, image).tolist() == [6]


def by_brute_force(net: Gated, image: Tensor) -> int:
    """Multiply-adds of one image `[1, ...]`, place by place and channel by channel, from what the gates say."""
    count, x, reads = 0, image, [True] * image.shape[1]
    for layer in net.children():
        if isinstance(layer, nn.Linear):
            count += sum(layer.out_features for read in reads for _ in range(layer.in_features // len(reads)) if read)
        if not hasattr(layer, "conv"):
            x = layer(x)
            continue
        own: Any = layer
        out, seen = own(x, torch.tensor([reads]).float(), net.setting)
        if hasattr(own, "first"):  # channel gating: the first inputs everywhere, all of them where the sum goes on
            partial = functional.conv2d(x[:, : own.first], own.conv.weight[:, : own.first], padding=1)
            on = own.gate_norm(partial)[0] >= (net.setting + own.shift)[:, None, None]
            count += sum(9 * (x.shape[1] if place else own.first) for place in on.flatten().tolist())
            reads = [True] * out.shape[1]
        else:
            opens = [map_ for map_ in range(out.shape[1]) if seen.open[0, map_]]
            closed = [map_ for map_ in range(out.shape[1]) if map_ not in opens]
            assert not out[0, closed].any()
            count += sum(9 for _ in opens for read in reads if read for _place in range(16))
            count += sum(part.weight.numel() for part in own.children() if isinstance(part, nn.Linear))
            reads = [bool(share) for share in seen.open[0].tolist()]
        x = out
    return count


@pytest.mark.parametrize("name", CHANNELS)
def test_macs_of_each_input_against_a_brute_force_count(name: str) -> None:
    net = wb.gated(name, plain(2, 4, 6, 5), 0.5)  # its maps are 4 x 4
    for gate in net.children():  # gates that differ between images
        for linear in (part for part in gate.children() if isinstance(part, nn.Linear)):
            linear.weight.data.normal_()
    images = torch.randn(4, 2, 4, 4)
    macs = wb.input_macs(net, images)
    assert macs.tolist() == [by_brute_force(net, image[None]) for image in images]
    assert name in ("fbs", "static") or len(set(macs.tolist())) > 1  # those two open a fixed share


@pytest.mark.parametrize("name", ["fbs", "ftwt", "static"])
def test_outputs_are_those_of_a_computation_that_skips(name: str) -> None:
    """Weights of closed channels, and those that would read them, are not there at all."""
    net = wb.gated(name, plain(2, 4, 6, 5), 0.5)
    images = torch.randn(3, 2, 4, 4)
    for n, image in enumerate(images):
        x, reads = image[None], torch.arange(2)
        for layer, (child, seen) in enumerate(opened(net, images).items()):
            own: Any = net.get_submodule(child)
            if isinstance(own, nn.Linear):
                x = functional.max_pool2d(x, 2).flatten(1)
                columns = (reads[:, None] * 4 + torch.arange(4)).flatten()
                x = functional.linear(x, own.weight[:, columns], own.bias)
                continue
            assert layer < 3
            scale: Any = 1.0
            opens = seen.open[n].nonzero()[:, 0]
            if name == "fbs":
                means = torch.zeros(own.conv.in_channels).index_put((reads,), x.abs().mean((2, 3))[0])
                scale = own.saliency(means)[opens].relu()[:, None, None]
            x = functional.conv2d(x, own.conv.weight[opens][:, reads], padding=1)
            kept = {k: getattr(own.norm, k)[opens] for k in ("running_mean", "running_var", "weight", "bias")}
            x, reads = (functional.batch_norm(x, **kept) * scale).relu(), opens
        assert torch.allclose(x, net(image[None]), atol=1e-5)


@pytest.mark.parametrize("name", GATED)
def test_nested_layers_and_one_relu_for_all_make_the_same_network(name: str) -> None:
    flat, relu = plain(2, 4, 6), nn.ReLU()
    nested = nn.Sequential(nn.Sequential(*flat[:2], relu), nn.Sequential(*flat[3:5], relu), *flat[6:])
    images = torch.randn(3, 2, 4, 4)
    one, other = (wb.gated(name, model, 0.5) for model in (flat, nested))
    assert torch.equal(one(images), other(images))
    assert torch.equal(wb.input_macs(one, images), wb.input_macs(other, images))


def test_inputs_leave_early_where_the_exit_is_sure(task: wb.Task) -> None:
    model: Any = wb.make("vgg", task, width=0.25)
    images = task.batch(6).inputs
    net: Any = wb.gated("early-exit", model, 0.5, after=2)
    whole, each = wb.macs(model, images), 16 * 9 * 4 * 8  # of the third convolution
    net.exit.weight.data.normal_()
    first = net.exit(model.eval()[:7](images).mean((2, 3)))
    sure = first.softmax(1).amax(1)
    net.setting = sure.median().item()
    left = sure >= net.setting
    assert 0 < left.sum() < 6
    assert torch.equal(net(images)[left], first[left])
    assert torch.allclose(net(images)[~left], model.eval()(images)[~left], atol=1e-5)
    macs = wb.input_macs(net, images)
    assert macs[~left].tolist() == [whole + 40] * int((~left).sum())
    assert macs[left].tolist() == [64 * 9 * (4 + 16) + 40] * int(left.sum())
    assert opened(net, images)["conv3"].macs.tolist() == [0 if gone else each for gone in left.tolist()]


# Laws over the registry


@pytest.mark.parametrize("name", GATED)
def test_a_gated_network_trains_by_its_loss_and_its_setting_moves(name: str, task: wb.Task) -> None:
    model = wb.make("vgg", task, width=0.125)
    before = copy.deepcopy(model.state_dict())
    net = wb.gated(name, model)
    weights = {key: p.detach().clone() for key, p in net.named_parameters()}
    wb.train(net, task, steps=3, loss=net.loss)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    still = {key for key, p in net.named_parameters() if torch.equal(weights[key], p)}
    assert not still, "every parameter has a gradient"
    images, whole = task.batch(20).inputs, net(task.batch(20).inputs)
    ends = (net.least, 0.5, net.most) if net.least < 0 else (0.1, 0.5, 1.0)
    means = []
    for net.setting in ends:
        macs = wb.input_macs(net, images)
        assert macs.shape == (20,)
        means.append(macs.mean().item())
    assert means in (sorted(means), sorted(means, reverse=True))
    assert means[0] != means[-1]
    assert whole.shape == (20, 10)


@pytest.mark.parametrize("name", GATED)
def test_a_new_network_goes_on_from_a_state_with_the_same_bits(name: str, task: wb.Task) -> None:
    """The setting, which an update moves, is a part of the state."""
    model, found = wb.make("vgg", task, width=0.125), []
    for stopped in (False, True):
        net = wb.gated(name, model)
        how: Any = {"steps": 4, "loss": net.loss, "update": lowering(0.5)}
        records = wb.train(net, task, **how, stop=2 if stopped else None)
        if stopped:
            net = wb.gated(name, model)
            wb.train(net, task, **how, state=records[-1].state())
        found.append(wb.snapshot(net))
    net.setting = 0.75
    again = wb.gated(name, model)
    again.load_state_dict(wb.snapshot(net))
    assert again.setting == 0.75
    assert all(torch.equal(found[0][key], value) for key, value in found[1].items())


def test_layers_whose_names_meet_are_refused() -> None:
    three = list(plain(1, 2, 2))
    meeting = nn.Sequential(OrderedDict(a=nn.Sequential(OrderedDict(b=three[0])), norm=three[1], relu=three[2]))
    meeting.add_module("a_b", three[3])
    with pytest.raises(ValueError, match=r"'a_b' is taken\. Rename the layer"):
        wb.gated("fbs", meeting)
    named = nn.Sequential(OrderedDict(exit=three[0], norm=three[1], relu=three[2], last=three[3], flat=three[-2]))
    named.add_module("head", three[-1])
    with pytest.raises(ValueError, match=r"'exit' is taken\. Rename the layer"):
        wb.gated("early-exit", named)


HALF: Any = "half"
NOTHING: Any = None
PLAIN: Any = plain(1, 2)


@pytest.mark.parametrize(
    ("run", "error", "words"),
    [
        (lambda: wb.gated("fsb", plain(1, 2)), ValueError, "Did you mean 'fbs'"),
        (lambda: wb.gated("fbs", plain(1, 2), penalti=1), ValueError, "option of 'fbs' is one of penalty"),
        (lambda: wb.gated("fbs", plain(1, 2), 0), ValueError, "in (0, 1]; got 0"),
        (lambda: wb.gated("fbs", plain(1, 2), 50), ValueError, "in (0, 1]; got 50"),
        (lambda: wb.gated("ftwt", plain(1, 2), -0.1), ValueError, "the probability above which a channel opens"),
        (lambda: wb.gated("cgnet", plain(2, 2), math.nan), ValueError, "from -10 to 10; got nan"),
        (lambda: wb.gated("fbs", plain(1, 2), HALF), TypeError, "got 'half' (str)"),
        (lambda: wb.gated("ftwt", plain(1, 2), mass=0), ValueError, "mass is a share"),
        (lambda: wb.gated("cgnet", plain(2, 2), first=1), ValueError, "first is a share"),
        (lambda: wb.gated("cgnet", plain(1, 2)), ValueError, "more than one input channel"),
        (lambda: wb.gated("early-exit", plain(1, 2, 2), after=2), ValueError, "got after=2 of 2"),
        (lambda: wb.gated("early-exit", plain(1, 2)), ValueError, "at least 2 convolutions"),
        (lambda: wb.gated("fbs", nn.Linear(2, 2)), TypeError, "nn.Sequential, whose layers follow each other"),
        (lambda: wb.gated("fbs", nn.Sequential(nn.Flatten(), nn.Linear(4, 2))), ValueError, "of Flatten, Linear"),
        (lambda: wb.gated("fbs", nn.Sequential(nn.Conv2d(4, 4, 1, groups=2))), TypeError, "grouped convolution"),
        (
            lambda: wb.gated("cgnet", nn.Sequential(nn.Conv2d(4, 4, 3, padding_mode="circular"))),
            TypeError,
            "'circular'",
        ),
        (lambda: wb.gated("fbs", nn.Sequential(nn.LSTM(2, 2))), TypeError, "'0' is a LSTM. Replace it"),
        (lambda: wb.gated("fbs", NOTHING), TypeError, "got NoneType"),
        (lambda: wb.gated("static", plain(1, 2), scores={"9.weight": torch.ones(2)}), ValueError, "scored layer"),
        (lambda: wb.input_macs(PLAIN, torch.ones(1, 1, 4, 4)), TypeError, "Use wb.macs for a plain one"),
        (lambda: wb.input_macs(wb.gated("fbs", plain(1, 2)), torch.ones(1, 3, 4, 4)), ValueError, "do not pass"),
        (lambda: wb.input_macs(wb.gated("fbs", plain(1, 2)), torch.ones(0, 1, 4, 4)), ValueError, "at least one"),
    ],
)
def test_bad_input_is_named(run: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as raised:
        run()
    assert words in str(raised.value)
