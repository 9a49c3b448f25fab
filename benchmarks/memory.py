"""Memory: what each criterion holds at most, in copies of the weights, beyond the model and what any pass needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import workbench as wb
from benchmarks.measure import Row
from workbench.criteria.registry import entries
from workbench.models.untouched import untouched

WIDTH = 400


def rows(quick: bool) -> Iterator[Row]:
    model, batch = network()
    held = {}
    for (name, granularity), entry in entries().items():
        if entry.memory == "weights":
            held[name, granularity] = copies(model, batch, name, granularity, entry.derivatives)
            what = f"{name} ({granularity}): memory, in copies of the weights"
            yield Row(what, held[name, granularity], "x")
    yield Row("the most of these", max(held.values()), "x", 3.0)


def network() -> tuple[nn.Module, wb.Batch]:
    """A network of many weights and few activations, in float64 so that criteria that compute in it make no casts."""
    torch.manual_seed(0)
    layers = [nn.Linear(WIDTH, WIDTH, bias=False), nn.BatchNorm1d(WIDTH), nn.ReLU()]
    layers += [nn.Linear(WIDTH, WIDTH, bias=False), nn.BatchNorm1d(WIDTH), nn.ReLU()]
    layers += [nn.Linear(WIDTH, WIDTH, bias=False), nn.BatchNorm1d(WIDTH), nn.Flatten()]
    model = nn.Sequential(*layers).double()
    return model, wb.Batch(torch.randn(2, WIDTH).double(), torch.tensor([0, 1]))


def copies(model: nn.Module, batch: wb.Batch, criterion: str, granularity: str, derivatives: str) -> float:
    """The most memory that scoring holds at once, in copies of the weights.

    Less the copy that `untouched` keeps, and for criteria that take derivatives the activations of a pass.
    """
    few = {"ntk-sap": {"samples": 2}, "phew": {"walks": 100}}.get(criterion, {})

    def score() -> object:
        return wb.score(model, batch, criterion, granularity=granularity, **few)

    def aside() -> None:
        with untouched(model):
            pass

    def activations() -> object:
        inputs = batch.inputs.clone().requires_grad_()
        return torch.autograd.grad(model.eval()(inputs).square().sum(), inputs)

    weights = sum(w.numel() * w.element_size() for w in wb.prunable(model).values())
    others = peak(aside) + (peak(activations) if derivatives != "none" else 0)
    return (peak(score) - others) / weights


def peak(function: Callable[[], object]) -> int:
    """The most bytes that a call holds at once, of those it allocates itself; called once before, to warm up."""
    function()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        function()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most
