"""What the faces without a kernel have in common: the view is made once and shown as a bundle of formats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from workbench.claims import NUMBERS_MIME
from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.session import Session, drain
from workbench.explorers.playground.view import numbers


@dataclass(frozen=True)
class Still:
    """A view that does not change; shows itself in a notebook."""

    choices: Choices
    frame: dict[str, Any] = field(repr=False)
    bundle: dict[str, Any] = field(repr=False)
    errors: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The view in one line a criterion."""
        return "\n".join(side["sentence"] for side in self.frame["sides"])

    def state(self) -> dict[str, Any]:
        """The setting as JSON, for `playground(state=...)`."""
        return self.choices.state()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {**self.bundle, NUMBERS_MIME: numbers(self.state(), self.frame)}


def settle(session: Session, choices: Choices) -> tuple[Choices, dict[str, Any]]:
    """Do all the work of a view here and now: the choices with their layer, and the frame."""
    fitted = drain(session.prepare(choices, lambda: False, lambda what, progress: None))
    return fitted, session.frame(fitted, measure=True)


def summary(choices: Choices, frame: dict[str, Any]) -> str:
    """The view in words and as a table of layers."""
    setting = f"{choices.network} on {choices.data}, {choices.weights}, allocation {choices.allocation}"
    rounds = f", {choices.rounds} rounds" if choices.rounds > 1 else ""
    lines = [f"Pruning playground: {setting}{rounds}, seed {choices.seed}."]
    for side in frame["sides"]:
        width = max(len(layer["name"]) for layer in side["layers"])
        lines += [f"{side['criterion']}: {side['sentence']}.", *([f"Alarm: {side['alarm']}."] if side["alarm"] else [])]
        lines += [f"{'layer':<{width}}  {'weights':>10}  {'kept':>10}  density"]
        lines += [
            f"{layer['name']:<{width}}  {layer['size']:>10,}  {layer['kept']:>10,}  {layer['density']:.4g}"
            for layer in side["layers"]
        ]
    return "\n".join(lines)
