"""Of each m consecutive inputs of an output, n are kept: n:m sparsity, trained straight through."""

import torch
from torch import Tensor, nn

from workbench.methods.registry import Arguments
from workbench.models import prunable
from workbench.models.weights import TRANSPOSED, turned
from workbench.states import Progress
from workbench.types import Masks, check_count


def largest(values: Tensor, n: int, m: int) -> Tensor:
    """Bits of the n largest |values| of each m consecutive inputs (dimension 1); of equal ones the earlier.

    >>> largest(torch.tensor([[3.0, -4.0, 1.0, 2.0]]), 2, 4)
    tensor([[ True,  True, False, False]])
    """
    rows = values.detach().abs().movedim(1, -1)
    order = rows.reshape(-1, m).argsort(dim=1, descending=True, stable=True)
    bits = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order[:, :n], True)
    return bits.view(rows.shape).movedim(-1, 1)


def _reads(model: nn.Module, name: str) -> bool:
    """Whether dimension 1 of a layer's weight holds its inputs; in transposed convolutions it holds outputs."""
    layer = model.get_submodule(name.rpartition(".")[0])
    return not isinstance(layer, TRANSPOSED) and not turned(layer)


def straight_through(
    method: str, model: nn.Module, sparsity: float, n: int, m: int, every: int, strength: float
) -> Arguments:
    """What both methods give to `wb.steps`: with `strength`, removed weights are pulled to 0 (SR-STE)."""
    n, m, every = check_count("n_of", n), check_count("m_of", m), check_count("every", every)
    if n > m:
        raise ValueError(f"n_of is at most m_of, the weights of a group; got n_of={n} and m_of={m}. Pass 2 and 4")
    if abs(sparsity - (1 - n / m)) > 1e-9:
        told = f"{n}:{m} keeps {n} of each {m} weights, so its sparsity is {1 - n / m:g}; got sparsity={sparsity:g}"
        raise ValueError(f"{told}. Pass {1 - n / m:g}, or other n_of and m_of")
    names = [name for name, weight in prunable(model).items() if weight.shape[1] % m == 0 and _reads(model, name)]
    if not names:
        told = f"{method!r} groups each {m} inputs of a layer; no layer of this model has a multiple of {m}"
        raise ValueError(f"{told}. Pass another m_of, or a wider network")

    def update(progress: Progress) -> Masks | None:
        for name in names if strength else ():
            grad = progress.model.get_parameter(name).grad
            if grad is not None:
                grad.add_(progress.behind[name] * ~progress.in_force[name], alpha=strength)
        if progress.step % every:
            return None
        return {name: largest(progress.behind[name], n, m) for name in names}

    masks = {name: largest(model.get_parameter(name), n, m) for name in names}
    return {"masks": masks, "update": update, "straight_through": True}
