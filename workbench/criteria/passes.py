"""The passes criteria share: a masked loss with its gradients, in the model's own BatchNorm and dropout modes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from workbench.models import prunable
from workbench.types import Batch, Masks

Loss = Callable[[Tensor, Tensor], Tensor]


def masked_weights(model: nn.Module, masks: Masks | None) -> dict[str, Tensor]:
    """Leaf copies of the prunable weights, `w * m`, that gradients can be taken by (frozen weights too)."""
    weights = prunable(model)
    names = weights if masks is None else masks
    return {
        name: (w.detach().clone() if masks is None else w.detach() * masks[name]).requires_grad_()
        for name, w in weights.items()
        if name in names
    }


def loss_at(
    model: nn.Module, weights: dict[str, Tensor], batch: Batch, loss_fn: Loss, temperature: float = 1.0
) -> Tensor:
    """The loss of `batch` with `weights` in place of the model's own, logits divided by `temperature`.

    Raises ValueError where the batch does not fit the model or the labels do not fit its outputs.
    """
    try:
        outputs = functional_call(model, weights, (batch.inputs,))
    except RuntimeError as error:
        raise ValueError(
            f"the model takes one input a sample; a batch of shape {tuple(batch.inputs.shape)} does not pass through it: "
            f"{error}. Use a batch of the task the model was made for"
        ) from error
    if loss_fn is functional.cross_entropy:
        check_labels(outputs, batch.targets)
    return loss_fn(outputs / temperature, batch.targets)


def check_labels(outputs: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless `targets` are class numbers of `outputs` `[n, classes]`."""
    if targets.is_floating_point() or targets.ndim != 1:
        raise ValueError(
            f"labels are whole numbers of shape [n]; got {targets.dtype} of shape {tuple(targets.shape)}. "
            "For other targets pass your own loss_fn"
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= outputs.shape[1]:
        raise ValueError(
            f"labels are class numbers from 0 to {outputs.shape[1] - 1}, as the model has {outputs.shape[1]} outputs; "
            f"got labels from {low} to {high}. Check the labels or the last layer"
        )


def gradients(
    model: nn.Module,
    batch: Batch,
    masks: Masks | None,
    loss_fn: Loss,
    temperature: float = 1.0,
    create_graph: bool = False,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """`(weights, gradients)` of the loss by the masked prunable weights; zero for weights the loss does not use."""
    weights = masked_weights(model, masks)
    with torch.enable_grad():
        loss = loss_at(model, weights, batch, loss_fn, temperature)
        grads = torch.autograd.grad(
            loss, list(weights.values()), create_graph=create_graph, allow_unused=True, materialize_grads=True
        )
    return weights, dict(zip(weights, grads, strict=True))
