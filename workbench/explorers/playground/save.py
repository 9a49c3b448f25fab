"""What a visitor takes away: the layer table, the figure, the masks, each with the setting in it.

A file's name tells settings apart, and no file is written over: what is there already is told, what differs gets a
number. Two criteria side by side make two tables and two sets of masks. The setting, for `playground(state=...)`, is
the JSON in the table's column `state`, in `safetensors.safe_open(...).metadata()["state"]` and in
`PIL.Image.open(...).text["state"]`. Each function returns a note that names the files.
"""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench import metrics
from workbench.explorers.playground import picture
from workbench.explorers.playground.choices import Choices
from workbench.explorers.playground.session import Session

LONGEST = 32
"""Bytes of a name of data, network, criterion or layer that a file's name takes over."""


def table(session: Session, choices: Choices) -> str:
    """The layer table as CSV in the working directory."""
    files = []
    for side in _sides(choices):
        shown = metrics.layers(*session.masks(side)).assign(state=_state(side))
        files.append(_write(_name(side, "layers"), ".csv", shown.to_csv(index=False).encode()))
    return _said("the layer table", files)


def masks(session: Session, choices: Choices) -> str:
    """The masks as safetensors (bool, True = kept) in the working directory."""
    from safetensors.torch import save

    files = []
    for side in _sides(choices):
        kept = {layer: mask.cpu().contiguous() for layer, mask in session.masks(side)[1].items()}
        files.append(_write(_name(side, "masks"), ".safetensors", save(kept, metadata={"state": _state(side)})))
    return _said("the masks", files)


def figure(session: Session, choices: Choices, frame: Mapping[str, Any]) -> str:
    """The view as PNG in the working directory."""
    drawn, state = io.BytesIO(), {"state": json.dumps(choices.state())}
    picture.figure(session, choices, frame).savefig(drawn, format="png", dpi=144, metadata=state)
    return _said("the figure", [_write(_name(choices, choices.layer, "view"), ".png", drawn.getvalue())])


def _sides(choices: Choices) -> list[Choices]:
    """One setting a criterion; which layer's mask was in sight says nothing of all layers."""
    return [replace(choices, criterion=name, compare=None, layer="") for name in choices.criteria]


def _state(side: Choices) -> str:
    return json.dumps({name: value for name, value in side.state().items() if name not in ("compare", "layer")})


def _name(choices: Choices, *ends: str) -> str:
    compare = ("vs", choices.compare) if choices.compare else ()
    rounds = f"{choices.rounds} round{'s' if choices.rounds > 1 else ''}"
    parts = ["playground", choices.data, choices.network, choices.weights, choices.criterion, *compare]
    parts += [choices.allocation, rounds, f"{choices.compression:g}x", f"seed {choices.seed}", *ends]
    return "-".join(_fit(part) for part in parts)


def _fit(part: str) -> str:
    """Letters and digits of any script, and what no file system minds."""
    plain = re.sub(r"[^\w.+]+", "-", part).strip("-.")
    return plain.encode()[:LONGEST].decode(errors="ignore")


def _write(stem: str, end: str, content: bytes) -> tuple[str, bool]:
    """Write a file under the first name that is free; returns its name and whether it was there with this content."""
    count = 0
    while True:
        count += 1
        path = Path(f"{stem}-{count}{end}" if count > 1 else stem + end)
        try:
            with path.open("xb") as file:
                file.write(content)
            return path.name, False
        except FileExistsError:
            if path.is_file() and path.read_bytes() == content:
                return path.name, True


def _said(what: str, files: list[tuple[str, bool]]) -> str:
    names = " and ".join(name for name, _ in files)
    return f"Already saved: {names}" if all(old for _, old in files) else f"Saved {what} as {names}"
