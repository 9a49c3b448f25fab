"""What lives or dies together: scores of weights become scores of units, masks of units become masks of weights.

A new granularity is one pair of functions here, `reduce` and `expand`, and one line that registers it.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from workbench.models import prunable
from workbench.models.channels import by_channel, entries, whole
from workbench.models.watch import example_of
from workbench.registry import Registry
from workbench.types import Masks, Scores

Rule = Callable[[Tensor], Tensor]
"""One number of those in the last dimension, which are a unit's."""

REDUCTIONS: dict[str, Rule] = {
    "sum": lambda scores: scores.sum(-1),
    "mean": lambda scores: scores.mean(-1),
    "max": lambda scores: scores.amax(-1),
    "norm": lambda scores: scores.square().sum(-1).sqrt(),
}
"""Rules that make one score of those of a unit's weights, by name."""


class Granularity(NamedTuple):
    """`reduce(model, values, rule)` gives one value a unit, of values in the weights' shapes (those of units stay).

    `expand(model, example)`, with a batch of inputs, gives the function from units' masks to the parameters' masks.
    """

    reduce: Callable[[nn.Module | None, Scores, Rule], Scores]
    expand: Callable[[nn.Module | None, Tensor | None], Callable[[Masks], Masks]]


GRANULARITIES: Registry[Granularity] = Registry("granularity")


def unit_shapes(model: nn.Module, weights: Mapping[str, Tensor], granularity: str) -> dict[str, tuple[int, ...]]:
    """The shapes that scores of the units of these weights have."""
    units = GRANULARITIES[granularity].reduce(model, dict(weights), REDUCTIONS["max"])
    return {name: tuple(values.shape) for name, values in units.items()}


def channels(model: nn.Module | None, values: Scores, rule: Rule) -> Scores:
    """A layer's output channel is a unit: `[out]`, in the order of `by_channel`."""
    model, found = _needed(model), {}
    known = prunable(model, strict=False)
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"scores name prunable weights, {', '.join(known)}; got {name!r}. Score this model")
        found[name] = rule(by_channel(model, name, value)) if value.shape == known[name].shape else value
        shape = (len(by_channel(model, name, known[name])),)
        if tuple(found[name].shape) != shape:
            raise ValueError(
                f"channels of {name!r} have scores of shape {shape}, or its weights of shape "
                f"{tuple(known[name].shape)}; got {tuple(value.shape)}. Score this model"
            )
    return found


def channel_masks(model: nn.Module | None, example: Tensor | None = None) -> Callable[[Masks], Masks]:
    """Masks of a channel's weights, its bias, and its entries in the norms that take channels one by one.

    Those are the batch and instance norms that the channels meet before anything mixes them; without `affine` they have
    no entries, and a removed channel leaves them as a constant. A norm behind a sum, or over several channels (layer
    and group norms), is not the channel's own and stays. An entry that several layers' channels use goes with the last.
    """
    model = _needed(model)
    owned = entries(model, example_of(model, example))

    def expand(units: Masks) -> Masks:
        masks = {name: whole(model, name, kept) for name, kept in units.items()}
        for parameter, owners in owned.items():
            if not units.keys().isdisjoint(name for name, _ in owners):
                mask = torch.zeros(model.get_parameter(parameter).shape, dtype=torch.bool)
                for name, places in owners:
                    mask[places] |= units[name].cpu()[:, None] if name in units else torch.tensor(True)
                masks[parameter] = mask.to(model.get_parameter(parameter).device)
        return masks

    return expand


def _needed(model: nn.Module | None) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TypeError(f"units of more than one weight need a model; got model={model!r}. Pass model=")
    return model


GRANULARITIES.add("channel", Granularity(channels, channel_masks))
GRANULARITIES.add("weight", Granularity(lambda model, values, rule: values, lambda model, example: lambda units: units))
