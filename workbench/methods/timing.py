"""When to prune, by name: before, early in, during or after training; each a stream of records, one for each step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from workbench.allocation import Allocation
from workbench.criteria import score
from workbench.criteria.registry import Criterion
from workbench.data.task import Task
from workbench.masks import find_masks, keep_top
from workbench.methods.registry import METHODS, method
from workbench.recipes import recipe
from workbench.states import Record
from workbench.train import schedule, snapshot, steps
from workbench.types import Batch, Masks, check_choice, check_count, check_sparsity

LOW = 0.01
"""Rate of fine-tuning, as a share of the training's."""


@dataclass(frozen=True)
class Question:
    """What is pruned and how, whenever: a timing asks it for masks and for training."""

    model: nn.Module
    task: Task
    sparsity: float
    criterion: str | Criterion
    allocation: Allocation
    rounds: int
    seed: int
    k: int
    length: dict[str, Any]

    @property
    def batch(self) -> Batch:
        return self.task.batch(min(256, self.task.size("train")), seed=self.seed)

    def masks(self) -> Masks:
        """Masks of the model as it stands, in `rounds` rounds of scoring."""
        knobs: dict[str, Any] = {"seed": self.seed, "loss_fn": self.task.loss}
        how: dict[str, Any] = dict(rounds=self.rounds, allocation=self.allocation)
        return find_masks(self.model, self.batch, self.criterion, self.sparsity, **how, **knobs)

    def cut(self, level: int, masks: Masks | None) -> Masks:
        """Masks after `level` of `rounds` levels, each of which removes the same share of what is left."""
        scores = score(self.model, self.batch, self.criterion, masks=masks, seed=self.seed, loss_fn=self.task.loss)
        sparsity = 1 - (1 - self.sparsity) ** (level / self.rounds) if level < self.rounds else self.sparsity
        return keep_top(scores, sparsity, allocation=self.allocation, within=masks)

    def train(self, phase: str, **arguments: Any) -> Iterator[Record]:
        """`wb.steps` of the model; each record says the phase."""
        for row in steps(self.model, self.task, seed=self.seed, **self.length, **arguments):
            row["phase"] = phase
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
    early, masks = snapshot(ask.model), None
    yield from ask.train("dense", start=ask.k)
    for level in range(1, ask.rounds + 1):
        masks = ask.cut(level, masks)
        ask.model.load_state_dict(early)
        yield from ask.train(f"level {level}", masks=masks, start=ask.k)


def _rate_rewound(ask: Question, **rate: float) -> Iterator[Record]:
    yield from ask.train("dense")
    masks = None
    for level in range(1, ask.rounds + 1):
        masks = ask.cut(level, masks)
        yield from ask.train(f"level {level}", masks=masks, **rate)


def _fine_tuned(ask: Question) -> Iterator[Record]:
    return _rate_rewound(ask, lr=LOW * recipe(ask.task, ask.model).lr)


BEFORE: dict[str, Callable[[Question], Iterator[Record]]] = {"before": _before, "early": _early}
AFTER = {"after": _after, "fine-tuned": _fine_tuned, "rewound": _rewound, "rate-rewound": _rate_rewound}


def timings() -> list[str]:
    """Names of the times to prune, from before to after; those between them are `wb.methods()`.

    >>> names = timings()
    >>> names[:2], names[-4:], "rigl" in names
    (['before', 'early'], ['after', 'fine-tuned', 'rewound', 'rate-rewound'], True)
    """
    return [*BEFORE, *METHODS, *AFTER]


def timing(
    name: str,
    model: nn.Module,
    task: Task,
    sparsity: float,
    *,
    criterion: str | Criterion = "magnitude",
    allocation: Allocation | None = None,
    rounds: int = 1,
    k: int | None = None,
    seed: int = 0,
    epochs: int | None = None,
    steps: int | None = None,
    **options: Any,
) -> Iterator[Record]:
    """Prune and train `model` in place, at one of `wb.timings()`; a record for each step, the last has the masks.

    "before": `criterion` finds masks at the weights as they are, in `rounds` rounds, and the network is trained.
    "early": after `k` steps (default: a twentieth of the schedule). A name of `wb.methods()`: while it trains, with
    the method's `options`; these have their own criterion. "after": train, find masks, train as long again. Iterative,
    in `rounds` levels with training between them: "rewound" takes weights and rate back to step `k` (Frankle et al.
    2019, arXiv:1903.01611), "rate-rewound" the rate alone (Renda et al. 2020, arXiv:2003.02389), "fine-tuned" stays at
    a hundredth of the rate. `epochs` or `steps` is the length of one schedule, dense or at a level.

    A record is that of `wb.steps`, with its `phase`. Raises ValueError for an unknown name, and a `k` beyond the
    schedule.

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
    k = max(1, total // 20) if k is None else check_count("k", k, least=0)
    if k >= total:
        raise ValueError(f"k is a step of the schedule before its end, from 0 to {total - 1}; got {k}")
    how: dict[str, Any] = {} if allocation is None else {"allocation": allocation}
    allocation = "global" if allocation is None else allocation
    ask = Question(
        model, task, check_sparsity(sparsity), criterion, allocation, check_count("rounds", rounds), seed, k, length
    )
    if name in METHODS:
        given = METHODS[name].options
        how = {**how, "seed": seed}
        arguments = method(name, model, sparsity, **{n: v for n, v in how.items() if n in given}, **options)
        return ask.train(name, **arguments)
    for option in options:
        raise ValueError(f"{option!r} is an option of no timing; {name!r} takes criterion, allocation, rounds, k")
    return {**BEFORE, **AFTER}[name](ask)
