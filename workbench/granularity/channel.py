"""An output channel, with its bias and its entries in norms."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from workbench.granularity.base import GRANULARITIES, Granularity, Rule, needed
from workbench.models import prunable
from workbench.models.channels import by_channel, entries, whole
from workbench.models.watch import example_of
from workbench.types import Masks, Scores


def channels(model: nn.Module | None, values: Scores, rule: Rule) -> Scores:
    """A layer's output channel is a unit: `[out]`, in the order of `by_channel`."""
    model, found = needed(model), {}
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
    model = needed(model)
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


GRANULARITIES.add("channel", Granularity(channels, channel_masks))
