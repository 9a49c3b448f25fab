"""What a visitor of the playground has chosen, as plain data with checks, and the slider's stops."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from workbench.granularity import find_granularity
from workbench.methods import timings
from workbench.methods.registry import METHODS
from workbench.methods.when import takes
from workbench.types import check_choice, check_count

CUT = ("before", "early", "after")
"""Timings that find their masks at one moment: the masks can be shown before the pruned network is trained."""
ROUNDS = (1, 5, 20, 100)
THEMES = ("auto", "dark", "light")
WAY = ("timing", "k", "criterion", "granularity", "allocation", "rounds")
"""How masks are found: what of two settings may differ where they are compared."""


@dataclass(frozen=True)
class Choices:
    """One setting of the playground. `layer=""` is the layer in the middle; `compare` is a pinned `WAY`, or None.

    `k` is the step of the cut (timing "early"), or to which weights go back ("rewound"). `step` is the step of the
    training that is shown, 0 what it starts from, None its end, or its start where nothing was trained.

    >>> Choices(compression=20).sparsity
    0.95
    """

    data: str = "digits"
    network: str = "vgg"
    timing: str = "before"
    k: int | None = None
    criterion: str = "magnitude"
    granularity: str = "weight"
    allocation: str = "global"
    rounds: int = 1
    compression: float = 20.0
    layer: str = ""
    step: int | None = None
    compare: dict[str, Any] | None = None
    seed: int = 0
    theme: str = "auto"
    request: int = 0

    @property
    def sparsity(self) -> float:
        """The fraction of the units that is removed."""
        return 1 - 1 / self.compression

    @property
    def fixed(self) -> bool:
        """Whether the granularity removes a fixed share of each group of weights."""
        return find_granularity(self.granularity).share is not None

    @property
    def sides(self) -> tuple["Choices", ...]:
        """This setting alone, or beside it the pinned one, where they differ.

        >>> pinned = {"timing": "before", "criterion": "snip", "allocation": "layer", "rounds": 5}
        >>> [side.name for side in Choices(compare=pinned).sides]
        ['magnitude', 'snip-5, layer']
        """
        first = replace(self, compare=None)._used
        alone = replace(self, compression=first.compression, compare=None)
        shown = first, replace(alone, **(self.compare or {}))._used
        return shown[: len(set(shown))]

    @property
    def _used(self) -> "Choices":
        """This setting with the usual value of all that its timing, or a granularity of one share, does not use."""
        usual: dict[str, Any] = {"k": None, "criterion": "magnitude", "rounds": 1, "allocation": "global"}
        taken = takes(self.timing)
        unused = {name: value for name, value in usual.items() if name not in taken}
        if "granularity" not in taken:
            return replace(self, **unused, granularity="weight")
        if share := find_granularity(self.granularity).share:
            unused |= {"rounds": 1, "allocation": "global", "compression": compression_of(share)}
        return replace(self, **unused)

    @property
    def cut(self) -> bool:
        """Whether the masks are found at one moment, and so are known before the pruned network is trained."""
        return self.timing in CUT

    @property
    def maker(self) -> str:
        """What makes the masks: the criterion, or the method during training."""
        return self.timing if self.timing in METHODS else self.criterion

    @property
    def name(self) -> str:
        """What makes the masks, its rounds, and what else of the `WAY` differs from a global cut before training.

        >>> Choices(timing="rewound", k=8, rounds=5).name, Choices(timing="rigl", criterion="snip").sides[0].name
        ('magnitude-5, rewound 8', 'rigl')
        """
        rounds = f"-{self.rounds}" if self.rounds > 1 else ""
        timing = "" if self.timing in ("before", self.maker) else f", {self.timing}"
        step = "" if self.k is None else f" {self.k}"
        granularity = f", {self.granularity}" if self.granularity != "weight" else ""
        allocation = f", {self.allocation}" if self.allocation != "global" else ""
        return f"{self.maker}{rounds}{timing}{step}{granularity}{allocation}"

    @property
    def way(self) -> dict[str, Any]:
        """How this setting's masks are found, to be pinned."""
        return {key: getattr(self, key) for key in WAY}

    def state(self) -> dict[str, Any]:
        """The setting as JSON: all that decides what the view shows."""
        return {name: value for name, value in asdict(self).items() if name not in ("theme", "request")}

    def setting(self) -> dict[str, Any]:
        """All that decides what the view shows at some place of the slider."""
        return {name: value for name, value in self.state().items() if name not in ("compression", "step")}


def compression_of(share: float) -> float:
    """The compression that removes a fixed share, as it is written: 2.25 for 5/9."""
    return round(1 / (1 - share), 12)


def weight_timings() -> list[str]:
    """The timings that prune single weights, as the slider counts them: not those that prune channels, or n of m.

    >>> names = weight_timings()
    >>> "rigl" in names, "soft-filter" in names
    (True, False)
    """
    return [name for name in timings() if name not in METHODS or METHODS[name].granularity == "weight"]


def check_state(state: object, start: Choices = Choices()) -> Choices:
    """The choices that `state` (JSON of `Choices.state`, keys may be missing) makes of `start`; says what is wrong.

    What `compare` does not say is as in the setting itself; a text is a criterion. Whether the named data, network,
    criteria and layer exist is for the session to check.

    >>> check_state({"compression": 5}).compression
    5.0
    >>> list(check_state({"compare": {"rounds": 5}}).compare.values())
    ['before', None, 'magnitude', 'weight', 'global', 5]
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"a state is a dict such as {{'criterion': 'snip'}}; got {type(state).__name__}")
    check_outgrown(state)
    for key in state:
        check_choice("a key of the state", key, [field.name for field in fields(Choices)])
    chosen = replace(start, **state)
    check_choice("timing", chosen.timing, weight_timings())
    find_granularity(chosen.granularity)
    check_choice("theme", chosen.theme, THEMES)
    for name, least in (("rounds", 1), ("seed", 0), ("request", 0)):
        check_count(name, getattr(chosen, name), least=least)
    for name in ("k", "step"):
        if getattr(chosen, name) is not None:
            check_count(name, getattr(chosen, name), least=0)
    if not isinstance(chosen.layer, str):
        raise TypeError(f"layer is the name of a weight, or '' for the middle one; got {chosen.layer!r}")
    compare: Any = {"criterion": chosen.compare} if isinstance(chosen.compare, str) else chosen.compare
    if compare is not None:
        if not isinstance(compare, Mapping):
            rule = "compare is what of the setting differs, such as {'criterion': 'snip', 'rounds': 5}, or None"
            raise TypeError(f"{rule}; got {compare!r}")
        check_outgrown(compare)
        for key in compare:
            check_choice("a key of compare", key, WAY)
        compare = chosen.way | dict(compare)
        check_state(compare)
    return replace(chosen, compression=check_compression(chosen.compression), compare=compare)


def check_outgrown(setting: Mapping[str, Any]) -> None:
    """Raise ValueError for a setting of the form before there was a `timing`: says what to write now."""
    if "weights" in setting:
        said = setting["weights"]
        now = {"at init": "before", "trained": "after"}.get(said, "before")
        told = f"the timing says when to prune; 'weights' said it before, got {said!r}"
        raise ValueError(f"{told}. Write 'timing': {now!r} in place of 'weights': {said!r}")


def check_compression(value: object) -> float:
    """Return `value` if it is a compression: prunable weights / kept ones, at least 1.

    >>> check_compression(20)
    20.0
    """
    rule = "compression is prunable weights / kept weights, at least 1"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{rule}; got {value!r} ({type(value).__name__}). Pass a number such as 20")
    if not math.isfinite(value) or value < 1:
        known = 0 <= value < 1
        remedy = f"For sparsity {value:g} pass compression={1 / (1 - value):g}" if known else "1 removes nothing"
        raise ValueError(f"{rule}; got {value}. {remedy}")
    return float(value)
