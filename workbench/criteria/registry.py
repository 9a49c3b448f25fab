"""The criteria by name and granularity, what each asks for, and how a user's own joins them."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from workbench.criteria.arguments import Arguments, arguments, called
from workbench.granularity import GRANULARITIES
from workbench.models.weights import prunable
from workbench.registry import Registry
from workbench.types import Scores, check_choice

if TYPE_CHECKING:
    import pandas as pd

Criterion = Callable[..., Scores]
STATISTICS = ("batch", "running")
FACTS = {
    "needs": ("nothing", "shape", "inputs", "targets"),
    "granularity": GRANULARITIES,
    "family": ("baseline", "magnitude", "norm", "saliency", "loss change", "own"),
    "derivatives": ("none", "gradients", "Hessian"),
    "bn": STATISTICS,
    "memory": ("weights", "samples", "activations", "Hessian"),
}
"""What facts can be. The families are the survey's four, the baselines they have to beat, and the user's own."""


@dataclass
class CriterionEntry:
    """A registered criterion: the function and what it asks for.

    `needs` is what it uses of the batch (by default the "targets" too, or "nothing" where it names no batch),
    `derivatives` of the loss, `cost` its passes over the batch. `bn` are the BatchNorm statistics it sees by default,
    those of its authors' code: the "batch"'s, or the "running" ones; `bn_fixed` says that others have no meaning.
    `returns` says that in iterative scoring removed weights may come back, `most` how many weights it can score (None:
    any number), `chain` that it needs layers which follow one another. `memory` is what it holds beyond the model and
    the passes: at most three copies of the "weights" (in float64), gradients of single "samples", the batch's
    "activations", or what comes with a "Hessian" (a matrix, or a graph that gradients are differentiated through).
    """

    function: Criterion
    needs: str = ""
    source: str = ""
    granularity: str = "weight"
    family: str = "own"
    derivatives: str = "none"
    cost: str = ""
    bn: str = "batch"
    bn_fixed: bool = False
    returns: bool = False
    most: int | None = None
    chain: bool = False
    memory: str = ""
    arguments: Arguments = field(init=False)

    def __post_init__(self) -> None:
        self.arguments = arguments(self.function)
        batch = "batch" in self.arguments.places + self.arguments.names
        self.needs = self.needs or ("targets" if batch else "nothing")
        self.memory = self.memory or ("Hessian" if self.derivatives == "Hessian" else "weights")
        for what, options in FACTS.items():
            check_choice(what, getattr(self, what), options)
        if self.needs != "nothing" and not batch:
            raise ValueError(
                f"needs is what a criterion uses of the batch; got {self.needs!r} for {called(self.function)}, which "
                "does not name batch. Leave needs out, or name batch"
            )

    def run(self, given: Mapping[str, Any], knobs: Mapping[str, Any]) -> Any:
        """Call the function with what it names of `given`, and its knobs."""
        places, names, _ = self.arguments
        return self.function(*(given[name] for name in places), **{name: given[name] for name in names}, **knobs)

    @property
    def builtin(self) -> bool:
        """Whether it is one of the workbench's own."""
        return self.family != "own"


ONE_PASS = dict(derivatives="gradients", cost="1 forward, 1 backward")
"""Facts of criteria by the gradients of one pass of the batch."""

MAPS = dict(family="saliency", granularity="channel", needs="inputs", bn="running", memory="activations")
"""Facts of criteria by what channels give for the inputs."""

CRITERIA: defaultdict[str, Registry[CriterionEntry]] = defaultdict(lambda: Registry("criterion"))
"""Granularity -> name -> entry."""


def criterion(name: str, *, cost: str = "none", **facts: Any) -> Callable[[Criterion], Criterion]:
    """Register one of the workbench's own criteria; `facts` are the other fields of `CriterionEntry`."""

    def register(function: Criterion) -> Criterion:
        entry = CriterionEntry(function, cost=cost, **facts)
        CRITERIA[entry.granularity].add(name, entry, own=not entry.builtin)
        return function

    return register


def register_criterion(
    name: str, *, needs: str = "", source: str = "", granularity: str = "weight"
) -> Callable[[Criterion], Criterion]:
    """Register a criterion: a function that takes what it needs of `model, batch, masks, loss_fn, generator`.

    It returns scores, higher = keep; arguments with defaults are its knobs. `masks` are the weights still there in
    iterative scoring (None: all); the model passed in is unmasked. `needs` says what it uses of the batch: "nothing"
    (if it takes no batch), the input's "shape", "inputs", or inputs and "targets" (the default). `granularity` says
    what one score is for: a "weight" (scores have the weights' shapes) or an output "channel" (scores `[out]`). If you
    register a name again, the new criterion replaces your old one; those of the workbench are protected.
    `wb.check_criterion(f)` tests the function. Functions `f(model, batch, *, masks=None, loss_fn, generator, **knobs)`
    work too.

    >>> @register_criterion("largest-row")
    ... def largest_row(model):
    ...     return {name: w.abs() / w.abs().max() for name, w in prunable(model).items()}
    >>> from workbench.models import prunable
    >>> "largest-row" in criteria()
    True
    >>> unregister_criterion("largest-row")
    """
    CRITERIA[check_choice("granularity", granularity, GRANULARITIES)].check_free(name)

    def register(function: Criterion) -> Criterion:
        told = source or (function.__doc__ or "").strip().split("\n")[0]
        return criterion(name, cost="", needs=needs, source=told, granularity=granularity)(function)

    return register


def unregister_criterion(name: str) -> None:
    """Forget your own criterion; those of the workbench are protected."""
    check_choice("criterion", name, {own for own, _ in own_criteria()})
    for known in CRITERIA.values():
        if name in known.own():
            known.remove(name)


def criteria(granularity: str = "weight", model: nn.Module | None = None) -> list[str]:
    """Names of the criteria that have their own formula for this granularity, yours included.

    With `model` only those that take so many weights, and layers that follow one another as they do there.

    >>> {"grasp", "magnitude", "random", "snip", "synflow"} <= set(criteria())
    True
    >>> set(criteria()) - set(criteria(model=nn.Sequential(nn.Linear(1000, 10))))
    {'obs'}
    """
    known = CRITERIA[check_choice("granularity", granularity, GRANULARITIES)]
    if model is None:
        return list(known)
    size = sum(weight.numel() for weight in prunable(model).values())
    chain = isinstance(model, nn.Sequential | nn.Linear)
    return [name for name, entry in known.items() if (entry.most or size) >= size and (chain or not entry.chain)]


def entries() -> dict[tuple[str, str], CriterionEntry]:
    """Every criterion by (name, granularity)."""
    places = sorted((name, granularity) for granularity, known in CRITERIA.items() for name in known)
    return {(name, granularity): CRITERIA[granularity][name] for name, granularity in places}


def criterion_table() -> "pd.DataFrame":
    """What each criterion scores, needs and costs, and where it comes from: one row per name and granularity.

    >>> criterion_table().loc["snip", "cost"]
    '1 forward, 1 backward'
    """
    import pandas as pd

    shown = ("granularity", "family", "needs", "derivatives", "cost", "bn", "memory", "source")
    rows = [{"criterion": name} | {what: getattr(e, what) for what in shown} for (name, _), e in entries().items()]
    return pd.DataFrame(rows).set_index("criterion")


def own_criteria() -> dict[tuple[str, str], CriterionEntry]:
    """The user's own criteria, to carry them into worker processes."""
    return {place: entry for place, entry in entries().items() if not entry.builtin}


def add_criteria(entries: dict[tuple[str, str], CriterionEntry]) -> None:
    """Take over a user's criteria in a worker process."""
    for (name, granularity), entry in entries.items():
        CRITERIA[granularity].add(name, entry, own=True)


def find_criterion(criterion: str | Criterion, granularity: str = "weight") -> tuple[str, CriterionEntry]:
    """The name and entry of a criterion or its name; without a channel formula, the weights', which `score` reduces."""
    own, weight = CRITERIA[granularity], CRITERIA["weight"]
    if not callable(criterion):
        name = check_choice("criterion", criterion, {*own, *weight})
        return name, own[name] if name in own else weight[name]
    known = (entry for of in (own, weight) for entry in of.values() if entry.function is criterion)
    return called(criterion), next(known, None) or CriterionEntry(criterion, "nothing", granularity=granularity)
