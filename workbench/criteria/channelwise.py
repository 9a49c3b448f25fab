"""What the channel criteria share: a layer's filters, in a dtype that holds their sums."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.models import prunable
from workbench.models.channels import by_channel
from workbench.models.watch import masked_state
from workbench.types import Masks


def wide(tensor: Tensor) -> Tensor:
    """A tensor apart from its graph, in float32 at least."""
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))


def no_layer(name: str, what: str, model: nn.Module, remedy: str) -> ValueError:
    """The error of criterion `name` where it can score no layer of the model."""
    layers = ", ".join(prunable(model, strict=False))
    return ValueError(f"{name!r} scores {what}; none of {layers} is such a layer. {remedy}")


def filters(model: nn.Module, masks: Masks | None) -> dict[str, Tensor]:
    """The masked weights of each layer as `[out, weights of one output channel]`, in float32 at least.

    >>> filters(nn.Conv2d(2, 4, 3, groups=2), None)["weight"].shape
    torch.Size([4, 9])
    """
    state = masked_state(model, masks)
    weights = prunable(model, strict=False)
    return {name: by_channel(model, name, wide(state.get(name, weight))) for name, weight in weights.items()}
