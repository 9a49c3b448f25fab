"""What methods of sparse training share: a random start, when a change is due, and one drop and growth."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from workbench.criteria import score
from workbench.masks import keep_top
from workbench.methods.schedules import SCHEDULES
from workbench.states import Progress
from workbench.types import Masks, Scores, check_choice, check_count

Order = Tensor
"""Numbers of a layer's weights: who has more is first to be kept, or to grow; among equal ones the earlier."""


def random_start(model: nn.Module, sparsity: float, allocation: str, seed: int) -> Masks:
    """Random masks, exact in total: where sparse training begins."""
    return keep_top(score(model, None, "random", seed=seed), sparsity, allocation=allocation)


def due(progress: Progress, every: int, stop: float) -> bool:
    """Whether a change is due: at every `every`-th step, not at the first, before the share `stop` of the training."""
    if not 0 < stop <= 1:
        raise ValueError(f"stop is the share of the training after which masks stay, in (0, 1]; got {stop}")
    return 0 < progress.step < stop * progress.total and progress.step % check_count("every", every) == 0


def last(progress: Progress, stop: float) -> bool:
    """Whether this is the step of the final change: the first from the share `stop` on, or the last step of all.

    The step is noted in the memory as "cut". So a training that starts later has its final change at its first step.
    """
    if "cut" in progress.memory or progress.step < min(int(stop * progress.total), progress.total - 1):
        return False
    progress.memory["cut"] = progress.step
    return True


def rising(sparsity: float, schedule: str, every: int, start: float, stop: float) -> Callable[[Progress], float | None]:
    """The sparsity of each step at which masks change, None at the others: it rises between two shares of a training.

    The last change has exactly `sparsity`. Raises ValueError for a schedule that is unknown, or ends before it starts.
    """
    rise = SCHEDULES[check_choice("schedule", schedule, SCHEDULES)]
    rise(0.0, start, stop)  # says what is wrong with them

    def now(progress: Progress) -> float | None:
        if last(progress, stop):
            return sparsity
        far = progress.step / progress.total
        return sparsity * rise(far, start, stop) if far > start and due(progress, every, stop) else None

    return now


def first(order: Order, among: Tensor, count: int) -> Tensor:
    """Bits of the `count` weights of `among` that are first in `order`, all of them if there are fewer.

    >>> first(torch.tensor([3.0, 1.0, 3.0]), torch.tensor([True, True, True]), 1)
    tensor([ True, False, False])
    """
    places = among.flatten().nonzero().squeeze(1)
    chosen = places[order.flatten()[places].argsort(descending=True, stable=True)[:count]]
    bits = torch.zeros_like(among.flatten())
    bits[chosen] = True
    return bits.view_as(among)


def magnitudes(weights: Mapping[str, Tensor]) -> Scores:
    """The magnitudes of weights, as scores."""
    return {name: weight.detach().abs() for name, weight in weights.items()}


def dropped(weight: Tensor, mask: Tensor, count: int) -> Tensor:
    """The mask without its `count` weights of least magnitude."""
    return first(weight.detach().abs(), mask, int(mask.sum()) - count)


def grown(order: Order, kept: Tensor, count: int, closed: Tensor | None = None) -> Tensor:
    """The mask `kept` with `count` more weights, the first in `order`; those in `closed` only if no other is left."""
    free = ~kept if closed is None else ~kept & ~closed
    more = first(order, free, count)
    late = count - int(more.sum())
    return kept | more | first(order, ~kept & ~more, late) if late > 0 else kept | more


def randomly(like: Tensor, progress: Progress) -> Tensor:
    """A random order of a layer's weights, from the step's own generator."""
    return torch.rand(like.shape, generator=progress.generator).to(like.device)
