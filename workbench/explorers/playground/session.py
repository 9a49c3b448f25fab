"""The playground without its page: choices in, frames out; what was computed is kept, a new sparsity is a look-up."""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor, nn

from workbench import allocation, data, metrics, models
from workbench.criteria import criteria
from workbench.criteria.registry import find_criterion
from workbench.data import Task
from workbench.explorers.playground import view as pictures
from workbench.explorers.playground.choices import ROUNDS, WEIGHTS, Choices, stops
from workbench.explorers.playground.points import Points
from workbench.explorers.playground.scored import Kept, Network, Scored, network, scored
from workbench.explorers.worker import Stale
from workbench.models.channels import by_channel
from workbench.recipes import recipe
from workbench.seeds import threads
from workbench.train import steps
from workbench.types import Batch, Masks, check_choice

Result = TypeVar("Result")
Work = Generator[None, None, Result]
"""Slow work in small steps: one between two `yield`s."""
Report = Callable[[str, float], None]
"""`report("training", 0.3)`: what is being done and how much of it is."""

SCORED = 256
"""Samples of the batch that scores are computed on."""
AT_ONCE = 0.01
"""Seconds that a look-up may spend on the effective sparsity; what takes longer comes after the frame."""


class Session:
    """Choices -> frame, with what was computed for earlier choices.

    `tasks` are loaded already, `networks` the user's own, which belong to the first of them; `names` narrows the
    criteria. `prepare` and `train` are generators that do the slow work, a step between two `yield`s; `frame` looks up.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        networks: Mapping[str, nn.Module],
        names: Sequence[str] | None = None,
    ):
        self.tasks = dict(tasks)
        self.own_data = tuple(name for name in self.tasks if name not in data.sources())
        self.data = sorted({*data.available(), *self.tasks})
        self.home = next(iter(self.tasks))
        self.own_networks = {name: copy.deepcopy(model) for name, model in networks.items()}
        self.names = None if names is None else [check_choice("criterion", name, criteria()) for name in names]
        self.points = Points()
        self._networks: Kept[Network] = Kept(60_000_000)
        self._scored: Kept[Scored] = Kept(60_000_000)
        self._paths: Kept[float] = Kept(5_000)
        self._probing = threading.Lock()
        self._unseen: set[tuple[str, str]] = set()
        self._probe_seconds: dict[Any, float] = {}

    # What there is to choose from

    def menu(self, choices: Choices) -> dict[str, Any]:
        """The options of every control that work here; `networks` of the data loaded so far."""
        net = self._network(choices)
        return {
            "data": self.data,
            "networks": {name: self.fitting(name) for name in tuple(self.tasks)},
            "weights": list(WEIGHTS),
            "criteria": self.criteria(),
            "allocations": allocation.allocations(),
            "rounds": list(ROUNDS),
            "stops": stops(net.maximum) if net else [1.0],
            "layers": list(net.sizes) if net else [],
        }

    def criteria(self) -> list[str]:
        """Names of the criteria on offer."""
        if self.names is not None:
            return [name for name in self.names if name in criteria()]
        found = {name: find_criterion(name)[1] for name in criteria()}
        return [name for name, entry in found.items() if entry.most is None and not entry.chain]

    def without_the_gone(self, choices: Choices) -> Choices:
        """The choices with a criterion that is on offer in place of one that no longer is."""
        offer = self.criteria()
        if not offer:
            return choices
        first = Choices.criterion if Choices.criterion in offer else offer[0]
        return replace(
            choices,
            criterion=choices.criterion if choices.criterion in offer else first,
            compare=choices.compare if choices.compare in offer else None,
        )

    def fitting(self, name: str) -> list[str]:
        """Networks for data that is loaded: the user's own first, on the task they came with."""
        own = list(self.own_networks) if name == self.home else []
        return own + models.fitting(self.tasks[name])

    def task(self, name: str) -> Task:
        """The task of this name, loaded when first asked for."""
        if name not in self.tasks:
            self.tasks[name] = data.load(check_choice("data", name, self.data))
        return self.tasks[name]

    def layers(self, choices: Choices) -> list[str]:
        """Names of the prunable weights of the network chosen."""
        known = self._network(choices)
        return list(known.sizes if known else models.prunable(self._model(choices)))

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
        for name in choices.criteria:
            check_choice("criterion", name, self.criteria())
        check_choice("allocation", choices.allocation, allocation.allocations())
        if choices.layer:
            check_choice("layer", choices.layer, self.layers(choices))
        return choices

    # The slow part

    def ready(self, choices: Choices) -> bool:
        """Whether `frame(choices)` is a look-up."""
        net = self._network(choices)
        if net is None or choices.layer not in net.sizes or choices.compression > net.maximum:
            return False
        return all(self._scored.get(self._key(choices, name)) is not None for name in choices.criteria)

    def prepare(self, choices: Choices, stale: Callable[[], bool], report: Report) -> Work[Choices]:
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
        net = yield from self._make(choices, report)
        layer = choices.layer if choices.layer in net.sizes else list(net.sizes)[len(net.sizes) // 2]
        choices = replace(choices, layer=layer, compression=min(choices.compression, net.maximum))

        def on_round(done: int) -> None:
            if stale():
                raise Stale
            report("scoring", done / choices.rounds)

        for name in choices.criteria:
            if self._scored.get(self._key(choices, name)) is None:
                report("scoring", 0.0)
                view = scored(net, self.batch(choices), name, choices, on_round)
                self._scored.put(self._key(choices, name), view, net.total)
                yield
        return choices

    def _make(self, choices: Choices, report: Report) -> Work[Network]:
        """The network of these choices, trained if they say so."""
        found = self._network(choices)
        if found is not None:
            return found
        task, model = self.task(choices.data), self._model(choices)
        accuracy = None
        if choices.weights == "trained":
            accuracy = yield from self._fit(model, task, None, choices.seed, report)
            self.points.add_dense(choices, accuracy)
        made = network(model, task.batch(1).inputs, accuracy)
        self._networks.put(self._network_key(choices), made, made.parameters)
        return made

    def _model(self, choices: Choices) -> nn.Module:
        if choices.network in self.own_networks:
            return copy.deepcopy(self.own_networks[choices.network])
        return models.make(choices.network, self.task(choices.data), choices.seed)

    def _fit(self, model: nn.Module, task: Task, kept: Masks | None, seed: int, report: Report) -> Work[float]:
        """Train `model` by its recipe; returns the validation accuracy."""
        plan = recipe(task, model)
        total = plan.epochs * math.ceil(task.size("train") / plan.batch_size)
        accuracy = math.nan
        report("training", 0.0)
        for row in steps(model, task, masks=kept, seed=seed):
            accuracy = row.get("val_accuracy", accuracy)
            report("training", row["step"] / total)
            yield
        return accuracy

    def forget(self) -> None:
        """Let go of all that was computed."""
        for kept in (self._networks, self._scored, self._paths):
            kept.clear()

    def batch(self, choices: Choices) -> Batch:
        """The samples that data-driven criteria see."""
        task = self.task(choices.data)
        return task.batch(min(SCORED, task.size("train")), seed=choices.seed)

    # The fast part

    def frame(self, choices: Choices, measure: bool = False) -> dict[str, Any]:
        """The picture for choices that are `ready`; the effective sparsity is in it if known, quick, or asked for."""
        sides = [self._side(choices, name, measure) for name in choices.criteria]
        return {
            "request": choices.request,
            "compression": choices.compression,
            "sparsity": choices.sparsity,
            "sides": sides,
        }

    def _side(self, choices: Choices, name: str, measure: bool) -> dict[str, Any]:
        net, view = self._network(choices), self._scored.get(self._key(choices, name))
        if net is None or view is None:
            raise RuntimeError("a frame needs choices that are ready; call prepare first")
        sparsity = choices.sparsity
        shown = view.ranking.mask(choices.layer, sparsity)
        counts = view.ranking.counts(sparsity)
        kept = sum(counts.values())
        left = net.parameters - net.total + kept
        numbers = {
            "kept": kept,
            "total": net.total,
            "compression": net.total / kept if kept else None,
            "size_ratio": net.parameters / left if left else None,
            "sparsity": 1 - kept / net.total,
            "effective": self._effective(choices, name, net, view, measure),
            "macs": net.cost(counts),
            "macs_dense": net.cost(net.sizes),
            "max_compression": net.maximum,
            "critical": view.critical,
        }
        return {
            "criterion": name,
            "sentence": pictures.sentence(numbers, counts),
            "alarm": pictures.alarm(numbers, counts),
            "numbers": numbers,
            "scores": view.histogram.json(view.ranking.cut(sparsity)),
            "layers": [
                {"name": layer, "size": size, "kept": counts[layer], "density": counts[layer] / size}
                for layer, size in net.sizes.items()
            ],
            "mask": pictures.mask_json(choices.layer, by_channel(net.model, choices.layer, shown)),
        }

    def has_paths(self, choices: Choices) -> bool:
        """Whether paths can be seen through the network, as far as it was tried."""
        return (choices.data, choices.network) not in self._unseen

    def _effective(self, choices: Choices, name: str, net: Network, view: Scored, measure: bool) -> float | None:
        key = (*self._key(choices, name), choices.compression)
        known = self._paths.get(key)
        pair = choices.data, choices.network
        slow = self._probe_seconds.get(pair, 0.0) > AT_ONCE
        if known is not None or pair in self._unseen or (slow and not measure):
            return known
        with self._probing:
            start = time.perf_counter()
            try:
                known = metrics.effective_sparsity(net.probe, view.ranking.masks(choices.sparsity), net.example)
            except ValueError:  # paths cannot be seen through this network
                self._unseen.add(pair)
                return None
            took = time.perf_counter() - start
        self._probe_seconds[pair] = min(took, self._probe_seconds.get(pair, took))
        self._paths.put(key, known, 1)
        return known

    def masks(self, choices: Choices) -> tuple[nn.Module, Masks, Tensor]:
        """A copy of the network of these choices, its masks, and one input."""
        net, view = self._network(choices), self._scored.get(self._key(choices, choices.criterion))
        if net is None or view is None:
            raise ValueError("there is nothing to save yet. Wait for the picture")
        return copy.deepcopy(net.model), view.ranking.masks(choices.sparsity), net.example

    # Points of the trade-off

    def train(self, choices: Choices, stale: Callable[[], bool], report: Report) -> Work[tuple[Choices, float]]:
        """Prune and train with the next seed of this setting, all from that seed; returns choices and accuracy."""
        fitted = yield from self.prepare(replace(choices, compare=None), stale, report)
        fitted = replace(fitted, seed=self.points.next_seed(fitted))
        fitted = yield from self.prepare(fitted, stale, report)
        model, kept, _ = self.masks(fitted)
        accuracy = yield from self._fit(model, self.task(fitted.data), kept, fitted.seed, report)
        return fitted, accuracy

    def _network_key(self, choices: Choices) -> tuple[Any, ...]:
        return choices.data, choices.network, choices.weights, choices.seed

    def _network(self, choices: Choices) -> Network | None:
        return self._networks.get(self._network_key(choices))

    def _key(self, choices: Choices, name: str) -> tuple[Any, ...]:
        place = choices.compression if choices.rounds > 1 else None
        function = find_criterion(name)[1].function
        return *self._network_key(choices), name, function, choices.allocation, choices.rounds, place


def drain(work: Work[Result]) -> Result:
    """Do slow work here and now, in one torch thread as the worker does it (the same bits)."""
    with threads():
        try:
            while True:
                next(work)
        except StopIteration as end:
            return end.value
