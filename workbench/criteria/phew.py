"""PHEW: weights in the order in which random walks visit them (Patil and Dovrolis 2021, arXiv:2010.11354)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from workbench.criteria.registry import builtin
from workbench.models import prunable
from workbench.types import Batch, Masks, Scores, check_count

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@builtin(
    "phew",
    needs="nothing",
    family="magnitude",
    cost="walks through the weights; no pass",
    source="Patil and Dovrolis 2021, arXiv:2010.11354",
    chain=True,
)
def phew(
    model: nn.Module,
    batch: Batch,
    *,
    masks: Masks | None = None,
    loss_fn: Any,
    generator: torch.Generator,
    walks: int = 100_000,
) -> Scores:
    """`s = 1 - t / T` for a weight that walk t of T = `walks` (from 0) is the first to visit, else `|w| / max |w| - 1`.

    A walk starts at any input with equal chance and steps with probability in proportion to `|w|` to an output. Units
    are channels: a step through a convolution picks one kernel weight, one out of a flattened map any of its places.
    Walks that meet a unit without weights visit nothing. Takes chains (`nn.Sequential`) of linear and convolution
    layers; of the batch nothing is used.
    Misleads at densities that few walks reach: what no walk visited is ranked by magnitude alone.
    """
    check_count("walks", walks)
    masks, visits, units = masks or {}, [], None
    names = {id(w): name for name, w in prunable(model, strict=False).items()}
    for layer, module in _chain(model):
        name = names[id(module.weight)]
        strength = (module.weight.detach() * masks.get(name, 1)).abs().double().cpu()
        inputs = strength.shape[1] if units is None else units
        if strength[0].numel() % inputs or (strength.ndim > 2 and strength.shape[1] != inputs):
            raise _no_chain(layer, module)
        units = len(strength)
        visits.append((name, strength.reshape(units, inputs, -1)))
    first = {name: torch.full((s.numel(),), walks, dtype=torch.int32) for name, s in visits}
    at = torch.randint(visits[0][1].shape[1], (walks,), generator=generator)
    alive, steps = torch.ones(walks, dtype=torch.bool), []
    for _, strength in visits:
        at, index, lives = _step(at, strength, torch.rand(walks, generator=generator, dtype=torch.float64))
        alive &= lives
        steps.append(index)
    times = torch.arange(walks, dtype=torch.int32)[alive]
    for (name, _), index in zip(visits, steps, strict=True):
        first[name].scatter_reduce_(0, index[alive], times, "amin")
    largest = max(float(s.max()) for _, s in visits) or 1.0
    scores = {}
    while visits:  # each is let go when its score is there
        name, strength = visits.pop(0)
        score, found = strength.reshape(-1).div_(largest).sub_(1), first.pop(name)
        score = torch.where(found < walks, 1 - found.double() / walks, score)
        weight = model.get_parameter(name)
        scores[name] = score.reshape(weight.shape).to(weight.device)
    return scores


def _step(at: Tensor, strength: Tensor, luck: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Next units, the weights stepped through and whether there was one; `strength` is `[out, in, places]`."""
    outputs, inputs, places = strength.shape
    row = outputs * places
    ends = torch.cat([torch.zeros(1).double(), strength.transpose(0, 1).reshape(-1).cumsum(0)])
    low, high = ends[at * row], ends[(at + 1) * row]
    chosen = torch.searchsorted(ends, low + luck * (high - low), right=True) - 1
    chosen = torch.minimum(torch.maximum(chosen, at * row), (at + 1) * row - 1) % row
    output, place = chosen // places, chosen % places
    return output, (output * inputs + at) * places + place, high > low


def _chain(model: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    if not isinstance(model, nn.Sequential | nn.Linear):
        raise _no_chain("the model", model)
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, LAYERS) and getattr(module, "groups", 1) == 1:
            yield name, module  # type: ignore[misc]
        elif isinstance(module, nn.Sequential | nn.modules.batchnorm._NormBase | nn.PReLU):
            continue
        elif next(module.parameters(), None) is not None or not type(module).__module__.startswith("torch.nn"):
            raise _no_chain(name, module)


def _no_chain(name: str, module: nn.Module) -> ValueError:
    return ValueError(
        "phew walks through an nn.Sequential of linear and ungrouped convolution layers, each taking what the one "
        f"before gives; got {name!r} ({type(module).__name__}). Use another criterion, such as 'synflow'"
    )
