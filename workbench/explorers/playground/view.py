"""One picture of the playground as JSON: histogram, layers, mask and the sentence of numbers."""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.granularity import any_kept, find_granularity
from workbench.models.channels import by_channel

ROWS, COLUMNS, BINS = 64, 128, 64
WINDOW = 24, 48
"""Rows and columns that are shown of a mask whose every group has the same share: means would all be equal."""
TAIL = 0.001
"""Share of the lowest scores that stand in the first bin, so that a few near zero do not stretch the axis."""


@dataclass(frozen=True)
class Histogram:
    """Counts of scores over an axis: log10 where no score is negative, signed log10 in units of `unit` otherwise."""

    edges: list[float]
    counts: list[int]
    zeros: int
    unit: float | None
    counted: str

    @property
    def label(self) -> str:
        """What the axis shows."""
        of = "" if self.counted == "weight" else f" of each {self.counted}"
        return f"log10 score{of}" if self.unit is None else f"score{of}, signed log10(1 + |s| / {self.unit:.0e})"

    def place(self, score: float | None) -> float | None:
        """Where a score lies on the axis; below its left end, at that end."""
        if score is None:
            return None
        at = float(_axis(torch.tensor([score], dtype=torch.float64), self.unit)[0])
        return min(max(at, self.edges[0]), self.edges[-1])

    def json(self, cut: float | None, before: int) -> dict[str, Any]:
        """As the page wants it; `before`: units that an earlier round removed, which have no score here."""
        counted = {"x": self.edges, "counts": self.counts, "zero": self.zeros, "before": before}
        return {**counted, "cut": self.place(cut), "label": self.label}


def histogram(values: Tensor, counted: str = "weight") -> Histogram:
    """Histogram of the scores of all units that compete; where the axis is a logarithm, scores of 0 are counted apart.

    >>> histogram(torch.tensor([0.0, 1.0, 10.0, 100.0])).zeros
    1
    """
    values = values.double().cpu()
    unit = float(f"{float(values[values != 0].abs().median()):.0e}") if bool((values < 0).any()) else None
    places = _axis(values, unit)
    places = places[torch.isfinite(places)]
    zeros = len(values) - len(places)
    if not len(places):
        return Histogram([-0.5, 0.5], [0], zeros, unit, counted)
    low = float(places.kthvalue(1 + (int(len(places) * TAIL) if unit is None else 0)).values)
    high = float(places.max())
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    counts, edges = torch.histogram(places.clamp_min(low), BINS, range=(low, high))
    return Histogram([round(float(e), 4) for e in edges], [int(c) for c in counts], zeros, unit, counted)


def _axis(values: Tensor, unit: float | None) -> Tensor:
    return values.log10() if unit is None else values.sign() * torch.log1p(values.abs() / unit) / math.log(10)


def unit(granularity: str) -> str:
    """What is counted under a granularity; of a fixed share of each group that are weights.

    >>> unit("2:4"), unit("block 4x4"), unit("channel")
    ('weight', 'block', 'channel')
    """
    return "weight" if find_granularity(granularity).share is not None else granularity.split()[0]


def pictured(model: nn.Module, name: str, mask: Tensor, granularity: str, coarse: int = 1) -> dict[str, Any]:
    """A layer's mask as bytes, as `mask_json` gives it: a cell is a weight, or a unit of more than one.

    Where each group keeps the same share, the first groups are shown weight by weight, with lines between them.
    """
    kind = find_granularity(granularity)
    if granularity == "weight":
        return mask_json(name, by_channel(model, name, mask), coarse)
    if kind.grid is None:
        return mask_json(name, kind.reduce(model, {name: mask}, any_kept)[name], coarse, unit(granularity))
    cells, *every = kind.grid(model, name, mask)
    high, wide = (most - most % size for most, size in zip(WINDOW, every, strict=True))
    shown = mask_json(name, cells[:high, :wide])
    part = "" if cells.numel() == shown["rows"] * shown["cols"] else f"; the first {shown['rows']} x {shown['cols']}"
    return {
        **shown,
        "every": every,
        "note": f"one cell = one weight, in groups of {' x '.join(str(size) for size in every if size > 1)}{part}",
    }


def mask_json(name: str, mask: Tensor, coarse: int = 1, counted: str = "weight") -> dict[str, Any]:
    """A mask `[out, ...]` as bytes, 255 = all kept; large ones as means over blocks.

    There are at most `ROWS / coarse` by `COLUMNS / coarse` of them.
    """
    flat = mask.reshape(mask.shape[0], -1).float()[None, None]
    most = zip(flat.shape[2:], (ROWS, COLUMNS), strict=True)
    high, wide = (math.ceil(size / (limit // coarse)) for size, limit in most)
    cells = functional.avg_pool2d(flat, (high, wide), ceil_mode=True, count_include_pad=False)[0, 0]
    data = (cells * 255).round().byte().cpu().numpy()
    grain = f"{high} x {wide}" if flat.shape[3] > 1 else f"{high}"
    note = f"one cell = one {counted}" if high * wide == 1 else f"one cell = mean of {grain} {counted}s"
    rows, cols = data.shape
    found = dict(layer=name, rows=rows, cols=cols, note=note, data=base64.b64encode(data.tobytes()).decode())
    return found if counted == "weight" else {**found, "unit": counted}


def percent(fraction: float) -> str:
    """A share in per cent, with the more digits the nearer it is to all.

    >>> percent(0.95), percent(0.995), percent(0.99997), percent(1)
    ('95.0', '99.50', '99.9970', '100')
    """
    if fraction == 1:
        return "100"
    digits = 1 + sum(fraction >= bound for bound in (0.99, 0.999, 0.9999))
    return f"{100 * fraction:.{digits}f}"


def times(ratio: float) -> str:
    """A ratio to three digits.

    >>> times(20.0), times(21.54), times(32670.2)
    ('20x', '21.5x', '32,670x')
    """
    return f"{ratio:.3g}x" if ratio < 999.5 else f"{ratio:,.0f}x"


def sentence(numbers: Mapping[str, Any], kept: Mapping[str, int], units: str = "") -> str:
    """The view in one line, e.g. "95.0 % removed, 20x; all 9 layers alive; effective 95.6 %"."""
    alive, layers = sum(k > 0 for k in kept.values()), len(kept)
    said = f"all {layers} layers alive" if alive == layers else f"{alive} of {layers} layers alive"
    parts = [
        f"{percent(numbers['sparsity'])} % removed, {times(numbers['compression'])}",
        said,
        *([units] if units else []),
    ]
    if numbers["effective"] is not None:
        parts.append(f"effective {percent(numbers['effective'])} %")
    return "; ".join(parts)


def told_units(granularity: str, kept: Mapping[str, Tensor], whole: Mapping[str, int]) -> str:
    """How many units are kept, and what stays dense: "12 of 64 kernels kept; fc.weight stays dense (640 weights)"."""
    left, all_units = sum(int(bits.sum()) for bits in kept.values()), sum(bits.numel() for bits in kept.values())
    said = f"{left:,} of {all_units:,} {unit(granularity)}s kept"
    if unit(granularity) == "weight":
        said = f"{granularity} in {len(kept)} layer{'s' if len(kept) > 1 else ''}"
    if not whole:
        return said
    layers = f"{', '.join([*whole][:2])}{f' and {len(whole) - 2} more' if len(whole) > 2 else ''}"
    return f"{said}; {layers} stay{'' if len(whole) > 1 else 's'} dense ({sum(whole.values()):,} weights)"


def alarm(numbers: Mapping[str, Any], kept: Mapping[str, int]) -> str:
    """What is dead, in words, or nothing: layers without a weight, or a network without a path."""
    dead = [name for name, count in kept.items() if count == 0]
    if dead:
        names = ", ".join(dead[:3]) + (f" and {len(dead) - 3} more" if len(dead) > 3 else "")
        return f"{len(dead)} of {len(kept)} layers {'has' if len(dead) == 1 else 'have'} no weight left: {names}"
    if numbers["effective"] == 1:
        return "no path from input to output is left, though every layer has weights"
    return ""


def numbers(state: Mapping[str, Any], frame: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a frame without its pictures: what every face shows, to be compared."""
    sides = [
        dict(
            side["numbers"],
            criterion=side["criterion"],
            name=side["name"],
            layers={one["name"]: one["kept"] for one in side["layers"]},
            **({"step": side["step"]["at"]} if "step" in side else {}),
        )
        for side in frame["sides"]
    ]
    return {"explorer": "playground", "state": dict(state), "sides": sides}
