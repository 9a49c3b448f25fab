"""The playground without its page: choices in, frames out; what was computed is kept, a new sparsity is a look-up."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from workbench import allocation, data, models
from workbench.criteria import criteria
from workbench.criteria.registry import find_criterion
from workbench.data import Task
from workbench.explorers.cache import Cache
from workbench.explorers.playground import film, view
from workbench.explorers.playground.choices import ROUNDS, Choices, weight_timings
from workbench.explorers.playground.paths import Paths
from workbench.explorers.playground.points import MADE_WITH, Points
from workbench.explorers.playground.recorded import shipped
from workbench.explorers.playground.scored import Prepared, Scored, measure, prepared, scored
from workbench.explorers.stops import stops
from workbench.explorers.worker import Report, Work
from workbench.masks import dense
from workbench.methods import method, timing
from workbench.methods.registry import METHODS
from workbench.methods.when import early, takes
from workbench.models.channels import by_channel
from workbench.plots.looks import Look, looks
from workbench.recording import Recording
from workbench.train import schedule, steps
from workbench.types import Masks, check_choice

RUNS = 6
"""Recordings of trainings that are kept, the newest ones: each takes at most 20 MB."""

START = "the training starts from this"


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
        self._runs: Cache[Recording] = Cache(RUNS)
        self._films: Cache[film.Film] = Cache(RUNS)
        self._paths = Paths()

    # What there is to choose from

    def menu(self, choices: Choices, face: str = "live") -> dict[str, Any]:
        """The options of every control that work here; `networks` of the data loaded so far."""
        net, steps = self._network(choices), self.total(choices)
        timings = weight_timings()
        return {
            "face": face,
            "data": self.data,
            "networks": {name: self.fitting(name) for name in list(self.tasks)},
            "timings": timings,
            "criteria": self.criteria(choices),
            "allocations": allocation.allocations(),
            "methods": list(METHODS),
            "rounds": list(ROUNDS),
            "k": {
                "timings": [name for name in weight_timings() if "k" in takes(name)],
                "usual": early(steps),
                "most": steps - 1,
            },
            "measure": self.points.measure(choices.data),
            "stops": stops(net.maximum) if net else [1.0],
            "layers": list(net.sizes) if net else [],
            "looks": {
                name: dict(light=look.colour, dark=look.dark, paler=Look(look.dark, "").dark, marker=look.marker)
                for name, look in self.looks().items()
            },
        }

    def criteria(self, choices: Choices) -> list[str]:
        """Names of the criteria on offer, those that can score the network chosen, as soon as that is built."""
        net = self._networks.get(self._network_key(replace(choices, timing="before")))
        known = criteria(model=net.model if net else None)
        return known if self.names is None else [name for name in self.names if name in known]

    def looks(self) -> dict[str, Look]:
        """Colour and marker of every criterion that may be shown, the same in every face."""
        return looks([*criteria(), *self.points.criteria(), *weight_timings()])

    def without_the_gone(self, choices: Choices) -> Choices:
        """The choices with a criterion that is on offer in place of one that is not (any more, or for this network)."""
        offer = self.criteria(choices) or [side.criterion for side in choices.sides]
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
        self._at_init(choices)
        for side in choices.sides:
            if side.maker == side.criterion:
                check_choice("criterion", side.criterion, self.criteria(choices))
            check_choice("allocation", side.allocation, allocation.allocations())
            if side.k is not None:
                timing(side.timing, self._at_init(side).model, task, 0, k=side.k)  # says where it is too large
        if choices.layer:
            check_choice("layer", choices.layer, self.layers(choices))
        return choices

    # The slow part

    def ready(self, choices: Choices) -> bool:
        """Whether `frame(choices)` is a look-up."""
        net = self._network(choices)
        if net is None or choices.layer not in net.sizes or choices.compression > net.maximum:
            return False
        for side in choices.sides:
            if not self._network(side) or (side.cut and not self._scored.get(self._key(side))):
                return False
        return not self.recorded(choices) or bool(self.films(choices))

    def prepare(self, choices: Choices, report: Report = lambda what, progress: None) -> Work[Choices]:
        """Compute whatever `frame` will look up; `return`s the choices with layer and compression that exist.

        A network that does not fit the data gives way to the first that does, and so does a criterion that cannot score
        the network.
        """
        choices = yield from self._fitted(choices, report)
        for side in choices.sides:
            net = yield from self._make(side, report)
            if side.cut and self._scored.get(self._key(side)) is None:
                report("scoring", 0.0)
                found = yield from scored(net, self.task(side.data), side, report)
                self._scored.put(self._key(side), found, net.total)
                yield
        runs = [self._run(side) for side in choices.sides]
        for side, run in zip(choices.sides, runs if None not in runs else [], strict=False):
            if run and self._films.get((*self._run_key(side), side.layer)) is None:
                yield from self._film(side, run)
        return choices

    def _fitted(self, choices: Choices, report: Report) -> Work[Choices]:
        if choices.data not in self.tasks:
            report("scoring", 0.0)
        self.task(choices.data)
        if choices.network not in self.fitting(choices.data):
            choices = replace(choices, network=self.fitting(choices.data)[0])
        net = self._at_init(choices)
        choices = self._in_time(self.without_the_gone(choices))
        self.check(replace(choices, layer=""))
        yield
        layer = choices.layer if choices.layer in net.sizes else list(net.sizes)[len(net.sizes) // 2]
        return replace(choices, layer=layer, compression=min(choices.compression, net.maximum))

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
        """The network whose weights are looked at: trained as far as the timing says."""
        if found := self._network(choices):
            return found
        made = self._at_init(choices)
        if choices.timing == "before" or not choices.cut:
            return made
        model, stop = copy.deepcopy(made.model), self.k(choices) if choices.timing == "early" else None
        report("training", 0.0)
        for row in steps(model, self.task(choices.data), seed=choices.seed, stop=stop):
            report("training", row["step"] / (stop or row["total"]))
            yield
        if stop is None:
            self.points.add_dense(choices, row[f"val_{self.points.measure(choices.data)}"])
        return self._networks.put(self._network_key(choices), prepared(model, made.example), made.parameters)

    def k(self, choices: Choices) -> int:
        """The step of an early cut, or to which weights go back: if nothing is chosen, a twentieth of the training."""
        if choices.k is not None:
            return choices.k
        return early(self.total(choices))

    def _in_time(self, choices: Choices) -> Choices:
        """The choices without a `k` that this network's training does not reach."""
        most, pinned = self.total(choices) - 1, choices.compare
        alone = choices if (choices.k or 0) <= most else replace(choices, k=None)
        return replace(alone, compare=pinned | {"k": None}) if pinned and (pinned.get("k") or 0) > most else alone

    def total(self, choices: Choices) -> int:
        """Steps of one training."""
        return schedule(self._at_init(choices).model, self.task(choices.data))

    def forget(self) -> None:
        """Let go of all that was computed."""
        for cache in (self._networks, self._scored, self._paths.found, self._runs, self._films):
            cache.clear()

    def record(self, rows: Iterable[Mapping[str, Any]] | None, choices: Choices) -> None:
        """Take recorded points over (None: the shipped ones), by the name of what the task measures first."""
        self._at_init(choices)
        if rows is None:
            rows = [row for row in shipped() if self.points.measure(row["data"]) in row]
        self.points.record(rows, choices)

    # The fast part

    def frame(self, choices: Choices, measure: bool = False, coarse: int = 1) -> dict[str, Any]:
        """The picture for choices that are `ready`; the effective sparsity is in it if known, quick, or asked for.

        Where the settings shown were trained, it is that of the step chosen.
        """
        sides = film.look_up(self.films(choices), choices.step)
        sides = sides or [self._side(side, measure, coarse) for side in choices.sides]
        return dict(request=choices.request, compression=choices.compression, sparsity=choices.sparsity, sides=sides)

    def recorded(self, choices: Choices) -> bool:
        """Whether all settings shown were trained here."""
        return all(self._run(side) is not None for side in choices.sides)

    def alike(self, one: Choices, other: Choices) -> bool:
        """Whether two choices are trained in the same way, but for the seed."""
        a, b = ([self._run_key(replace(side, seed=0)) for side in choices.sides] for choices in (one, other))
        return a == b

    def runs(self, choices: Choices) -> dict[str, Any]:
        """The films of the settings shown, and which choices they are of; nothing until all of them were trained."""
        films = self.films(choices)
        return {"of": choices.setting() | {"compression": choices.compression}, "films": films} if films else {}

    def films(self, choices: Choices) -> list[film.Film]:
        """What the page scrubs through: a film for each setting, if all of them were trained, with the chosen layer."""
        found = [self._films.get((*self._run_key(side), side.layer)) for side in choices.sides]
        return [one for one in found if one is not None] if self.recorded(choices) and None not in found else []

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
        mask, whole = ranking.mask(choices.layer, sparsity), sum(counts.values()) == ranking.total
        side = self._drawn(choices, counts, mask, lambda: ranking.masks(sparsity), key, measure, coarse)
        scores = found.histogram.json(None if whole else ranking.cut(sparsity), found.before)
        return {**side, "numbers": {**side["numbers"], "critical": found.critical}, "scores": scores}

    def _pictured(self, choices: Choices, masks: Masks, key: Any, measure: bool, coarse: int) -> dict[str, Any]:
        counts = {name: int(mask.sum()) for name, mask in masks.items()}
        return self._drawn(choices, counts, masks[choices.layer], lambda: masks, key, measure, coarse)

    def _drawn(
        self,
        choices: Choices,
        counts: dict[str, int],
        mask: Tensor,
        masks: Callable[[], Masks],
        key: Any,
        measure: bool,
        coarse: int,
    ) -> dict[str, Any]:
        """The picture of so many kept weights; `scores` are None where none were computed."""
        net, pair, layer = self._at_init(choices), (choices.data, choices.network), choices.layer
        kept = sum(counts.values())
        left = net.parameters - net.total + kept
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
            "max_compression": net.maximum,
            "critical": None,
        }
        return {
            "criterion": choices.maker,
            "timing": choices.timing,
            "name": choices.name,
            "sentence": view.sentence(numbers, counts),
            "alarm": view.alarm(numbers, counts),
            "numbers": numbers,
            "pending": effective is None and self._paths.seen(pair),
            "scores": None,
            "layers": [
                dict(name=name, size=size, kept=counts[name], density=counts[name] / size)
                for name, size in net.sizes.items()
            ],
            "mask": view.mask_json(layer, by_channel(net.model, layer, mask), coarse),
        }

    def _start(self, choices: Choices) -> Masks:
        """The masks that a training which changes them starts from."""
        model, how = self._at_init(choices).model, {"allocation": choices.allocation, "seed": choices.seed}
        if choices.timing not in METHODS:
            return dense(model)
        taken = {name: value for name, value in how.items() if name in METHODS[choices.timing].options}
        return method(choices.timing, model, choices.sparsity, **taken).get("masks") or dense(model)

    def _film(self, choices: Choices, recording: Recording) -> Work[film.Film]:
        """The film of a recorded run, for the page."""

        def picture(masks: Masks, at: int, coarse: int) -> dict[str, Any]:
            return {**self._pictured(choices, masks, (*self._run_key(choices), at), True, coarse), "pending": False}

        start = self._side(choices, True, 1)
        made = yield from film.film(recording, choices.layer, self.points.measure(choices.data), start, picture)
        return self._films.put((*self._run_key(choices), choices.layer), made, 1)

    def masks(self, choices: Choices) -> list[tuple[nn.Module, Masks, Tensor]]:
        """Of each setting shown a copy of the network, its masks at the step shown, and one input."""
        return [self._masks(side, self.recorded(choices)) for side in choices.sides]

    def _masks(self, choices: Choices, recorded: bool) -> tuple[nn.Module, Masks, Tensor]:
        net, run = self._at_init(choices), self._run(choices) if recorded else None
        if run and choices.step != 0:
            masks = run.masks(min(len(run.steps), choices.step or len(run.steps)))
        else:
            masks = self._found(choices).ranking.masks(choices.sparsity) if choices.cut else self._start(choices)
        return copy.deepcopy(net.model), masks, net.example

    def told(self, choices: Choices) -> Choices:
        """The choices with the step that is shown, where masks come from a training alone."""
        films = [] if all(side.cut for side in choices.sides) else self.films(choices)
        last = max((one["total"] for one in films), default=None)
        return replace(choices, step=last if choices.step is None else choices.step)

    def train(self, choices: Choices, seed: int, report: Report) -> Work[tuple[Choices, float]]:
        """Prune and train this one setting, all from `seed`, and record it; returns choices and measure."""
        side = replace((yield from self._fitted(choices, report)), seed=seed)
        net, task = self._at_init(side), self.task(side.data)
        model, k, measure = copy.deepcopy(net.model), self.k(side), f"val_{self.points.measure(side.data)}"
        report("training", 0.0)
        chosen = dict(criterion=side.criterion, allocation=side.allocation, rounds=side.rounds, k=k)
        how: dict[str, Any] = {option: value for option, value in chosen.items() if option in takes(side.timing)}
        during, levels = side.timing in METHODS, {"before": 0, "early": 0, "after": 1}.get(side.timing, side.rounds)
        schedules = 1 if during else 1 + levels
        rows, recording = timing(side.timing, model, task, side.sparsity, seed=seed, **how), None
        if net.macs is not None:  # no film of a network whose multiply-adds cannot be counted
            recording = Recording(model, task, gradients=METHODS[side.timing].gradients if during else "kept")
            rows = recording.watch(rows)
        for at, row in enumerate(rows, 1):
            report("training", min(1.0, at / (row["total"] * schedules)))
            if row["phase"] == "dense" and row["step"] == row["total"]:
                self.points.add_dense(side, row[measure])
            if side.cut and row["phase"] == "dense" and row["step"] == (k if side.timing == "early" else row["total"]):
                weights = prepared(copy.deepcopy(model).eval(), net.example)  # what the masks are found on
                self._networks.put(self._network_key(side), weights, weights.parameters)
            yield
        if recording is not None:
            self._runs.put(self._run_key(side), recording, 1)
        return side, row[measure]

    def _run(self, choices: Choices) -> Recording | None:
        return self._runs.get(self._run_key(choices))

    def _run_key(self, choices: Choices) -> tuple[Any, ...]:
        made = {key: getattr(choices, key) for key in MADE_WITH}
        return *made.values(), find_criterion(choices.criterion)[1].function

    def _found(self, choices: Choices) -> Scored:
        found = self._scored.get(self._key(choices))
        if found is None:
            raise ValueError("there is no picture of these choices yet. Wait for it")
        return found

    def _network_key(self, choices: Choices) -> tuple[Any, ...]:
        timing, k = choices.timing if choices.cut else "before", choices.k if choices.timing == "early" else None
        return choices.data, choices.network, timing, k, choices.seed

    def _network(self, choices: Choices) -> Prepared | None:
        return self._networks.get(self._network_key(choices))

    def _key(self, choices: Choices) -> tuple[Any, ...]:
        place, name = choices.compression if choices.rounds > 1 else None, choices.criterion
        function = find_criterion(name)[1].function
        return *self._network_key(choices), name, function, choices.allocation, choices.rounds, place, choices.timing
