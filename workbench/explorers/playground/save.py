"""What a visitor takes away: the layer table, the figure, the masks, each with the setting in it.

A file's name tells settings apart, and no file is written over: what is there already is told, what differs gets a
number. Two settings side by side make two tables and two sets of masks. The setting, for `playground(state=...)`, is
the JSON in the table's column `state`, in `safetensors.safe_open(...).metadata()["state"]` and in
`PIL.Image.open(...).text["state"]`. Each function returns a note that names the files.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workbench import metrics
from workbench.explorers.files import fit, write
from workbench.explorers.playground import picture
from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.session import Session


def table(session: Session, choices: Choices) -> str:
    """The layer table as CSV in the working directory."""
    files = []
    for side, found in zip(_sides(choices), session.masks(choices), strict=True):
        shown = metrics.layers(*found).assign(state=_state(side))
        files.append(write(_name(side, "layers"), ".csv", shown.to_csv(index=False).encode()))
    return _said("the layer table", files)


def masks(session: Session, choices: Choices) -> str:
    """The masks as safetensors (bool, True = kept) in the working directory."""
    from safetensors.torch import save

    files = []
    for side, (_, found, _) in zip(_sides(choices), session.masks(choices), strict=True):
        kept = {layer: mask.cpu().contiguous() for layer, mask in found.items()}
        files.append(write(_name(side, "masks"), ".safetensors", save(kept, metadata={"state": _state(side)})))
    return _said("the masks", files)


def figure(session: Session, choices: Choices, frame: Mapping[str, Any]) -> str:
    """The view as PNG in the working directory."""
    drawn, state = io.BytesIO(), {"state": json.dumps(choices.state())}
    picture.figure(session, choices, frame).savefig(drawn, format="png", dpi=144, metadata=state)
    return _said("the figure", [write(_name(choices, choices.layer, "view"), ".png", drawn.getvalue())])


def _sides(choices: Choices) -> list[Choices]:
    """Each setting alone; which layer's mask was in sight says nothing of all layers."""
    return [replace(side, layer="") for side in choices.sides]


def _state(side: Choices) -> str:
    return json.dumps({name: value for name, value in side.state().items() if name not in ("compare", "layer")})


def _name(choices: Choices, *ends: str) -> str:
    shown, *others = choices.sides
    compare = [part for side in others for part in ("vs", side.name)]
    parts = ["playground", shown.data, shown.network, shown.timing, *([f"k {shown.k}"] if shown.k is not None else [])]
    parts += [shown.criterion] if shown.maker == shown.criterion else []
    parts += [shown.granularity] if shown.granularity != "weight" else []
    parts += [shown.allocation, f"{shown.rounds} round{'s' if shown.rounds > 1 else ''}", f"{shown.compression:g}x"]
    parts += [f"seed {shown.seed}", *([] if choices.step is None else [f"step {choices.step}"]), *compare, *ends]
    return "-".join(fit(part) for part in parts)


def _said(what: str, files: list[tuple[str, bool]]) -> str:
    names = " and ".join(name for name, _ in files)
    return f"Already saved: {names}" if all(old for _, old in files) else f"Saved {what} as {names}"
