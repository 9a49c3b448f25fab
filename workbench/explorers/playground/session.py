"""The playground without its page: choices in, frames out; what was computed is kept, a new sparsity is a look-up."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from workbench import allocation, data, models
from workbench.criteria import criteria
from workbench.criteria.registry import find_criterion
from workbench.data import Task
from workbench.explorers.cache import Cache
from workbench.explorers.playground import view
from workbench.explorers.playground.choices import ROUNDS, TIMINGS, Choices
from workbench.explorers.playground.paths import Paths
from workbench.explorers.playground.points import Points
from workbench.explorers.playground.recorded import shipped
from workbench.explorers.playground.scored import Prepared, Scored, measure, prepared, scored
from workbench.explorers.stops import stops
from workbench.explorers.worker import Report, Work
from workbench.models.channels import by_channel
from workbench.plots.looks import Look, looks
from workbench.train import steps
from workbench.types import Masks, check_choice


class Session:
    """Choices -> frame, with what was computed for earlier choices.

    `tasks` are loaded already, `networks` the user's own, which belong to the first of them; `names` narrows the
    criteria. `prepare` and `train` are generators that do the slow work, a step between two `yield`s; `frame` looks up.
    """

    def __init__(
        self, tasks: Mapping[str, Task], networks: Mapping[str, nn.Module], names: Sequence[str] | None = None
    ):
        self.tasks = dict(tasks)
        self.own_data = tuple(name for name in self.tasks if name not in data.sources())
        self.data = sorted({*data.available(), *self.tasks})
        self.home = next(iter(self.tasks))
        self.own_networks = {name: copy.deepcopy(model) for name, model in networks.items()}
        self.names = None if names is None else [check_choice("criterion", name, criteria()) for name in names]
        self.points = Points()
        self._networks: Cache[Prepared] = Cache(60_000_000)
        self._scored: Cache[Scored] = Cache(60_000_000)
        self._paths = Paths()

    # What there is to choose from

    def menu(self, choices: Choices, face: str = "live") -> dict[str, Any]:
        """The options of every control that work here; `networks` of the data loaded so far."""
        net = self._network(choices)
        return {
            "face": face,
            "data": self.data,
            "networks": {name: self.fitting(name) for name in list(self.tasks)},
            "timings": list(TIMINGS),
            "criteria": self.criteria(),
            "allocations": allocation.allocations(),
            "rounds": list(ROUNDS),
            "measure": self.points.measure(choices.data),
            "stops": stops(net.maximum) if net else [1.0],
            "layers": list(net.sizes) if net else [],
            "looks": {
                name: dict(light=look.colour, dark=look.dark, paler=Look(look.dark, "").dark, marker=look.marker)
                for name, look in self.looks().items()
            },
        }

    def criteria(self) -> list[str]:
        """Names of the criteria on offer."""
        if self.names is not None:
            return [name for name in self.names if name in criteria()]
        entries = [(name, find_criterion(name)[1]) for name in criteria()]
        return [name for name, entry in entries if entry.most is None and not entry.chain]

    def looks(self) -> dict[str, Look]:
        """Colour and marker of every criterion that may be shown, the same in every face."""
        return looks([*criteria(), *self.points.criteria()])

    def without_the_gone(self, choices: Choices) -> Choices:
        """The choices with a criterion that is on offer in place of one that no longer is."""
        offer = self.criteria() or [side.criterion for side in choices.sides]
        first = next(name for name in (choices.criterion, Choices.criterion, offer[0]) if name in offer)
        pinned = choices.compare
        return replace(choices, criterion=first, compare=pinned if pinned and pinned["criterion"] in offer else None)

    def fitting(self, name: str) -> list[str]:
        """Networks for data that is loaded: the user's own first, on the task they came with."""
        return [*(self.own_networks if name == self.home else ()), *models.fitting(self.tasks[name])]

    def task(self, name: str) -> Task:
        """The task of this name, loaded when first asked for."""
        if name not in self.tasks:
            self.tasks[name] = data.load(check_choice("data", name, self.data))
        return self.tasks[name]

    def layers(self, choices: Choices) -> list[str]:
        """Names of the prunable weights of the network chosen."""
        return list(self._at_init(choices).sizes)

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
        for side in choices.sides:
            check_choice("criterion", side.criterion, self.criteria())
            check_choice("allocation", side.allocation, allocation.allocations())
        if choices.layer:
            check_choice("layer", choices.layer, self.layers(choices))
        return choices

    # The slow part

    def ready(self, choices: Choices) -> bool:
        """Whether `frame(choices)` is a look-up."""
        net = self._network(choices)
        if net is None or choices.layer not in net.sizes or choices.compression > net.maximum:
            return False
        return all(self._network(side) and self._scored.get(self._key(side)) for side in choices.sides)

    def prepare(self, choices: Choices, report: Report = lambda what, progress: None) -> Work[Choices]:
        """Compute whatever `frame` will look up; `return`s the choices with layer and compression that exist.

        A network that does not fit the data gives way to the first that does.
        """
        if choices.data not in self.tasks:
            report("scoring", 0.0)
        self.task(choices.data)
        if choices.network not in self.fitting(choices.data):
            choices = replace(choices, network=self.fitting(choices.data)[0])
        self.check(replace(choices, layer=""))
        yield
        net = self._at_init(choices)
        layer = choices.layer if choices.layer in net.sizes else list(net.sizes)[len(net.sizes) // 2]
        choices = replace(choices, layer=layer, compression=min(choices.compression, net.maximum))
        for side in choices.sides:
            net = yield from self._make(side, report)
            if self._scored.get(self._key(side)) is None:
                report("scoring", 0.0)
                found = yield from scored(net, self.task(side.data), side, report)
                self._scored.put(self._key(side), found, net.total)
                yield
        return choices

    def _at_init(self, choices: Choices) -> Prepared:
        """The network of these choices before any training, built once."""
        key = self._network_key(replace(choices, timing="before"))
        if found := self._networks.get(key):
            return found
        task = self.task(choices.data)
        own = self.own_networks.get(choices.network)
        model = models.make(choices.network, task, choices.seed) if own is None else copy.deepcopy(own).to(task.device)
        made = prepared(model, task.batch(1).inputs)
        self.points.measures[choices.data] = measure(made, task)
        return self._networks.put(key, made, made.parameters)

    def _make(self, choices: Choices, report: Report) -> Work[Prepared]:
        """The network of these choices, trained if they say so."""
        if found := self._network(choices):
            return found
        made = self._at_init(choices)
        if choices.timing == "before":
            return made
        model = copy.deepcopy(made.model)
        self.points.add_dense(choices, (yield from self._fit(model, choices, None, report)))
        return self._networks.put(self._network_key(choices), prepared(model, made.example), made.parameters)

    def _fit(self, model: nn.Module, choices: Choices, kept: Masks | None, report: Report) -> Work[float]:
        """Train `model` by its recipe; returns what the task measures first, on validation data, at the end."""
        report("training", 0.0)
        for row in steps(model, self.task(choices.data), masks=kept, seed=choices.seed):
            report("training", row["step"] / row["total"])
            yield
        return row[f"val_{self.points.measure(choices.data)}"]

    def forget(self) -> None:
        """Let go of all that was computed."""
        for cache in (self._networks, self._scored, self._paths.found):
            cache.clear()

    def record(self, rows: Iterable[Mapping[str, Any]] | None, choices: Choices) -> None:
        """Take recorded points over (None: the shipped ones), by the name of what the task measures first."""
        self._at_init(choices)
        if rows is None:
            rows = [row for row in shipped() if self.points.measure(row["data"]) in row]
        self.points.record(rows, choices)

    # The fast part

    def frame(self, choices: Choices, measure: bool = False, coarse: int = 1) -> dict[str, Any]:
        """The picture for choices that are `ready`; the effective sparsity is in it if known, quick, or asked for."""
        sides = [self._side(side, measure, coarse) for side in choices.sides]
        return dict(request=choices.request, compression=choices.compression, sparsity=choices.sparsity, sides=sides)

    def _side(self, choices: Choices, measure: bool, coarse: int) -> dict[str, Any]:
        (net, found), layer = self._looked_up(choices), choices.layer
        sparsity, ranking, pair = choices.sparsity, found.ranking, (choices.data, choices.network)
        counts = ranking.counts(sparsity)
        kept, key = sum(counts.values()), (*self._key(choices), choices.compression)
        left = net.parameters - net.total + kept
        effective = self._paths.effective(pair, key, net, lambda: ranking.masks(sparsity), measure)
        numbers = {
            "kept": kept,
            "total": net.total,
            "compression": net.total / kept if kept else None,
            "size_ratio": net.parameters / left if left else None,
            "sparsity": 1 - kept / net.total,
            "effective": effective,
            "macs": net.cost(counts),
            "macs_dense": net.cost(net.sizes),
            "max_compression": net.maximum,
            "critical": found.critical,
        }
        return {
            "criterion": choices.criterion,
            "name": choices.name,
            "sentence": view.sentence(numbers, counts),
            "alarm": view.alarm(numbers, counts),
            "numbers": numbers,
            "pending": effective is None and self._paths.seen(pair),
            "scores": found.histogram.json(ranking.cut(sparsity) if kept < net.total else None, found.before),
            "layers": [
                dict(name=name, size=size, kept=counts[name], density=counts[name] / size)
                for name, size in net.sizes.items()
            ],
            "mask": view.mask_json(layer, by_channel(net.model, layer, ranking.mask(layer, sparsity)), coarse),
        }

    def has_paths(self, choices: Choices) -> bool:
        """Whether paths can be seen through the network, as far as it was tried."""
        return self._paths.seen((choices.data, choices.network))

    def masks(self, choices: Choices) -> tuple[nn.Module, Masks, Tensor]:
        """A copy of the network of these choices, its masks, and one input."""
        net, found = self._looked_up(choices)
        return copy.deepcopy(net.model), found.ranking.masks(choices.sparsity), net.example

    def train(self, choices: Choices, seed: int, report: Report) -> Work[tuple[Choices, float]]:
        """Prune and train this one setting, all from `seed`; returns choices and measure."""
        fitted = yield from self.prepare(choices, report)
        fitted = replace(fitted, seed=seed)
        fitted = yield from self.prepare(fitted, report)
        model, kept, _ = self.masks(fitted)
        return fitted, (yield from self._fit(model, fitted, kept, report))

    def _looked_up(self, choices: Choices) -> tuple[Prepared, Scored]:
        net, found = self._network(choices), self._scored.get(self._key(choices))
        if net is None or found is None:
            raise ValueError("there is no picture of these choices yet. Wait for it")
        return net, found

    def _network_key(self, choices: Choices) -> tuple[Any, ...]:
        return choices.data, choices.network, choices.timing, choices.seed

    def _network(self, choices: Choices) -> Prepared | None:
        return self._networks.get(self._network_key(choices))

    def _key(self, choices: Choices) -> tuple[Any, ...]:
        place, name = choices.compression if choices.rounds > 1 else None, choices.criterion
        function = find_criterion(name)[1].function
        return *self._network_key(choices), name, function, choices.allocation, choices.rounds, place
