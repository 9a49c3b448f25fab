"""What masks do to a model, its gradients and its optimizer."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from workbench.types import Masks, check_masks


def apply_masks_(model: nn.Module, masks: Masks) -> None:
    """Set the model's removed weights to exactly 0, in place.

    >>> model = nn.Linear(2, 1)
    >>> apply_masks_(model, {"weight": torch.tensor([[True, False]])})
    >>> model.weight[0, 1].item()
    0.0
    """
    clear_weights_(kept_bits(model, masks))


def mask_grads_(model: nn.Module, masks: Masks) -> None:
    """Set the gradients of removed weights to 0, in place; call after `backward` and before clipping."""
    clear_grads_(kept_bits(model, masks))


def kept_bits(model: nn.Module, masks: Masks) -> list[tuple[nn.Parameter, Tensor]]:
    """The masked parameters, each with its mask as whole numbers: all bits set where kept, none where removed.

    A bitwise "and" with them sets a number to 0, NaN too, in a sixth of the time that `masked_fill_` takes.
    """
    whole = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    held = ((model.get_parameter(name), mask) for name, mask in check_masks(model, masks).items())
    return [(weight, mask.to(whole[weight.element_size()]).neg_()) for weight, mask in held]


def clear_weights_(held: list[tuple[nn.Parameter, Tensor]]) -> None:
    """Set the removed weights to exactly 0, in place; `held` is from `kept_bits`, which steps do not repeat."""
    for weight, bits in held:
        weight.detach().view(bits.dtype).bitwise_and_(bits)


def clear_grads_(held: Iterable[tuple[nn.Parameter, Tensor]]) -> None:
    """Set the gradients of removed weights to 0, in place; `held` is from `kept_bits`."""
    for weight, bits in held:
        if weight.grad is not None:
            weight.grad.detach().view(bits.dtype).bitwise_and_(bits)


@torch.no_grad()
def reset_state_(optimizer: torch.optim.Optimizer, model: nn.Module, masks: Masks) -> None:
    """Clear the optimizer's moments of removed weights when masks change: old momentum would move what grows back."""
    for name, mask in check_masks(model, masks).items():
        for value in optimizer.state.get(model.get_parameter(name), {}).values():
            if isinstance(value, Tensor) and value.shape == mask.shape:
                value.masked_fill_(~mask, 0)
