"""Removal: equal outputs for every kind of layer, exact sizes, files, and what is refused."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from zoo import ZOO

import workbench as wb
from workbench.removal.modules import FewerHeads

RATIOS = 0.3, 0.5, 0.7


def halved(model: nn.Module, example: Tensor, sparsity: float = 0.5) -> wb.Masks:
    """Masks that remove this share of each group's units."""
    scores = wb.group_scores(model, wb.score(model, None, "magnitude"), example, reduce="mean")
    return wb.group_masks(model, wb.keep_top(scores, sparsity, allocation="layer"), example)


def weights(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def agree(model: nn.Module, masks: wb.Masks, small: nn.Module, inputs: Tensor) -> None:
    masked, small = copy.deepcopy(model).eval().double(), copy.deepcopy(small).eval().double()
    wb.apply_masks_(masked, masks)
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    with torch.no_grad():
        torch.testing.assert_close(small(inputs), masked(inputs), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sparsity", RATIOS)
@pytest.mark.parametrize("name", sorted(ZOO.keys() - {"tied", "bilinear", "compiled"}))
def test_every_kind_of_layer_is_removed_and_proven(name, sparsity):
    model, batch = ZOO[name]()
    masks = halved(model, batch.inputs, sparsity)
    small = wb.remove(model, masks, batch.inputs)
    assert weights(small) < weights(model)
    agree(model, masks, small, batch.inputs)


@pytest.mark.parametrize("sparsity", RATIOS)
@pytest.mark.parametrize("name", ["vgg", "resnet-20", "resnet-56"])
def test_our_networks_are_removed_and_proven(tasks, name, sparsity):
    task = tasks["digits"]
    model, example = wb.make(name, task, width=0.5), task.batch(2).inputs
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias), nn.init.normal_(module.running_mean)
    masks = halved(model, example, sparsity)
    agree(model, masks, wb.remove(model, masks, example), example)


def test_a_channel_mask_of_the_house_gives_exact_sizes(tasks):
    model = wb.make("vgg", tasks["digits"])
    scores = wb.score(model, None, "magnitude", granularity="channel", exclude=["fc"])
    masks = wb.keep_top(scores, 0.25, allocation="layer", granularity="channel", model=model)
    small = wb.remove(model, masks)
    assert [len(p) for name, p in small.named_parameters() if name.startswith("conv")] == [
        int(masks[name].flatten(1).any(1).sum()) for name in scores
    ]
    assert (small.conv2.in_channels, small.conv2.out_channels, small.bn2.num_features) == (12, 12, 12)
    assert small.fc.weight.shape == (10, 96)


def test_the_model_and_its_copy_are_apart(tasks):
    model = wb.make("lenet-300-100", tasks["digits"])
    before = copy.deepcopy(model.state_dict())
    small = wb.remove(model, halved(model, tasks["digits"].batch(2).inputs))
    with torch.no_grad():
        for p in small.parameters():
            p.fill_(3.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_single_weights_stay_as_zeros():
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 2))
    mask = torch.tensor([[True, False], [False, False], [True, True]])
    small = wb.remove(model, {"0.weight": mask}, torch.ones(1, 2))
    assert small[0].weight.shape == (2, 2)
    assert small[0].weight[0, 1] == 0
    assert torch.equal(small[0].weight[1], model[0].weight[2])


def test_a_removed_model_trains_and_is_removed_again(tasks):
    task = tasks["digits"]
    model = wb.make("vgg", task, width=0.25)
    example = task.batch(2).inputs
    once = wb.remove(model, halved(model, example), example)
    wb.train(once, task, steps=2)
    twice = wb.remove(once, halved(once, example), example)
    assert weights(twice) < weights(once) < weights(model)


class Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).relu()
        return self.c(x + self.b(x).relu())


def rows(model: nn.Module, *layers: str, gone: tuple[int, ...] = (0,)) -> wb.Masks:
    """Masks of these layers' outputs, with their biases."""
    masks = {}
    for layer in layers:
        for own in ("weight", "bias"):
            masks[f"{layer}.{own}"] = torch.ones_like(model.get_parameter(f"{layer}.{own}"), dtype=torch.bool)
            masks[f"{layer}.{own}"][list(gone)] = False
    return masks


def test_a_sum_needs_a_unit_removed_on_both_sides():
    model, x = Skip(), torch.ones(1, 3)
    with pytest.raises(ValueError, match=r"masked in all members"):
        wb.remove(model, rows(model, "a"), x)
    masks = rows(model, "a", gone=(0, 1)) | rows(model, "b", gone=(1, 2))
    small = wb.remove(model, masks, x)
    assert small.a.weight.shape == (3, 3)
    assert small.a.weight[0].eq(0).all()  # unit 0 stays: b writes it
    assert small.c.weight.shape == (2, 3)


class Shared(nn.Module):
    """One layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.twice, self.c = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.twice(self.twice(self.a(x).relu()).relu()).relu())


def test_a_shared_layer_couples_its_uses():
    model, x = Shared(), torch.randn(2, 3)
    with pytest.raises(ValueError, match=r"masked in all members"):
        wb.remove(model, rows(model, "a"), x)
    masks = rows(model, "a", "twice")
    small = wb.remove(model, masks, x)
    assert small.twice.weight.shape == (3, 3)
    agree(model, masks, small, x)


def test_a_recurrent_unit_goes_in_all_layers_and_directions():
    """One number says their size."""
    model = Read(nn.LSTM(2, 4, 2, batch_first=True, bidirectional=True))
    masks = halved(model, torch.randn(2, 5, 2))
    small = wb.remove(model, masks, torch.randn(2, 5, 2))
    assert (small.layer.hidden_size, small.out.in_features) == (2, 4)


class Read(nn.Module):
    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer, self.out = layer, nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x)[0][:, -1])


class Attends(nn.Module):
    def __init__(self, **kind: object) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 4, **kind), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if self.attention.batch_first else None
        key, value = x[..., : self.attention.kdim], x[..., : self.attention.vdim]
        out, shown = self.attention(x, key, value, attn_mask=hidden)
        return self.head(out) + shown.mean()


@pytest.mark.parametrize("kind", [dict(batch_first=True), dict(), dict(kdim=6, vdim=5), dict(bias=False)])
def test_heads_of_torchs_attention(kind):
    model, x = Attends(**kind), torch.randn(3, 5, 8)
    (name,) = (group.name for group in wb.groups(model, x) if group.units == 4)
    masks = wb.group_masks(model, {name: torch.tensor([True, False, True, True])}, x)
    small = wb.remove(model, masks, x)
    assert small.attention.num_heads == 3
    assert small.attention.out_proj.weight.shape == (8, 6)
    agree(model, masks, small, x)


def test_attention_of_fewer_heads_is_torchs_attention():
    """With all of them, under all of its arguments."""
    plain = nn.MultiheadAttention(8, 4, batch_first=True).eval()
    ours = copy.deepcopy(plain)
    ours.__class__ = FewerHeads
    x, late = torch.randn(2, 5, 8), torch.ones(5, 5, dtype=torch.bool).triu(1)
    padded = torch.zeros(2, 5, dtype=torch.bool)
    padded[1, 3:] = True
    for named in (
        dict(),
        dict(key_padding_mask=padded, attn_mask=late),
        dict(attn_mask=torch.zeros(5, 5).masked_fill(late, -1e9), average_attn_weights=False),
        dict(attn_mask=late.expand(8, 5, 5)),
        dict(need_weights=False),
    ):
        for a, b in zip(plain(x, x, x, **named), ours(x, x, x, **named), strict=True):
            torch.testing.assert_close(a, b)
    for a, b in zip(plain(x[0], x[0], x[0]), ours(x[0], x[0], x[0]), strict=True):
        torch.testing.assert_close(a, b)


class Turns(nn.Module):
    """Its course depends on its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).relu()
        return self.c(y if (x == 1).all() else self.b(y))


class Widths(nn.Module):
    """Its code has a number of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.a(x).reshape(len(x), 4))


@pytest.mark.parametrize(
    ("model", "layers", "gone", "told"),
    [
        (Skip, ["c"], (0,), r"the model's outputs are not removed.*'c.weight'.*exclude=\['c.weight'\]"),
        (Skip, ["a", "b"], (0, 1, 2, 3), r"keeps at least one unit.*'a.weight'.*allocation=\"layer\""),
        (Turns, ["a"], (0,), r"within 1e-05.*'a.weight' the smaller model does not run"),
        (Widths, ["a"], (0,), r"'a.weight' the smaller model does not run: shape '\[2, 4\]' is invalid"),
    ],
)
def test_what_cannot_go_is_refused(model, layers, gone, told):
    model = model()
    with pytest.raises(ValueError, match=told):
        wb.remove(model, rows(model, *layers, gone=gone), torch.ones(2, 3))


def test_a_function_that_makes_something_of_0_is_named_before_the_proof(monkeypatch):
    monkeypatch.setattr("workbench.removal.smaller.difference", None)
    model = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"'0.weight' stays, because sigmoid makes 0.5 of the 0 that"):
        wb.remove(model, rows(model, "0"), torch.ones(2, 3))


class Single(nn.Module):
    """Its code has no float64."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float64:
            raise RuntimeError("no kernel")
        return x


def test_a_model_without_float64_is_told():
    model = nn.Sequential(nn.Linear(3, 4), Single(), nn.Linear(4, 2))
    masks = rows(model, "0")
    with pytest.raises(ValueError, match="proven in float64; Sequential does not run there: no kernel"):
        wb.remove(model, masks, torch.ones(2, 3))


def test_a_constant_that_no_mask_covers_is_refused_with_its_group():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.init.ones_(model[2].bias)
    masks = rows(model, "0", "2")
    del masks["2.bias"]
    with pytest.raises(ValueError, match=r"of '2.weight' they differ by.*cover biases"):
        wb.remove(model, masks, torch.ones(2, 3))


def test_a_norm_over_the_channels_leaves_them(tasks):
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with pytest.raises(ValueError, match=r"'0.weight' stays, because the norm 1.weight takes a mean over them"):
        wb.remove(model, rows(model, "0"), torch.ones(2, 3))
    small = wb.remove(model, rows(model, "0", "2"), torch.ones(2, 3))
    assert (small[0].out_features, small[2].out_features) == (4, 5)
    assert small[0].weight[0].eq(0).all()


def test_a_wrong_network_is_seen_through_small_weights(monkeypatch):
    """Attention of tiny weights is nearly uniform, so that a wrong scale hides; scaled weights show it."""
    model, x = Attends(batch_first=True), torch.randn(3, 5, 8)
    with torch.no_grad():
        model.attention.in_proj_weight.mul_(1e-4)
    masks = wb.group_masks(model, {"attention.in_proj_weight": torch.tensor([True, False, True, True])}, x)
    wb.remove(model, masks, x)
    monkeypatch.setattr("workbench.removal.modules.math", SimpleNamespace(inf=math.inf, sqrt=lambda size: size))
    with pytest.raises(ValueError, match=r"'attention.in_proj_weight' with scaled weights they differ"):
        wb.remove(model, masks, x)


def test_a_model_that_cannot_be_copied_is_told():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model.kept = model[0](torch.ones(1, 3))  # not a leaf of the graph
    with pytest.raises(ValueError, match=r"copy.deepcopy fails.*Detach"):
        wb.remove(model, rows(model, "0"), torch.ones(2, 3))


def test_a_removed_model_loads_in_a_fresh_process(tmp_path):
    made = "nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3))"
    model, x = eval(made), torch.randn(2, 1, 4, 4)
    small = wb.remove(model, halved(model, x), x)
    wb.save_removed(small, tmp_path / "small")
    torch.save({"x": x, "y": small.eval()(x).detach()}, tmp_path / "there.pt")
    code = f"""
import torch
from torch import nn
import workbench as wb
there = torch.load({str(tmp_path / "there.pt")!r})
model = wb.load_removed({str(tmp_path / "small")!r}, {made})
assert model[0].out_channels == 3
assert torch.equal(model.eval()(there["x"]), there["y"])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == ["spec.json", "weights.safetensors"]


@pytest.mark.parametrize("name", ["vision transformer", "gru", "lstm", "depthwise, dilated", "grouped", "transposed"])
def test_every_kind_of_layer_is_saved(name, tmp_path):
    model, batch = ZOO[name]()
    small = wb.remove(model, halved(model, batch.inputs), batch.inputs)
    wb.save_removed(small, tmp_path)
    again = wb.load_removed(tmp_path, ZOO[name]()[0])
    with torch.no_grad():
        assert torch.equal(again.eval()(batch.inputs), small.eval()(batch.inputs))
    assert str(again) == str(small)


def test_files_that_do_not_fit_are_refused(tmp_path):
    model, x = Skip(), torch.ones(1, 3)
    small = wb.remove(model, rows(model, "a", "b"), x)
    wb.save_removed(small, tmp_path)
    with pytest.raises(ValueError, match=r"before removal; 'a.bias' is missing in the model"):
        wb.load_removed(tmp_path, nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"'b.bias' is missing in the model"):
        wb.load_removed(tmp_path, Shared())
    with pytest.raises(ValueError, match=r"a folder with weights.safetensors and spec.json"):
        wb.load_removed(tmp_path / "none", model)
    spec = json.loads((tmp_path / "spec.json").read_text())
    for change, told in (
        ({"shapes": {**spec["shapes"], "a.bias": [4]}}, r"'a.bias' is \(3,\) there, \(4,\) in the spec"),
        ({"numbers": {"a": {"heads": 3}}}, "'a' has no number 'heads'"),
        ({"numbers": {"a": {"in_features": "3"}}}, "could be '3'"),
    ):
        (tmp_path / "spec.json").write_text(json.dumps({**spec, **change}))
        with pytest.raises(ValueError, match=told):
            wb.load_removed(tmp_path, model)
    (tmp_path / "spec.json").write_text("[]")
    with pytest.raises(ValueError, match=r"Save the model again"):
        wb.load_removed(tmp_path, model)


@pytest.mark.parametrize("change", ["cut short", "pickle", "empty"])
def test_weights_that_are_no_safetensors_are_refused(change, tmp_path):
    model = Skip()
    wb.save_removed(wb.remove(model, rows(model, "a", "b"), torch.ones(1, 3)), tmp_path)
    weights = tmp_path / "weights.safetensors"
    if change == "pickle":
        torch.save(model.state_dict(), weights)
    else:
        weights.write_bytes(weights.read_bytes()[: -20 if change == "cut short" else 0])
    with pytest.raises(ValueError, match=r"a folder with weights.safetensors and spec.json that save_removed wrote"):
        wb.load_removed(tmp_path, model)


WIDTHS: list[int] = []


class Seen(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        WIDTHS.append(x.shape[1])
        return x


def test_a_target_of_seconds_is_found_among_medians_that_only_fall(monkeypatch):
    """A clock that tells the width that is left, and once far too little: what lies between decides."""
    model, x = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), Seen(), nn.Linear(64, 2)), torch.ones(1, 8)
    lucky = []

    def times(calls, repeats):
        found = {}
        for name, call in calls.items():
            call()
            share = WIDTHS[-1] / 64
            if WIDTHS[-1] > 40 and len(found) == 2 and not lucky:
                lucky.append(share)
                share = 0.45
            found[name] = (2 * share, share, 3 * share)
        return found

    monkeypatch.setattr("workbench.removal.targets.in_turns", times)
    scores = wb.group_scores(model, wb.score(model, None, "magnitude"), x)
    masks = wb.masks_to(model, scores, 0.5, x, of="seconds")
    assert lucky
    assert 31 <= masks["0.bias"].sum() <= 32
    with pytest.raises(ValueError, match=r"0.0156 \(95 % interval 0.00781 to 0.0234\) of the seconds is left.*=0.01"):
        wb.masks_to(model, scores, 0.01, x, of="seconds")
