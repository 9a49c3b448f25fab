"""Metrics against enumeration, torch's flop counter, scikit-learn and torch-pruning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import workbench as wb
from workbench.metrics.cost import layer_macs, speedup


def kept(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


# size


def test_size_by_hand() -> None:
    masks = {"a": kept(1, 0, 0, 0), "b": kept(1, 1, 0, 0)}
    assert wb.sparsity(masks) == 5 / 8
    assert wb.compression(masks) == 8 / 3
    assert wb.compression({"a": kept(0)}) == float("inf")
    assert wb.sparsity({"a": kept(1, 1)}) == 0


def test_size_ratio_counts_biases_and_norms() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))  # 6 weights, 2 + 4 others
    masks = {"0.weight": torch.tensor([[True, False, False], [False, False, True]])}
    assert wb.size_ratio(model, masks) == 12 / 8
    assert wb.size_ratio(nn.Linear(2, 1, bias=False), {"weight": torch.zeros(1, 2, dtype=torch.bool)}) == float("inf")


def test_the_table_of_layers_agrees_with_the_metrics(digits: wb.Task) -> None:
    model, example = wb.make("vgg", digits), digits.batch(3).inputs
    masks = wb.keep_top(wb.score(model, None, "magnitude"), 0.97)
    table = wb.layers(model, masks, example)
    assert list(table.columns) == ["layer", "shape", "weights", "kept", "sparsity", "collapsed", "effective", "macs"]
    assert list(table["layer"]) == list(wb.prunable(model))
    assert 1 - table["kept"].sum() / table["weights"].sum() == pytest.approx(wb.sparsity(masks))
    assert table["macs"].sum() == wb.macs(model, example, masks)
    effective = (table["effective"] * table["weights"]).sum() / table["weights"].sum()
    assert effective == pytest.approx(wb.effective_sparsity(model, masks, example))
    assert list(table["shape"]) == [tuple(w.shape) for w in wb.prunable(model).values()]
    assert "no biases" in table.attrs["rule"]
    assert list(wb.layers(model, masks).columns) == list(table.columns[:6])


# collapse


def test_collapse_by_hand() -> None:
    assert wb.collapsed({"a": kept(0, 0), "b": kept(1, 1)}) == ["a"]
    assert wb.collapsed({"a": kept(0, 0), "b": kept(1, 0)}) == []  # one weight cannot be in two layers
    assert wb.collapsed({"a": kept(0), "b": kept(0, 0), "c": kept(1, 1, 1)}) == ["a", "b"]
    assert wb.collapsed({"a": kept(1, 0), "b": kept(1, 1)}) == []


def test_max_compression_by_hand(digits: wb.Task) -> None:
    assert wb.max_compression(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))) == 9
    assert wb.max_compression(wb.make("vgg", digits)) == 294_032 / 9


values = st.floats(-5, 5, width=32) | st.sampled_from([0.0, 1.0])


@settings(max_examples=150)
@given(st.lists(st.lists(values, min_size=1, max_size=12), min_size=1, max_size=5))
def test_critical_by_trying_every_cut(layers: list[list[float]]) -> None:
    scores = {f"l{i}": torch.tensor(v) for i, v in enumerate(layers)}
    n = sum(len(v) for v in layers)
    alive = [
        count for count in range(1, n + 1) if all(bool(m.any()) for m in wb.keep_top(scores, 1 - count / n).values())
    ]
    assert wb.critical(scores) == n / min(alive)


def test_critical_by_hand() -> None:
    assert wb.critical({"a": torch.tensor([4.0, 3.0]), "b": torch.tensor([2.0, 1.0])}) == 4 / 3
    assert wb.critical({"a": torch.tensor([4.0, 1.0]), "b": torch.tensor([3.0, 2.0])}) == 2
    assert wb.critical({"a": torch.ones(3), "b": torch.ones(1)}) == 1  # ties by index: the last weight comes last


@pytest.mark.parametrize("criterion", ["magnitude", "random", "snip", "grasp", "synflow"])
def test_critical_search_meets_the_closed_form(criterion: str, digits: wb.Task) -> None:
    model, batch = wb.make("lenet-300-100", digits), digits.batch(64)
    exact = wb.critical(wb.score(model, batch, criterion))
    assert exact / 1.02 <= wb.critical_search(model, batch, criterion) <= exact
    assert wb.critical_search(model, batch, criterion, tolerance=0.0) == exact


def test_iterated_synflow_reaches_the_maximum(moons: wb.Task) -> None:
    model = wb.make("lenet-300-100", moons)
    assert wb.critical_search(model, None, "synflow", rounds=100) == wb.max_compression(model)
    assert wb.critical(wb.score(model, None, "synflow")) < wb.max_compression(model)


def test_critical_search_leaves_excluded_layers_out(moons: wb.Task) -> None:
    model = wb.make("lenet-300-100", moons)
    scores = wb.score(model, None, "magnitude", exclude=["fc2"])
    assert wb.critical_search(model, None, "magnitude", exclude=["fc2"], tolerance=0.0) == wb.critical(scores)


# cost


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5", "vgg", "vgg-16", "resnet-20", "resnet-56"])
def test_macs_are_half_of_torch_s_flops(name: str, network: Callable[..., tuple[nn.Module, wb.Task]]) -> None:
    model, task = network(name)
    inputs = task.batch(2).inputs
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(inputs)
    assert wb.macs(model, inputs) * 2 * len(inputs) == counter.get_total_flops()


class Odd(nn.Module):
    """Strides, groups, dilation, transposed and one-dimensional convolutions, a layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(4, 8, 3, stride=2, groups=2, bias=True)
        self.up = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(4, 2, 3, dilation=2)
        self.line = nn.Conv1d(2, 3, 2)
        self.twice = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.wide(self.up(self.one(x)))
        x = self.line(x.flatten(2)[..., :7])
        return self.twice(self.twice(x))


def test_macs_of_odd_layers_are_half_of_torch_s_flops() -> None:
    model, inputs = Odd(), torch.zeros(3, 4, 11, 11)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(inputs)
    assert wb.macs(model, inputs) * 2 * 3 == counter.get_total_flops()


def test_masked_macs_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 3))  # 3 x 3 input: 4 positions
    masks = {"0.weight": torch.zeros(2, 1, 2, 2, dtype=torch.bool), "2.weight": torch.ones(3, 8, dtype=torch.bool)}
    masks["0.weight"][0, 0, 0, 0] = True
    inputs = torch.zeros(5, 1, 3, 3)
    assert layer_macs(model, inputs) == {"0.weight": 8 * 4, "2.weight": 24}
    assert wb.macs(model, inputs, masks) == 1 * 4 + 24
    assert wb.macs(model, inputs, {"0.weight": masks["0.weight"]}) == 4 + 24


def test_macs_of_attention_are_those_of_its_projections() -> None:
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert wb.macs(block, torch.zeros(3, 5, 8)) == 5 * (4 * 8 * 8 + 2 * 8 * 16)

    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, kdim=3, vdim=5, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, torch.zeros(len(x), 7, 3), value=torch.zeros(len(x), 7, 5))[0]

    assert wb.macs(Cross(), torch.zeros(2, 6, 4)) == 6 * 16 + 7 * 12 + 7 * 20 + 6 * 16


def test_measuring_leaves_the_model_as_it_was(digits: wb.Task) -> None:
    model, inputs = wb.make("vgg", digits), digits.batch(4).inputs
    model[0].eval()
    flags = [m.training for m in model.modules()]
    state = {n: v.clone() for n, v in model.state_dict().items()}
    threads = torch.get_num_threads()
    masks = wb.dense(model)
    wb.macs(model, inputs), wb.effective(model, masks, inputs), wb.latency(model, inputs, repeats=2, threads=2)
    wb.layers(model, masks, inputs), wb.evaluate(model, digits), wb.evaluate(model, digits, masks)
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(v, state[n]) for n, v in model.state_dict().items())
    assert torch.get_num_threads() == threads
    assert all(not m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_latency_says_what_it_depends_on() -> None:
    found = wb.latency(nn.Linear(3, 2), torch.zeros(5, 3), repeats=5, threads=1)
    assert found["batch"] == 5
    assert (found["device"], found["threads"], found["repeats"]) == ("cpu", 1, 5)
    assert 0 < found["low"] <= found["median"] <= found["high"]
    with pytest.raises(ValueError, match="a speedup compares equal conditions; batch is 5 before and 6 after"):
        speedup(found, found | {"batch": 6})
    assert speedup(found | {"median": 3.0}, found | {"median": 2.0}) == 1.5


def test_magnitude_agrees_with_torch_pruning() -> None:
    """Torch-Pruning ranks channels: the sum of squared weights of each filter must be that of our scores."""
    import torch_pruning as tp

    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4, 3))
    graph = tp.DependencyGraph().build_dependency(model, torch.zeros(1, 2, 4, 4))
    group = graph.get_pruning_group(model[3], tp.prune_linear_out_channels, idxs=list(range(3)))
    theirs = tp.importance.GroupMagnitudeImportance(p=2, normalizer=None, bias=False)(group)
    ours = wb.score(model, None, "magnitude")["3.weight"].square().sum(1)
    torch.testing.assert_close(theirs, ours)


# accuracy


def test_accuracy_equals_scikit_learn_s(digits: wb.Task, trained: dict[str, Tensor]) -> None:
    from sklearn.metrics import accuracy_score, log_loss

    model = wb.make("lenet-300-100", digits)
    model.load_state_dict(trained)
    masks = wb.keep_top(wb.score(model, None, "magnitude"), 0.8)
    pruned = wb.make("lenet-300-100", digits)
    pruned.load_state_dict(trained)
    wb.apply_masks_(pruned, masks)
    for split in ("train", "val", "test"):
        inputs, targets = digits.take(split)
        with torch.no_grad():
            outputs = pruned.double()(inputs.double())
        pruned.float()
        found = wb.evaluate(model, digits, masks, split=split)
        assert found["accuracy"] == accuracy_score(targets, outputs.argmax(1))
        assert found["loss"] == pytest.approx(log_loss(targets, outputs.softmax(1)), rel=1e-5)
        assert found["n"] == len(targets)
    assert wb.evaluate(model, digits)["accuracy"] > 0.9


def test_masked_evaluation_ignores_what_is_removed(digits: wb.Task) -> None:
    model = wb.make("lenet-300-100", digits)
    masks = wb.keep_top(wb.score(model, None, "random"), 0.5)
    with torch.no_grad():
        model.get_parameter("fc1.weight")[~masks["fc1.weight"]] = float("inf")
    assert np.isfinite(wb.evaluate(model, digits, masks)["loss"])
    assert bool(model.get_parameter("fc1.weight").isinf().any())
