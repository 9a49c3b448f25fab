"""What a visitor takes away: the layer table, the figure, the masks. Each returns a note naming the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench import metrics
from workbench.explorers import picture
from workbench.explorers.choices import Choices
from workbench.explorers.frame import times
from workbench.explorers.session import Session


def table(session: Session, choices: Choices) -> str:
    """The layer table as CSV in the working directory."""
    name = _name(choices, "layers.csv")
    metrics.layers(*session.masks(choices)).to_csv(name, index=False)
    return f"Saved the layer table as {name}"


def masks(session: Session, choices: Choices) -> str:
    """The masks as safetensors (bool, True = kept) in the working directory."""
    from safetensors.torch import save_file

    name = _name(choices, "masks.safetensors")
    save_file({layer: mask.cpu().contiguous() for layer, mask in session.masks(choices)[1].items()}, name)
    return f"Saved the masks as {name}"


def figure(session: Session, choices: Choices, frame: Mapping[str, Any]) -> str:
    """The view as PNG in the working directory."""
    name = _name(choices, "view.png")
    picture.figure(choices, frame, session.points).savefig(name, dpi=144)
    return f"Saved the figure as {name}"


def _name(choices: Choices, end: str) -> str:
    size = times(choices.compression).replace(",", "")
    parts = ("playground", choices.data, choices.network.replace(" ", "-"), choices.criterion, size, end)
    return "-".join(parts)
