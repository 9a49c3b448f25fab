"""The rules for a criterion: all of the workbench's own keep them, and bad ones are refused with the right reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

import workbench as wb


@pytest.mark.parametrize("name", wb.criteria())
def test_our_own_keep_the_rules(name: str) -> None:
    wb.check_criterion(name)


@pytest.mark.parametrize("name", wb.criteria("channel"))
def test_our_own_for_channels_keep_the_rules(name: str) -> None:
    """Of hidden layers: the outputs are followed by no norm, no activation and no layer."""
    wb.check_criterion(name, granularity="channel", exclude=["fc"])


def test_a_layer_without_a_meaning_is_named_with_the_remedy() -> None:
    with pytest.raises(
        ValueError, match=r"'bn-scale' gave nothing. It has no meaning there: pass exclude=\['fc.weight'\]"
    ):
        wb.check_criterion("bn-scale", granularity="channel")


@pytest.mark.parametrize("name", sorted(set(wb.criteria()) - set(wb.criteria("channel"))))
def test_reduced_to_channels_they_keep_them_too(name: str) -> None:
    scores = wb.check_criterion(name, granularity="channel")
    assert {layer: tuple(s.shape) for layer, s in scores.items()} == {
        "conv1.weight": (4,),
        "conv2.weight": (6,),
        "fc.weight": (5,),
    }


def sound(model: Any, batch: Any, *, masks: Any = None, loss_fn: Any, generator: Any) -> wb.Scores:
    return {n: w.detach().abs() for n, w in wb.prunable(model).items()}


def flattened(model: Any, batch: Any, **_: Any) -> wb.Scores:
    return {n: w.detach().abs().reshape(-1) for n, w in wb.prunable(model).items()}


def endless(model: Any, batch: Any, **_: Any) -> wb.Scores:
    return {n: 1 / (w.detach() - w.detach()) for n, w in wb.prunable(model).items()}


def normalising(model: Any, batch: Any, **_: Any) -> wb.Scores:
    with torch.no_grad():
        for weight in wb.prunable(model).values():
            weight /= weight.norm()
    return sound(model, batch, loss_fn=None, generator=None)


def training(model: Any, batch: Any, **_: Any) -> wb.Scores:
    model.train()
    model(batch.inputs)
    return sound(model, batch, loss_fn=None, generator=None)


def accumulating(model: Any, batch: Any, **_: Any) -> wb.Scores:
    functional.cross_entropy(model(batch.inputs), batch.targets).backward()
    return {n: (w * w.grad).abs().detach() for n, w in wb.prunable(model).items()}


def seeding(model: Any, batch: Any, **_: Any) -> wb.Scores:
    torch.manual_seed(3)
    return {n: torch.rand(w.shape) for n, w in wb.prunable(model).items()}


CALLS = iter(range(10**6))


def forgetful(model: Any, batch: Any, **_: Any) -> wb.Scores:
    return {n: w.detach().abs() + next(CALLS) for n, w in wb.prunable(model).items()}


def first_sample(model: Any, batch: Any, **_: Any) -> wb.Scores:
    return {n: w.detach().abs() * float(batch.inputs[0].abs().sum()) for n, w in wb.prunable(model).items()}


def by_place(model: Any, batch: Any, **_: Any) -> wb.Scores:
    return {n: torch.arange(w.numel()).reshape(w.shape) * w.detach().abs() for n, w in wb.prunable(model).items()}


def what_is_left(model: Any, masks: Any) -> wb.Scores:
    return {n: w.detach().abs()[... if masks is None else masks[n]] for n, w in wb.prunable(model).items()}


def by_inputs(model: Any, inputs: Any) -> wb.Scores:
    return sound(model, inputs, loss_fn=None, generator=None)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (
            flattened,
            r"scores every prunable weight, 'conv1.weight' with shape \(4, 2, 3, 3\); 'flattened' gave \(72,\)",
        ),
        (endless, r"scores are finite numbers; 'endless' gave 72 NaN or infinite ones"),
        (normalising, r"'normalising' gave a model in which the values of 'conv1.weight' changed"),
        (training, r"'training' gave a model in which the values of 'bn1.running_mean' changed"),
        (accumulating, r"'accumulating' gave a model in which the gradient of 'conv1.weight' changed"),
        (seeding, r"'seeding' gave a model in which torch's random state changed"),
        (forgetful, r"same scores for the same arguments; 'forgetful' gave different scores the second time"),
        (
            first_sample,
            r"do not depend on the order of its samples; 'first_sample' gave different ones",
        ),
        (what_is_left, r"'conv1.weight' with shape \(4, 2, 3, 3\); 'what_is_left' gave \(\d\d,\)"),
        (
            by_place,
            r"the scores come in that order; 'by_place' gave different scores, different by up to .* in 'conv1.weight'",
        ),
    ],
)
def test_bad_criteria_are_refused_with_the_reason(bad: Callable[..., wb.Scores], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        wb.check_criterion(bad)


def test_a_criterion_that_names_what_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match=r"model, batch, masks, loss_fn, generator.* got 'inputs' in by_inputs"):
        wb.check_criterion(by_inputs)


def test_a_criterion_that_draws_is_spared_the_rules_it_cannot_keep() -> None:
    def drawing(model: Any, batch: Any, *, generator: torch.Generator, **_: Any) -> wb.Scores:
        return {n: torch.rand(w.shape, generator=generator) for n, w in wb.prunable(model).items()}

    wb.check_criterion(sound)
    wb.check_criterion(drawing)
