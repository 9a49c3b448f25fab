"""Methods that prune while a network trains: laws for all of them, and steps that can be done by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import workbench as wb
from workbench.methods.registry import METHODS, method
from workbench.methods.regrow import dropped, first, grown
from workbench.methods.schedules import cosine, cubic, linear, share
from workbench.states import Progress
from workbench.types import Batch, Masks


@pytest.fixture(scope="module")
def task() -> wb.Task:
    return wb.load("digits", device="cpu")


def asked(model: nn.Module, sparsity: float) -> int:
    total = sum(weight.numel() for weight in wb.prunable(model).values())
    return total - int(total * sparsity + 0.5)


def progress(
    model: nn.Module, masks: Masks, step: int, total: int = 100, memory: dict[str, Any] | None = None
) -> Progress:
    """What an update sees at a step, where all gradients are those that the test has set."""
    batch = Batch(torch.ones(1, 4), torch.zeros(1, dtype=torch.long))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Progress(step, total, model, optimizer, batch, torch.zeros(()), {} if memory is None else memory, 0, masks)


def layer(weights: list[float], gradients: list[float] | None = None) -> nn.Module:
    model = nn.Linear(len(weights), 1, bias=False)
    model.weight.data.copy_(torch.tensor([weights]))
    model.weight.grad = None if gradients is None else torch.tensor([gradients])
    return model


def bits(masks: Masks | None) -> list[int]:
    assert masks is not None
    return masks["weight"].int().flatten().tolist()


# Laws over the registry


def case(name: str, task: wb.Task) -> tuple[nn.Module, float]:
    """A small network that the method takes, and a sparsity."""
    kind = METHODS[name].granularity
    if kind == "channel":
        return wb.make("vgg", task, width=0.125), 0.5
    return (wb.make("lenet-300-100", task, width=0.2), 0.5) if kind == "n:m" else (lenet(task), 0.9)


def lenet(task: wb.Task) -> nn.Module:
    return wb.make("lenet-300-100", task, width=0.1)


def options(name: str) -> dict[str, Any]:
    """Changes every five steps, and no layer that loses all its few channels, where a method has such options."""
    wanted = {"every": 5, **({"allocation": "layer"} if METHODS[name].granularity == "channel" else {})}
    return {option: value for option, value in wanted.items() if option in METHODS[name].options}


def of_layers(model: nn.Module, masks: Masks) -> Masks:
    return {name: masks[name] for name in wb.prunable(model) if name in masks}


def check_exact(name: str, model: nn.Module, masks: Masks, sparsity: float) -> None:
    """Exactly as many units are kept as asked for: weights in all, n of each m inputs, or channels of what is pruned."""
    kind, layers = METHODS[name].granularity, of_layers(model, masks)
    if kind == "weight":
        assert sum(int(mask.sum()) for mask in layers.values()) == asked(model, sparsity)
    elif kind == "n:m":
        assert all((mask.unflatten(1, (-1, 4)).sum(2) == 2).all() for mask in layers.values())
    else:
        rows = [mask.flatten(1) for mask in layers.values()]
        assert all((row.all(1) == row.any(1)).all() for row in rows)
        *pruned, _ = rows
        assert sum(int(row.any(1).sum()) for row in pruned) == sum(map(len, pruned)) - int(
            sum(map(len, pruned)) * sparsity + 0.5
        )


@pytest.mark.parametrize("name", wb.methods())
def test_what_a_method_says_of_the_sparsity_holds_at_every_step(name: str, task: wb.Task) -> None:
    model, sparsity = case(name, task)
    entry, before, kept = METHODS[name], None, []
    for record in wb.steps(model, task, steps=40, **method(name, model, sparsity, **options(name))):
        masks = of_layers(model, record.state().masks)
        if entry.sparsity == "constant":
            check_exact(name, model, masks, sparsity)
        if before is not None and not entry.returns:
            assert all(not (mask & ~before[n]).any() for n, mask in masks.items())
        assert all(not model.get_parameter(n)[~mask].any() for n, mask in record.state().masks.items())
        before = masks
        kept.append(sum(int(mask.sum()) for mask in masks.values()))
    check_exact(name, model, masks, sparsity)
    if entry.sparsity != "constant":
        assert kept == sorted(kept, reverse=True)
        assert kept[0] > kept[-1]
    if entry.sparsity == "at the end":
        assert len(set(kept)) == 2


@pytest.mark.parametrize("name", wb.methods())
def test_a_run_goes_on_bit_for_bit(name: str, task: wb.Task, tmp_path: Any) -> None:
    def run(state: wb.State | None = None, stop: int | None = None) -> tuple[nn.Module, wb.State]:
        model, sparsity = case(name, task)
        arguments = method(name, model, sparsity, **options(name))
        for record in wb.steps(model, task, steps=30, state=state, stop=stop, optimizer="adam", **arguments):
            last = record.state()
        return model, last

    whole, end = run()
    run(stop=17)[1].save(tmp_path / "state.safetensors")
    resumed, again = run(wb.State.load(tmp_path / "state.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert all(torch.equal(mask, again.masks[n]) for n, mask in end.masks.items())


@pytest.mark.parametrize("name", [name for name in wb.methods() if METHODS[name].returns])
def test_what_comes_back_has_no_moments_and_starts_at_zero(name: str, task: wb.Task) -> None:
    """Where weights are trained behind the masks, they come back with the value there."""
    (model, sparsity), born = case(name, task), 0
    arguments = method(name, model, sparsity, **options(name))
    update = arguments["update"]

    def watched(progress: Progress) -> Masks | None:
        nonlocal born
        before, masks = progress.masks, update(progress)
        for n, mask in (masks or {}).items():
            fresh = mask & ~before.get(n, mask)
            born += int(fresh.sum())
            assert not progress.model.get_parameter(n)[fresh].any()
            if "straight_through" in arguments:
                assert progress.behind[n][fresh].all()
        return masks

    rows = wb.steps(model, task, steps=20, optimizer="adam", **arguments | {"update": watched})
    assert len(list(rows)) == 20
    assert born > 0 or METHODS[name].sparsity != "constant"


def test_the_table_says_what_each_method_is() -> None:
    table = wb.method_table()
    assert list(table.index) == wb.methods()
    assert table["source"].str.contains("arXiv:").all()
    assert (table != "").all(axis=None)


# Schedules


def test_schedules_are_the_closed_forms() -> None:
    for at in torch.linspace(0, 1, 21).tolist():
        assert cubic(at) == pytest.approx(1 - (1 - at) ** 3)
        assert linear(at, 0.5) == pytest.approx(max(0.0, 2 * at - 1))
        assert cosine(at, 0.0, 0.5) == pytest.approx(0.5 * (1 + torch.tensor(min(at, 0.5) * 2 * torch.pi).cos().item()))
    for start, end in ((0.5, 0.5), (0.8, 0.2), (-0.1, 1.0), (0.0, 1.1)):
        with pytest.raises(ValueError, match="starts before it ends, 0 <= start < end <= 1; got"):
            share(0.1, start, end)


# By hand


def test_who_is_first() -> None:
    order, among = torch.tensor([[5.0, 1.0, 5.0, 3.0]]), torch.tensor([[True, True, True, False]])
    assert first(order, among, 1).tolist() == [[True, False, False, False]]
    assert first(order, among, 9).tolist() == among.tolist()
    assert dropped(torch.tensor([-3.0, 1.0, 1.0]), torch.tensor([True, True, True]), 1).tolist() == [True, True, False]


def test_growth_takes_what_was_closed_last() -> None:
    kept, closed = torch.tensor([True, False, False, False]), torch.tensor([True, True, False, False])
    order = torch.tensor([0.0, 9.0, 1.0, 2.0])
    assert grown(order, kept, 1, closed).int().tolist() == [1, 0, 0, 1]
    assert grown(order, kept, 1).int().tolist() == [1, 1, 0, 0]
    assert grown(order, kept, 3, closed).int().tolist() == [1, 1, 1, 1]


def test_rigl_by_hand() -> None:
    """Six of ten weights; the share 0.5 (1 + cos(pi 20 / 75)) / 2 = 0.417 of six is two: -0.2 and 0.3 go."""
    weights = [1.0, -0.2, 0.3, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]
    gradients = [0.0, 99.0, 98.0, 0.0, 0.0, 0.0, 0.1, -7.0, 0.2, 5.0]
    model, mask = layer(weights, gradients), {"weight": torch.tensor([[True] * 6 + [False] * 4])}
    options: dict[str, Any] = dict(allocation="layer", drop=0.5)
    update = method("rigl", model, 0.4, **options)["update"]
    assert bits(update(progress(model, mask, 20))) == [1, 0, 0, 1, 1, 1, 0, 1, 0, 1]
    same = method("rigl", model, 0.4, **options, may_return=True)["update"]
    assert bits(same(progress(model, mask, 20))) == [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    for step in (0, 19, 80):  # the first, not due, and after the share 0.75
        assert update(progress(model, mask, step)) is None


def test_set_by_hand() -> None:
    """A third of six is two; as many of the four that were free grow, whatever the draw."""
    model, mask = (
        layer([1.0, -0.2, 0.3, 2.0, 3.0, 4.0, 0, 0, 0, 0]),
        {"weight": torch.tensor([[True] * 6 + [False] * 4])},
    )
    found = bits(method("set", model, 0.4, allocation="layer", drop=0.34)["update"](progress(model, mask, 20)))
    assert found[:6] == [1, 0, 0, 1, 1, 1]
    assert sum(found[6:]) == 2


def test_gradual_by_hand() -> None:
    """Ten weights to 80 %: at half of the way 1 - 1/8 of 8 are gone, 7; at the end 8."""
    model = layer([float(k) for k in range(1, 11)])
    update = method("gradual", model, 0.8, stop=0.8)["update"]
    masks = {"weight": torch.ones(1, 10, dtype=torch.bool)}
    assert bits(update(progress(model, masks, 40))) == [0] * 7 + [1] * 3
    assert update(progress(model, masks, 0)) is None
    assert update(progress(model, masks, 41)) is None
    assert bits(update(progress(model, masks, 80))) == [0] * 8 + [1] * 2
    straight = method("gradual", model, 0.8, stop=0.8, schedule="linear")["update"]
    assert bits(straight(progress(model, masks, 40))) == [0] * 4 + [1] * 6


def test_snfs_gives_to_the_layer_with_more_momentum() -> None:
    """Both layers drop two of four; the first has nine times the momentum, so it grows 4 of the 4."""
    model = nn.Sequential(nn.Linear(8, 1, bias=False), nn.Linear(8, 1, bias=False))
    mask = torch.tensor([[True] * 4 + [False] * 4])
    for part, scale in zip(model, (9.0, 1.0), strict=True):
        part.weight.data.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0, 0, 0, 0, 0]]))
        part.weight.grad = scale * torch.tensor([[1.0, 1.0, 1.0, 1.0, 4.0, 3.0, 2.0, 1.0]])
    update = method("snfs", model, 0.5, drop=0.6, every=1)["update"]
    masks = update(progress(model, {"0.weight": mask, "1.weight": mask.clone()}, 1, total=1000))
    assert masks is not None
    assert [bits({"weight": mask}) for mask in masks.values()] == [[0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 0, 0]]


def test_dsr_moves_its_threshold() -> None:
    model, mask = (
        layer([0.5, -0.2, 0.3, 2.0, 3.0, 4.0, 0, 0, 0, 0]),
        {"weight": torch.tensor([[True] * 6 + [False] * 4])},
    )
    memory: dict[str, Any] = {}
    update = method("dsr", model, 0.4, threshold=0.4, drop=0.1)["update"]
    found = bits(update(progress(model, mask, 20, memory=memory)))  # two of six go, over three times what was wanted
    assert found[:6] == [1, 0, 0, 1, 1, 1]
    assert sum(found) == 6
    assert memory["threshold"] == 0.2
    update(progress(model, mask, 20, memory=memory))  # none is below 0.2
    assert memory["threshold"] == 0.4


# Bad input


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("rigle", {}, "method is one of .*Did you mean 'rigl'"),
        ("rigl", {"dorp": 0.1}, "option of 'rigl' is one of .*Did you mean 'drop'"),
        ("gradual", {"start": 0.8, "stop": 0.2}, "starts before it ends"),
        ("gradual", {"schedule": "square"}, "schedule is one of cubic, linear"),
    ],
)
def test_what_a_method_refuses(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        method(name, nn.Linear(4, 2), 0.5, **options)
    with pytest.raises(ValueError, match="fraction removed"):
        method("set", nn.Linear(4, 2), 1.5)
