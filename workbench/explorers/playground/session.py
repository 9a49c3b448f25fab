"""The playground without its page: choices in, frames out; what was computed is kept, a new sparsity is a look-up."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from workbench.criteria.registry import find_criterion
from workbench.data import Task
from workbench.explorers.cache import Cache
from workbench.explorers.playground import view
from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.film import Films, look_up, made_with
from workbench.explorers.playground.offer import Offer
from workbench.explorers.playground.paths import Paths
from workbench.explorers.playground.scored import Prepared, Scored, prepared, scored
from workbench.explorers.worker import Report, Work
from workbench.granularity import GRANULARITIES, any_kept, find_granularity
from workbench.masks import dense
from workbench.methods import method, timing
from workbench.methods.registry import METHODS
from workbench.metrics import compression
from workbench.recording import Recording
from workbench.train import steps
from workbench.types import Masks

START = "the training starts from this"


class Session(Offer):
    """Choices -> frame, with what was computed for earlier choices.

    `prepare` and `train` are generators that do the slow work, a step between two `yield`s; `frame` looks up.
    """

    def __init__(
        self, tasks: Mapping[str, Task], networks: Mapping[str, nn.Module], names: Sequence[str] | None = None
    ):
        super().__init__(tasks, networks, names)
        self.films = Films()
        self._scored: Cache[Scored] = Cache(60_000_000)
        self._paths = Paths()

    # The slow part

    def ready(self, choices: Choices) -> bool:
        """Whether `frame(choices)` is a look-up."""
        net = self.built(choices)
        if net is None or choices.layer not in net.sizes or choices.compression > self.maximum(choices):
            return False
        for side in choices.sides:
            if not self._network(side) or (side.cut and not self._scored.get(self._key(side))):
                return False
        return not self.films.recorded(choices) or bool(self.films.of(choices))

    def prepare(self, choices: Choices, report: Report = lambda what, progress: None) -> Work[Choices]:
        """Compute whatever `frame` will look up; `return`s the choices with layer, compression, k and step that exist.

        A network that does not fit the data gives way to the first that does, and so does a criterion that cannot score
        the network.
        """
        choices = yield from self._fitted(choices, report)
        for side in choices.sides:
            net = yield from self._make(side, report)
            if side.cut and self._scored.get(self._key(side)) is None:
                report("scoring", 0.0)
                found = yield from scored(net, self.task(side.data), side, self.cut_of(side), report)
                self._scored.put(self._key(side), found, net.total)
                yield
        yield from self.films.make(choices, self.points.measure(choices.data), self._before, self._during)
        return choices

    def _fitted(self, choices: Choices, report: Report) -> Work[Choices]:
        if choices.data not in self.tasks:
            report("scoring", 0.0)
        self.task(choices.data)
        if choices.network not in self.fitting(choices.data):
            choices = replace(choices, network=self.fitting(choices.data)[0])
        net = self.at_init(choices)
        choices = self.in_time(self.without_the_gone(choices))
        self.check(replace(choices, layer="", step=None))
        step = choices.step and min(choices.step, self.last(choices))  # of a longer one that was pinned
        yield
        layer = choices.layer if choices.layer in net.sizes else list(net.sizes)[len(net.sizes) // 2]
        return replace(choices, layer=layer, compression=min(choices.compression, self.maximum(choices)), step=step)

    def _make(self, choices: Choices, report: Report) -> Work[Prepared]:
        """The network whose weights are looked at: trained as far as the timing says."""
        if found := self._network(choices):
            return found
        made = self.at_init(choices)
        if choices.timing == "before" or not choices.cut:
            return made
        model, stop = copy.deepcopy(made.model), self.k(choices) if choices.timing == "early" else None
        report("training", 0.0)
        for row in steps(model, self.task(choices.data), seed=choices.seed, stop=stop):
            report("training", row["step"] / (stop or row["total"]))
            yield
        if stop is None:
            self.points.add_dense(choices, row[f"val_{self.points.measure(choices.data)}"])
        return self.networks.put(self._network_key(choices), prepared(model, made.example), made.parameters)

    def forget(self) -> None:
        """Let go of all that was computed."""
        for cache in (self.networks, self._scored, self._paths.found, *self.films.caches):
            cache.clear()

    # The fast part

    def frame(self, choices: Choices, measure: bool = False, coarse: int = 1) -> dict[str, Any]:
        """The picture for choices that are `ready`; the effective sparsity is in it if known, quick, or asked for.

        Where the settings shown were trained, it is that of the step chosen.
        """
        sides = look_up(self.films.of(choices), choices.step)
        sides = sides or [self._side(side, measure, coarse) for side in choices.sides]
        at = choices.sides[0]
        return dict(request=choices.request, compression=at.compression, sparsity=at.sparsity, sides=sides)

    def _side(self, choices: Choices, measure: bool, coarse: int) -> dict[str, Any]:
        """Before the training: the masks that were found, or those that the training starts from."""
        key, sparsity = (*self._key(choices), choices.compression), choices.sparsity
        if not choices.cut:
            masks = self._start(choices)
            key = ("dense", choices.data, choices.network) if all(bool(m.all()) for m in masks.values()) else key
            side = self._pictured(choices, masks, key, measure, coarse)
            return {**side, "sentence": f"{side['sentence']}; {START}"}
        found = self._found(choices)
        ranking, counts = found.ranking, found.ranking.counts(sparsity)
        if choices.granularity == "weight":
            mask = ranking.mask(choices.layer, sparsity)
            side = self._drawn(choices, counts, mask, lambda: ranking.masks(sparsity), key, measure, coarse)
        else:
            side = self._pictured(choices, self._all(choices, sparsity), key, measure, coarse)
        cut = None if sum(counts.values()) == ranking.total or choices.fixed else ranking.cut(sparsity)
        scores = found.histogram.json(cut, found.before)
        numbers = {**side["numbers"], "critical": found.critical}
        return {**side, "numbers": numbers, "scores": scores, "notch": found.notch}

    def _pictured(self, choices: Choices, masks: Masks, key: Any, measure: bool, coarse: int) -> dict[str, Any]:
        net, units, told = self.at_init(choices), self.units(choices), ""
        counts = {name: int(masks[name].sum()) for name in net.sizes}
        if choices.granularity != "weight":
            kind, whole = find_granularity(choices.granularity), {n: s for n, s in net.sizes.items() if n not in units}
            kept = kind.reduce(net.model, {name: masks[name] for name in units}, any_kept)
            told = view.told_units(choices.granularity, kept, whole)
        beside = sum(int((~mask).sum()) for name, mask in masks.items() if name not in counts)
        return self._drawn(choices, counts, masks[choices.layer], lambda: masks, key, measure, coarse, beside, told)

    def _drawn(
        self,
        choices: Choices,
        counts: dict[str, int],
        mask: Tensor,
        masks: Callable[[], Masks],
        key: Any,
        measure: bool,
        coarse: int,
        beside: int = 0,
        told: str = "",
    ) -> dict[str, Any]:
        """The picture of so many kept weights, and what else to tell; `scores` are None where none were computed.

        `beside` counts entries of biases and norms that went with their channels.
        """
        net, pair, layer = self.at_init(choices), (choices.data, choices.network), choices.layer
        granularity = choices.granularity if layer in self.units(choices) else "weight"
        kept = sum(counts.values())
        left = net.parameters - net.total + kept - beside
        effective = self._paths.effective(pair, key, net, masks, measure)
        numbers = {
            "kept": kept,
            "total": net.total,
            "compression": net.total / kept if kept else None,
            "size_ratio": net.parameters / left if left else None,
            "sparsity": 1 - kept / net.total,
            "effective": effective,
            "macs": net.cost(counts),
            "macs_dense": net.cost(net.sizes),
            "max_compression": self.limit(choices),
            "critical": None,
        }
        return {
            "criterion": choices.maker,
            "timing": choices.timing,
            "unit": view.unit(choices.granularity),
            "name": choices.name,
            "sentence": view.sentence(numbers, counts, told),
            "alarm": view.alarm(numbers, counts),
            "numbers": numbers,
            "pending": effective is None and self._paths.seen(pair),
            "scores": None,
            "layers": [
                dict(name=name, size=size, kept=counts[name], density=counts[name] / size)
                for name, size in net.sizes.items()
            ],
            "mask": view.pictured(net.model, layer, mask, granularity, coarse),
        }

    def _all(self, choices: Choices, sparsity: float) -> Masks:
        """The masks that were found, and those of layers that stay dense."""
        return dense(self.at_init(choices).model) | self._found(choices).ranking.masks(sparsity)

    def _start(self, choices: Choices) -> Masks:
        """The masks that a training which changes them starts from."""
        model, how = self.at_init(choices).model, {"allocation": choices.allocation, "seed": choices.seed}
        if choices.timing not in METHODS:
            return dense(model)
        taken = {name: value for name, value in how.items() if name in METHODS[choices.timing].options}
        return method(choices.timing, model, choices.sparsity, **taken).get("masks") or dense(model)

    def _before(self, choices: Choices) -> dict[str, Any]:
        return self._side(choices, True, 1)

    def _during(self, choices: Choices, masks: Masks, at: int, coarse: int) -> dict[str, Any]:
        return {**self._pictured(choices, masks, (made_with(choices), at), True, coarse), "pending": False}

    def masks(self, choices: Choices) -> list[tuple[nn.Module, Masks, Tensor]]:
        """Of each setting shown a copy of the network, its masks at the step shown, and one input."""
        recorded = self.films.recorded(choices) and choices.step != 0
        return [self._masks(side, recorded) for side in choices.sides]

    def _masks(self, choices: Choices, recorded: bool) -> tuple[nn.Module, Masks, Tensor]:
        net, run = self.at_init(choices), self.films.run(choices)
        if recorded and run:
            masks = run.masks(min(len(run.steps), choices.step or len(run.steps)))
        else:
            masks = self._all(choices, choices.sparsity) if choices.cut else self._start(choices)
        return copy.deepcopy(net.model), masks, net.example

    def train(self, choices: Choices, seed: int, report: Report) -> Work[tuple[Choices, float, float]]:
        """Prune and train this one setting, all from `seed`, and record it.

        Returns the choices, what was measured, and the compression of the weights.
        """
        side = replace((yield from self._fitted(choices, report)), seed=seed)
        net, task = self.at_init(side), self.task(side.data)
        model, measure = copy.deepcopy(net.model), f"val_{self.points.measure(side.data)}"
        k, length = self.k(side), self.length(side)
        report("training", 0.0)
        rows, recording = timing(side.timing, model, task, side.sparsity, seed=seed, **self.how(side)), None
        if net.macs is not None:  # no film of a network whose multiply-adds cannot be counted
            gradients = METHODS[side.timing].gradients if side.timing in METHODS else "kept"
            recording = Recording(model, task, gradients=gradients)
            rows = recording.watch(rows)
        for at, row in enumerate(rows, 1):
            report("training", at / length)
            if row["phase"] == "dense" and row["step"] == row["total"]:
                self.points.add_dense(side, row[measure])
            if side.cut and row["phase"] == "dense" and row["step"] == (k if side.timing == "early" else row["total"]):
                weights = prepared(copy.deepcopy(model).eval(), net.example)  # what the masks are found on
                self.networks.put(self._network_key(side), weights, weights.parameters)
            yield
        if recording is not None:
            self.films.put(side, recording)
        if side.granularity == "weight":
            return side, row[measure], side.compression
        masks = dense(model) | row.masks
        return side, row[measure], compression(masks)

    def _found(self, choices: Choices) -> Scored:
        found = self._scored.get(self._key(choices))
        if found is None:
            raise ValueError("there is no picture of these choices yet. Wait for it")
        return found

    def _network_key(self, choices: Choices) -> tuple[Any, ...]:
        timing, k = choices.timing if choices.cut else "before", choices.k if choices.timing == "early" else None
        return choices.data, choices.network, choices.seed, timing, k

    def _network(self, choices: Choices) -> Prepared | None:
        trained = choices.cut and choices.timing != "before"
        return self.networks.get(self._network_key(choices)) if trained else self.built(choices)

    def _key(self, choices: Choices) -> tuple[Any, ...]:
        place, name = choices.compression if choices.rounds > 1 else None, choices.criterion
        function, own = find_criterion(name)[1].function, GRANULARITIES.own().get(choices.granularity)
        how = choices.granularity, own, choices.allocation, choices.rounds, place, choices.timing
        return *self._network_key(choices), name, function, *how
