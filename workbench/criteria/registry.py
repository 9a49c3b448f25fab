"""The criteria by name and granularity, what each asks for, and how a user's own joins them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from workbench.granularity import GRANULARITIES
from workbench.types import Scores, check_choice

if TYPE_CHECKING:
    import pandas as pd

Criterion = Callable[..., Scores]
NEEDS = ("nothing", "shape", "inputs", "targets")
DERIVATIVES = ("none", "gradients", "Hessian")
STATISTICS = ("batch", "running")
MEMORY = ("weights", "samples", "activations", "Hessian")
FAMILIES = ("baseline", "magnitude", "norm", "saliency", "loss change", "own")
"""The survey's four families, the baselines they have to beat, and criteria of the user's own."""


class Entry(NamedTuple):
    """A registered criterion: the function and what it asks for.

    `needs` is what it uses of the batch, `derivatives` of the loss, `cost` its passes over the batch. `bn` are the
    BatchNorm statistics it sees unless the caller says otherwise, those of its authors' code: the "batch"'s, or the
    "running" ones; `bn_fixed` says that it has a meaning with no others. `returns` says
    that in iterative scoring removed weights may come back, `most` how many weights it can score (None: any number),
    `chain` that it needs layers which follow one another. `memory` is what it holds beyond the model and the
    passes: at most three copies of the "weights" (in float64, which SynFlow, LAMP and PHEW compute in), gradients of
    single "samples", the batch's "activations", or what comes with a "Hessian" (a matrix, or a graph that gradients are
    differentiated through).
    """

    function: Criterion
    needs: str
    source: str
    builtin: bool
    granularity: str = "weight"
    family: str = "own"
    derivatives: str = "none"
    cost: str = ""
    bn: str = "batch"
    bn_fixed: bool = False
    returns: bool = False
    most: int | None = None
    chain: bool = False
    memory: str = "weights"


_CRITERIA: dict[tuple[str, str], Entry] = {}


def register_criterion(
    name: str, *, needs: str = "targets", source: str = "", granularity: str = "weight"
) -> Callable[[Criterion], Criterion]:
    """Register a criterion `f(model, batch, *, masks=None, loss_fn, generator, **knobs) -> Scores` under `name`.

    `needs` says what it uses of the batch: "nothing", the input's "shape", "inputs", or inputs and "targets".
    `granularity` says what one score is for: a "weight" (scores have the weights' shapes) or an output "channel"
    (scores `[out]`). Registering a name again replaces one's own criterion, so that a notebook cell can be run again;
    the workbench's own are protected. `masks` are the weights still there in iterative scoring (None: all); the model
    passed in is unmasked. `wb.check_criterion(f)` tries the function out.

    >>> @register_criterion("largest-row", needs="nothing")
    ... def largest_row(model, batch, *, masks=None, loss_fn, generator):
    ...     return {name: w.abs() / w.abs().max() for name, w in prunable(model).items()}
    >>> from workbench.models import prunable
    >>> "largest-row" in criteria()
    True
    >>> unregister_criterion("largest-row")
    """
    if not isinstance(name, str) or not name:
        raise TypeError(
            f"a criterion's name is a non-empty string; got {name!r}. Write @wb.register_criterion('my-name')"
        )
    check_choice("needs", needs, NEEDS)
    place = name, check_choice("granularity", granularity, GRANULARITIES)
    if place in _CRITERIA and _CRITERIA[place].builtin:
        raise ValueError(f"{name!r} is one of the workbench's own criteria and stays as it is. Choose another name")

    def register(function: Criterion) -> Criterion:
        if not callable(function):
            raise TypeError(f"a criterion is a function; got {type(function).__name__}")
        told = source or (function.__doc__ or "").strip().split("\n")[0]
        _CRITERIA[place] = Entry(function, needs, told, builtin=False, granularity=granularity)
        return function

    return register


def unregister_criterion(name: str) -> None:
    """Forget a criterion of one's own; the workbench's own are protected."""
    mine = {place for place, entry in _CRITERIA.items() if not entry.builtin}
    check_choice("criterion", name, {own for own, _ in mine})
    for place in mine:
        if place[0] == name:
            del _CRITERIA[place]


def builtin(
    name: str,
    *,
    needs: str,
    family: str,
    source: str,
    cost: str,
    granularity: str = "weight",
    derivatives: str = "none",
    bn: str = "batch",
    bn_fixed: bool = False,
    returns: bool = False,
    most: int | None = None,
    chain: bool = False,
    memory: str = "weights",
) -> Callable[[Criterion], Criterion]:
    """Register one of the workbench's own criteria."""
    for what, value, options in (
        ("needs", needs, NEEDS),
        ("family", family, FAMILIES),
        ("granularity", granularity, GRANULARITIES),
        ("derivatives", derivatives, DERIVATIVES),
        ("bn", bn, STATISTICS),
        ("memory", memory, MEMORY),
    ):
        check_choice(what, value, options)

    def register(function: Criterion) -> Criterion:
        _CRITERIA[name, granularity] = Entry(
            function=function,
            needs=needs,
            source=source,
            builtin=True,
            granularity=granularity,
            family=family,
            derivatives=derivatives,
            cost=cost,
            bn=bn,
            bn_fixed=bn_fixed,
            returns=returns,
            most=most,
            chain=chain,
            memory=memory,
        )
        return function

    return register


def criteria(granularity: str = "weight") -> list[str]:
    """Names of the criteria that score at this granularity by a formula of their own, the user's too.

    >>> {"grasp", "magnitude", "random", "snip", "synflow"} <= set(criteria())
    True
    """
    check_choice("granularity", granularity, GRANULARITIES)
    return sorted(name for name, own in _CRITERIA if own == granularity)


def entries() -> dict[tuple[str, str], Entry]:
    """Every criterion by (name, granularity)."""
    return dict(sorted(_CRITERIA.items()))


def criterion_table() -> pd.DataFrame:
    """What each criterion scores, needs and costs, and where it comes from: one row per name and granularity.

    >>> criterion_table().loc["snip", "cost"]
    '1 forward, 1 backward'
    """
    import pandas as pd

    shown = ("granularity", "family", "needs", "derivatives", "cost", "bn", "memory", "source")
    rows = [{"criterion": name} | {what: getattr(e, what) for what in shown} for (name, _), e in entries().items()]
    return pd.DataFrame(rows).set_index("criterion")


def own_criteria() -> dict[tuple[str, str], Entry]:
    """The user's own criteria, to carry them into worker processes."""
    return {place: entry for place, entry in _CRITERIA.items() if not entry.builtin}


def add_criteria(entries: dict[tuple[str, str], Entry]) -> None:
    """Take over a user's criteria in a worker process."""
    _CRITERIA.update(entries)


def find_criterion(criterion: str | Criterion, granularity: str = "weight") -> tuple[str, Entry]:
    """The name and entry of a criterion given by name or as a function.

    At channel granularity a name without a channel formula stands for its weight formula, which `score` reduces.
    """
    if callable(criterion):
        name = getattr(criterion, "__name__", type(criterion).__name__)
        known: Iterable[Entry] = _CRITERIA.values()
        return name, next(
            (e for e in known if e.function is criterion),
            Entry(criterion, needs="nothing", source="", builtin=False, granularity=granularity),
        )
    known_names = {name for name, own in _CRITERIA if own == "weight" or granularity == "channel"}
    name = check_choice("criterion", criterion, known_names)
    return name, _CRITERIA.get((name, granularity)) or _CRITERIA[name, "weight"]
