"""Granularities that remove a fixed share: n:m, and patterns of kernels."""

import numpy as np
import torch
from torch import Tensor, nn

from workbench.granularity.base import GRANULARITIES, Granularity, Rule, needed, of_weights, same, shapes_of
from workbench.models.weights import TRANSPOSED, turned
from workbench.types import Scores


def largest(values: Tensor, n: int, m: int, dim: int = 1) -> Tensor:
    """Bits of the n largest of each m consecutive values along a dimension; of equal ones the earlier.

    >>> largest(torch.tensor([[3.0, 4.0, 1.0, 2.0]]), 2, 4)
    tensor([[ True,  True, False, False]])
    """
    last = values.movedim(dim, -1)
    rows = last.reshape(-1, m)
    bits = _by_pairs(rows, n) if m <= SMALL else _by_threshold(rows, n)
    return bits.view(last.shape).movedim(-1, dim)


SMALL = 16
"""Groups of at most so many are ranked by comparing all pairs, which is quicker than sorting."""


def _by_pairs(rows: Tensor, n: int) -> Tensor:
    """A value stays if fewer than n of its row are larger, or equal and earlier."""
    columns = rows.t().contiguous()
    ahead = [torch.zeros(len(rows), dtype=torch.int8, device=rows.device) for _ in columns]
    for late, column in enumerate(columns):
        for early in range(late):
            wins = columns[early] >= column
            ahead[late] += wins
            ahead[early] += ~wins
    return torch.stack([place < n for place in ahead], 1)


def _by_threshold(rows: Tensor, n: int) -> Tensor:
    """What is above a row's n-th largest value stays, and of those equal to it the earliest."""
    if not n:
        return torch.zeros_like(rows, dtype=torch.bool)
    least = kth_largest(rows, n)[:, None]
    above, equal = rows > least, rows == least
    return above | (equal & (equal.cumsum(1) <= n - above.sum(1, keepdim=True)))


def kth_largest(rows: Tensor, k: int) -> Tensor:
    """The k-th largest value of each row: a partition, linear in their number.

    >>> kth_largest(torch.tensor([[3.0, 1.0, 2.0]]), 2).tolist()
    [2.0]
    """
    at = rows.shape[1] - k
    if rows.device.type != "cpu" or rows.dtype == torch.bfloat16:
        return rows.kthvalue(at + 1, dim=1).values
    return torch.as_tensor(np.partition(rows.detach().numpy(), at, axis=1)[:, at])


def input_dim(model: nn.Module, name: str) -> int:
    """The dimension of a weight that holds its layer's inputs."""
    layer = model.get_submodule(name.rpartition(".")[0])
    return 0 if isinstance(layer, TRANSPOSED) or turned(layer) else 1


def n_of_m(n: int, m: int) -> Granularity:
    """Of each m consecutive inputs of an output n are kept: 1 there, else 0."""
    if n > m:
        raise ValueError(f"n:m keeps n of each m weights; got '{n}:{m}'. Pass one such as '2:4'")

    def reduce(model: nn.Module | None, values: Scores, rule: Rule) -> Scores:
        shapes, found = shapes_of(model, values), {}
        for name, value in values.items():
            of_weights(name, value, shapes[name], shapes[name])
            of = input_dim(needed(model), name)
            if value.shape[of] % m:
                told = f"'{n}:{m}' groups inputs; {name!r} has shape {tuple(value.shape)}, and its inputs"
                raise ValueError(f"{told} are no multiple of {m}. Pass exclude=[{name!r}] to wb.score, or another n:m")
            masks = value.dtype == torch.bool  # what is still there
            found[name] = value if masks else largest(value, n, m, of).to(torch.float32)
        return found

    def grid(model: nn.Module, name: str, values: Tensor) -> tuple[Tensor, int, int]:
        inputs_last = values.movedim(input_dim(model, name), -1)
        return inputs_last.flatten(1), 1, m

    return Granularity(reduce, same, share=1 - n / m, grid=grid)


def _patterns(model: nn.Module | None, values: Scores, rule: Rule) -> Scores:
    """Each 3 x 3 kernel keeps one of its layer's 8 most frequent patterns, by the highest sum: 1 there, else 0."""
    known, found, places = shapes_of(model, values), {}, 2 ** torch.arange(9)
    for name, value in values.items():
        of_weights(name, value, known[name], known[name])
        if value.shape[-2:] != (3, 3) or value.ndim != 4:
            told = f"patterns are of 3 x 3 kernels; {name!r} has shape {tuple(value.shape)}"
            raise ValueError(f"{told}. Pass exclude=[{name!r}] to wb.score, or use 'kernel'")
        flat = value.flatten(0, 1).flatten(1)
        if value.dtype != torch.bool:
            best = torch.zeros_like(flat, dtype=torch.bool)
            best.scatter_(1, flat.argsort(dim=1, descending=True, stable=True)[:, :4], True)
            codes, counts = (best * places.to(flat.device)).sum(1).unique(return_counts=True)
            often = codes[counts.argsort(descending=True, stable=True)[:8]]
            shapes = (often[:, None] & places.to(flat.device)) > 0
            sums = flat.double() @ shapes.double().t()
            flat = shapes[sums.argmax(1)].to(torch.float32)
        found[name] = flat.view(value.shape)
    return found


def _kernels_side_by_side(model: nn.Module, name: str, values: Tensor) -> tuple[Tensor, int, int]:
    return values.transpose(1, 2).flatten(2).flatten(0, 1), 3, 3


GRANULARITIES.add("pattern", Granularity(_patterns, same, share=5 / 9, grid=_kernels_side_by_side))
