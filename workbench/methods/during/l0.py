"""L0 regularisation: random gates that are exactly 0 or 1 much of the time (Louizos et al. 2018)."""

import math
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


def gate(log_alpha: Tensor, noise: Tensor | None = None) -> Tensor:
    """A hard concrete gate in [0, 1]: for uniform `noise` in (0, 1) a draw, without noise the one used after training.

    >>> gate(torch.tensor([-9.0, 0.0, 9.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    s = log_alpha if noise is None else (noise.logit() + log_alpha) / BETA
    return (s.sigmoid() * (HIGH - LOW) + LOW).clamp(0, 1)


def open_chance(log_alpha: Tensor) -> Tensor:
    """The probability that a gate is not 0, `sigmoid(log alpha - beta log(-low / high))`.

    >>> round(open_chance(torch.tensor(0.0)).item(), 3)
    0.832
    """
    return (log_alpha - BETA * math.log(-LOW / HIGH)).sigmoid()


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
    """
    weights = prunable(model)

    def excess(memory: dict[str, Any]) -> Tensor:
        chances = torch.cat([open_chance(a).flatten() for a in memory["log alpha"].values()])
        memory["expected sparsity"] = 1 - float(chances.detach().mean())
        return memory["asked"] - 1 + chances.mean()

    def loss(now: nn.Module, batch: Batch, memory: dict[str, Any]) -> Tensor:
        if "cut" in memory:
            return loss_of(loss_fn, now(batch.inputs), batch.targets)
        if not memory:
            memory |= {"asked": 0.0, "l1": 0.0, "l2": 0.0}
            memory["log alpha"] = {n: torch.full_like(w, initial) for n, w in weights.items()}
            memory["square"] = {n: torch.zeros_like(w) for n, w in weights.items()}
        gates = {n: gate(a.requires_grad_(), torch.rand_like(a)) for n, a in memory["log alpha"].items()}
        gated = {n: now.get_parameter(n) * g for n, g in gates.items()}
        found, d = loss_of(loss_fn, functional_call(now, gated, (batch.inputs,)), batch.targets), excess(memory)
        memory["d"] = float(d.detach())
        return found + memory["l1"] * d + memory["l2"] * d**2

    @torch.no_grad()
    def update(progress: Progress) -> Masks | None:
        memory = progress.memory
        if "cut" in memory:
            return None
        for name, log_alpha in memory["log alpha"].items():
            square = memory["square"][name].mul_(0.99).add_(0.01 * log_alpha.grad**2)
            log_alpha -= rate * log_alpha.grad / (square.sqrt() + 1e-12)
            log_alpha.grad = None
        memory["l1"] += rate * memory["d"]
        memory["l2"] += rate * memory["d"] ** 2
        memory["asked"] = sparsity * linear(progress.step / progress.total, 0.0, stop / 2)
        if not last(progress, stop):
            return None
        memory["cut"] = progress.step
        for name, log_alpha in memory["log alpha"].items():
            progress.model.get_parameter(name).mul_(gate(log_alpha))
        return keep_top({name: a.detach() for name, a in memory["log alpha"].items()}, sparsity)

    return {"masks": dense(model), "loss": loss, "update": update}
