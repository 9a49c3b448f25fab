"""Of each m consecutive inputs of an output, n are kept: n:m sparsity, trained straight through."""

from torch import nn

from workbench.granularity.fixed import input_dim, largest
from workbench.methods.registry import Arguments
from workbench.models import prunable
from workbench.states import Progress
from workbench.types import Masks, check_count


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
    names = [
        name for name, weight in prunable(model).items() if weight.shape[1] % m == 0 and input_dim(model, name) == 1
    ]
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
        return {name: largest(progress.behind[name].abs(), n, m) for name in names}

    masks = {name: largest(model.get_parameter(name).detach().abs(), n, m) for name in names}
    return {"masks": masks, "update": update, "straight_through": True}
