"""Scores and masks of the units of coupled groups."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor, nn

from workbench.granularity import REDUCTIONS
from workbench.models.channels import channels, whole
from workbench.models.weights import prunable
from workbench.removal.units import Groups, coupling
from workbench.types import Masks, Scores, check_bools, check_choice, check_scores

VECTORS = "vectors"
"""The rule that takes the size of what a unit's weights in one member sum to."""


def group_scores(
    model: nn.Module, scores: Scores, example: Tensor | Groups | None = None, reduce: str = "sum"
) -> Scores:
    """One score for each unit of each coupled group: group name -> `[units]`, for `wb.keep_top`.

    The rule `reduce` ("sum", "mean", "max", "norm") combines the scores of all a unit's weights, in all members: those
    that write it and those that read it. With scores of channels, `[out]`, those that write it. "vectors" is for scores
    with signs, which a sum within one member may cancel: the sum of the sums' sizes, one for each member (Ma et al.
    2023, arXiv:2305.11627, "vector-wise"). Groups that stay, as the model's outputs, have no scores. Source: Fang et
    al. 2023, arXiv:2301.12900, section 3.3.
    Misleads under allocation="global" where groups differ in size: a sum grows with the members.

    >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    >>> scores = {"0.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "2.weight": torch.tensor([[10.0, 20.0]])}
    >>> group_scores(model, scores, torch.ones(1, 2))["0.weight"].tolist()
    [13.0, 27.0]
    """
    scores, reduce = check_scores(scores), check_choice("reduce", reduce, [*REDUCTIONS, VECTORS])
    found, kept = coupling(model, example), Scores()
    weights, sizes = prunable(model, strict=False), channels(model, strict=False)
    for name, values in scores.items():
        if name not in weights or values.shape not in (weights[name].shape, (sizes[name],)):
            raise ValueError(
                f"scores are those of prunable weights or their channels; {name!r} has {tuple(values.shape)}. Score "
                f"this model; its weights are {', '.join(weights)}"
            )
    for group, units in found.order.items():
        stay = np.isin(units, list(found.why))
        if stay.all():
            continue
        parts = list[tuple[Tensor, int, np.ndarray]]()
        for name, dim, role, places in found.places(units):
            if (weight := found.weights.get(name)) not in scores:
                continue
            values = scores[weight]
            if values.ndim == 1 and weights[name].ndim > 1:
                if role == "reads":
                    continue
                values = whole(model, name, values)
            parts.append((values, dim, places))
        if parts:
            kept[group] = _of_units(parts, len(units), reduce)
            kept[group][torch.from_numpy(stay).to(kept[group].device)] = torch.finfo(kept[group].dtype).max
    if not kept:
        told = "; ".join(
            f"{group!r}: {found.why.get(int(units[0]), 'no scores')}" for group, units in found.order.items()
        )
        raise ValueError(f"scores of groups are of units that can go; this model has none: {told}. See wb.groups")
    return kept


def _of_units(parts: list[tuple[Tensor, int, np.ndarray]], count: int, reduce: str) -> Tensor:
    """One number for each unit, of all that it has in `parts`: values, a dimension, and whose its indices are."""
    device, dtype = parts[0][0].device, functools.reduce(torch.promote_types, (values.dtype for values, _, _ in parts))
    total = torch.full((count + 1,), -torch.inf if reduce == "max" else 0, dtype=dtype)  # the last: no unit
    sizes = torch.zeros_like(total)
    for values, dim, places in parts:
        index, rows = torch.from_numpy(places) % (count + 1), values.to(dtype).movedim(dim, 0).unsqueeze(-1)
        others, ones = [*range(1, rows.ndim)], torch.ones(len(rows), dtype=dtype)
        if reduce == "max":
            total.scatter_reduce_(0, index, rows.amax(others).cpu(), "amax")
        else:
            own = torch.zeros_like(total).index_add_(
                0, index, (rows.square() if reduce == "norm" else rows).sum(others).cpu()
            )
            total += own.abs() if reduce == VECTORS else own
        sizes.index_add_(0, index, ones * rows[0].numel())
    found = total / sizes if reduce == "mean" else total.sqrt() if reduce == "norm" else total
    return found[:-1].to(device)


def group_masks(model: nn.Module, kept: Masks, example: Tensor | Groups | None = None) -> Masks:
    """Masks of units of groups, group name -> bool `[units]`, as masks of the model's parameters.

    A removed unit is removed from all weights that write it, with its biases, norms' entries and all that stands along.
    What reads it stays: `wb.remove` takes that out.

    >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> masks = group_masks(model, {"0.weight": torch.tensor([True, False])}, torch.ones(1, 1))
    >>> {name: mask.tolist() for name, mask in masks.items()}
    {'0.weight': [[True], [False]], '0.bias': [True, False]}
    """
    found, kept = coupling(model, example), check_bools(kept)
    masks, parameters = Masks(), dict(model.named_parameters())
    for group, mask in kept.items():
        units = found.order.get(group)
        if units is None or mask.shape != units.shape:
            size = "" if units is None else f" of {len(units)} units"
            raise ValueError(
                f"masks name groups, each with one value a unit; got {group!r}{size} with {tuple(mask.shape)}. Use the "
                f"names of wb.groups: {', '.join(found.order)}"
            )
        for name, dim, role, places in found.places(units):
            if role != "reads" and name in parameters:
                own = masks.setdefault(name, torch.ones_like(parameters[name], dtype=torch.bool))
                gone = np.append(~mask.cpu().numpy(), False)[places]
                own.movedim(dim, 0)[torch.from_numpy(gone).to(own.device)] = False
    return masks
