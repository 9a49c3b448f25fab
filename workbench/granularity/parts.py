"""Parts of a weight: rows of kernels, kernels, blocks of its matrix, all of it."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from workbench.granularity.base import GRANULARITIES, Granularity, Rule, needed, of_weights, same, shapes_of
from workbench.models.channels import by_channel
from workbench.types import Masks, Scores


def _parts(of: int, model: nn.Module | None, values: Scores, rule: Rule) -> Scores:
    """A unit is all that the last `of` dimensions of a convolution's weight hold; of 0: all of a weight."""
    shapes, found = shapes_of(model, values), {}
    for name, value in values.items():
        if of and len(shapes[name]) < 3:
            told = f"kernels are of convolutions; {name!r} has shape {shapes[name]}"
            raise ValueError(f"{told}. Pass exclude=[{name!r}] to wb.score, or use 'weight' or 'block 4x4'")
        flat, units = (value.flatten(-of), shapes[name][:-of]) if of else (value.reshape(1, -1), (1,))
        found[name] = rule(flat) if of_weights(name, value, shapes[name], units) else value
    return found


def _kernels(model: nn.Module | None, values: Scores, rule: Rule) -> Scores:
    shapes = shapes_of(model, values)
    return {n: _parts(max(1, len(shapes[n]) - 2), model, {n: v}, rule)[n] for n, v in values.items()}


def spread(model: nn.Module | None, example: Tensor | None) -> Callable[[Masks], Masks]:
    """A unit's mask for all weights in the dimensions that it lacks."""

    def expand(units: Masks) -> Masks:
        shapes = shapes_of(model, units)
        wide = {name: m.view(*m.shape, *[1] * (len(shapes[name]) - m.ndim)) for name, m in units.items()}
        return {name: mask.expand(shapes[name]).clone() for name, mask in wide.items()}

    return expand


def blocks(k: int, l: int) -> Granularity:  # noqa: E741 (the field's letters)
    """Blocks of k x l of the matrix `[out, in * kernel]`; those at its edges are smaller."""

    def runs(size: int, step: int) -> list[tuple[slice, int]]:
        full = size - size % step
        return [(s, n) for s, n in ((slice(0, full), step), (slice(full, size), size - full)) if s.start < s.stop]

    def reduce(model: nn.Module | None, values: Scores, rule: Rule) -> Scores:
        shapes, found = shapes_of(model, values), {}
        for name, value in values.items():
            found[name], whole = value, torch.empty(shapes[name], device="meta")
            sides = by_channel(needed(model), name, whole).shape
            units = math.ceil(sides[0] / k), math.ceil(sides[1] / l)
            if of_weights(name, value, shapes[name], units):
                matrix = by_channel(needed(model), name, value)
                rows = [
                    torch.cat(
                        [
                            rule(matrix[r, c].unflatten(0, (-1, h)).unflatten(2, (-1, w)).transpose(1, 2).flatten(2))
                            for c, w in runs(matrix.shape[1], l)
                        ],
                        1,
                    )
                    for r, h in runs(matrix.shape[0], k)
                ]
                found[name] = torch.cat(rows)
        return found

    def expand(model: nn.Module | None, example: Tensor | None) -> Callable[[Masks], Masks]:
        def widened(units: Masks) -> Masks:
            masks = {}
            for name, mask in units.items():
                shape = shapes_of(model, [name])[name]
                places = by_channel(needed(model), name, torch.arange(torch.Size(shape).numel()).view(shape))
                wide = mask.repeat_interleave(k, 0).repeat_interleave(l, 1)[: len(places), : places.shape[1]]
                masks[name] = torch.empty_like(wide.flatten()).index_put_((places.to(mask.device),), wide).view(shape)
            return masks

        return widened

    return Granularity(reduce, expand)


GRANULARITIES.add("kernel", Granularity(_kernels, spread))
GRANULARITIES.add("layer", Granularity(partial(_parts, 0), spread))
GRANULARITIES.add("vector", Granularity(partial(_parts, 1), spread))
GRANULARITIES.add("weight", Granularity(lambda model, values, rule: values, same))
