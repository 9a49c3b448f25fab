"""Metrics against enumeration, torch's flop counter, scikit-learn and torch-pruning."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from zoo import ZOO

import workbench as wb
from workbench.metrics.cost import layer_macs, speedup
from workbench.models.kernels import plain_kernels


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
    assert "left out" not in table.attrs["rule"]
    assert table.attrs["left_out"] == {}
    assert list(wb.layers(model, masks).columns) == list(table.columns[:6])


def test_the_table_of_layers_says_what_it_leaves_out() -> None:
    model = ByHand(lambda m, x: m.fc(x) @ m.raw, fc=nn.Linear(4, 3), raw=weights(3, 12))
    with pytest.warns(UserWarning, match=r"75.0% are in no known layer and stay whole: raw \(75.0%\)"):
        masks = wb.dense(model)
    table = wb.layers(model, masks, torch.ones(2, 4))
    assert table.attrs["left_out"] == {"raw": 0.75}
    assert table.attrs["rule"].endswith("; left out of the matrices: raw (75.0%)")
    assert table["macs"].tolist() == [12]
    assert wb.macs(model, torch.ones(2, 4), masks) == 12 + 36


# collapse


def test_collapse_by_hand() -> None:
    assert wb.collapsed({"a": kept(0, 0), "b": kept(1, 1)}) == ["a"]
    assert wb.collapsed({"a": kept(0, 0), "b": kept(1, 0)}) == []  # one weight cannot be in two layers
    assert wb.collapsed({"a": kept(0), "b": kept(0, 0), "c": kept(1, 1, 1)}) == ["a", "b"]
    assert wb.collapsed({"a": kept(1, 0), "b": kept(1, 1)}) == []


def test_max_compression_by_hand(digits: wb.Task) -> None:
    assert wb.max_compression(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))) == 9
    assert wb.max_compression(wb.make("vgg", digits)) == 294_032 / 9
    assert wb.max_compression(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), exclude=["0"]) == 6


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


@pytest.mark.parametrize("allocation", ["layer", "erk", "igq"])
def test_critical_under_an_allocation_is_the_last_cut_with_all_layers(allocation: str) -> None:
    scores = {"a": torch.ones(7, 9), "b": torch.ones(3, 4), "c": torch.ones(2, 2)}
    n = sum(s.numel() for s in scores.values())

    def alive(kept: int) -> bool:
        return all(bool(m.any()) for m in wb.keep_top(scores, 1 - kept / n, allocation=allocation).values())

    assert wb.critical(scores, allocation) == n / min(kept for kept in range(1, n + 1) if alive(kept))
    assert wb.critical(scores, {"a": 0.5, "b": 0.5, "c": 0.5}) == wb.critical(scores, "layer")


@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_critical_iterated_of_scores_that_do_not_change(criterion: str, digits: wb.Task) -> None:
    """Weights that never return leave in the order of one cut, so that the last round's compression is known."""
    model = wb.make("lenet-300-100", digits)
    kept = n = sum(w.numel() for w in wb.prunable(model).values())
    least = n / wb.critical(wb.score(model, None, criterion, seed=1))
    while max(min(round(kept * 0.7), kept - 1), 3) >= least:
        kept = max(min(round(kept * 0.7), kept - 1), 3)
    found = wb.critical_iterated(model, None, "magnitude" if criterion == "magnitude" else fixed, rate=0.3, seed=1)
    assert found == n / kept


def fixed(model: nn.Module, batch: wb.Batch | None, *, masks: Any = None, loss_fn: Any, generator: Any) -> wb.Scores:
    """Random scores that are the same in every round."""
    return wb.score(model, None, "random", seed=1)


def test_iterated_synflow_reaches_the_maximum(moons: wb.Task) -> None:
    model = wb.make("lenet-300-100", moons)
    assert wb.critical_iterated(model, None, "synflow") == wb.max_compression(model)
    assert wb.critical(wb.score(model, None, "synflow")) < wb.max_compression(model)
    assert wb.first_failure(model, None, "synflow", 100, [wb.max_compression(model)]) is None


def test_critical_leaves_excluded_layers_out(moons: wb.Task) -> None:
    model = wb.make("lenet-300-100", moons)
    critical = wb.critical(wb.score(model, None, "magnitude", exclude=["fc2"]))
    assert critical / 1.1 < wb.critical_iterated(model, None, "magnitude", exclude=["fc2"]) <= critical


def test_first_failure_is_the_first_of_the_grid_beyond_the_closed_form(digits: wb.Task) -> None:
    model, batch, grid = wb.make("lenet-300-100", digits), digits.batch(64), [1.5, 10, 20, 40, 80, 160, 320, 640, 1280]
    for criterion in ("magnitude", "snip"):
        limit = wb.critical(wb.score(model, batch, criterion))
        found = wb.first_failure(model, batch, criterion, 1, reversed(grid))
        assert found == next((c for c in grid if c > limit), None)


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


@pytest.mark.parametrize("kind", [kind for kind in ZOO if kind != "compiled"])  # torch's counter warns of it
def test_macs_of_every_kind_of_model_are_half_of_torch_s_flops(kind: str) -> None:
    model, (inputs, _) = ZOO[kind]()
    uncounted = {  # products of activations count in torch alone, bilinear layers here alone
        "vision transformer": 6 * 2 * 4 * 4 * 8,
        "llama": 6 * 2 * 5 * 5 * 8,
        "bilinear": -6 * 3 * 3 * 4,
    }
    with FlopCounterMode(display=False) as counter, torch.no_grad(), plain_kernels(model):
        model.eval()(inputs)
    assert wb.macs(model, inputs) * len(inputs) == counter.get_total_flops() / 2 - uncounted.get(kind, 0)
    assert wb.macs(model, inputs, wb.dense(model)) == wb.macs(model, inputs)
    assert wb.macs(model, inputs, {name: ~mask for name, mask in wb.dense(model).items()}) == 0


class ByHand(nn.Module):
    """A model whose forward pass is a function of it and of its inputs."""

    def __init__(self, run: Callable[[nn.Module, Tensor], Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def weights(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(shape))


def unrolled(m: Any, x: Tensor) -> Tensor:
    state = None
    for t in range(x.shape[1]):
        state = m.cell(x[:, t], state)
    return state  # type: ignore[return-value]


def chosen(m: Any, x: Tensor) -> Tensor:
    return torch.bmm(x[:, None], m.experts[m.gate(x).argmax(1)])[:, 0]


linear, bent = functional.linear, nn.utils.parametrizations
BY_HAND: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, int]]] = {
    "a weight used by a function": (
        lambda: ByHand(lambda m, x: linear(x, m.fc.weight), fc=nn.Linear(6, 4)),
        (3, 6),
        {"fc.weight": 24},
    ),
    "a weight used turned": (
        lambda: ByHand(lambda m, x: linear(x, m.a.weight) @ m.a.weight, a=nn.Linear(6, 4)),
        (3, 6),
        {"a.weight": 48},
    ),
    "a part of a weight": (
        lambda: ByHand(lambda m, x: linear(x, m.a.weight[:1]), a=nn.Linear(6, 4)),
        (3, 6),
        {"a.weight": 6},
    ),
    "weights put together": (
        lambda: ByHand(
            lambda m, x: linear(x, torch.cat([m.a.weight, m.b.weight])), a=nn.Linear(6, 4), b=nn.Linear(6, 1)
        ),
        (3, 6),
        {"a.weight": 24, "b.weight": 6},
    ),
    "low rank beside a weight": (
        lambda: ByHand(
            lambda m, x: linear(x, m.fc.weight + m.up @ m.down),
            fc=nn.Linear(6, 4),
            up=weights(4, 2),
            down=weights(2, 6),
        ),
        (3, 6),
        {"fc.weight": 24},
    ),
    "a head tied to an embedding": (
        lambda: ByHand(lambda m, x: linear(m.fc(m.e(x.long())), m.e.weight), e=nn.Embedding(9, 4), fc=nn.Linear(4, 4)),
        (3, 5),
        {"fc.weight": 5 * 16, "e.weight": 5 * 36},
    ),
    "learnt queries": (
        lambda: ByHand(
            lambda m, x: m.fc(m.queries).expand(len(x), -1, -1) @ x, queries=weights(3, 4), fc=nn.Linear(4, 4)
        ),
        (1, 4, 2),
        {"fc.weight": 3 * 16},
    ),
    "weight norm": (
        lambda: nn.Sequential(bent.weight_norm(nn.Linear(6, 4)), nn.Linear(4, 2)),
        (3, 6),
        {"1.weight": 8, "0.parametrizations.weight.original1": 24},
    ),
    "spectral norm": (
        lambda: nn.Sequential(bent.spectral_norm(nn.Linear(6, 4)), nn.Linear(4, 2)),
        (3, 6),
        {"1.weight": 8, "0.parametrizations.weight.original": 24},
    ),
    "a sum over experts": (
        lambda: ByHand(
            lambda m, x: torch.einsum("be,bi,eio->bo", m.gate(x), x, m.experts),
            gate=nn.Linear(4, 3),
            experts=weights(3, 4, 5),
        ),
        (2, 4),
        {"gate.weight": 12, "experts": 60},
    ),
    "one expert each": (
        lambda: ByHand(chosen, gate=nn.Linear(4, 3), experts=weights(3, 4, 5)),
        (2, 4),
        {"gate.weight": 12, "experts": 20},
    ),
    "a cell called by hand": (
        lambda: ByHand(unrolled, cell=nn.GRUCell(4, 5)),
        (2, 6, 4),
        {"cell.weight_ih": 6 * 60, "cell.weight_hh": 6 * 75},
    ),
    "an LSTM that projects": (
        lambda: ByHand(lambda m, x: m.r(x)[0], r=nn.LSTM(4, 5, batch_first=True, proj_size=3)),
        (2, 6, 4),
        {"r.weight_ih_l0": 6 * 80, "r.weight_hh_l0": 6 * 60, "r.weight_hr_l0": 6 * 15},
    ),
    "float64": (lambda: nn.Linear(3, 2).double(), (4, 3), {"weight": 6}),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_macs_where_a_weight_is_used_by_hand(kind: str) -> None:
    make, shape, expected = BY_HAND[kind]
    model = make()
    assert layer_macs(model, torch.ones(shape, dtype=next(model.parameters()).dtype)) == expected


def test_a_part_of_a_weight_counts_what_is_kept_of_it() -> None:
    model = ByHand(lambda m, x: linear(x, m.fc.weight[1:, :2]), fc=nn.Linear(3, 3))
    mask = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1]]).bool()
    assert wb.macs(model, torch.ones(5, 2)) == 4
    assert wb.macs(model, torch.ones(5, 2), {"fc.weight": mask}) == 1


def test_macs_of_attention_are_the_same_on_its_fast_path() -> None:
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    fast = torch.backends.mha.get_fastpath_enabled()
    assert wb.macs(nn.TransformerEncoder(block, 2), torch.zeros(3, 5, 8)) == 2 * wb.macs(block, torch.zeros(1, 5, 8))
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_macs_of_a_compiled_model_that_was_used() -> None:
    model = torch.compile(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)), backend="eager")
    model(torch.ones(3, 6))
    assert wb.macs(model, torch.ones(3, 6)) == 40  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (nn.Linear(3, 2), (0, 3), "got shape (0, 3). Pass task.batch(1)"),
        (nn.Linear(3, 2), (3,), "got shape (3,)"),
        (
            nn.Conv2d(3, 6, 3),
            (3, 8, 8),
            "one of shape (3, 8, 8) has 3 samples, but leads to inputs of shape (1, 3, 8, 8)",
        ),
        (nn.LSTM(4, 5), (6, 4), "leads to inputs of shape (6, 4) for LSTM"),
        (nn.TransformerEncoderLayer(8, 2, 16), (5, 8), "leads to inputs of shape (5, 8) for MultiheadAttention"),
        (ByHand(lambda m, x: m.fc(x.mean(0)), fc=nn.Linear(3, 2)), (5, 3), "leads to outputs of shape (2,)"),
        (
            ByHand(lambda m, x: (x[:, None] * m.fc.weight).sum(2), fc=nn.Linear(3, 2)),
            (5, 3),
            "'fc.weight' is used in 'mul'",
        ),
    ],
)
def test_macs_that_cannot_be_counted(model: nn.Module, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        wb.macs(model, torch.ones(shape))


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
