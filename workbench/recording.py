"""What a training did to the masks, step by step, in bounded memory; and what it cost."""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from workbench.data.task import Task
from workbench.metrics.cost import layer_macs
from workbench.models import prunable
from workbench.states import Record
from workbench.types import Masks, check_choice, check_count

if TYPE_CHECKING:
    import pandas as pd

GRADIENTS = ("kept", "changes", "all")
"""Whose gradients a method computes: those of kept weights; of all where masks change; of all at every step."""
MOST = 20_000_000


class Recording:
    """A film of a training: numbers and densities of every step, masks where they changed, and the ledger.

    `gradients` is one of `GRADIENTS`; a method's entry says which. `at` counts the steps of all phases, from 1. Masks
    are kept as packed bits; where they would take more than `most` bytes, every second one goes, but for the first and
    the last; numbers of births and deaths stay.

    >>> import workbench as wb
    >>> task = wb.load("moons", device="cpu")
    >>> model = wb.make("lenet-300-100", task)
    >>> film = Recording(model, task)
    >>> rows = list(film.watch(wb.steps(model, task, steps=6, **wb.method("gradual", model, 0.9, every=2))))
    >>> film.steps["density"].round(3).tolist()
    [1.0, 1.0, 0.254, 0.254, 0.1, 0.1]
    >>> sum(int(mask.sum()) for mask in film.masks(6).values())
    3080
    """

    def __init__(self, model: nn.Module, task: Task, *, gradients: str = "kept", most: int = MOST) -> None:
        self.gradients = check_choice("gradients", gradients, GRADIENTS)
        self.most = check_count("most", most)
        self.shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
        self.sizes = {name: weight.numel() for name, weight in prunable(model).items()}
        self.macs = layer_macs(model, task.batch(1).inputs)
        self._bytes = sum(p.numel() * p.element_size() for p in model.parameters())
        self._bytes_of = {name: weight.element_size() for name, weight in prunable(model).items()}
        self._moments = 0
        self._rows: list[dict[str, Any]] = []
        self._changes: list[tuple[int, dict[str, tuple[int, int, int]]]] = []  # at, layer -> kept, born, died
        self._bits: dict[int, dict[str, bytes]] = {}
        self._before: Masks | None = None

    def watch(self, rows: Iterable[Record], phase: str = "") -> Iterator[Record]:
        """Pass records on, adding each; left early, it holds what was seen."""
        for row in rows:
            self.add(row, phase)
            yield row

    def add(self, row: Record, phase: str = "") -> None:
        """Add a record of `wb.steps`, in the body of the loop; `phase` is a word for this part of the training."""
        if not self._rows:
            self._moments = row.moments
        if self._before is None or row.masks is not self._before:
            self._change(row.masks)
        kept = {name: count for name, (count, _, _) in self._changes[-1][1].items()}
        updated = row.passed is not row.masks
        passed = {name: int(self._whole(row.passed, name).sum()) for name in kept} if updated else kept
        said = {"at": len(self._rows) + 1, "phase": row.get("phase", phase)}
        forward, dense = self._forward(passed), sum(self.macs.values())
        whole = self.gradients == "all" or (self.gradients == "changes" and updated)
        spent = {"macs": row["samples"] * (2 * forward + (dense if whole else forward))}
        self._rows.append({**said, **row, "density": sum(kept.values()) / sum(self.sizes.values()), **spent})

    def _forward(self, kept: dict[str, int]) -> int:
        """Multiply-adds of one sample's forward pass."""
        return sum(cost * kept.get(name, 1) // self.sizes.get(name, 1) for name, cost in self.macs.items())

    def _change(self, masks: Masks) -> None:
        at, counts, bits = len(self._rows) + 1, {}, {}
        for name in [*self.sizes, *(name for name in masks if name not in self.sizes)]:
            mask = self._whole(masks, name)
            bits[name] = np.packbits(mask.numpy()).tobytes()
            if name in self.sizes:  # biases and norms do not count
                old = mask if self._before is None else self._whole(self._before, name)
                counts[name] = int(mask.sum()), int((mask & ~old).sum()), int((old & ~mask).sum())
        self._before = masks
        if self._changes and not any(born or died for _, born, died in counts.values()):
            return
        self._changes.append((at, counts))
        self._bits[at] = bits
        if self.size > self.most and len(self._bits) > 2:
            places = list(self._bits)
            for place in places[1:-1:2]:
                del self._bits[place]

    def _whole(self, masks: Masks, name: str) -> torch.Tensor:
        return masks[name].cpu() if name in masks else torch.ones(self.shapes[name], dtype=torch.bool)

    @property
    def size(self) -> int:
        """Bytes that the masks take."""
        return sum(len(bits) for frame in self._bits.values() for bits in frame.values())

    @property
    def steps(self) -> "pd.DataFrame":
        """A row for each step: at, phase, the record's numbers, density, macs (of training, see `ledger`)."""
        import pandas as pd

        return pd.DataFrame(self._rows)

    @property
    def layers(self) -> "pd.DataFrame":
        """A row for each change and layer: at, layer, size, kept, born, died."""
        import pandas as pd

        columns = ["at", "layer", "size", "kept", "born", "died"]
        return pd.DataFrame(
            [(at, name, self.sizes[name], *some) for at, counts in self._changes for name, some in counts.items()],
            columns=columns,
        )

    @property
    def changes(self) -> list[int]:
        """The places whose masks are kept."""
        return list(self._bits)

    def masks(self, at: int) -> Masks:
        """The masks after step `at`: those of the last change up to it that is kept."""
        if not 1 <= check_count("at", at) <= len(self._rows):
            raise ValueError(f"at is a step of the recording, from 1 to {len(self._rows)}; got {at}")
        frame = self._bits[max(place for place in self._bits if place <= at)]
        return {name: self._unpacked(bits, name) for name, bits in frame.items()}

    def _unpacked(self, bits: bytes, name: str) -> torch.Tensor:
        flat = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=math.prod(self.shapes[name]))
        return torch.from_numpy(flat.astype(bool)).view(self.shapes[name])

    def ledger(self) -> dict[str, int]:
        """What the training cost, and what the network costs after it.

        A step of n samples costs `n (2 f + g)` multiply-adds: f for the forward pass and f for the gradients of the
        activations, with f those of the weights that are kept in this pass (masks that an update returns count from the
        next one on); g for the gradients of weights, f or those of the dense network (`gradients`). `_dense` is what a
        kernel that multiplies zeros spends: 3 f of the dense network. Bytes are the most at one time, of weights and of
        the optimizer's moments: kept values and no indices; all values where gradients are "all". Scoring and sorting
        are not in it.

        Misleads as seconds: no kernel here skips zeros.
        """
        if not self._rows:
            raise ValueError("a ledger is of a training; this recording has no step. Add the records of wb.steps")
        dense, samples = sum(self.macs.values()), sum(row["samples"] for row in self._rows)
        removed = [
            sum(self._bytes_of[name] * (self.sizes[name] - kept) for name, (kept, _, _) in counts.items())
            for _, counts in self._changes
        ]
        most = self._bytes - (0 if self.gradients == "all" else min(removed))
        return {
            "training_macs": sum(row["macs"] for row in self._rows),
            "training_macs_dense": 3 * dense * samples,
            "inference_macs": self._forward({name: kept for name, (kept, _, _) in self._changes[-1][1].items()}),
            "inference_macs_dense": dense,
            "weight_bytes": most,
            "optimizer_bytes": round(self._moments * most / self._bytes),
            "steps": len(self._rows),
            "samples": samples,
        }
