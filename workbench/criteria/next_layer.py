"""How the next layer reads a layer's channels: its outputs taken apart, for criteria that reconstruct them."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from workbench.criteria.passes import no_layer
from workbench.models.watch import Call, Place, following, watch_pass
from workbench.types import Batch, Masks, check_count


class Contributions(NamedTuple):
    """A sample of the next layer's outputs, without bias: the rows of `parts` `[outputs, channels]` sum to one each.

    `norms` are those of the next layer's weights that read each channel. Both are float64 on the CPU.
    """

    parts: Tensor
    norms: Tensor


def channel_contributions(
    name: str, model: nn.Module, batch: Batch, masks: Masks | None, samples: int | None, generator: torch.Generator
) -> dict[str, Contributions]:
    """The contributions of the channels of every layer that one other layer reads, and nothing else does.

    From each input `samples` outputs of the next layer (position and channel) are drawn with replacement; None takes
    them all. Raises ValueError, for the criterion `name`, if the model has no such layer.
    """
    if samples is not None:
        check_count("samples", samples)
    follows = following(model, batch)
    clear = {layer for layer, found in follows.items() if len(found.readers) == 1 and not found.mixed}
    if not clear:
        what = "layers whose channels one other layer reads, and no sum or concatenation"
        raise no_layer(name, what, model, "Use 'taylor' for this model")
    found: dict[str, Contributions] = {}

    def read(place: Place, call: Call) -> None:
        if place.layer in clear:
            found[place.layer] = _contributions(place, call, samples, generator)

    watch_pass(model, batch, masks, on_read=read)
    return found


def _contributions(place: Place, call: Call, samples: int | None, generator: torch.Generator) -> Contributions:
    inputs, weight, count = call.inputs, call.weight, place.channels
    transposed = "transpose" in getattr(call.function, "__name__", "")
    groups = call.named.get("groups", call.rest[3] if len(call.rest) > 3 else 1)
    each = inputs.shape[place.dim] // count  # a channel that was flattened has several features
    drawn: Tensor | None = None
    parts = []
    for channel in range(count):
        own = channel * each, each
        if groups == 1:
            x, w = inputs.narrow(place.dim, *own), weight.narrow(0 if transposed else 1, *own)
        else:
            x, w = torch.zeros_like(inputs), weight
            x.narrow(place.dim, *own).copy_(inputs.narrow(place.dim, *own))
        part = call.function(x, w, None, *call.rest, **call.named).flatten(1)
        if drawn is None:
            n, outputs = part.shape
            drawn = torch.arange(outputs)
            if samples is not None and samples < outputs:
                drawn = torch.randint(outputs, (n, samples), generator=generator)
            drawn = drawn.expand(n, -1).to(part.device)
        parts.append(part.gather(1, drawn).flatten().double().cpu())
    by_reader = weight if transposed else weight.reshape(groups, -1, count // groups, each, *weight.shape[2:])
    rows = by_reader.flatten(1) if transposed else by_reader.transpose(1, 2).flatten(0, 1).flatten(1)
    return Contributions(torch.stack(parts, 1), torch.linalg.vector_norm(rows.double().cpu(), dim=1))
