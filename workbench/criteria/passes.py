"""What criteria share: a masked loss and its gradients; a layer's filters, in a dtype that holds their sums."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from workbench.models import prunable
from workbench.models.channels import by_channel
from workbench.models.running import Loss, loss_of, outputs, taken
from workbench.models.watch import masked_state
from workbench.types import Batch, Masks

Weights = dict[str, Tensor]


def check_real(name: str, batch: Batch) -> None:
    """Raise ValueError if a criterion makes its own inputs and the model takes whole numbers (tokens)."""
    if not batch.inputs.is_floating_point():
        raise ValueError(
            f"{name!r} sends its own real numbers through the network; got a model whose inputs are "
            f"{batch.inputs.dtype}, such as tokens. Use another criterion, such as 'snip'"
        )


def masked_weights(model: nn.Module, masks: Masks | None) -> Weights:
    """The prunable weights, masked, as leaves; do not write: whole ones share the model's values."""
    masks, weights = masks or {}, prunable(model, strict=False)
    return {n: (w.detach() * masks[n] if n in masks else w.detach()).requires_grad_() for n, w in weights.items()}


def loss_at(model: nn.Module, weights: Weights, batch: Batch, loss_fn: Loss, temperature: float = 1.0) -> Tensor:
    """The loss of `batch` with `weights` in place of the model's own, logits divided by `temperature`."""
    given = outputs(model, batch.inputs, weights)
    if temperature == 1:
        return loss_of(loss_fn, given, batch.targets)
    given = taken(loss_fn, given)
    if not isinstance(given, Tensor):
        raise TypeError(
            f"with your own loss, a temperature divides outputs of one tensor; the model returns "
            f"{type(given).__name__}. Pass temperature=1"
        )
    return loss_of(loss_fn, given / temperature, batch.targets)


def derivatives(outputs: Tensor | Sequence[Tensor], by: Weights, along: Any = None, **how: Any) -> Weights:
    """The derivatives of `outputs` (in the direction `along`) by the named tensors; zero by those they do not use."""
    found = torch.autograd.grad(outputs, list(by.values()), along, allow_unused=True, materialize_grads=True, **how)
    return dict(zip(by, found, strict=True))


def gradients(
    model: nn.Module, batch: Batch, masks: Masks | None, loss_fn: Loss, temperature: float = 1.0, **how: Any
) -> tuple[Weights, Weights]:
    """`(weights, gradients)` of the loss by the masked prunable weights."""
    weights = masked_weights(model, masks)
    with torch.enable_grad():
        return weights, derivatives(loss_at(model, weights, batch, loss_fn, temperature), weights, **how)


def wide(tensor: Tensor) -> Tensor:
    """A tensor apart from its graph, in float32 at least."""
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))


def no_layer(name: str, what: str, model: nn.Module, remedy: str) -> ValueError:
    """The error of criterion `name` where it can score no layer of the model."""
    layers = ", ".join(prunable(model, strict=False))
    return ValueError(f"{name!r} scores {what}; none of {layers} is such a layer. {remedy}")


def filters(model: nn.Module, masks: Masks | None) -> Weights:
    """The masked weights of each layer as `[out, weights of one output channel]`, in float32 at least.

    >>> filters(nn.Conv2d(2, 4, 3, groups=2), None)["weight"].shape
    torch.Size([4, 9])
    """
    state = masked_state(model, masks)
    weights = prunable(model, strict=False)
    return {name: by_channel(model, name, wide(state.get(name, weight))) for name, weight in weights.items()}
