"""What a visitor of the playground has chosen, as plain data with checks, and the slider's stops."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from workbench.types import check_choice, check_count

WEIGHTS = ("at init", "trained")
ROUNDS = (1, 5, 20, 100)
THEMES = ("auto", "dark", "light")


@dataclass(frozen=True)
class Choices:
    """One setting of the playground. `layer=""` is the layer in the middle; `compare` a second criterion or None.

    >>> Choices(compression=20).sparsity
    0.95
    """

    data: str = "digits"
    network: str = "vgg"
    weights: str = "at init"
    criterion: str = "magnitude"
    allocation: str = "global"
    rounds: int = 1
    compression: float = 20.0
    layer: str = ""
    compare: str | None = None
    seed: int = 0
    theme: str = "auto"
    request: int = 0

    @property
    def sparsity(self) -> float:
        """The fraction removed."""
        return 1 - 1 / self.compression

    @property
    def criteria(self) -> tuple[str, ...]:
        """One criterion, or two side by side."""
        return (self.criterion,) if self.compare is None else (self.criterion, self.compare)

    def state(self) -> dict[str, Any]:
        """The setting as JSON: all that decides what the view shows."""
        return {name: value for name, value in asdict(self).items() if name not in ("theme", "request")}

    def setting(self) -> dict[str, Any]:
        """All that decides what the view shows at some place of the slider."""
        return {name: value for name, value in self.state().items() if name != "compression"}


def check_state(state: object, start: Choices = Choices()) -> Choices:
    """The choices that `state` (JSON of `Choices.state`, keys may be missing) makes of `start`; says what is wrong.

    Whether the named data, network, criteria and layer exist is for the session to check.

    >>> check_state({"compression": 5}).compression
    5.0
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"a state is a dict such as {{'criterion': 'snip'}}; got {type(state).__name__}")
    for key in state:
        check_choice("a key of the state", key, [field.name for field in fields(Choices)])
    chosen = replace(start, **state)
    check_choice("weights", chosen.weights, WEIGHTS)
    check_choice("theme", chosen.theme, THEMES)
    for name, least in (("rounds", 1), ("seed", 0), ("request", 0)):
        check_count(name, getattr(chosen, name), least=least)
    if not isinstance(chosen.layer, str):
        raise TypeError(f"layer is the name of a weight, or '' for the middle one; got {chosen.layer!r}")
    return replace(chosen, compression=check_compression(chosen.compression))


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
