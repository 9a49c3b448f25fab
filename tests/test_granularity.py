"""Units of several weights: reduced, cut, expanded; a removed channel is exactly silent."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from zoo import ZOO, Conv1D

import workbench as wb
from workbench.granularity import GRANULARITIES, REDUCTIONS, Granularity, find_granularity
from workbench.granularity.channel import channel_masks, channels
from workbench.models.channels import by_channel
from workbench.models.channels import channels as sizes
from workbench.models.kernels import plain_kernels
from workbench.types import check_masks, check_weights

pytestmark = pytest.mark.filterwarnings(
    "ignore:the cut leaves no"
)  # small networks lose whole layers; one test is about that

NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


def drawn(model: nn.Module, seed: int = 0) -> wb.Scores:
    """Random scores of all channels."""
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.rand(n, generator=draw) for name, n in sizes(model).items()}


def cut(model: nn.Module, example: Tensor | None = None, sparsity: float = 0.5, seed: int = 0) -> wb.Masks:
    return wb.keep_top(drawn(model, seed), sparsity, granularity="channel", model=model, example=example)


def units(model: nn.Module, masks: wb.Masks) -> wb.Masks:
    """Which channels keep a weight; a channel keeps all or none."""
    found = {}
    for name in check_weights(masks):
        rows = by_channel(model, name, masks[name])
        assert bool((rows.all(1) == rows.any(1)).all())
        found[name] = rows.any(1)
    return found


def silent(model: nn.Module, masks: wb.Masks, inputs: Tensor) -> int:
    """Removed channels seen at the layers and norms that are modules, each 0 for every input; how many."""
    owners = {id(p): n for n, p in model.named_parameters()}
    seen = 0

    def look(module: nn.Module, _: object, out: object) -> None:
        nonlocal seen
        name = owners.get(id(getattr(module, "weight", None)))
        if name not in masks or not isinstance(out, Tensor):
            return
        norm = isinstance(module, NORMS)
        kept = masks[name] if norm else by_channel(model, name, masks[name]).any(1)
        dim = 1 if norm or ("Conv" in type(module).__name__ and not isinstance(module, Conv1D)) else out.ndim - 1
        gone = out.movedim(dim, 0)[~kept]
        assert not bool(gone.any()), name
        seen += len(gone)

    wb.apply_masks_(model, masks)
    hooks = [module.register_forward_hook(look) for module in model.modules()]
    with plain_kernels(model), torch.no_grad():
        model.eval()(inputs)
    for hook in hooks:
        hook.remove()
    return seen


def shaken(model: nn.Module) -> nn.Module:
    """The model with norms and biases that are not at their start."""
    draw = torch.Generator().manual_seed(1)
    for value in itertools.chain(model.parameters(), model.buffers()):
        if value.is_floating_point() and value.ndim == 1:
            value.data = torch.rand(value.shape, generator=draw).to(value) + 0.5
    return model


@pytest.mark.parametrize("name", ZOO)
def test_channels_of_every_model(name: str) -> None:
    model, (inputs, _) = ZOO[name]()
    shaken(model)
    masks = cut(model, inputs)
    check_masks(model, masks)
    kept = units(model, masks)
    n = sum(map(len, kept.values()))
    assert sum(int((~mask).sum()) for mask in kept.values()) == math.floor(n / 2 + 0.5)
    assert silent(model, masks, inputs) > 0 or "lstm" in name or "gru" in name or "rnn" in name


@pytest.mark.parametrize("network", ["vgg", "resnet-20", "lenet-300-100"])
def test_outputs_do_not_depend_on_removed_channels(network: str, digits: wb.Task) -> None:
    """Whatever the next layers do with them, they read zeros."""
    model = shaken(wb.make(network, digits))
    inputs = digits.batch(8).inputs
    last = list(wb.prunable(model))[-1]
    scores = {name: score for name, score in drawn(model).items() if name != last}
    masks = wb.keep_top(scores, 0.5, allocation="layer", granularity="channel", model=model)
    assert silent(model, masks, inputs)
    seen = model(inputs)
    with torch.no_grad():
        for name, after in itertools.pairwise(wb.prunable(model)):
            if network != "resnet-20" or "conv2" in after:  # the others read sums
                model.get_parameter(after)[:, ~units(model, masks)[name]] = 100.0
    assert torch.equal(model(inputs), seen)


def test_channels_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3, 2))
    scores = {"0.weight": torch.tensor([3.0, 1.0, 2.0]), "4.weight": torch.tensor([[1.0, 1.0, 1.0], [2.0, 0.5, 2.0]])}
    masks = wb.keep_top(scores, 0.4, granularity="channel", model=model, example=torch.zeros(1, 1, 1, 1))
    expected = {"0.weight": [True, False, False], "4.weight": [True, True]}  # 3, 1, 2, and the sums 3 and 4.5
    assert {n: m.tolist() for n, m in units(model, masks).items()} == expected
    for name in ("0.bias", "1.weight", "1.bias"):
        assert masks[name].tolist() == [True, False, False]
    assert masks["4.bias"].tolist() == [True, True]
    largest = wb.keep_top(
        scores, 0.4, granularity="channel", reduce="max", model=model, example=torch.zeros(1, 1, 1, 1)
    )
    assert units(model, largest)["4.weight"].tolist() == [False, True]  # 1 and 2, and 2 of the convolution is earlier


def test_rules_over_the_last_dimension() -> None:
    values = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    expected = {"sum": [7.0, 1.0], "mean": [3.5, 0.5], "max": [4.0, 1.0], "norm": [5.0, 1.0]}
    assert {name: rule(values).tolist() for name, rule in REDUCTIONS.items()} == expected


SMALL = {
    "linear": (nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (4,)),
    "convolution": (nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3)), (2, 6, 6)),
    "attention": (nn.MultiheadAttention(4, 2, batch_first=True), (3, 4)),
}
NAMES = [*GRANULARITIES, "1:2", "2:4", "block 2x2", "block 3x4"]


def reduced(kind: Granularity, model: nn.Module, layer: str, weight: Tensor) -> wb.Scores:
    """Values of units; nothing where the weight is refused, by name and with what to do."""
    told = ""
    try:
        return kind.reduce(model, {layer: weight}, REDUCTIONS["norm"])
    except ValueError as error:
        told = str(error)
    assert repr(layer) in told
    assert f"exclude=[{layer!r}]" in told
    return {}


@pytest.mark.parametrize(
    ("name", "kind_of_model"),
    [pair for pair in itertools.product(NAMES, SMALL) if pair != ("channel", "attention")],  # it takes three inputs
)
def test_every_granularity_expands_what_it_reduces(name: str, kind_of_model: str) -> None:
    """Or refuses a weight by name, with what to do; a ranking of its units gives the masks of `keep_top`."""
    model, shape = SMALL[kind_of_model]
    kind, tried = find_granularity(name), 0
    for layer, weight in wb.prunable(model).items():
        units = reduced(kind, model, layer, weight.detach())
        if not units:
            continue
        kept = {layer: units[layer] > units[layer].median()}
        masks = kind.expand(model, torch.zeros(1, *shape) if kind_of_model != "attention" else None)(kept)
        check_masks(model, masks)
        again = kind.reduce(model, {layer: masks[layer]}, lambda mask: mask.any(-1))
        assert torch.equal(again[layer], kept[layer])
        assert torch.equal(kind.reduce(model, units, REDUCTIONS["norm"])[layer], units[layer])  # units stay
        how: dict[str, Any] = dict(granularity=name, reduce="norm", model=model)
        how |= {"example": torch.zeros(1, *shape)} if kind_of_model != "attention" else {}
        sparsity = 0.4 if kind.share is None else kind.share
        for allocation in ("global", "layer"):  # sorted once, the same masks
            cut_once = wb.keep_top({layer: weight.detach()}, sparsity, allocation=allocation, **how)
            ranking = wb.rank({layer: weight.detach()}, allocation, **how)
            assert all(torch.equal(mask, cut_once[own]) for own, mask in ranking.masks(sparsity).items())
            assert torch.equal(ranking.mask(layer, sparsity), cut_once[layer])
            assert ranking.masks(sparsity).keys() == cut_once.keys()
            if kind.share is not None:
                with pytest.raises(ValueError, match="removes"):
                    ranking.counts(sparsity / 2)
        tried += 1
    refused = {"head": ["linear", "convolution"], "kernel": ["linear", "attention"], "2:4": ["convolution"]}
    assert tried or kind_of_model in {**refused, "vector": refused["kernel"], "pattern": refused["kernel"]}[name]


def test_a_norm_behind_a_sum_or_shared_is_not_the_channels_own() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.norm = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.one(x) + self.two(x))

    class Shared(Sum):
        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.one(x)) + self.norm(self.two(x))

    class Elsewhere(Sum):
        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.one(x)) + self.norm(self.two(x) + x)

    example = torch.zeros(2, 1, 3, 3)
    kept = {"one.weight": torch.tensor([True, False]), "two.weight": torch.tensor([False, False])}
    for kind, entries in ((Sum, None), (Shared, [True, False]), (Elsewhere, None)):
        masks = channel_masks(kind(), example)(kept)
        assert masks["two.bias"].tolist() == [False, False]
        assert (masks["norm.bias"].tolist() if "norm.bias" in masks else None) == entries
    alone = channel_masks(Shared(), example)({"two.weight": kept["two.weight"]})  # those of "one" stay and use it
    assert alone["norm.weight"].tolist() == [True, True]


class Turned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def test_norms_one_behind_the_other_flattened_and_on_the_wrong_dimension() -> None:
    kept = {"0.weight": torch.tensor([True, False])}
    chain = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.InstanceNorm2d(2, affine=True))
    inputs = torch.randn(3, 1, 2, 2)
    assert silent(shaken(chain), channel_masks(chain, inputs)(kept), inputs) == 3
    flat = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.BatchNorm1d(8))
    assert channel_masks(flat, inputs)(kept)["2.bias"].tolist() == [True] * 4 + [False] * 4
    turned = nn.Sequential(nn.Linear(3, 2), Turned(), nn.BatchNorm1d(2), Turned(), nn.LayerNorm(2))
    found = channel_masks(turned, torch.zeros(1, 5, 3))(kept)
    assert list(found) == ["0.weight", "0.bias", "2.weight", "2.bias"]  # a layer norm takes all channels together
    places = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))  # [n, 2, 2]: the norm takes places for channels
    assert list(channel_masks(places, torch.zeros(1, 2, 3))(kept)) == ["0.weight", "0.bias"]


def test_a_norm_without_entries_leaves_a_constant() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, affine=False)).eval()
    model[1].running_mean.fill_(0.5)
    masks = channel_masks(model, torch.zeros(1, 1, 2, 2))({"0.weight": torch.tensor([True, False])})
    assert list(masks) == ["0.weight", "0.bias"]
    wb.apply_masks_(model, masks)
    left = model(torch.randn(3, 1, 2, 2))[:, 1].detach()
    assert left.unique().numel() == 1
    assert float(left.unique()) == pytest.approx(-0.5, abs=1e-4)


def test_a_hidden_unit_of_a_recurrent_layer_is_silent_where_both_its_matrices_lose_it() -> None:
    for cell in (nn.LSTM, nn.GRU, nn.RNN):
        model = cell(3, 4, batch_first=True)
        kept = torch.tensor([True, False, True, False])
        masks = channel_masks(model, torch.zeros(1, 5, 3))({"weight_ih_l0": kept, "weight_hh_l0": kept})
        gates = model.bias_ih_l0.numel() // 4
        assert masks["bias_ih_l0"].tolist() == masks["bias_hh_l0"].tolist() == kept.tolist() * gates
        wb.apply_masks_(model, masks)
        out, _ = model(torch.randn(2, 5, 3))
        assert not bool(out[..., ~kept].any())
        assert bool(out[..., kept].all())


def test_attention_shares_one_bias() -> None:
    model = nn.MultiheadAttention(4, 2, kdim=3, vdim=5, batch_first=True)
    wrapped = nn.ModuleDict({"attention": model})
    wrapped.forward = lambda x: model(x, x[..., :3], x[..., [0, 1, 2, 3, 0]])[0]
    kept = torch.tensor([True, False, True, True])
    masks = channel_masks(wrapped, torch.zeros(1, 2, 4))({"attention.k_proj_weight": kept})
    assert masks["attention.in_proj_bias"].tolist() == [True] * 4 + kept.tolist() + [True] * 4


def test_within_nests_units_and_keeps_removed_weights_removed(digits: wb.Task) -> None:
    model = wb.make("vgg", digits)
    before = cut(model, sparsity=0.3)
    after = wb.keep_top(drawn(model, 1), 0.6, granularity="channel", model=model, within=before)
    assert all(not bool((after[name] & ~before[name]).any()) for name in after)
    kept = units(model, after)
    n = sum(map(len, kept.values()))
    assert sum(int((~mask).sum()) for mask in kept.values()) == math.floor(0.6 * n + 0.5)
    single = wb.keep_top(wb.score(model, None, "magnitude"), 0.5)  # of weights
    both = wb.keep_top(drawn(model), 0.3, granularity="channel", model=model, within=single)
    assert all(not bool((both[name] & ~single[name]).any()) for name in single)


@pytest.mark.parametrize("criterion", [*wb.criteria("channel"), "snip", "synflow"])
def test_rounds_of_channels_nest_for_every_criterion(criterion: str, digits: wb.Task) -> None:
    model, batch = shaken(wb.make("vgg", digits)), digits.batch(16)
    first = next(iter(wb.prunable(model)))
    knobs = {"exclude": [list(wb.prunable(model))[-1]], "granularity": "channel"}
    run = list(wb.rounds(model, batch, criterion, 0.6, rounds=2, **knobs))
    for found in run:
        assert found.scores[first].shape == (16,)
        assert "bn1.bias" in check_masks(model, found.masks)
    for name, mask in run[1].masks.items():
        assert not bool((mask & ~run[0].masks[name]).any())
    kept = units(model, run[1].masks)
    n = sum(map(len, kept.values()))
    assert sum(int((~mask).sum()) for mask in kept.values()) == math.floor(0.6 * n + 0.5)
    assert all(
        torch.equal(m, run[1].masks[n])
        for n, m in wb.find_masks(model, batch, criterion, 0.6, rounds=2, **knobs).items()
    )


def test_training_keeps_biases_and_norms_of_removed_channels_at_zero(digits: wb.Task) -> None:
    model = wb.make("vgg", digits)
    masks = wb.find_masks(model, None, "l2", 0.5, granularity="channel", allocation="layer")
    for _ in itertools.islice(wb.steps(model, digits, masks=masks, epochs=1, batch_size=128), 4):
        for name, mask in masks.items():
            assert not bool(model.get_parameter(name)[~mask].any())
    assert {"bn3.bias", "fc.bias"} <= set(masks)
    masked = wb.evaluate(model, digits, masks)
    assert masked == wb.evaluate(model, digits)


def test_metrics_count_weights_alone(digits: wb.Task) -> None:
    model, example = wb.make("vgg", digits), digits.batch(2).inputs
    masks = cut(model)
    alone = {name: masks[name] for name in wb.prunable(model)}
    assert len(masks) > len(alone)
    for metric in (wb.sparsity, wb.compression, wb.collapsed):
        assert metric(masks) == metric(alone)
    assert wb.effective_sparsity(model, masks, example) == wb.effective_sparsity(model, alone, example)
    assert wb.layers(model, masks, example).equals(wb.layers(model, alone, example))
    assert wb.macs(model, example, masks) == wb.macs(model, example, alone)
    from workbench.metrics.agreement import agreement, jaccard

    assert jaccard(masks, cut(model, seed=1)) == jaccard(alone, cut(model, seed=1))
    assert list(agreement(masks, alone).index)[:-2] == list(alone)
    assert wb.size_ratio(model, masks) > wb.size_ratio(model, alone)  # here the biases and norms are gone too
    empty = {"w": torch.zeros(2, 2, dtype=torch.bool), "v": torch.ones(2, 2, dtype=torch.bool)}
    assert wb.collapsed({**empty, "w.bias": torch.zeros(2, dtype=torch.bool)}) == ["w"]
    assert wb.sparsity({"units": torch.tensor([True, False])}) == 0.5  # there is nothing else to count


@pytest.mark.filterwarnings("error")
def test_the_critical_compression_of_channels() -> None:
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 2, bias=False))
    nn.init.constant_(model[0].weight, 1.0)
    nn.init.constant_(model[2].weight, 0.1)
    # Scores 4 and 0.6: the second layer's two channels are the lowest of eight, and the first that go.
    batch = wb.Batch(torch.zeros(1, 4), torch.zeros(1).long())
    assert wb.critical_iterated(model, batch, "magnitude", granularity="channel") == 8 / 7
    assert wb.critical(wb.score(model, batch, "magnitude", granularity="channel")) == 8 / 7


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda m: wb.keep_top(drawn(m), 0.5, granularity="channel"), TypeError, "Pass model="),
        (lambda m: wb.keep_top(drawn(m), 0.5, granularity="channel", model=m), TypeError, "Pass example="),
        (
            lambda m: wb.keep_top(drawn(m), 0.5, granularity="row", model=m),
            ValueError,
            "block k x l .*channel, .*weight",
        ),
        (lambda m: wb.keep_top(drawn(m), 0.5, granularity="channel", reduce="min", model=m), ValueError, "max, mean"),
        (
            lambda m: wb.keep_top({"0.weight": torch.ones(5)}, 0.5, granularity="channel", model=m),
            ValueError,
            r"shape \(3,\), or its weights of shape \(3, 4\); got \(5,\)",
        ),
        (
            lambda m: wb.keep_top({"1.weight": torch.ones(5)}, 0.5, granularity="channel", model=m),
            ValueError,
            "prunable weights, 0.weight; got '1.weight'",
        ),
        (
            lambda m: wb.keep_top(
                drawn(m), 0.5, granularity="channel", model=m, allocation="erk", example=torch.zeros(1, 4)
            ),
            ValueError,
            'For scores of channels use "global"',
        ),
    ],
)
def test_what_does_not_fit_is_told(call: Callable[[nn.Module], object], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        call(nn.Sequential(nn.Linear(4, 3)))


def test_channels_stay_as_they_are() -> None:
    model = nn.Linear(4, 3)
    given = {"weight": torch.tensor([1.0, 2.0, 3.0])}
    assert torch.equal(channels(model, given, REDUCTIONS["sum"])["weight"], given["weight"])


def in_groups(model: nn.Module | None, values: wb.Scores, rule: object) -> wb.Scores:
    """2:4: a weight's place among the four of its group, so that half of all weights are two of each group."""
    return {
        name: v
        if v.dtype == torch.bool
        else 4.0 - v.unflatten(-1, (-1, 4)).argsort(dim=-1, descending=True).argsort(dim=-1).flatten(-2)
        for name, v in values.items()
    }


def blocks(model: nn.Module | None, values: wb.Scores, rule: Callable[[Tensor], Tensor]) -> wb.Scores:
    """Blocks of 2 x 4 weights of linear layers."""
    return {name: rule(v.unfold(0, 2, 2).unfold(1, 4, 4).flatten(-2)) for name, v in values.items()}


def block_masks(model: nn.Module | None, example: Tensor | None) -> Callable[[wb.Masks], wb.Masks]:
    return lambda units: {name: kept.repeat_interleave(2, 0).repeat_interleave(4, 1) for name, kept in units.items()}


def test_a_granularity_of_ones_own_is_one_pair() -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 8, bias=False))
    with torch.no_grad():
        model[2].weight = nn.Parameter(torch.randn(4, 8))
    GRANULARITIES.add("two of four", Granularity(in_groups, lambda model, example: lambda units: units), own=True)
    GRANULARITIES.add("2 x 4", Granularity(blocks, block_masks), own=True)
    try:
        scores = wb.score(model, None, "magnitude")
        for name, mask in wb.keep_top(scores, 0.5, granularity="two of four").items():
            best = scores[name].view(-1, 4).topk(2).indices.sort(1).values
            assert torch.equal(mask.view(-1, 4).nonzero()[:, 1].view(-1, 2), best)
        masks = wb.find_masks(model, None, "magnitude", 0.6, rounds=2, granularity="2 x 4")
        sums = {name: blocks(model, {name: m.float()}, REDUCTIONS["sum"])[name] for name, m in masks.items()}
        assert {float(s) for found in sums.values() for s in found.flatten()} == {0.0, 8.0}
        assert sum(int((found == 0).sum()) for found in sums.values()) == 6  # of ten blocks
    finally:
        GRANULARITIES.remove("two of four")
        GRANULARITIES.remove("2 x 4")


def test_a_layer_that_loses_all_its_channels_is_told():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    scores, whole = {"0.weight": torch.tensor([1.0, 2.0]), "2.weight": torch.tensor([3.0, 4.0])}, {"model": model}
    whole |= {"example": torch.ones(1, 2), "granularity": "channel"}
    with pytest.warns(UserWarning, match=r"leaves no channel in '0\.weight': nothing passes there"):
        wb.keep_top(scores, 0.5, **whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wb.keep_top(scores, 0.5, allocation="layer", **whole)
        wb.keep_top(
            {"0.weight": torch.zeros(2, 2), "2.weight": torch.ones(2, 2)}, 0.5
        )  # single weights: layer collapse
    model[2].weight.data *= 100
    with pytest.warns(UserWarning, match="leaves no channel in") as told:
        wb.find_masks(model, (torch.ones(1, 2), torch.ones(1).long()), "l1", 0.5, rounds=2, granularity="channel")
    assert len(told) == 1


def test_masks_within_are_bools(digits: wb.Task) -> None:
    model = wb.make("vgg", digits)
    scores, within = wb.score(model, None, "magnitude"), {name: m.float() for name, m in wb.dense(model).items()}
    with pytest.raises(TypeError, match="masks are bool tensors"):
        wb.keep_top(scores, 0.5, granularity="channel", model=model, example=digits.batch(1).inputs, within=within)


def exact(scores: Tensor, n: int, m: int) -> Tensor:
    """n:m by a loop."""
    mask = torch.zeros_like(scores, dtype=torch.bool)
    for out, *rest in itertools.product(*(range(size) for size in (scores.shape[0], *scores.shape[2:]))):
        for start in range(0, scores.shape[1], m):
            row = [(-float(scores[(out, start + i, *rest)]), i) for i in range(m)]
            for _, i in sorted(row)[:n]:
                mask[(out, start + i, *rest)] = True
    return mask


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 9), st.booleans())
def test_n_of_m_is_what_a_loop_gives(n: int, more: int, groups: int, seed: int, kernel: bool) -> None:
    """Ties too: of equal ones the earlier is kept."""
    m = n + more - 1
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 3, (2, groups * m, 2, 1) if kernel else (2, groups * m), generator=draw).float()
    model = nn.Conv2d(groups * m, 2, (2, 1)) if kernel else nn.Linear(groups * m, 2)
    masks = wb.keep_top({"weight": scores}, 1 - n / m, granularity=f"{n}:{m}", model=model)
    assert torch.equal(masks["weight"], exact(scores, n, m))


def test_inputs_are_found_where_the_layer_has_them() -> None:
    """A transposed convolution's weight is [in, out / groups, ...]."""
    model = nn.ConvTranspose1d(4, 3, 1)
    scores = {"weight": torch.arange(12.0).view(4, 3, 1)}
    kept = wb.keep_top(scores, 0.5, granularity="2:4", model=model)["weight"][..., 0]
    assert kept.tolist() == [[False] * 3, [False] * 3, [True] * 3, [True] * 3]


def test_units_by_hand() -> None:
    model = nn.Conv2d(2, 2, 2, bias=False)
    scores = {"weight": torch.tensor([[[[1.0, 2], [9, 0]], [[3, 3], [3, 3]]], [[[0, 0], [0, 1]], [[8, 0], [1, 1]]]])}
    kept = {
        "vector": [[[1, 1], [1, 1]], [[0, 0], [1, 0]]],  # rows hold 3 9 | 6 6 | 0 1 | 8 2
        "kernel": [[1, 1], [0, 0]],  # 12 12 | 1 10: two of four
        "layer": [1],
        "block 1x4": [[1, 1], [0, 0]],
        "block 2x3": [[1, 1, 0]],  # columns 0-2 hold 12, 3-5 hold 15, 6-7 hold 8
        "channel": [1, 0],
    }
    share = {"vector": 3 / 8, "layer": 0.0, "block 2x3": 1 / 3}
    for name, units in kept.items():
        how = {"granularity": name, "model": model, "example": torch.zeros(1, 2, 3, 3)}
        masks = wb.keep_top(scores, share.get(name, 0.5), **how)
        found = find_granularity(name).reduce(model, masks, lambda mask: mask.any(-1))["weight"]
        assert found.int().tolist() == units, name
        assert torch.equal(
            find_granularity(name).expand(model, how["example"])({"weight": found})["weight"], masks["weight"]
        )


def test_patterns_by_hand() -> None:
    """Each kernel keeps four places; with one kernel of another kind among many, it takes one of the others'."""
    draw = torch.Generator().manual_seed(0)
    shapes = [torch.randperm(9, generator=draw)[:4] for _ in range(8)]
    scores = torch.rand(9, 9, 9, generator=draw) / 10
    for k in range(80):
        scores.view(81, 9)[k, shapes[k % 8]] += 1
    scores.view(81, 9)[80, [0, 1, 2, 3]] += 0.05
    given = {"weight": scores.view(9, 9, 3, 3)}
    mask = wb.keep_top(given, 5 / 9, granularity="pattern", model=nn.Conv2d(9, 9, 3))["weight"].view(81, 9)
    assert (mask.sum(1) == 4).all()
    assert len(mask.unique(dim=0)) == 8
    assert all(mask[k, shapes[k % 8]].all() for k in range(80))


def test_heads_by_hand() -> None:
    model = nn.MultiheadAttention(4, 2, batch_first=True)
    scores = {"in_proj_weight": torch.ones(12, 4)}
    scores["in_proj_weight"][[2, 3, 6, 7, 10, 11]] = 2.0  # the second head's rows of queries, keys and values
    masks = wb.keep_top(scores, 0.5, granularity="head", model=model)
    assert sorted(masks) == ["in_proj_bias", "in_proj_weight"]
    assert masks["in_proj_bias"].tolist() == [False, False, True, True] * 3
    wb.apply_masks_(model, masks)
    x = torch.randn(2, 3, 4)
    with torch.no_grad():
        model.out_proj.weight[:, :2] = 100.0  # what reads the removed head
        assert torch.allclose(model(x, x, x)[0], one_head(model, x), atol=1e-5)


def one_head(model: nn.MultiheadAttention, x: Tensor) -> Tensor:
    rows = model.in_proj_weight.view(3, 2, 2, 4)[:, 1]
    query, key, value = (
        x @ part.t() + bias for part, bias in zip(rows, model.in_proj_bias.view(3, 2, 2)[:, 1], strict=True)
    )
    found = (query @ key.transpose(1, 2) / 2**0.5).softmax(-1) @ value
    return found @ model.out_proj.weight[:, 2:].t() + model.out_proj.bias


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"granularity": "2:4"}, r"removes 0\.5 of the weights; got sparsity=0\.6\. Pass 0\.5"),
        ({"granularity": "3:5"}, r"removes 0\.4 of the weights; got sparsity=0\.6\. Pass 0\.4$"),
        ({"granularity": "1:3"}, r"Pass 0\.666666666667$"),
        ({"granularity": "2:4", "sparsity": 0.5, "allocation": "erk"}, "same share; got allocation='erk'"),
        ({"granularity": "2:4", "sparsity": 0.5, "within": {"0.weight": torch.ones(3, 8).bool()}}, "is one cut"),
        ({"granularity": "3:8", "sparsity": 0.625, "rounds": 2}, "is one cut; got rounds=2"),
        ({"granularity": "4:2"}, "keeps n of each m"),
        ({"granularity": "1:3", "sparsity": 2 / 3}, "no multiple of 3"),
        ({"granularity": "block 4"}, "is one of block k x l"),
        ({"granularity": "kernel"}, "kernels are of convolutions"),
        ({"granularity": "pattern", "sparsity": 5 / 9}, "patterns are of 3 x 3 kernels"),
        ({"granularity": "head"}, "belongs to Linear"),
        ({"granularity": "block 2x2", "scores": (5, 5)}, r"or that of its units \(2, 4\); got \(5, 5\)"),
        ({"granularity": "2:4", "sparsity": 0.5, "scores": (4, 4, 1)}, r"shape \(3, 8\), or"),
    ],
)
def test_cuts_that_a_granularity_does_not_make(how: dict[str, Any], words: str) -> None:
    model, how = nn.Sequential(nn.Linear(8, 3)), {"sparsity": 0.6, **how}
    call = partial(wb.find_masks, model, None, "magnitude")
    if "rounds" not in how:
        call = partial(wb.keep_top, {"0.weight": torch.rand(how.pop("scores", (3, 8)))}, model=model)
    with pytest.raises(ValueError, match=words):
        call(**how)


@pytest.mark.parametrize("name", ["2:4", "vector", "kernel", "block 4x4", "block 3x5", "pattern", "layer"])
def test_units_of_real_networks_are_counted_exactly(digits: wb.Task, name: str) -> None:
    model, kind = wb.make("vgg", digits), find_granularity(name)
    weights = wb.prunable(model)
    leave = [
        n for n, w in weights.items() if (w.ndim == 2 or w.shape[1] == 1) and not name.startswith(("block", "layer"))
    ]
    sparsity = 0.6 if kind.share is None else kind.share
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a layer that goes
        masks = wb.find_masks(model, digits.batch(64), "snip", sparsity, granularity=name, exclude=leave)
    units = kind.reduce(model, masks, lambda mask: mask.any(-1))
    total = sum(unit.numel() for unit in units.values())
    assert sum(int(unit.sum()) for unit in units.values()) == total - math.floor(total * sparsity + 0.5)
