"""The coupled channel groups of a model: what must be removed together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workbench.granularity import REDUCTIONS
from workbench.models.channels import channels, whole
from workbench.models.kernels import plain_kernels
from workbench.models.running import evaluating, fitted, logits, outputs
from workbench.models.untouched import untouched
from workbench.models.watch import example_of, tensors
from workbench.models.weights import prunable
from workbench.removal import functions  # noqa: F401  (importing registers what functions do)
from workbench.removal.trace import Trace
from workbench.types import Masks, Scores, check_bools, check_choice, check_scores

OUTPUT = "they are the model's outputs"


@dataclass(frozen=True)
class Member:
    """One dimension of a parameter or buffer whose indices are units of a group.

    `at[u]` are the indices of unit u, none where it has none. `role`: a layer "writes" the units (they are its outputs)
    or "reads" them (its inputs); what stands "along" them has an entry for each: a bias, a norm, a position.
    """

    parameter: str
    dim: int
    role: str
    at: tuple[tuple[int, ...], ...]

    @property
    def indices(self) -> str:
        """How units map to indices, in words.

        >>> Member("w", 1, "reads", ((4, 5), (6, 7))).indices
        '2 units x 2, from 4'
        """
        present = [places for places in self.at if places]
        sizes = {len(places) for places in present}
        start, first = min(places[0] for places in present), next(k for k, places in enumerate(self.at) if places)
        each = f" x {sizes.pop()}" if len(sizes) == 1 and sizes != {1} else " x several" if len(sizes) > 1 else ""
        shift = f", from {start}" if start != first else ""
        apart = "" if all(p[-1] - p[0] == len(p) - 1 for p in present) else ", apart"
        return f"{len(present)} units{each}{shift}{apart}"


@dataclass(frozen=True)
class Group:
    """Units that are removed one by one, each in all members at once; named after the first weight that writes them.

    `fixed` are the units that cannot go, `why` says what keeps them. `str()` gives a table of the members.
    """

    name: str
    units: int
    members: tuple[Member, ...]
    fixed: tuple[int, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        head = f"{self.name}: {self.units} units"
        if self.fixed:
            head += f"; {'all' if len(self.fixed) == self.units else len(self.fixed)} stay: {self.why}"
        rows = [(m.role, m.parameter, f"dim {m.dim}", m.indices) for m in self.members]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([head, *(f"  {line}".rstrip() for line in lines)])


class Coupling:
    """A trace, closed: the unit of every label, and which units are written by the same weights."""

    def __init__(self, model: nn.Module, trace: Trace) -> None:
        self.model, self.trace = model, trace
        first = {id(p): name for name, p in prunable(model, strict=False).items()}
        self.weights = {name: first[id(p)] for name, p in model.named_parameters() if id(p) in first}
        unit_of, _ = _components(trace.size, trace.edges)
        self.dims = {key: unit_of[labels] for key, labels in trace.dims.items()}
        self.writers = [key for key in self.dims if trace.roles.get(key) == "writes" and key[0] in self.weights]
        seen = [units for key, units in self.dims.items() if trace.roles.get(key) == "reads"]
        self.written, read = np.zeros(trace.size, bool), np.zeros(trace.size, bool)
        for marks, found in ((self.written, [self.dims[key] for key in self.writers]), (read, seen)):
            for units in found:
                marks[units] = True
        self.why = {int(unit): told for labels, told in trace.fixed[::-1] for unit in unit_of[labels]}
        for labels, told in trace.fixed:  # the model's outputs are the first reason, whatever else is
            if told == OUTPUT:
                self.why |= dict.fromkeys(unit_of[labels].tolist(), told)
        unread = np.flatnonzero(self.written & ~read).tolist()
        self.why = dict.fromkeys(unread, "no layer was seen that reads them") | self.why
        links = [(units[:-1], units[1:]) for units in map(self.dims.__getitem__, self.writers)]
        self.group_of, _ = _components(trace.size, links)

    @cached_property
    def order(self) -> dict[str, np.ndarray]:
        """The units of each group, by its name, in the order of the weights that write them."""
        rank = {name: k for k, name in enumerate(self.weights)}
        found: dict[int, tuple[str, list[np.ndarray]]] = {}
        for key in sorted(self.writers, key=lambda key: rank[key[0]]):
            units = self.dims[key]
            found.setdefault(int(self.group_of[units[0]]), (key[0], []))[1].append(units)
        groups = dict[str, np.ndarray]()
        for name, parts in found.values():
            units = np.concatenate(parts)
            _, index = np.unique(units, return_index=True)
            while name in groups:  # a shared weight that writes twice
                name += "'"
            groups[name] = units[np.sort(index)]
        return groups

    @cached_property
    def in_order(self) -> list[tuple[str, int]]:
        """The parameters, buffers and dimensions that hold units, in the model's order."""
        names = [name for name, _ in (*self.model.named_parameters(), *self.model.named_buffers())]
        rank = {name: k for k, name in enumerate(names)}
        return sorted(self.dims, key=lambda key: (rank[key[0]], key[1]))

    def members(self, units: np.ndarray) -> tuple[Member, ...]:
        """Where units are, in the model's order."""
        place = np.full(self.trace.size, -1)
        place[units] = np.arange(len(units))
        found, known = [], dict[bytes, tuple[tuple[int, ...], ...]]()
        for key in self.in_order:
            places = place[self.dims[key]]
            if (places >= 0).any():
                at = known.get(places.tobytes()) or _at(places, len(units))
                known[places.tobytes()] = at
                found.append(Member(*key, self.trace.roles.get(key, "along"), at))
        return tuple(found)


def _at(places: np.ndarray, count: int) -> tuple[tuple[int, ...], ...]:
    found: list[list[int]] = [[] for _ in range(count)]
    for index, unit in enumerate(places.tolist()):
        if unit >= 0:
            found[unit].append(index)
    return tuple(map(tuple, found))


def _components(size: int, edges: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, int]:
    """The number of the connected part that each of `size` nodes is in, and how many parts there are."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = [np.concatenate([edge[side] for edge in edges]) if edges else np.empty(0, int) for side in (0, 1)]
    count, part = connected_components(coo_array((np.ones(len(ends[0]), bool), tuple(ends)), (size, size)), False)
    return part, count


def coupling(model: nn.Module, example: Tensor) -> Coupling:
    """The units of a model, and what couples them, from a pass of one or two inputs in evaluation mode."""
    trace = Trace(model)
    with untouched(model), plain_kernels(model), evaluating(model), torch.no_grad():
        inputs = fitted(model, example)[:2]
        with trace:
            given = outputs(model, inputs)
        for tensor in counting(given):
            for labels in trace.of(tensor):
                trace.fix(labels, OUTPUT)
    return Coupling(model, trace)


def counting(given: Any) -> list[Tensor]:
    """The tensors of a model's outputs that must stay equal: its `logits`, or all where it names none.

    >>> len(counting({"a": torch.ones(1), "b": torch.ones(1)}))
    2
    """
    try:
        return [logits(given)]
    except TypeError:
        return [t for t in tensors(given) if t.is_floating_point()]


def groups(model: nn.Module, example: Tensor | None = None) -> list[Group]:
    """The coupled channel groups: what must be removed together, unit by unit.

    A unit is what can be removed alone: a channel with its bias, its norms' entries and all that reads it; where a sum
    needs two layers to have the same channels, one of each; a whole head of attention; all gates of a recurrent unit; a
    whole group of a grouped convolution. `example` `[n, ...]` is passed through the model once, in evaluation mode;
    the model is bit-equal afterwards. Source: the dependency graph of Fang et al. 2023, arXiv:2301.12900.
    Misleads if the model's course depends on its inputs: only what the example does is seen.

    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
    >>> print(*groups(model, torch.zeros(1, 1, 4, 4)), sep="\\n")
    0.weight: 4 units
      writes  0.weight        dim 0  4 units
      along   0.bias          dim 0  4 units
      along   1.weight        dim 0  4 units
      along   1.bias          dim 0  4 units
      reads   3.weight        dim 1  4 units x 4
      along   1.running_mean  dim 0  4 units
      along   1.running_var   dim 0  4 units
    3.weight: 3 units; all stay: they are the model's outputs
      writes  3.weight  dim 0  3 units
      along   3.bias    dim 0  3 units
    """
    found, listed = coupling(model, example_of(model, example)), []
    for name, units in found.order.items():
        fixed = [k for k, unit in enumerate(units.tolist()) if unit in found.why]
        why = "; ".join(dict.fromkeys(found.why[int(units[k])] for k in fixed))
        listed.append(Group(name, len(units), found.members(units), tuple(fixed), why))
    return listed


def group_scores(model: nn.Module, scores: Scores, example: Tensor | None = None, reduce: str = "sum") -> Scores:
    """One score for each unit of each coupled group: group name -> `[units]`, for `wb.keep_top`.

    The rule `reduce` ("sum", "mean", "max", "norm") combines the scores of all a unit's weights, in all members: those
    that write it and those that read it. With scores of channels, `[out]`, those that write it. Groups that stay, as
    the model's outputs, have no scores. Source: Fang et al. 2023, arXiv:2301.12900, section 3.3.
    Misleads under allocation="global" where groups differ in size: a sum grows with the members.

    >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    >>> scores = {"0.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "2.weight": torch.tensor([[10.0, 20.0]])}
    >>> group_scores(model, scores, torch.ones(1, 2))["0.weight"].tolist()
    [13.0, 27.0]
    """
    scores, rule = check_scores(scores), REDUCTIONS[check_choice("reduce", reduce, REDUCTIONS)]
    found, kept = coupling(model, example_of(model, example)), Scores()
    weights, sizes = prunable(model, strict=False), channels(model, strict=False)
    for name, values in scores.items():
        if name not in weights or values.shape not in (weights[name].shape, (sizes[name],)):
            raise ValueError(
                f"scores are those of prunable weights or their channels; {name!r} has {tuple(values.shape)}. Score "
                f"this model; its weights are {', '.join(weights)}"
            )
    for group, units in found.order.items():
        if not found.why.keys().isdisjoint(units.tolist()):
            continue
        columns: list[Tensor] = []  # [units, weights of a unit] of each member
        for member in found.members(units):
            if (weight := found.weights.get(member.parameter)) not in scores:
                continue
            values = scores[weight]
            if values.ndim == 1 and weights[member.parameter].ndim > 1:
                if member.role == "reads":
                    continue
                values = whole(model, member.parameter, values)
            rows = values.movedim(member.dim, 0).flatten(1)
            columns.append(_of_units(rows, member.at))
        if columns:
            together = torch.cat(columns, 1)
            lacking = together.isnan().any(1)  # units with fewer weights than others
            kept[group] = rule(together)
            for unit in lacking.nonzero().flatten().tolist():
                kept[group][unit] = rule(together[unit][~together[unit].isnan()])
    return kept


def _of_units(rows: Tensor, at: tuple[tuple[int, ...], ...]) -> Tensor:
    """Rows of a weight, put side by side for each unit: `[units, ...]`, NaN where a unit has fewer than others."""
    most = max(map(len, at))
    index = torch.tensor([[*places, *[len(rows)] * (most - len(places))] for places in at], device=rows.device)
    padded = torch.cat([rows, torch.full_like(rows[:1], torch.nan)]) if (index == len(rows)).any() else rows
    return padded[index].flatten(1)


def group_masks(model: nn.Module, kept: Masks, example: Tensor | None = None) -> Masks:
    """Masks of units of groups, group name -> bool `[units]`, as masks of the model's parameters.

    A removed unit is removed from all weights that write it, with its biases, norms' entries and all that stands along.
    What reads it stays: `wb.remove` takes that out.

    >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> masks = group_masks(model, {"0.weight": torch.tensor([True, False])}, torch.ones(1, 1))
    >>> {name: mask.tolist() for name, mask in masks.items()}
    {'0.weight': [[True], [False]], '0.bias': [True, False]}
    """
    found, kept = coupling(model, example_of(model, example)), check_bools(kept)
    masks, parameters = Masks(), dict(model.named_parameters())
    for group, mask in kept.items():
        units = found.order.get(group)
        if units is None or mask.shape != units.shape:
            size = "" if units is None else f" of {len(units)} units"
            raise ValueError(
                f"masks name groups, each with one value a unit; got {group!r}{size} with {tuple(mask.shape)}. Use the "
                f"names of wb.groups: {', '.join(found.order)}"
            )
        for member in found.members(units):
            if member.role != "reads" and member.parameter in parameters:
                own = masks.setdefault(
                    member.parameter, torch.ones_like(parameters[member.parameter], dtype=torch.bool)
                )
                gone = [i for places, keep in zip(member.at, mask.tolist(), strict=True) if not keep for i in places]
                own.movedim(member.dim, 0)[gone] = False
    return masks
