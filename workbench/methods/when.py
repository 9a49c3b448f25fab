"""When to prune, by name: before, early in, during or after training; each a stream of records, one for each step."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workbench.allocation import Allocation
from workbench.criteria import score
from workbench.criteria.registry import Criterion
from workbench.data.task import Task
from workbench.granularity import check_share, unit_shapes
from workbench.masks import find_masks, keep_top
from workbench.masks.iterate import level_sparsity
from workbench.methods.registry import METHODS, method
from workbench.models import prunable
from workbench.recipes import low, recipe
from workbench.states import Record, State
from workbench.train import schedule, snapshot, steps
from workbench.types import Batch, Masks, check_choice, check_count, check_sparsity


@dataclass(frozen=True)
class Question:
    """What is pruned and how, whenever: a timing asks it for masks and for training."""

    model: nn.Module
    task: Task
    sparsity: float
    criterion: str | Criterion
    allocation: Allocation
    rounds: int
    knobs: dict[str, Any]
    seed: int
    k: int
    total: int
    length: dict[str, Any]
    folder: Path | None
    every: int
    phases: Iterator[int] = field(default_factory=count)

    @property
    def batch(self) -> Batch:
        return self.task.batch(min(256, self.task.size("train")), seed=self.seed)

    def masks(self) -> Masks:
        """Masks of the model as it stands, in `rounds` rounds of scoring."""
        how: dict[str, Any] = dict(rounds=self.rounds, allocation=self.allocation)
        return find_masks(self.model, self.batch, self.criterion, self.sparsity, **how, **self.knobs)

    def cut(self, level: int, masks: Masks | None) -> Masks:
        """Masks after `level` of `rounds` levels, each of which removes the same share of what is left."""
        scores = score(self.model, self.batch, self.criterion, masks=masks, **self.knobs)
        sparsity = level_sparsity(level, self.rounds, self.sparsity)
        units: dict[str, Any] = dict(granularity=self.knobs.get("granularity", "weight"), model=self.model)
        units |= dict(allocation=self.allocation, example=self.batch.inputs[:1])
        return keep_top(scores, sparsity, within=masks, **units)

    def train(self, phase: str, **arguments: Any) -> Iterator[Record]:
        """`wb.steps` of the model; each record says the phase. What lies in the folder is gone on with.

        The last step of a phase is never saved, so that each has a record when it is run again.
        """
        path = None if self.folder is None else self.folder / f"phase-{next(self.phases)}.safetensors"
        state = State.load(path) if path is not None and path.exists() else None
        end = arguments.get("stop", self.total)
        for row in steps(self.model, self.task, seed=self.seed, state=state, **self.length, **arguments):
            row["phase"] = phase
            if path is not None and row["step"] % self.every == 0 and row["step"] < end:
                row.state().save(path)
            yield row


def _before(ask: Question) -> Iterator[Record]:
    yield from ask.train("pruned", masks=ask.masks())


def _early(ask: Question) -> Iterator[Record]:
    yield from ask.train("dense", stop=ask.k)
    yield from ask.train("pruned", masks=ask.masks(), start=ask.k)


def _after(ask: Question) -> Iterator[Record]:
    yield from ask.train("dense")
    yield from ask.train("pruned", masks=ask.masks())


def _rewound(ask: Question) -> Iterator[Record]:
    yield from ask.train("dense", stop=ask.k)
    rewound, masks = snapshot(ask.model), None
    yield from ask.train("dense", start=ask.k)
    for level in range(1, ask.rounds + 1):
        masks = ask.cut(level, masks)
        ask.model.load_state_dict(rewound)
        yield from ask.train(f"level {level}", masks=masks, start=ask.k)


def _rate_rewound(ask: Question, **rate: float) -> Iterator[Record]:
    yield from ask.train("dense")
    masks = None
    for level in range(1, ask.rounds + 1):
        masks = ask.cut(level, masks)
        yield from ask.train(f"level {level}", masks=masks, **rate)


def _fine_tuned(ask: Question) -> Iterator[Record]:
    return _rate_rewound(ask, **low(recipe(ask.task, ask.model)))


BEFORE: dict[str, Callable[[Question], Iterator[Record]]] = {"before": _before, "early": _early}
AFTER = {"after": _after, "fine-tuned": _fine_tuned, "rewound": _rewound, "rate-rewound": _rate_rewound}


def timings() -> list[str]:
    """Names of the times to prune, from before to after; those between them are `wb.methods()`.

    >>> names = timings()
    >>> names[:2], names[-4:], "rigl" in names
    (['before', 'early'], ['after', 'fine-tuned', 'rewound', 'rate-rewound'], True)
    """
    return [*BEFORE, *METHODS, *AFTER]


def early(total: int) -> int:
    """The step of an early cut, or to which weights go back, if none is asked for: a twentieth of the schedule.

    >>> early(228), early(10), early(1)
    (11, 1, 0)
    """
    return min(max(1, total // 20), total - 1)


def takes(name: str) -> list[str]:
    """What decides the masks of a timing: the options of a method, or those of a cut.

    >>> takes("rewound")
    ['criterion', 'allocation', 'rounds', 'granularity', 'exclude', 'k']
    """
    if name in METHODS:
        return list(METHODS[name].options)
    own = ["criterion", "allocation", "rounds", "granularity", "exclude"]
    return [*own, *(["k"] if name in ("early", "rewound") else [])]


def timing(
    name: str,
    model: nn.Module,
    task: Task,
    sparsity: float,
    *,
    criterion: str | Criterion | None = None,
    allocation: Allocation | None = None,
    rounds: int | None = None,
    k: int | None = None,
    seed: int = 0,
    epochs: int | None = None,
    steps: int | None = None,
    folder: str | Path | None = None,
    save_every: int = 50,
    **options: Any,
) -> Iterator[Record]:
    """Prune and train `model` in place, at one of `wb.timings()`; a record for each step, the last has the masks.

    "before": `criterion` ("magnitude") finds masks at the weights as they are, in `rounds` (1) rounds; then training.
    "early": after `k` steps (default: a twentieth of the schedule). A name of `wb.methods()`: while it trains, with
    the method's `options`; these have their own criterion. "after": train, find masks, train as long again. Iterative,
    in `rounds` levels with training between them: "rewound" takes weights and rate back to step `k` (Frankle et al.
    2019, arXiv:1903.01611), "rate-rewound" the rate alone (Renda et al. 2020, arXiv:2003.02389), "fine-tuned" has a
    hundredth of the rate, without warm-up. All that cut with a criterion take `granularity=`, which units are removed,
    and `exclude=`, layers that stay whole, as `wb.find_masks` does. `epochs` or `steps` is the length of one schedule,
    dense or at a level.

    In `folder` a state of each phase is saved every `save_every` steps; the same call on a model with the same first
    weights goes on after a crash, bit for bit, from the last state of each phase on: a phase that was at its end yields
    the records after its last state again.

    A record is that of `wb.steps`, with its `phase`. Raises ValueError for an unknown name, what a timing does not
    take, a `k` beyond the schedule, and a folder of another run.

    Misleads where timings are compared at equal schedules: "after" trains twice as long as "before". See the ledger of
    `wb.Recording`.

    >>> import workbench as wb
    >>> task = wb.load("moons", device="cpu")
    >>> model = wb.make("lenet-300-100", task)
    >>> rows = list(timing("rewound", model, task, 0.75, rounds=2, steps=5, k=1))
    >>> [row["phase"] for row in rows[::4]], sum(int(mask.sum()) for mask in rows[-1].masks.values())
    (['dense', 'dense', 'level 1', 'level 2'], 7700)
    """
    check_choice("timing", name, timings())
    length = {what: value for what, value in (("epochs", epochs), ("steps", steps)) if value is not None}
    total = schedule(model, task, **length)
    given = {"criterion": criterion, "allocation": allocation, "rounds": rounds, "k": k}
    passed = [option for option, value in given.items() if value is not None]
    if rest := [option for option in (*passed, *options) if option not in takes(name)]:
        raise ValueError(f"timing {name!r} takes {', '.join(takes(name))}; got {', '.join(rest)}. Leave it out")
    how: dict[str, Any] = {"seed": seed, "loss_fn": task.loss, "allocation": allocation}
    how = {option: value for option, value in how.items() if option in takes(name) and value is not None} | options
    k = early(total) if k is None else check_count("k", k, least=0)
    if k >= total:
        raise ValueError(f"k is a step of the schedule before its end, from 0 to {total - 1}; got {k}")
    criterion, rounds = "magnitude" if criterion is None else criterion, 1 if rounds is None else rounds
    if name not in METHODS:
        unit = options.get("granularity", "weight")
        check_share(unit, check_sparsity(sparsity), allocation or "global", rounds)
        unit_shapes(model, prunable(model, options.get("exclude", ())), unit)  # says at once what it cannot cut
    place = None if folder is None else Path(folder)
    split = "global" if allocation is None else allocation
    ask = Question(
        model,
        task,
        check_sparsity(sparsity),
        criterion,
        split,
        check_count("rounds", rounds),
        {"seed": seed, "loss_fn": task.loss, **options},
        seed,
        k,
        total,
        length,
        place,
        check_count("save_every", save_every),
    )
    if place is not None:
        asked = {"timing": name, "sparsity": sparsity, "criterion": criterion, "allocation": split, "rounds": rounds}
        asked |= {"k": k, "seed": seed, "steps": total, "data": task.name, "weights": _digest(model), **options}
        _same(place / "timing.json", asked)
    if name in METHODS:
        return ask.train(name, **method(name, model, sparsity, **how))
    return {**BEFORE, **AFTER}[name](ask)


def _digest(model: nn.Module) -> str:
    """A short name of a model's weights."""
    found = hashlib.sha256()
    for name, value in snapshot(model).items():
        found.update(name.encode() + value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def _same(path: Path, asked: dict[str, Any]) -> None:
    """Write down what is asked; raise ValueError where the folder belongs to another question."""
    asked = json.loads(json.dumps(asked, default=lambda one: getattr(one, "__qualname__", type(one).__name__)))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asked, indent=1), encoding="utf-8")
        os.replace(part, path)
    there = json.loads(path.read_text(encoding="utf-8"))
    differs = [name for name in {**there, **asked} if there.get(name) != asked.get(name)]
    if told := "; ".join(f"{name} was {there.get(name)}, is {asked.get(name)}" for name in differs):
        raise ValueError(f"{path.parent} holds another run: {told}. Choose another folder, or delete it")
