"""The coupled channel groups of a model: what must be removed together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workbench.models.kernels import plain_kernels
from workbench.models.running import evaluating, fitted, logits, outputs
from workbench.models.untouched import untouched
from workbench.models.watch import example_of, tensors
from workbench.models.weights import prunable
from workbench.removal import sequences  # noqa: F401  (importing registers what functions do)
from workbench.removal.trace import Trace

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


class Groups(Sequence[Group]):
    """What `wb.groups` gives: the groups, listed when first looked at.

    Other functions take them in place of an example, and do not run the model again.
    """

    def __init__(self, found: Coupling) -> None:
        self.coupling = found

    @cached_property
    def _listed(self) -> list[Group]:
        return list(self.coupling.listed())

    def __getitem__(self, at: Any) -> Any:
        return self._listed[at]

    def __len__(self) -> int:
        return len(self.coupling.order)

    def __repr__(self) -> str:
        return repr(self._listed)


class Coupling:
    """A trace, closed: the unit of every label, and which units are written by the same weights."""

    def __init__(self, model: nn.Module, example: Tensor, trace: Trace) -> None:
        self.model, self.example, self.trace = model, example, trace
        first = {id(p): name for name, p in prunable(model, strict=False).items()}
        self.weights = {name: first[id(p)] for name, p in model.named_parameters() if id(p) in first}
        unit_of = _components(trace.size, trace.edges)
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
        for name, dim in self.writers:
            if (self.dims[name, dim] == self.dims[name, dim][0]).all():
                self.why.setdefault(int(self.dims[name, dim][0]), f"it would take all of {name!r}")
        unread = np.flatnonzero(self.written & ~read).tolist()
        self.why = dict.fromkeys(unread, "no layer was seen that reads them") | self.why
        links = [(units[:-1], units[1:]) for units in map(self.dims.__getitem__, self.writers)]
        self.group_of = _components(trace.size, links)

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
    def holders(self) -> dict[int, list[tuple[str, int]]]:
        """The parameters, buffers and dimensions that hold units of each group, in the model's order."""
        names = [name for name, _ in (*self.model.named_parameters(), *self.model.named_buffers())]
        rank, found = {name: k for k, name in enumerate(names)}, dict[int, list[tuple[str, int]]]()
        for key in sorted(self.dims, key=lambda key: (rank[key[0]], key[1])):
            for group in set(self.group_of[self.dims[key]].tolist()):
                found.setdefault(group, []).append(key)
        return found

    def places(self, units: np.ndarray) -> Iterator[tuple[str, int, str, np.ndarray]]:
        """Where units of a group are: parameter, dimension, role, and for each index which of them, or -1."""
        place = np.full(self.trace.size, -1)
        place[units] = np.arange(len(units))
        for key in self.holders[int(self.group_of[units[0]])]:
            yield *key, self.trace.roles.get(key, "along"), place[self.dims[key]]

    def listed(self) -> Iterator[Group]:
        """The groups."""
        for name, units in self.order.items():
            fixed = [k for k, unit in enumerate(units.tolist()) if unit in self.why]
            why = "; ".join(dict.fromkeys(self.why[int(units[k])] for k in fixed))
            members = [Member(n, d, role, _at(places, len(units))) for n, d, role, places in self.places(units)]
            yield Group(name, len(units), tuple(members), tuple(fixed), why)


def _at(places: np.ndarray, count: int) -> tuple[tuple[int, ...], ...]:
    found: list[list[int]] = [[] for _ in range(count)]
    for index, unit in enumerate(places.tolist()):
        if unit >= 0:
            found[unit].append(index)
    return tuple(map(tuple, found))


def _components(size: int, edges: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The number of the connected part that each of `size` nodes is in."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = [np.concatenate([edge[side] for edge in edges]) if edges else np.empty(0, int) for side in (0, 1)]
    return connected_components(coo_array((np.ones(len(ends[0]), bool), tuple(ends)), (size, size)), False)[1]


def coupling(model: nn.Module, example: Tensor | Groups | None) -> Coupling:
    """The units of a model, and what couples them, from a pass of one or two inputs in evaluation mode."""
    if isinstance(example, Groups):
        found, now = example.coupling, dict([*model.named_parameters(), *model.named_buffers()])
        same = found.model is model and found.dims.keys() <= {
            (name, d) for name, t in now.items() for d in range(t.ndim)
        }
        if not same or any(now[name].shape[d] != len(units) for (name, d), units in found.dims.items()):
            raise ValueError(
                "groups are of the model, as it is now; got those of another. Pass wb.groups(model, example)"
            )
        return found
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            told = f"groups are seen in the functions that Python code calls; {name!r} is compiled (TorchScript)"
            raise TypeError(f"{told}. Pass the module that it was made of")
    example, trace = example_of(model, example), Trace(model)
    with untouched(model), plain_kernels(model), evaluating(model), torch.no_grad():
        inputs = fitted(model, example)[:2]
        with trace:
            given = outputs(model, inputs)
        for tensor in counting(given):
            for labels in trace.of(tensor):
                trace.fix(labels, OUTPUT)
    return Coupling(model, example, trace)


def counting(given: Any) -> list[Tensor]:
    """The tensors of a model's outputs that must stay equal: its `logits`, or all where it names none.

    >>> len(counting({"a": torch.ones(1), "b": torch.ones(1)}))
    2
    """
    try:
        return [logits(given)]
    except TypeError:
        return [t for t in tensors(given) if t.is_floating_point()]


def groups(model: nn.Module, example: Tensor | None = None) -> Groups:
    """The coupled channel groups: what must be removed together, unit by unit.

    A unit is what can be removed alone: a channel with its bias, its norms' entries and all that reads it; where a sum
    needs two layers to have the same channels, one of each; a whole head of attention; all gates of a recurrent unit; a
    whole group of a grouped convolution (a channel of one group alone would leave groups of different sizes, and one of
    each group would tie channels that nothing else ties). Units stay where they would be missed: behind a function that
    does not make 0 of 0, such as a sigmoid, the next layer reads something of them.

    `example` `[n, ...]` is passed through the model once, in evaluation mode; the model is bit-equal afterwards. The
    list can be passed on in place of the example, to `wb.group_scores`, `wb.group_masks`, `wb.masks_to` and
    `wb.remove`, which then do not look again. Source: the dependency graph of Fang et al. 2023, arXiv:2301.12900.
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
    return Groups(coupling(model, example))


def output_layers(model: nn.Module, example: Tensor | None = None) -> list[str]:
    """The weights that write the model's outputs, as seen in a pass: their channels cannot go.

    >>> output_layers(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4)), torch.ones(1, 2))
    ['2.weight']
    """
    of_outputs = [group for group in groups(model, example) if OUTPUT in group.why]
    return [member.parameter for group in of_outputs for member in group.members if member.role == "writes"]
