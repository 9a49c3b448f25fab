"""How many units go, so that what is left costs a given part of the dense model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from numbers import Real

import numpy as np
import torch
from torch import Tensor, nn

from workbench.allocation import Allocation
from workbench.masks import keep_top
from workbench.metrics import macs
from workbench.metrics.cost import in_turns, on_threads
from workbench.models.running import evaluating, fitted
from workbench.removal.smaller import without
from workbench.removal.units import Coupling, Groups, coupling, group_masks
from workbench.types import Masks, Scores, check_choice, check_scores

Cost = Callable[[nn.Module, Tensor], float]
COSTS: dict[str, Cost] = {
    "parameters": lambda model, example: sum(p.numel() for p in model.parameters()),
    "macs": lambda model, example: macs(model, example[:1]),
}
"""What a removed model can be asked to cost a share of, beside seconds."""


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
    share. The best unit of each layer stays. Seconds are those of the example's batch on one thread, measured here and
    now, in turns with the dense model's; what is found is measured again, and more goes until it holds. Raises
    ValueError where even one unit in each layer costs more.

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
    dense = COSTS[of](model, example) if of in COSTS else 1.0

    def units(part: float) -> Masks:
        kept = {group: torch.ones_like(values, dtype=torch.bool) for group, values in scores.items()}
        for group, mask in keep_top(others, part, allocation=allocation).items():
            kept[group][free[group]] = mask
        return kept

    def left(part: float) -> tuple[float, str]:
        """The share that is left, as a number and in words."""
        gone = np.zeros_like(found.written)
        for group, mask in units(part).items():
            gone[found.order[group][~mask.cpu().numpy()]] = True
        small = without(found, {}, gone)
        if of in COSTS:
            part = COSTS[of](small, example) / dense
            return part, f"{part:.3g}"
        calls = {"dense": lambda: model(example), "small": lambda: small(example)}
        with on_threads(1), evaluating(model), evaluating(small), torch.no_grad():
            for _ in range(3):  # what else runs may slow one of them
                times = in_turns(calls, 15)
                part, low, high = (seconds / times["dense"][0] for seconds in times["small"])
                if part <= share:
                    break
        return part, f"{part:.3g} (95 % interval {low:.3g} to {high:.3g})"

    low, high, all_that_may = 0.0, 1 - 1e-9, 1 - 1e-9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of ties; the masks that are returned warn
        reached, told = left(high) if others else (1.0, "1")
        while reached <= share and high - low > (1e-3 if of in COSTS else 1e-2):
            part = (low + high) / 2
            low, high = (low, part) if left(part)[0] <= share else (part, high)
        while of not in COSTS and reached <= share:  # the medians that led here may have been lucky
            again, told = left(high)
            if again <= share:
                break
            reached, high = (again, high) if high == all_that_may else (reached, min(high + 0.02, all_that_may))
    if reached > share:
        told = f"one unit of each layer of {len(scores)} groups stays, and {told} of the {of} is left then"
        raise ValueError(f"{told}; got share={share:g}. Pass a larger share")
    return group_masks(model, units(high), Groups(found))


def _others(found: Coupling, group: str, scores: Tensor) -> Tensor:
    """Which units of a group may go: not those that stay anyway, nor the best one of each layer that writes some."""
    units = found.order[group]
    free = torch.from_numpy(~np.isin(units, list(found.why)))
    for key in found.writers:
        own = torch.from_numpy(np.isin(units, found.dims[key]))
        if own.any():
            free[scores.cpu().masked_fill(~own, -torch.inf).argmax()] = False
    return free.to(scores.device)
