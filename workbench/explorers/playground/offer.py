"""What the playground offers: data, networks and what fits them, and whether choices are among it."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from workbench import allocation, data, models
from workbench.criteria import criteria
from workbench.data import Task
from workbench.data.registry import OF_TOKENS
from workbench.explorers.cache import Cache
from workbench.explorers.playground.choices import ROUNDS, Choices, compression_of, weight_timings
from workbench.explorers.playground.points import Points
from workbench.explorers.playground.recorded import shipped
from workbench.explorers.playground.scored import Prepared, measure, prepared
from workbench.explorers.stops import stops
from workbench.granularity import GRANULARITIES, REDUCTIONS, find_granularity, unit_shapes
from workbench.methods import timing
from workbench.methods.registry import METHODS
from workbench.methods.when import early, takes
from workbench.plots.looks import Look, looks
from workbench.removal.units import output_layers
from workbench.train import schedule
from workbench.types import check_choice

UNITS = ("weight", "1:4", "2:4", "4:8", "pattern", "vector", "kernel", "block 4x4", "channel", "head")
"""Granularities in the menu, from fine to coarse, before those that are registered beside them."""


class Offer:
    """What there is to choose from, with the points of the trade-off.

    `tasks` are loaded already, `networks` the user's own, which belong to the first of them; `names` narrows the
    criteria.
    """

    def __init__(
        self, tasks: Mapping[str, Task], networks: Mapping[str, nn.Module], names: Sequence[str] | None = None
    ):
        self.tasks = dict(tasks)
        self.own_data = tuple(name for name in self.tasks if name not in data.sources())
        self.data = sorted(({*data.available()} - OF_TOKENS) | {*self.tasks})  # a language model takes minutes
        self.home = next(iter(self.tasks))
        self.own_networks = {name: copy.deepcopy(model) for name, model in networks.items()}
        self.names = None if names is None else [check_choice("criterion", name, criteria()) for name in names]
        self.points = Points()
        self.networks: Cache[Prepared] = Cache(60_000_000)
        self._units: Cache[dict[str, tuple[int, int]]] = Cache(200)

    def menu(self, choices: Choices, face: str = "live") -> dict[str, Any]:
        """The options of every control that work here; `networks` of the data loaded so far."""
        net, steps, timings = self.at_init(choices), self.total(choices), weight_timings()
        offered = self.granularities(choices)
        named = {*offered, *(side.granularity for side in choices.sides)}
        shares = {name: find_granularity(name).share for name in named}
        return {
            "face": face,
            "data": self.data,
            "networks": {name: self.fitting(name) for name in list(self.tasks)},
            "timings": timings,
            "criteria": self.criteria(choices),
            "granularities": offered,
            "fixed": {name: compression_of(share) for name, share in shares.items() if share is not None},
            "allocations": allocation.allocations(),
            "methods": list(METHODS),
            "rounds": list(ROUNDS),
            "k": {"timings": [n for n in timings if "k" in takes(n)], "usual": early(steps), "most": steps - 1},
            "measure": self.points.measure(choices.data),
            "stops": stops(self.maximum(choices)),
            "layers": list(net.sizes),
            "looks": {
                name: dict(light=look.colour, dark=look.dark, paler=Look(look.dark, "").dark, marker=look.marker)
                for name, look in self.looks().items()
            },
        }

    def criteria(self, choices: Choices) -> list[str]:
        """Names of the criteria on offer, those that can score the network chosen, as soon as that is built."""
        net = self.built(choices)
        known = criteria(model=net.model if net else None)
        return known if self.names is None else [name for name in self.names if name in known]

    def granularities(self, choices: Choices) -> list[str]:
        """Names of the granularities that can cut the network chosen."""
        names = dict.fromkeys([*UNITS, *GRANULARITIES])
        return [name for name in names if self._cuts(replace(choices, granularity=name))]

    def units(self, choices: Choices) -> dict[str, tuple[int, int]]:
        """Of each layer that the granularity can cut how many units there are, and the weights of the smallest."""
        net, name = self.at_init(choices), choices.granularity
        key = (choices.data, choices.network, name, GRANULARITIES.own().get(name))
        if (found := self._units.get(key)) is None:
            kind, left = find_granularity(name), self._uncut(choices)
            ones = {layer: torch.ones(w.shape) for layer, w in models.prunable(net.model).items() if layer not in left}
            sizes = ones if kind.share is not None else kind.reduce(net.model, ones, REDUCTIONS["sum"])
            found = self._units.put(key, {layer: (n.numel(), int(n.min())) for layer, n in sizes.items()}, 1)
        return found

    def _uncut(self, choices: Choices) -> dict[str, str]:
        """The weights that the granularity cannot cut, each with the reason; outputs are no channels to remove."""
        net, found = self.at_init(choices), dict[str, str]()
        for layer, weight in models.prunable(net.model, strict=False).items():
            try:
                unit_shapes(net.model, {layer: weight}, choices.granularity)
            except ValueError as error:
                found[layer] = str(error).partition(". Pass ")[0]  # without the remedy, which is of a call
        if choices.granularity == "channel":
            found |= dict.fromkeys(output_layers(net.model, net.example), "its channels are the outputs")
        return found

    def _cuts(self, choices: Choices) -> bool:
        """Whether the granularity cuts a layer: of one unit in each, none could be removed."""
        units = self.units(choices)
        return sum(count for count, _ in units.values()) > len(units)

    def maximum(self, choices: Choices) -> float:
        """The highest place of the slider: one unit in each layer that is cut, in each setting that it moves."""
        free = [[count for count, _ in self.units(one).values()] for one in choices.sides if not one.fixed]
        return min((sum(counts) / len(counts) for counts in free), default=self.at_init(choices).maximum)

    def limit(self, choices: Choices) -> float | None:
        """The highest compression of the weights: one unit in each layer that is cut; None where the share is fixed."""
        net, units = self.at_init(choices), self.units(choices)
        left = net.total - sum(net.sizes[layer] for layer in units) + sum(smallest for _, smallest in units.values())
        return None if choices.fixed else net.total / left

    def looks(self) -> dict[str, Look]:
        """Colour and marker of every criterion that may be shown, the same in every face."""
        return looks([*criteria(), *self.points.criteria(), *weight_timings()])

    def without_the_gone(self, choices: Choices) -> Choices:
        """The choices with a criterion and a granularity that are on offer, where theirs are not (for this network)."""
        offer = self.criteria(choices) or [side.criterion for side in choices.sides]
        first = next(name for name in (choices.criterion, Choices.criterion, offer[0]) if name in offer)
        pinned = choices.compare
        stays = pinned and pinned["criterion"] in offer and self._cuts(replace(choices, **pinned))
        unit = choices.granularity if self._cuts(choices) else "weight"
        return replace(choices, criterion=first, granularity=unit, compare=pinned if stays else None)

    def fitting(self, name: str) -> list[str]:
        """Networks for data that is loaded: the user's own first, on the task they came with."""
        return [*(self.own_networks if name == self.home else ()), *models.fitting(self.tasks[name])]

    def task(self, name: str) -> Task:
        """The task of this name, loaded when first asked for."""
        if name not in self.tasks:
            self.tasks[name] = data.load(check_choice("data", name, self.data))
        return self.tasks[name]

    def check(self, choices: Choices) -> Choices:
        """Return `choices` if all they name exists and fits; otherwise say what does."""
        task = self.task(choices.data)
        fitting = self.fitting(choices.data)
        if choices.network not in fitting:
            check_choice("network", choices.network, {*models.networks(), *self.own_networks})
            raise ValueError(
                f"{choices.network!r} does not fit {task.name!r}, whose inputs have shape {task.shape}; "
                f"networks that fit: {', '.join(fitting)}"
            )
        net = self.at_init(choices)
        for side in choices.sides:
            if side.maker == side.criterion:
                check_choice("criterion", side.criterion, self.criteria(choices))
            check_choice("allocation", side.allocation, allocation.allocations())
            if not self._cuts(side):
                why = next(iter(self._uncut(side).values()), "its layers have one unit each")
                told = f"{side.granularity!r} cuts no layer of {side.network!r}: {why}"
                raise ValueError(f"{told}. Granularities that do: {', '.join(self.granularities(side))}")
            if side.k is not None:
                timing(side.timing, net.model, task, 0, k=side.k)  # says where it is too large
        if choices.step and choices.step > self.last(choices):
            raise ValueError(f"step is a step of the training, from 0 to {self.last(choices)}; got {choices.step}")
        if choices.layer:
            check_choice("layer", choices.layer, net.sizes)
        return choices

    def built(self, choices: Choices) -> Prepared | None:
        """The network of these choices before any training, if it was built."""
        return self.networks.get((choices.data, choices.network, choices.seed))

    def at_init(self, choices: Choices) -> Prepared:
        """The network of these choices before any training."""
        if found := self.built(choices):
            return found
        task = self.task(choices.data)
        own = self.own_networks.get(choices.network)
        model = models.make(choices.network, task, choices.seed) if own is None else copy.deepcopy(own).to(task.device)
        made = prepared(model, task.batch(1).inputs)
        self.points.measures[choices.data] = measure(made, task)
        return self.networks.put((choices.data, choices.network, choices.seed), made, made.parameters)

    def k(self, choices: Choices) -> int:
        """The step of an early cut, or to which weights go back: if nothing is chosen, a twentieth of the training."""
        return early(self.total(choices)) if choices.k is None else choices.k

    def how(self, choices: Choices) -> dict[str, Any]:
        """What `wb.timing` is given of these choices, beside the timing, the sparsity and the seed."""
        how: dict[str, Any] = dict(criterion=choices.criterion, rounds=choices.rounds, allocation=choices.allocation)
        how |= self.cut_of(choices)
        return {name: value for name, value in (how | {"k": self.k(choices)}).items() if name in takes(choices.timing)}

    def cut_of(self, choices: Choices) -> dict[str, Any]:
        """The granularity and what it leaves whole, as `wb.find_masks` is given them; nothing for weights."""
        if choices.granularity == "weight":
            return {}
        whole = [layer for layer in self.at_init(choices).sizes if layer not in self.units(choices)]
        return {"granularity": choices.granularity} | ({"exclude": whole} if whole else {})

    def in_time(self, choices: Choices) -> Choices:
        """The choices without a `k` that this network's training does not reach."""
        most, pinned = self.total(choices) - 1, choices.compare
        alone = choices if (choices.k or 0) <= most else replace(choices, k=None)
        return replace(alone, compare=pinned | {"k": None}) if pinned and (pinned.get("k") or 0) > most else alone

    def total(self, choices: Choices) -> int:
        """Steps of one schedule."""
        return schedule(self.at_init(choices).model, self.task(choices.data))

    def length(self, choices: Choices) -> int:
        """Steps of the whole training of this one setting."""
        levels = {"before": 0, "early": 0, "after": 1}.get(choices.timing, choices.rounds)
        again = self.total(choices) - (self.k(choices) if choices.timing == "rewound" else 0)
        return self.total(choices) + (0 if choices.timing in METHODS else levels * again)

    def last(self, choices: Choices) -> int:
        """The last step of the longest training shown."""
        return max(self.length(side) for side in choices.sides)

    def record(self, rows: Iterable[Mapping[str, Any]] | None, choices: Choices) -> None:
        """Take recorded points over (None: the shipped ones), by the name of what the task measures first."""
        self.at_init(choices)
        if rows is None:
            rows = [row for row in shipped() if self.points.measure(row["data"]) in row]
        self.points.record(rows, choices)
