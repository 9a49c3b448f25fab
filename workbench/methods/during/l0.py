"""L0 regularisation: random gates that are exactly 0 or 1 much of the time (Louizos et al. 2018)."""

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from workbench.masks import dense, keep_top
from workbench.methods.registry import Arguments, named
from workbench.methods.regrow import last
from workbench.methods.schedules import linear
from workbench.models import prunable
from workbench.models.running import Loss, loss_of
from workbench.states import Progress
from workbench.types import Batch, Masks

BETA, LOW, HIGH = 2 / 3, -0.1, 1.1  # temperature, and the interval to which the concrete distribution is stretched


def gate(log_alpha: Tensor, noise: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """A hard concrete gate in [0, 1]: for uniform `noise` in (0, 1) a draw, without noise the one used after training.

    >>> gate(torch.tensor([-9.0, 0.0, 9.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    s = log_alpha.clone() if noise is None else torch.logit(noise, out=out).add_(log_alpha).mul_(1 / BETA)
    return s.sigmoid_().mul_(HIGH - LOW).add_(LOW).clamp_(0, 1)


def uniform_(out: Tensor) -> Tensor:
    """Fill `out` with random numbers in (0, 1), of 16 bits each: `torch.rand` takes three times as long.

    So chances are exact to 1 / 131,072; the authors' code keeps its noise a millionth away from 0 and 1.

    >>> 0.49 < uniform_(torch.empty(99_999)).mean().item() < 0.51
    True
    """
    bits = torch.empty(-(-len(out) // 4), dtype=torch.int64, device=out.device).random_(-(2**63), None)
    return out.copy_(bits.view(torch.int16)[: len(out)]).add_(2**15 + 0.5).mul_(2**-16)


def open_chance(log_alpha: Tensor, out: Tensor | None = None) -> Tensor:
    """The probability that a gate is not 0, `sigmoid(log alpha - beta log(-low / high))`.

    >>> round(open_chance(torch.tensor(0.0)).item(), 3)
    0.832
    """
    return torch.sub(log_alpha, BETA * math.log(-LOW / HIGH), out=out).sigmoid_()


def slope(z: Tensor, out: Tensor | None = None) -> Tensor:
    """What turns `w dL/dw` into dL/d(log alpha) of `L(w z)`: `z' / z`; 0 for a gate at 1, which does not move.

    With z = s (high - low) + low and s' = s (1 - s) / beta, `z' = (z - low) (high - z) / ((high - low) beta)`. At a
    gate of 0 the gradient of w is 0. The gates themselves are used up.
    """
    unit = 1 / ((HIGH - LOW) * BETA)
    found = torch.clamp_min(z, 1e-30, out=out).reciprocal_().mul_(-LOW * HIGH * unit)
    return found.sub_(z, alpha=unit).add_((HIGH + LOW) * unit).mul_(torch.lt(z, 1, out=z))


@named(
    "l0",
    source="Louizos et al. 2018, arXiv:1712.01312; the Lagrange term: Wang et al. 2020, arXiv:1910.04732, section 3.2",
    sparsity="at the end",
    returns=False,
    gradients="all",
    memory="log alpha of each weight and its mean square gradient; two multipliers; the expected sparsity",
    cost="a random number and a gate for each weight in each step",
)
def l0(
    model: nn.Module,
    sparsity: float,
    *,
    rate: float = 0.1,
    initial: float = 2.0,
    stop: float = 0.75,
    loss_fn: Loss = functional.cross_entropy,
) -> Arguments:
    """Each weight is multiplied by a random gate; the gates' log alpha is trained with the weights.

    With d the asked sparsity minus the expected one, a Lagrange term `l1 d + l2 d^2` leads the gates there; the asked
    one rises along a line until half of the share `stop`. `rate` is that of log alpha (a step of RMSprop) and of the
    multipliers. At the share `stop` the weights with the least log alpha go, exactly as many as asked for; the others
    are multiplied by the gates without noise, and masks stay.

    Misleads where a step is compared: gates make gradients noisy, so the training needs more steps.
    Until the cut a record's `val_` number is that of the weights without gates.
    """
    shapes = {name: weight.shape for name, weight in prunable(model).items()}
    total = sum(shape.numel() for shape in shapes.values())

    def by_name(flat: Tensor) -> dict[str, Tensor]:
        parts = flat.split([shape.numel() for shape in shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

    @cache
    def rows(device: torch.device) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """Two rows, whole and by name, that each step fills anew: asking for memory costs more than using it."""
        return [(row, by_name(row)) for row in torch.empty(2, total, device=device)]

    def loss(now: nn.Module, batch: Batch, memory: dict[str, Any]) -> Tensor:
        if "cut" in memory:
            return loss_of(loss_fn, now(batch.inputs), batch.targets)
        row, gates = rows(batch.inputs.device)[0]
        if not memory:
            memory |= {"asked": 0.0, "l1": 0.0, "l2": 0.0}
            memory |= {"log alpha": torch.full_like(row, initial), "square": torch.zeros_like(row)}
        memory["gates"] = gate(memory["log alpha"], uniform_(row), out=row)
        gated = {name: now.get_parameter(name) * z for name, z in gates.items()}
        return loss_of(loss_fn, functional_call(now, gated, (batch.inputs,)), batch.targets)

    @torch.no_grad()
    def update(progress: Progress) -> Masks | None:
        memory = progress.memory
        if "cut" in memory:
            return None
        log_alpha, gates = memory["log alpha"], memory.pop("gates")
        grad, parts = rows(gates.device)[1]
        slope(gates, out=grad)
        for name, part in parts.items():
            weight = progress.model.get_parameter(name)
            part.mul_(weight).mul_(0 if weight.grad is None else weight.grad)
        chance = open_chance(log_alpha, out=gates)
        memory["expected sparsity"] = 1 - float(chance.mean())
        d = memory["asked"] - memory["expected sparsity"]
        pull = (memory["l1"] + 2 * memory["l2"] * d) / total
        grad.add_(chance, alpha=pull).addcmul_(chance, chance, value=-pull)
        square = memory["square"].mul_(0.99).addcmul_(grad, grad, value=0.01)
        log_alpha.addcmul_(grad, torch.add(square, 1e-24, out=chance).rsqrt_(), value=-rate)
        memory["l1"] += rate * d
        memory["l2"] += rate * d**2
        memory["asked"] = sparsity * linear(progress.step / progress.total, 0.0, stop / 2)
        if not last(progress, stop):
            return None
        for name, z in by_name(gate(log_alpha)).items():
            progress.model.get_parameter(name).mul_(z)
        return keep_top(by_name(log_alpha), sparsity)

    return {"masks": dense(model), "loss": loss, "update": update}
