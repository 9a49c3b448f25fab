"""How far two criteria agree: the overlap of what they keep, and the correlation of their ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from workbench.types import Masks, Scores, check_count, check_scores, check_weights

if TYPE_CHECKING:
    import pandas


class Chance(NamedTuple):
    """The Jaccard overlap of random masks: its expectation, and the ends of its central 95 %."""

    mean: float
    low: float
    high: float


def jaccard(a: Masks, b: Masks) -> float:
    """`|A and B| / |A or B|` of the weights that two masks keep; NaN where neither keeps one.

    Raises ValueError unless both cover the same layers. Misleads without what `chance` gives, which grows with density.

    >>> jaccard({"w": torch.tensor([True, True, False])}, {"w": torch.tensor([False, True, True])})
    0.3333333333333333
    """
    first, second = _flat(*_pair(check_weights(a), check_weights(b)))
    return _share(int((first & second).sum()), int(first.sum()), int(second.sum()))


def chance(total: int, first: int, second: int) -> Chance:
    """The Jaccard overlap of two random masks that keep `first` and `second` of `total` weights.

    The number X in common is hypergeometric, the overlap `X / (first + second - X)`, summed over the distribution of X;
    near `d / (2 - d)` for many weights of one density d. NaN where neither keeps a weight.
    Misleads as the chance level of masks that share their layers' densities: then chance acts within each layer.

    >>> round(chance(4, 2, 2).mean, 4)  # 0, 1 or 2 in common, with probability 1/6, 4/6 and 1/6
    0.3889
    >>> round(chance(1_000_000, 100_000, 100_000).mean, 4)
    0.0526
    """
    import numpy as np
    from scipy import stats

    check_count("total", total)
    for name, kept in (("first", first), ("second", second)):
        if check_count(name, kept, least=0) > total:
            raise ValueError(f"{name} is a number of kept weights, at most {total:,}; got {kept:,}")
    if first == second == 0:
        return Chance(*[float("nan")] * 3)
    common = np.arange(max(0, first + second - total), min(first, second) + 1)
    shares = common / (first + second - common)
    law = stats.hypergeom(total, first, second)
    low, high = (int(law.ppf(level)) - int(common[0]) for level in (0.025, 0.975))
    return Chance(float(law.pmf(common) @ shares), float(shares[low]), float(shares[high]))


def agreement(a: Masks, b: Masks) -> pandas.DataFrame:
    """One row a layer: its weights, those kept by a, by b and by both, the overlap and what `chance` expects of it.

    The last two rows are of the whole network. In "all layers" chance draws from all weights at once; in "all layers,
    at these densities" within each layer: `sum of a_l b_l / n_l` weights in common, and the overlap that this gives.
    What an overlap has beyond that is agreement on which weights of a layer to keep.

    >>> table = agreement({"w": torch.tensor([True, False])}, {"w": torch.tensor([True, False])})
    >>> table.loc["w", ["overlap", "chance"]].tolist()
    [1.0, 0.5]
    """
    import pandas as pd

    a, b = _pair(check_weights(a), check_weights(b))
    rows: list[dict[str, Any]] = []
    for name in [*a, "all layers"]:
        first, second = _flat(a, b) if name == "all layers" else (a[name].reshape(-1), b[name].reshape(-1))
        counts = {"a": int(first.sum()), "b": int(second.sum()), "both": int((first & second).sum())}
        overlap = _share(counts["both"], counts["a"], counts["b"])
        expected = chance(len(first), counts["a"], counts["b"]).mean
        rows.append({"layer": name, "weights": len(first), **counts, "overlap": overlap, "chance": expected})
    common = sum(row["a"] * row["b"] / row["weights"] for row in rows[:-1])
    expected = _share(common, rows[-1]["a"], rows[-1]["b"])
    rows.append({**rows[-1], "layer": "all layers, at these densities", "chance": expected})
    return pd.DataFrame(rows).set_index("layer")


def rank_correlation(a: Scores, b: Scores) -> float:
    """Spearman's correlation of two criteria's scores over all weights, in [-1, 1]; equal scores share their mean rank.

    NaN where one of them gives every weight the same score. Misleads about masks at high sparsity, which depend on the
    few highest scores alone; see `jaccard`.

    >>> rank_correlation({"w": torch.tensor([1.0, 2.0, 3.0])}, {"w": torch.tensor([1.0, 4.0, 9.0])})
    1.0
    """
    from scipy import stats

    first, second = _flat(*_pair(check_scores(a), check_scores(b)))
    if min(len(first.unique()), len(second.unique())) < 2:
        return float("nan")
    return round(float(stats.spearmanr(first.double(), second.double()).statistic), 12)


def _share(common: float, first: float, second: float) -> float:
    """Kept by both / kept by either; NaN where neither keeps a weight."""
    either = first + second - common
    return common / either if either else float("nan")


def _pair(a: dict[str, Tensor], b: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Both in the layers' order of the first."""
    for name in [*a, *b]:
        here, there = (tuple(side[name].shape) if name in side else "nothing" for side in (a, b))
        if here != there:
            raise ValueError(
                f"two criteria are compared on one network; {name!r} has {here} here and {there} there. "
                "Score the same model, with the same exclude="
            )
    return a, {name: b[name] for name in a}


def _flat(*sides: dict[str, Tensor]) -> list[Tensor]:
    return [torch.cat([value.detach().reshape(-1).cpu() for value in side.values()]) for side in sides]
