"""A criterion is called with the arguments it names, however it is written."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import workbench as wb
from workbench.criteria.arguments import GIVEN, Arguments, arguments
from workbench.criteria.registry import entries, find_criterion, unregister_criterion

BATCH = wb.Batch(torch.ones(2, 3), torch.tensor([0, 1]))
SEEN: dict[str, Any] = {}


def seen(model: nn.Module, **given: Any) -> wb.Scores:
    """Scores of one, and a note of what was passed."""
    SEEN.clear()
    SEEN.update(given, model=model)
    return {name: torch.ones_like(w) for name, w in wb.prunable(model).items()}


def old(model, batch, *, masks=None, loss_fn, generator, power=2):
    return seen(model, batch=batch, masks=masks, loss_fn=loss_fn, generator=generator, power=power)


def other_names(net, data, *, masks=None, loss_fn, generator):
    return seen(net, batch=data, masks=masks, loss_fn=loss_fn, generator=generator)


def rest(model, batch, **given):
    return seen(model, batch=batch, **given)


def anything(*args, **given):
    return rest(*args, **given)


def by_place(model, batch, /, *, masks=None, loss_fn, generator):
    return seen(model, batch=batch, masks=masks, loss_fn=loss_fn, generator=generator)


def needed_knob(model, batch, *, masks, loss_fn, generator, power):
    return seen(model, batch=batch, masks=masks, loss_fn=loss_fn, generator=generator, power=power)


def one(model):
    return seen(model)


def one_by_place(model, /):
    return seen(model)


def another_order(loss_fn, masks, model, power=2):
    return seen(model, loss_fn=loss_fn, masks=masks, power=power)


def by_place_and_name(model, batch, /, generator=None, *, power=2):
    return seen(model, batch=batch, generator=generator, power=power)


def one_and_the_rest(model, **given):
    return seen(model, **given)


def one_and_no_more(model, *others):
    assert not others
    return seen(model)


def logged(function: Callable[..., wb.Scores]) -> Callable[..., wb.Scores]:
    @functools.wraps(function)
    def wrapper(*args: Any, **given: Any) -> wb.Scores:
        return function(*args, **given)

    return wrapper


class Callables:
    def __call__(self, model: nn.Module, masks: wb.Masks | None, power: int = 2) -> wb.Scores:
        return seen(model, masks=masks, power=power)

    def method(self, model: nn.Module, batch: wb.Batch) -> wb.Scores:
        return seen(model, batch=batch)

    def old(self, model: nn.Module, batch: wb.Batch, *, masks: Any = None, loss_fn: Any, generator: Any) -> wb.Scores:
        return seen(model, batch=batch, masks=masks, loss_fn=loss_fn, generator=generator)

    @staticmethod
    def static(model: nn.Module, loss_fn: Any) -> wb.Scores:
        return seen(model, loss_fn=loss_fn)


OLD = ("batch", "masks", "loss_fn", "generator")
WAYS: list[tuple[Callable[..., wb.Scores], tuple[str, ...], tuple[str, ...]]] = [
    (old, OLD, ("power",)),
    (other_names, OLD, ()),
    (rest, OLD, ()),
    (anything, OLD, ()),
    (by_place, OLD, ()),
    (one, (), ()),
    (one_by_place, (), ()),
    (another_order, ("loss_fn", "masks"), ("power",)),
    (by_place_and_name, ("batch", "generator"), ("power",)),
    (one_and_the_rest, OLD, ()),
    (one_and_no_more, (), ()),
    (logged(old), OLD, ("power",)),
    (logged(one), (), ()),
    (functools.partial(old, power=3), OLD, ("power",)),
    (functools.partial(another_order, power=3), ("loss_fn", "masks"), ("power",)),
    (functools.partial(lambda scale, model, batch: seen(model, batch=batch), 2.0), ("batch",), ()),
    (lambda model, masks: seen(model, masks=masks), ("masks",), ()),
    (lambda model, batch, masks, loss_fn, generator: old(model, batch, loss_fn=loss_fn, generator=generator), OLD, ()),
    (Callables(), ("masks",), ("power",)),
    (Callables().method, ("batch",), ()),
    (Callables().old, OLD, ()),
    (Callables.static, ("loss_fn",), ()),
]


@pytest.mark.parametrize(("function", "named", "knobs"), WAYS)
def test_a_criterion_gets_what_it_names(
    function: Callable[..., wb.Scores], named: tuple[str, ...], knobs: tuple[str, ...]
) -> None:
    model = nn.Linear(3, 2)
    masks = {"weight": torch.tensor([[True, False, True]] * 2)}
    scores = wb.score(model, BATCH, function, masks=masks, loss_fn=nn.functional.mse_loss)
    assert scores["weight"].tolist() == [[1.0] * 3] * 2
    assert SEEN["model"] is model
    assert set(SEEN) - {"model", "power"} == set(named)
    assert arguments(function).knobs == knobs
    for name in named:
        value = SEEN[name]
        if name == "batch":
            assert torch.equal(value.inputs, BATCH.inputs)
        elif name == "masks":
            assert value is None or torch.equal(value["weight"], masks["weight"])
        elif name == "loss_fn":
            assert value is nn.functional.mse_loss
        else:
            assert isinstance(value, torch.Generator)
    for knob in knobs:
        wb.score(model, BATCH, function, **{knob: 5})
        assert SEEN[knob] == 5
    if function not in (rest, anything, one_and_the_rest):
        with pytest.raises(TypeError, match=rf"'unknown'. Its knobs: {', '.join(knobs) or 'none'}; all criteria take"):
            wb.score(model, BATCH, function, unknown=1)


def test_a_knob_without_a_default_is_for_old_signatures_and_has_to_be_passed() -> None:
    model = nn.Linear(3, 2)
    wb.score(model, BATCH, needed_knob, power=3)
    assert SEEN["power"] == 3
    with pytest.raises(TypeError, match=r"missing a required argument: 'power'. Its knobs: power; all criteria"):
        wb.score(model, BATCH, needed_knob)


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda model, inputs: {}, r"got 'inputs' in <lambda>\(model, inputs\)"),
        (lambda net: {}, r"got 'net' in <lambda>\(net\)"),
        (lambda model, x, y, masks=None: {}, r"got 'x', 'y' in <lambda>"),
        (lambda model, *, mask: {}, r"got 'mask' in <lambda>"),
        (functools.partial(lambda model, rng, power: {}, power=2), r"got 'rng' in partial\(model, rng, \*, power=2\)"),
    ],
)
def test_what_cannot_be_named_is_told_with_what_can(function: Callable[..., wb.Scores], got: str) -> None:
    told = rf"a criterion names what it needs of model, batch, masks, loss_fn, generator, .*; {got}"
    with pytest.raises(TypeError, match=told):
        wb.score(nn.Linear(3, 2), BATCH, function)
    with pytest.raises(TypeError, match=told):
        wb.register_criterion("mine")(function)
    assert "mine" not in wb.criteria()


def test_a_function_without_arguments_is_no_criterion() -> None:
    with pytest.raises(TypeError, match=r"names at least the model, .*; got <lambda>\(power=2\)"):
        wb.register_criterion("mine")(lambda power=2: {})
    assert "mine" not in wb.criteria()


def test_an_option_of_score_is_no_knob() -> None:
    """It would never come, and a criterion that draws would draw the same under every seed."""
    for function in (lambda model, seed=0: {}, lambda model, batch, *, masks, loss_fn, generator, seed=0: {}):
        with pytest.raises(TypeError, match=r"options of wb.score, .*; got 'seed' in <lambda>\(model, .* a generator"):
            wb.score(nn.Linear(3, 2), BATCH, function, seed=3)


@pytest.fixture
def mine() -> Iterator[Callable[..., Any]]:
    yield lambda function, **facts: wb.register_criterion("mine", **facts)(function)
    unregister_criterion("mine")


def test_what_a_criterion_needs_of_the_batch_is_seen_from_its_signature(mine: Callable[..., Any]) -> None:
    for function, facts, needs in (
        (one, {}, "nothing"),
        (another_order, {}, "nothing"),
        (old, {}, "targets"),
        (Callables().method, {}, "targets"),
        (Callables().method, {"needs": "inputs"}, "inputs"),
        (old, {"needs": "nothing"}, "nothing"),
    ):
        mine(function, **facts)
        assert find_criterion("mine")[1].needs == needs
    with pytest.raises(ValueError, match=r"got 'inputs' for one, which does not name batch. Leave needs out"):
        mine(one, needs="inputs")


def test_the_masks_of_each_round_are_those_of_the_last() -> None:
    counts: list[int] = []

    def counting(model: nn.Module, masks: wb.Masks | None) -> wb.Scores:
        counts.append(6 if masks is None else int(masks["weight"].sum()))
        return {"weight": torch.arange(6.0).reshape(2, 3)}

    wb.find_masks(nn.Linear(3, 2), None, counting, 0.75, rounds=2)
    assert counts == [6, 3]


def test_the_signature_is_inspected_once_and_not_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    inspected = inspect.signature
    monkeypatch.setattr(inspect, "signature", lambda *args: calls.append(args) or inspected(*args))
    wb.find_masks(nn.Linear(3, 2), None, "magnitude", 0.75, rounds=3)
    assert len(calls) == 1  # the knobs are checked


@pytest.mark.parametrize("place", list(entries()))
def test_our_own_name_all_they_use(place: tuple[str, str]) -> None:
    entry = entries()[place]
    places, names, knobs = entry.arguments
    parameters = inspect.signature(entry.function).parameters
    assert (places, set(names) | set(knobs)) == ((), set(parameters)), "by names alone"
    assert set(names) <= set(GIVEN)
    assert all(parameters[knob].default is not inspect.Parameter.empty for knob in knobs)
    assert ("batch" in names) == (entry.needs != "nothing")
    assert "loss_fn" not in names or entry.needs == "targets"


def test_arguments_by_hand() -> None:
    assert arguments(by_place_and_name) == Arguments(("model", "batch"), ("generator",), ("power",))
    assert arguments(one_and_the_rest) == Arguments((), GIVEN, ())
    assert arguments(old) == Arguments(GIVEN[:2], GIVEN[2:], ("power",))


def test_a_knob_in_second_place_is_no_batch() -> None:
    seen = []

    def with_rest(model: nn.Module, power: int = 2, **rest: Any) -> wb.Scores:
        seen.append((power, sorted(rest)))
        return {name: w.abs() ** power for name, w in wb.prunable(model).items()}

    def with_names(model: nn.Module, power: int = 2, *, masks: Any, loss_fn: Any, generator: Any) -> wb.Scores:
        return with_rest(model, power)

    model = nn.Linear(3, 2)
    for function in (with_rest, with_names):
        wb.score(model, BATCH, function)
        wb.score(model, BATCH, function, power=3)
    assert [power for power, _ in seen] == [2, 3, 2, 3]
    assert seen[0][1] == ["batch", "generator", "loss_fn", "masks"]


def test_a_function_registered_for_channels_is_not_taken_for_weights(mine: Callable[..., Any]) -> None:
    def lengths(model: nn.Module) -> wb.Scores:
        return {name: w.norm(dim=1) for name, w in wb.prunable(model).items()}

    mine(lengths, granularity="channel")
    assert wb.score(nn.Linear(3, 2), None, lengths, granularity="channel")["weight"].shape == (2,)
    with pytest.raises(ValueError, match="shape"):
        wb.score(nn.Linear(3, 2), None, lengths)
