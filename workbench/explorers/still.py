"""What the faces without a kernel show: a view that was made once, as a bundle of formats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from workbench.claims import NUMBERS_MIME


@dataclass(frozen=True)
class Still:
    """A view that does not change; shows itself in a notebook.

    `sentence` is the view in a line or two, `setting` what it was made with, `frame` what was drawn, `bundle` its
    formats, `numbers` what a headless run may read of it.
    """

    sentence: str
    setting: dict[str, Any]
    frame: dict[str, Any] = field(repr=False)
    bundle: dict[str, Any] = field(repr=False)
    numbers: dict[str, Any] = field(repr=False)
    errors: tuple[str, ...] = ()

    def state(self) -> dict[str, Any]:
        """The setting as JSON, for the `state=` of the explorer."""
        return dict(self.setting)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {**self.bundle, NUMBERS_MIME: self.numbers}
