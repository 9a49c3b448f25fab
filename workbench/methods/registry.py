"""Methods by name: what each gives to `wb.steps`, what it keeps in memory, what it costs, and where it comes from."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from workbench.recording import GRADIENTS
from workbench.registry import Registry
from workbench.types import check_choice, check_sparsity

if TYPE_CHECKING:
    import pandas as pd

Arguments = dict[str, Any]
"""Arguments of `wb.steps`: `masks`, `update`, `loss`, `straight_through`."""
Method = Callable[..., Arguments]
COUNTS = ("constant", "rises", "at the end")
UNITS = ("weight", "channel", "n:m")


@dataclass(frozen=True)
class MethodEntry:
    """A registered method: the function, and facts about it.

    `sparsity` says whether it is "constant", exact from the first step to the last; "rises", exact at each step and
    only upwards; or is met "at the end". `granularity` says what it is a share of: a "weight", a "channel" (of the
    layers that the method prunes), or "n:m", the weights of each m inputs. `returns` says that removed weights may come
    back. `memory` is what it keeps beside the weights and the masks, `cost` what a change costs beyond a step of
    training. `gradients` says whose gradients it computes (`recording.GRADIENTS`).
    """

    function: Method
    source: str
    sparsity: str
    returns: bool
    memory: str
    cost: str
    gradients: str = "kept"
    granularity: str = "weight"

    def __post_init__(self) -> None:
        check_choice("sparsity", self.sparsity, COUNTS)
        check_choice("gradients", self.gradients, GRADIENTS)
        check_choice("granularity", self.granularity, UNITS)

    @property
    def options(self) -> dict[str, Any]:
        """The method's options with their defaults."""
        taken = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in taken if p.kind is p.KEYWORD_ONLY}


METHODS: Registry[MethodEntry] = Registry("method")


def named(name: str, *, own: bool = False, **facts: Any) -> Callable[[Method], Method]:
    """Register a method; `facts` are the other fields of `MethodEntry`."""

    def register(function: Method) -> Method:
        METHODS.add(name, MethodEntry(function, **facts), own=own)
        return function

    return register


def methods() -> list[str]:
    """Names of the methods that prune while a network trains.

    >>> {"gradual", "rigl", "set"} <= set(methods())
    True
    """
    return list(METHODS)


def method(name: str, model: nn.Module, sparsity: float, **options: Any) -> Arguments:
    """The arguments with which `wb.steps` and `wb.train` run a method: its first masks, its update, its loss.

    `options` are those of the method (its docstring, `wb.method_table`). The model is untouched.
    Raises ValueError for an unknown method, an option that it lacks, or a sparsity outside [0, 1).

    Misleads where methods are compared at equal steps: some compute more in a step than others.

    >>> import workbench as wb
    >>> task = wb.load("moons", device="cpu")
    >>> model = wb.make("lenet-300-100", task)
    >>> records = wb.train(model, task, steps=3, **method("set", model, 0.9))
    >>> round(1 - sum(int((w != 0).sum()) for w in wb.prunable(model).values()) / 30_800, 2)
    0.9
    """
    entry = METHODS[name]
    for option in options:
        check_choice(f"option of {name!r}", option, list(entry.options))
    return entry.function(model, check_sparsity(sparsity), **options)


def method_table() -> "pd.DataFrame":
    """What each method does to the sparsity, keeps in memory and costs, and where it comes from; one row each.

    >>> method_table().loc["rigl", "sparsity"]
    'constant'
    """
    import pandas as pd

    rows = [{"method": name, **_facts(entry)} for name, entry in METHODS.items()]
    return pd.DataFrame(rows).set_index("method")


def _facts(entry: MethodEntry) -> Mapping[str, Any]:
    names = ("sparsity", "granularity", "returns", "gradients", "memory", "cost", "source")
    told = {name: getattr(entry, name) for name in names}
    shown = {name: getattr(default, "__name__", repr(default)) for name, default in entry.options.items()}
    return {**told, "options": ", ".join(f"{name}={default}" for name, default in shown.items())}
