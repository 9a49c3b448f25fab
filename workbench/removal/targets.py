"""How many units go, so that what is left costs a given part of the dense model."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from functools import partial
from numbers import Real

import numpy as np
import torch
from torch import Tensor, nn

from workbench.allocation import Allocation
from workbench.masks import keep_top
from workbench.metrics import macs
from workbench.metrics.cost import in_turns, on_threads
from workbench.models.running import evaluating, fitted
from workbench.removal.scoring import group_masks
from workbench.removal.smaller import without
from workbench.removal.units import Coupling, Groups, coupling
from workbench.types import Masks, Scores, check_choice, check_scores

Cost = Callable[[nn.Module, Tensor], float]
COSTS: dict[str, Cost] = {
    "parameters": lambda model, example: sum(p.numel() for p in model.parameters()),
    "macs": lambda model, example: macs(model, example[:1]),
}
"""What a removed model can be asked to cost a share of, beside seconds."""
MOST = 1 - 1e-9
"""The largest part of the units that a cut takes."""


def masks_to(
    model: nn.Module,
    scores: Scores,
    share: float,
    example: Tensor | Groups | None = None,
    *,
    of: str = "macs",
    allocation: Allocation = "layer",
) -> Masks:
    """Masks whose removal leaves at most this share of the dense model's "macs", "parameters" or "seconds".

    `scores` are those of `wb.group_scores`; `allocation` splits the units over the groups ("layer": the same part of
    each). The part of the units that goes is found by halving, to a thousandth; it is neither the sparsity nor the
    share; for seconds to about a hundredth. The best unit of each layer stays. Seconds are those of the example's batch
    on one thread, measured here and now, in turns with the dense model's. Raises ValueError where even one unit in
    each layer costs more. Misleads for seconds on a busy machine: see the intervals of `wb.costs`.

    >>> import torch
    >>> import workbench as wb
    >>> model = wb.make("vgg", wb.load("digits", device="cpu"))
    >>> scores = wb.group_scores(model, wb.score(model, None, "magnitude"))
    >>> small = wb.remove(model, masks_to(model, scores, 0.5))
    >>> 0.45 < wb.macs(small, torch.zeros(1, 1, 8, 8)) / wb.macs(model, torch.zeros(1, 1, 8, 8)) <= 0.5
    True
    """
    found, of = coupling(model, example), check_choice("of", of, [*COSTS, "seconds"])
    example = fitted(model, found.example)
    if isinstance(share, bool) or not isinstance(share, Real) or not 0 < share < 1:
        raise ValueError(f"share is the part of the dense model's {of} that may be left, in (0, 1); got {share!r}")
    for group, values in check_scores(scores).items():
        if group not in found.order or values.shape != found.order[group].shape:
            told = f"scores are those of groups, one a unit; got {group!r} with {tuple(values.shape)}"
            raise ValueError(f"{told}. Make them with wb.group_scores: groups are {', '.join(found.order)}")
    free = {group: _others(found, group, values) for group, values in scores.items()}
    others = {group: values[free[group]] for group, values in scores.items() if free[group].any()}

    def units(part: float) -> Masks:
        kept = {group: torch.ones_like(values, dtype=torch.bool) for group, values in scores.items()}
        for group, mask in keep_top(others, part, allocation=allocation).items():
            kept[group][free[group]] = mask
        return kept

    def smaller(part: float) -> nn.Module:
        gone = np.zeros_like(found.written)
        for group, mask in units(part).items():
            gone[found.order[group][~mask.cpu().numpy()]] = True
        return without(found, {}, gone)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of ties; the masks that are returned warn
        search = _by_seconds if of == "seconds" else partial(_by_halving, COSTS[of])
        part, told = search(model, smaller, share, example) if others else (None, "1")
    if part is None:
        told = f"one unit of each layer of {len(scores)} groups stays, and {told} of the {of} is left then"
        raise ValueError(f"{told}; got share={share:g}. Pass a larger share")
    return group_masks(model, units(part), Groups(found))


def _by_halving(
    cost: Cost, model: nn.Module, smaller: Callable[[float], nn.Module], share: float, example: Tensor
) -> tuple[float | None, str]:
    """The least part of the units whose removal leaves a share of the cost, to a thousandth; None, and what is left."""
    dense, low, high = cost(model, example), 0.0, MOST
    if (left := cost(smaller(high), example) / dense) > share:
        return None, f"{left:.3g}"
    while high - low > 1e-3:
        part = (low + high) / 2
        low, high = (low, part) if cost(smaller(part), example) / dense <= share else (part, high)
    return high, ""


def _by_seconds(
    model: nn.Module, smaller: Callable[[float], nn.Module], share: float, example: Tensor
) -> tuple[float | None, str]:
    """The same for seconds: nine parts are timed in turns, and nine between two of them, for medians that only fall."""
    from sklearn.isotonic import isotonic_regression

    low, high, last = 0.0, MOST, None
    for _ in range(2):
        parts = np.linspace(low, high, 10)
        made = [model, *(smaller(part) for part in parts[1:])]
        calls = {str(k): partial(one, example) for k, one in enumerate(made)}
        with on_threads(1), contextlib.ExitStack() as stack, torch.no_grad():
            for one in made:
                stack.enter_context(evaluating(one))
            (dense, *_), *times = in_turns(calls, 15).values()
        left = isotonic_regression([median / dense for median, *_ in times], increasing=False)
        if not (left <= share).any():
            median, least, most = (seconds / dense for seconds in times[-1])
            return last, f"{median:.3g} (95 % interval {least:.3g} to {most:.3g})"
        k = int((left <= share).argmax())
        low, high = parts[k], parts[k + 1]
        last = high
    return last, ""


def _others(found: Coupling, group: str, scores: Tensor) -> Tensor:
    """Which units of a group may go: not those that stay anyway, nor the best one of each layer that writes some."""
    units = found.order[group]
    free = torch.from_numpy(~np.isin(units, list(found.why)))
    for key in found.writers:
        own = torch.from_numpy(np.isin(units, found.dims[key]))
        if own.any():
            free[scores.cpu().masked_fill(~own, -torch.inf).argmax()] = False
    return free.to(scores.device)
