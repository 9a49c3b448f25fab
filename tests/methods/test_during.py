"""Methods that prune while a network trains: laws for all of them, and steps that can be done by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import workbench as wb
from workbench.granularity.fixed import largest
from workbench.methods.during.l0 import gate, open_chance, slope
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
    """Exactly as many are kept as asked for: weights in all, n of each m inputs, or channels of what is pruned."""
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


@pytest.mark.parametrize("name", ["gradual", "dpf", "str"])
def test_a_training_that_starts_after_the_cut_is_pruned_at_once(name: str, task: wb.Task) -> None:
    model = wb.make("lenet-300-100", task)
    run = wb.steps(model, task, start=4, steps=6, **method(name, model, 0.5, stop=0.5))
    kept = [sum(int(mask.sum()) for mask in record.masks.values()) for record in run]
    assert kept == [asked(model, 0.5)] * 2


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


def updated(name: str, model: nn.Module, seen: Progress, sparsity: float, **options: Any) -> Masks | None:
    found: Masks | None = method(name, model, sparsity, **options)["update"](seen)
    return found


def test_dpf_brings_back_what_grew_behind_the_mask() -> None:
    model, mask = layer([0.0, 0.0, 3.0, 4.0]), {"weight": torch.tensor([[False, False, True, True]])}
    seen = progress(model, mask, 80, memory={"behind": {"weight": torch.tensor([[9.0, 1.0, 3.0, 4.0]])}})
    assert bits(updated("dpf", model, seen, 0.5, stop=0.8)) == [1, 0, 0, 1]
    early = progress(model, mask, 40, memory=seen.memory)  # half of the way: 7/8 of 50 % of four weights, 1.75
    assert bits(updated("dpf", model, early, 0.5, stop=0.8)) == [1, 0, 0, 1]
    assert updated("dpf", model, progress(model, mask, 41, memory=seen.memory), 0.5) is None


def test_top_kast_trains_the_next_largest_too() -> None:
    """Two of four in force, three trained (1.5 times); strength 0.1, and 0.1 / density = 0.2 outside the mask."""
    model = layer([4.0, 3.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0])
    seen = progress(model, {"weight": torch.tensor([[True, True, False, False]])}, 0)
    seen.memory["behind"] = {"weight": torch.tensor([[4.0, 3.0, 2.0, 1.0]])}
    assert updated("top-kast", model, seen, 0.5, reach=1.5, strength=0.1) is None
    assert model.get_parameter("weight").grad.tolist() == [pytest.approx([1.4, 1.3, 1.4, 0.0])]


@pytest.mark.parametrize(("name", "expected"), [("ste", [1.0, 1.0, 1.0, 1.0]), ("sr-ste", [1.0, 1.0, 2.0, 0.5])])
def test_n_of_m_by_hand(name: str, expected: list[float]) -> None:
    """Two of four; the removed weights 2 and -1 pull with half of their size, and none does so in plain STE."""
    model, mask = layer([4.0, -3.0, 0.0, 0.0], [1.0] * 4), {"weight": torch.tensor([[True, True, False, False]])}
    seen = progress(model, mask, 1, memory={"behind": {"weight": torch.tensor([[4.0, -1.5, 2.0, -1.0]])}})
    options = {"strength": 0.5} if name == "sr-ste" else {}
    assert bits(updated(name, model, seen, 0.5, **options)) == [1, 0, 1, 0]
    assert model.get_parameter("weight").grad.flatten().tolist() == expected


def test_groups_run_along_the_inputs() -> None:
    """A kernel's position has its own groups: of channels 0 and 1 at each position the larger one."""
    weight = torch.tensor([[[1.0, 9.0]], [[5.0, 2.0]]]).view(1, 2, 1, 2)
    assert largest(weight.abs(), 1, 2).int().flatten().tolist() == [0, 1, 1, 0]


def test_layers_whose_weights_are_turned_have_no_groups() -> None:
    model = nn.Sequential(nn.ConvTranspose2d(4, 8, 3), nn.Conv2d(8, 4, 1))
    assert list(method("ste", model, 0.5)["masks"]) == ["1.weight"]
    with pytest.raises(ValueError, match="no layer of this model"):
        method("ste", model[0], 0.5)


def test_movement_sums_what_goes_away_from_zero() -> None:
    """By hand: -w dL/dw of two steps, where the second sees a removed weight behind its mask, without its gradient."""
    behind, memory = {"weight": torch.tensor([[1.0, -2.0, 3.0, -4.0]])}, dict[str, Any]()
    memory["behind"] = behind
    model = layer([1.0, -2.0, 3.0, -4.0], [0.5, 1.0, 1.0, -0.5])
    ones = torch.ones(1, 4, dtype=torch.bool)
    assert updated("movement", model, progress(model, {"weight": ones}, 19, memory=memory), 0.5) is None
    assert memory["scores"]["weight"].tolist() == [[-0.5, 2.0, -3.0, -2.0]]
    assert model.weight.grad.tolist() == [[0.5, 1.0, 1.0, -0.5]]
    mask = torch.tensor([[True, True, False, True]])
    model = layer([1.0, -2.0, 0.0, -4.0], [0.5, 1.0, -2.0, -0.5])
    found = updated("movement", model, progress(model, {"weight": mask}, 20, memory=memory), 0.5, schedule="linear")
    assert memory["scores"]["weight"].tolist() == [[-1.0, 4.0, 3.0, -4.0]]
    assert model.weight.grad.tolist() == [[0.5, 1.0, 0.0, -0.5]]
    assert bits(found) == [1, 1, 1, 0]  # a fifth of the way of three quarters: one of four


@pytest.mark.parametrize("name", ["gradual", "movement"])
def test_heads_go_while_a_network_trains(name: str) -> None:
    """All but one of four heads, with their biases; what is left out stays whole."""
    torch.manual_seed(0)

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.write = nn.MultiheadAttention(8, 4, batch_first=True), nn.Linear(8, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = x[:, 0]
            return self.write(self.attention(rows, rows, rows)[0].mean(1))

    model, knobs = Rows(), {"granularity": "head", "exclude": ["*out_proj", "write"], "allocation": "layer", "every": 2}
    *_, last = wb.steps(model, wb.load("digits", device="cpu"), steps=10, **method(name, model, 0.75, **knobs))
    heads = {n: mask.view(3, 4, -1).all(2) for n, mask in last.masks.items() if n.startswith("attention.in_proj")}
    assert list(heads) == ["attention.in_proj_weight", "attention.in_proj_bias"]
    for kept in heads.values():
        assert (kept == kept[0]).all()
        assert kept[0].sum() == 1
    for n, mask in last.masks.items():
        assert not model.get_parameter(n)[~mask].any()
    assert all(n in heads or mask.all() for n, mask in last.masks.items())


def test_sr_ste_is_the_gradient_of_a_penalty_on_removed_weights() -> None:
    """By finite differences: the masked network's loss, where weights pass straight through, plus strength / 2 w^2."""
    behind, mask = torch.tensor([[4.0, -3.0, 2.0, -1.0]], dtype=torch.float64), torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    x = torch.tensor([[0.3, -0.7, 0.2, 0.9]], dtype=torch.float64)

    def value(w: torch.Tensor) -> torch.Tensor:  # straight through: the forward value at the masked weights, moved by w
        through = (behind * mask) + (w - behind)
        return (through @ x.t()).sum() ** 2 + 0.25 * ((1 - mask) * w**2).sum()

    model = layer((behind * mask).flatten().tolist()).double()
    ((model(x)) ** 2).sum().backward()
    seen = progress(model, {"weight": mask.bool()}, 1, memory={"behind": {"weight": behind}})
    updated("sr-ste", model, seen, 0.5, strength=0.5)
    assert torch.allclose(model.get_parameter("weight").grad, differences(value, behind), atol=1e-6)


def differences(value: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor, h: float = 1e-5) -> torch.Tensor:
    """Central differences."""
    flat = at.detach().flatten()
    moved = [torch.zeros_like(flat).index_fill_(0, torch.tensor([k]), h) for k in range(len(flat))]
    found = [value((flat + d).view_as(at)) - value((flat - d).view_as(at)) for d in moved]
    return (torch.stack(found) / (2 * h)).detach().view_as(at)


def test_str_by_hand() -> None:
    """sigmoid(0) = 0.5: of -2 and 0.75 are left -1.5 and 0.25, of 0.4 nothing; the cut keeps two of four."""
    model, memory = layer([-2.0, 0.4, 0.75, 0.6]), {"levels": {"weight": 0.0}}
    seen = progress(model, {"weight": torch.ones(1, 4, dtype=torch.bool)}, 75, memory=memory)
    assert bits(updated("str", model, seen, 0.5)) == [1, 0, 1, 0]
    assert model.get_parameter("weight").flatten().tolist() == pytest.approx([-1.5, 0.0, 0.25, 0.1])
    assert memory["soft sparsity"] == 0.25


def test_a_threshold_learns_by_its_gradient() -> None:
    """The level falls by the rate, 0.1, times the slope of the loss and of strength / 2 s^2."""
    model, batch = layer([-2.0, 0.4, 0.75]).double(), Batch(torch.tensor([[0.3, -0.7, 0.2]]).double(), torch.zeros(1))
    how = method("str", model, 0.5, rate=1.0, strength=0.25, loss_fn=lambda outputs, targets: (outputs**2).sum())

    def value(level: torch.Tensor) -> torch.Tensor:
        return how["loss"](model, batch, {"levels": {"weight": level.item()}}) + 0.125 * level.item() ** 2

    memory: dict[str, Any] = {"levels": {"weight": 0.5}}
    how["loss"](model, batch, memory).backward()
    how["update"](progress(model, {"weight": torch.ones(1, 3, dtype=torch.bool)}, 1, memory=memory))
    expected = differences(value, torch.tensor([0.5], dtype=torch.float64))
    assert (0.5 - memory["levels"]["weight"]) / 0.1 == pytest.approx(expected.item(), abs=1e-6)


def test_gates_by_their_closed_form() -> None:
    """The share of open gates is `open_chance`."""
    log_alpha, noise = torch.tensor([-3.0, -0.5, 1.0], dtype=torch.float64), torch.linspace(0.00005, 0.99995, 10_000)
    drawn = gate(log_alpha[:, None], noise.double().expand(3, -1))
    assert torch.allclose((drawn > 0).double().mean(1), open_chance(log_alpha), atol=2e-4)
    assert ((drawn >= 0) & (drawn <= 1)).all()


def test_a_gate_learns_by_its_gradient() -> None:
    """Gates between 0 and 1, at 0 and at 1, with the gradient that the product of weight and gate passes on."""
    log_alpha, noise = torch.tensor([-0.5, 1.0, -9.0, 9.0]).double(), torch.tensor([0.6, 0.3, 0.5, 0.5]).double()
    weight, x = torch.tensor([2.0, -1.0, 3.0, 0.5]).double().requires_grad_(), torch.tensor([0.3, 1.0, -2.0, 0.7])
    z = gate(log_alpha, noise)
    (((weight * z) @ x.double()) ** 2).backward()
    slopes = differences(lambda a: ((weight.detach() * gate(a, noise)) @ x.double()) ** 2, log_alpha)
    assert torch.allclose(slope(z) * weight.detach() * weight.grad, slopes, atol=1e-6)
    assert slopes.count_nonzero() == 2


def test_l0_cuts_by_its_gates() -> None:
    """At an expected sparsity of about 0 the gap is 0.5: the multipliers grow by 0.1 times it and its square."""
    model = layer([1.0, 2.0, 3.0, 4.0])
    memory = {"log alpha": torch.tensor([9.0, 8.5, 0.0, 8.0]), "square": torch.zeros(4), "gates": torch.ones(4)}
    memory |= {"l1": 1.0, "l2": 2.0, "asked": 0.5}
    seen = progress(model, {"weight": torch.ones(1, 4, dtype=torch.bool)}, 75, memory=memory)
    gap = 0.5 - (1 - float(open_chance(memory["log alpha"]).mean()))
    assert bits(updated("l0", model, seen, 0.5, rate=0.1)) == [1, 1, 0, 0]
    assert (memory["l1"], memory["l2"], memory["asked"]) == pytest.approx((1 + 0.1 * gap, 2 + 0.1 * gap**2, 0.5))
    assert model.get_parameter("weight").flatten()[:2].tolist() == [1.0, 2.0]


def two_filters() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    model[0].weight.data.copy_(torch.tensor([1.0, -2.0]).view(2, 1, 1, 1))
    return model


def on_pixels(model: nn.Module, step: int) -> Progress:
    seen = progress(model, wb.dense(model), step)
    return replace(seen, batch=Batch(torch.ones(1, 1, 1, 1), torch.zeros(1, dtype=torch.long)))


def test_soft_zeroes_only_weights_and_hard_removes_all_of_a_filter() -> None:
    model = two_filters()
    assert updated("soft-filter", model, on_pixels(model, 20), 0.5) is None
    assert model[0].weight.flatten().tolist() == [0.0, -2.0]
    assert model[1].weight.tolist() == [1.0, 1.0]
    model = two_filters()
    masks = updated("hard-filter", model, on_pixels(model, 20), 0.5)
    final = updated("soft-filter", model, on_pixels(model, 75), 0.5)
    for found in (masks, final):
        assert set(found) == {"0.weight", "0.bias", "1.weight", "1.bias"}
        assert all(mask.flatten().tolist() == [False, True] for mask in found.values())
    assert updated("hard-filter", model, on_pixels(model, 40), 0.5) is None


@pytest.mark.parametrize(("name", "penalty"), [("group-lasso", 1 + 2), ("slimming", 0.5 + 3)])
def test_penalties_by_hand(name: str, penalty: float) -> None:
    """Norms 1 and 2 of two filters; scales 0.5 and -3 of their BatchNorm, so slimming cuts the first, too."""
    model = two_filters()
    model[1].weight.data.copy_(torch.tensor([0.5, -3.0]))
    options = {"example": torch.ones(1, 1, 1, 1)} if name == "slimming" else {}
    how, seen, memory = method(name, model, 0.5, strength=1.0, **options), on_pixels(model.eval(), 75), {}
    plain = nn.functional.cross_entropy(model(seen.batch.inputs), seen.batch.targets)
    assert (how["loss"](model, seen.batch, memory) - plain).item() == pytest.approx(penalty)
    assert how["update"](seen)["0.weight"].flatten().tolist() == [False, True]
    assert how["loss"](model, seen.batch, seen.memory).item() == pytest.approx(plain.item())


def test_taylor_scores_are_summed_until_the_cut() -> None:
    """A channel's outputs are its pixel, and dL/da is 1: scores 9 and 1, then 1 and 4, so that the second goes."""
    model = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.Flatten(), nn.Linear(2, 1, bias=False))
    model[0].weight.data.copy_(torch.eye(2).view(2, 2, 1, 1))
    nn.init.ones_(model[2].weight)
    update = method("iterative-taylor", model, 0.5, stop=0.75, loss_fn=lambda outputs, targets: outputs.sum())["update"]
    memory: dict[str, Any] = {}
    for step, pixels, expected in ((74, [3.0, 1.0], [9, 1]), (75, [1.0, 2.0], [10, 5])):
        batch = Batch(torch.tensor(pixels).view(1, 2, 1, 1), torch.zeros(1))
        gates = torch.ones(2, requires_grad=True)
        (slope,) = torch.autograd.grad(model[2](gates * model[0](batch.inputs).flatten(1)).sum(), gates)
        sums = slope.square() + memory.get("scores", {}).get("0.weight", 0)
        assert sums.tolist() == expected
        seen = replace(progress(model, wb.dense(model), step, memory=memory), batch=batch)
        masks = update(seen)
        assert step == 75 or (masks is None and torch.equal(memory["scores"]["0.weight"], sums.double()))
    assert masks is not None
    assert masks["0.weight"].flatten(1).all(1).tolist() == [True, False]
    assert "scores" not in memory


def test_taylor_takes_a_few_channels_at_each_cut(task: wb.Task) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
    run = wb.steps(model, task, steps=40, **method("iterative-taylor", model, 0.5, stop=0.75))
    kept = [int(record.masks["1.weight"].any(1).sum()) for record in run]
    assert kept == [12] * 10 + [10] * 10 + [8] * 10 + [6] * 10


# Bad input


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("rigle", {}, "method is one of .*Did you mean 'rigl'"),
        ("rigl", {"dorp": 0.1}, "option of 'rigl' is one of .*Did you mean 'drop'"),
        ("gradual", {"start": 0.8, "stop": 0.2}, "starts before it ends"),
        ("gradual", {"schedule": "square"}, "schedule is one of cubic, linear"),
        ("dpf", {"start": 0.8, "stop": 0.2}, "starts before it ends"),
        ("top-kast", {"reach": 0.5}, "reach is .* at least 1; got 0.5"),
        ("sr-ste", {"n_of": 1}, "sparsity is 0.75; got sparsity=0.5. Pass 0.75, or other n_of and m_of"),
        ("ste", {"n_of": 5}, "n_of is at most m_of"),
        ("ste", {"n_of": 4, "m_of": 8}, "no layer of this model has a multiple of 8"),
        ("soft-filter", {}, "removes filters of convolutions.*Use a network with convolutions"),
        ("hard-filter", {}, "removes filters of convolutions.*Use a network with convolutions"),
        ("slimming", {"example": torch.ones(1, 4)}, "this model has none. Use a network with BatchNorm"),
        ("group-lasso", {}, "group-lasso' removes channels of layers before the last"),
        ("iterative-taylor", {}, "taylor' removes channels of layers before the last"),
    ],
)
def test_what_a_method_refuses(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        method(name, nn.Linear(4, 2), 0.5, **options)
    with pytest.raises(ValueError, match="fraction removed"):
        method("set", nn.Linear(4, 2), 1.5)
