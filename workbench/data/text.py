"""text: the language reference that ships inside Python, as bytes; and any other text as windows of bytes."""

from pathlib import Path

import torch
from torch import Tensor

from workbench.data.measures import bits_per_byte, next_token
from workbench.data.registry import source
from workbench.data.task import Task
from workbench.types import Batch, check_choice

CONTEXT = 256
"""Bytes that a language model reads at a time."""
PIECES = 160


@source("text", tokens=True)
def load_text(root: Path | None, device: torch.device) -> Task:
    """Windows of 256 bytes of Python's own language reference (`pydoc_data.topics`), to predict the next byte of each.

    A paragraph that the reference prints twice counts once, so that no held-out text is learned by heart. The text is
    cut into 160 pieces: of each ten one is for validation and one for test. Windows to train on overlap by half; those
    that are measured do not, so that no byte is predicted twice; it is from at most 256 before it. Other versions of
    Python have another text: compare numbers within one.
    """
    return from_bytes(_reference(), "text", device)


def read_reference(split: str) -> str:
    """The text of the pieces that are "train", "val" or "test", for models with a tokenizer of their own.

    >>> len(read_reference("train")) > 6 * len(read_reference("test"))
    True
    """
    parts = _parts(_reference())[check_choice("split", split, ("train", "val", "test"))]
    return "".join(bytes(part.tolist()).decode(errors="ignore") for part in parts)


def _reference() -> bytes:
    from pydoc_data.topics import topics

    paragraphs = dict.fromkeys(part.strip("\n") for topic in topics.values() for part in topic.split("\n\n"))
    return "\n\n".join(paragraphs).encode()


def from_bytes(text: bytes, name: str, device: torch.device) -> Task:
    """A task of one text, in pieces: one of ten is held out for validation, one for test.

    >>> task = from_bytes(bytes(range(256)) * 200, "count", torch.device("cpu"))
    >>> task.shape, task.outputs, task.size("val"), task.splits["val"].targets[0, :3].tolist()
    ((256,), 256, 16, [1, 2, 3])
    """
    if len(text) < PIECES * (CONTEXT + 1):
        told = f"a text is cut into {PIECES} pieces of at least {CONTEXT + 1} bytes; got {len(text):,} bytes"
        raise ValueError(f"{told}. Pass more text")
    return of_windows(_parts(text), name, device)


def _parts(text: bytes) -> dict[str, list[Tensor]]:
    """The pieces of each split; those of train that stand beside each other are one."""
    pieces = numbers(text).tensor_split(PIECES)
    parts: dict[str, list[Tensor]] = {"train": [], "val": [], "test": []}
    for start in range(0, PIECES, 5):
        parts["train"].append(torch.cat(pieces[start : start + 4]))
        parts["test" if start % 10 else "val"].append(pieces[start + 4])
    return parts


def numbers(text: bytes) -> Tensor:
    """A text as one number from 0 to 255 a byte, int64."""
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).long()


def of_windows(parts: dict[str, list[Tensor]], name: str, device: torch.device) -> Task:
    """A task of windows of 256 bytes of each part: those of train overlap by half, the others do not."""
    step = {"train": CONTEXT // 2}
    rows = {s: torch.cat([p.unfold(0, CONTEXT + 1, step.get(s, CONTEXT)) for p in ps]) for s, ps in parts.items()}
    splits = {split: Batch(r[:, :-1].to(device), r[:, 1:].to(device)) for split, r in rows.items()}
    classes = tuple(f"byte {value}" for value in range(256))
    return Task(name, splits, classes, loss=next_token, measure=bits_per_byte)
