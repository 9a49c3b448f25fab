"""One-shot methods on a layer, weight by weight in numpy and float64: half and 70 % of single weights, and 2:4."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn.utils import prune

from parity import parity
from workbench.methods.post_training.base import POST_TRAINING, Inputs, Share

Array = np.ndarray
Method = Callable[[Array, Array, float, int, int], Array]
"""The new weights, from weights, inputs, sparsity and n:m (0: single weights)."""


def layer(rows: int = 12, columns: int = 24) -> tuple[Array, Array]:
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(200, columns)) @ draw.normal(size=(columns, columns)) / columns**0.5
    inputs[:, ::6] *= 10
    return draw.normal(size=(rows, columns)), inputs


def difference(
    name: str, method: Method, sizes: tuple[int, int] = (12, 24), double: bool = False, **options: int | float
) -> float:
    """The largest difference of a new weight as a share of the largest one; a mask that differs counts 1."""
    weight, x = layer(*sizes)
    worst = 0.0
    for sparsity, n, m in ((0.5, 0, 0), (0.7, 0, 0), (0.5, 2, 4)):
        seen = Inputs(len(x), gram=torch.from_numpy(x.T @ x / len(x))) if double else Inputs()
        if not double:
            seen.add(torch.from_numpy(x), "gram")
        mine = torch.from_numpy(weight).to(torch.float64 if double else torch.float32)
        mask, new = POST_TRAINING[name].function(mine, seen, Share(sparsity, n, m), **options)
        other = method(weight, x, sparsity, n, m)
        worst = max(worst, float((mask.numpy() != (other != 0)).any()))
        worst = max(worst, float(np.abs(new.numpy() - other).max() / np.abs(other).max()))
    return worst


def zeros(weight: Array, scores: Array, sparsity: float, n: int, m: int, by_row: bool) -> Array:
    """The weights of highest scores, of each m inputs, each row or the whole layer."""
    found = weight.copy()
    if m:
        parts = [(r, range(c, c + m)) for r in range(len(weight)) for c in range(0, weight.shape[1], m)]
        for row, columns in parts:
            for column in sorted(columns, key=lambda c: scores[row, c])[: m - n]:
                found[row, column] = 0
    elif by_row:
        for row in range(len(weight)):
            found[row, np.argsort(scores[row])[: int(weight.shape[1] * sparsity + 0.5)]] = 0
    else:
        found.flat[np.argsort(scores, axis=None)[: int(weight.size * sparsity + 0.5)]] = 0
    return found


def shares(weight: Array, x: Array) -> Array:
    """RIA's scores, entry by entry."""
    size, norms = np.abs(weight), np.sqrt((x**2).sum(0))
    own = [
        [(size[i, j] / size[i].sum() + size[i, j] / size[:, j].sum()) * norms[j] ** 0.5 for j in range(size.shape[1])]
        for i in range(len(size))
    ]
    return np.array(own)


@parity("magnitude", "torch.nn.utils.prune.L1Unstructured, and 2:4 by sorting", granularity="one-shot")
def magnitude() -> float:
    def other(weight: Array, x: Array, sparsity: float, n: int, m: int) -> Array:
        if m:
            return zeros(weight, np.abs(weight), sparsity, n, m, by_row=False)
        one = torch.nn.Linear(*weight.shape[::-1], bias=False).double()
        one.weight.data = torch.from_numpy(weight)
        found: Array = prune.l1_unstructured(one, "weight", round(weight.size * sparsity)).weight.detach().numpy()
        return found

    return difference("magnitude", other)


@parity(
    "wanda",
    "numpy: |w| times the norm of the input over all tokens, row by row",
    granularity="one-shot",
    deviation="llm-compressor 0.14 rounds the number of weights that go of a row down",
)
def wanda() -> float:
    def other(weight: Array, x: Array, sparsity: float, n: int, m: int) -> Array:
        return zeros(weight, np.abs(weight) * np.sqrt((x**2).sum(0)), sparsity, n, m, by_row=True)

    return difference("wanda", other)


@parity("ria", "numpy: the score entry by entry", granularity="one-shot")
def ria() -> float:
    return difference("ria", lambda weight, x, s, n, m: zeros(weight, shares(weight, x), s, n, m, by_row=False))


@parity(
    "sparsegpt",
    "numpy: the inverse of X'X of the columns that are left, anew for each column, without a Cholesky factor",
    granularity="one-shot",
    deviation="the authors' code and llm-compressor 0.14 remove one weight more in each block of columns",
)
def sparsegpt() -> float:
    def other(weight: Array, x: Array, sparsity: float, n: int, m: int) -> Array:
        gram, own, gone = x.T @ x / len(x), weight.copy(), 0
        gram += 0.01 * gram.diagonal().mean() * np.eye(len(gram))
        kept, total = np.ones(weight.shape, dtype=bool), weight.shape[1]

        def loss(column: int) -> Array:
            found: Array = own[:, column] ** 2 / np.linalg.inv(gram[column:, column:])[0, 0]
            return found

        for column in range(total):
            if not m and column % 8 == 0:  # a block of columns
                goal = int(len(weight) * (column + 8) * sparsity + 0.5) - gone
                scores = np.stack([loss(c) for c in range(column, column + 8)], 1)
                for at in np.argsort(scores, axis=None)[:goal]:
                    kept[at // 8, column + at % 8] = False
                gone += goal
            if m and column % m == 0:
                scores = np.stack([loss(c) for c in range(column, column + m)], 1)
                for row in range(len(weight)):
                    kept[row, column + np.argsort(scores[row])[: m - n]] = False
            inverse = np.linalg.inv(gram[column:, column:])
            wrong = np.where(kept[:, column], 0, own[:, column]) / inverse[0, 0]
            own[:, column:] -= wrong[:, None] * inverse[0]
        return np.where(kept, own, 0)

    return difference("sparsegpt", other, block=8)


@parity(
    "obc",
    "numpy lstsq: each next weight is the one whose removal, with all others fitted again, errs least",
    granularity="one-shot",
)
def obc() -> float:
    def other(weight: Array, x: Array, sparsity: float, n: int, m: int) -> Array:
        found = np.zeros_like(weight)
        for row, own in enumerate(weight):
            kept = list(range(len(own)))
            while len(kept) > (len(own) // m * n if m else len(own) - int(len(own) * sparsity + 0.5)):
                options = []
                for gone in kept:
                    if m and sum(c // m == gone // m for c in kept) <= n:
                        continue
                    left = [c for c in kept if c != gone]
                    new = np.linalg.lstsq(x[:, left], x @ own, rcond=None)[0]
                    options.append((float(((x[:, left] @ new - x @ own) ** 2).sum()), left, new))
                _, kept, values = min(options, key=lambda option: option[0])
            found[row, kept] = values
        return found

    return difference("obc", other, (3, 8), double=True, damp=1e-12)


@parity("adaprune", "numpy lstsq on a mask of magnitude", granularity="one-shot")
def adaprune() -> float:
    def other(weight: Array, x: Array, sparsity: float, n: int, m: int) -> Array:
        found = zeros(weight, np.abs(weight), sparsity, n, m, by_row=False)
        for row, own in enumerate(found):
            left = own.nonzero()[0]
            own[left] = np.linalg.lstsq(x[:, left], x @ weight[row], rcond=None)[0]
        return found

    return difference("adaprune", other, double=True, damp=1e-12)
