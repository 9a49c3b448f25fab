"""What a one-shot method sees of a layer, which weights it may take, and the registry of these methods."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from workbench.allocation import kept_count
from workbench.granularity import check_share
from workbench.granularity.fixed import largest
from workbench.registry import Registry
from workbench.types import check_choice, check_sparsity

NEEDS = ("nothing", "squares", "gram")
N_OF_M = re.compile(r"([1-9]\d*):([1-9]\d*)")


@dataclass
class Inputs:
    """What was seen of a layer's inputs X `[tokens, in]`: `squares` `[in]`, or the `gram` X'X `[in, in]`.

    Both are means over the `n` tokens, not sums: what a method makes of them does not depend on how many there were.
    `factors` holds what layers with the same inputs share, by damping.
    """

    n: int = 0
    squares: Tensor | None = None
    gram: Tensor | None = None
    factors: dict[float, Tensor] = field(default_factory=dict)

    def add(self, rows: Tensor, needs: str) -> None:
        """Take more tokens in, `[tokens, in]`; none where an expert was not chosen."""
        if not len(rows):
            return
        rows, share = rows.float(), len(rows) / (self.n + len(rows))
        self.n += len(rows)
        if needs == "gram":
            new = (rows.T @ rows).div_(len(rows))
            self.gram = new if self.gram is None else self.gram.lerp_(new, share)
        elif needs == "squares":
            new = rows.square().mean(0)
            self.squares = new if self.squares is None else self.squares.lerp_(new, share)

    @property
    def power(self) -> Tensor:
        """The mean square of each input `[in]`."""
        return self.whole.diagonal() if self.squares is None else self.squares

    @property
    def whole(self) -> Tensor:
        """The gram, where it was asked for."""
        if self.gram is None:
            raise ValueError("this method needs X'X of its inputs; got none. Register it with needs='gram'")
        return self.gram


@dataclass(frozen=True)
class Share:
    """Which weights of a layer go: the share `sparsity` of each row, of the layer, or of each m inputs (n kept)."""

    sparsity: float
    n: int = 0
    m: int = 0

    @classmethod
    def of(cls, sparsity: float, granularity: str) -> "Share":
        """The share that a sparsity and a granularity name, "weight" or one such as "2:4"."""
        sparsity = check_sparsity(sparsity)
        if granularity == "weight":
            return cls(sparsity)
        found = N_OF_M.fullmatch(str(granularity))
        if not found:
            told = f"one-shot methods remove single weights, 'weight', or n:m such as '2:4'; got {granularity!r}"
            raise ValueError(f"{told}. Structures go with wb.groups and wb.remove")
        check_share(granularity, sparsity)
        return cls(sparsity, int(found[1]), int(found[2]))

    def groups(self, width: int) -> tuple[int, int]:
        """How many stay of how many in a row of so many; a row without n:m is one group.

        >>> Share(0.75).groups(8), Share.of(0.5, "2:4").groups(8)
        ((2, 8), (2, 4))
        """
        return (self.n, self.m) if self.m else (kept_count(width, self.sparsity), width)

    def by_row(self, scores: Tensor) -> Tensor:
        """The mask of the highest scores `[out, in]` of each row, as many in each; of equal ones the earlier."""
        return largest(scores, *self.groups(scores.shape[1]))

    def anywhere(self, scores: Tensor) -> Tensor:
        """The mask of the highest scores `[out, in]` of the whole layer."""
        return self.by_row(scores if self.m else scores.reshape(1, -1)).view(scores.shape)


Method = Callable[..., tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Entry:
    """A registered method, what it needs of the inputs, and where it comes from."""

    function: Method
    needs: str
    source: str

    def __post_init__(self) -> None:
        check_choice("needs", self.needs, NEEDS)


POST_TRAINING: Registry[Entry] = Registry("one-shot method")


def one_shot(name: str, *, needs: str, source: str) -> Callable[[Method], Method]:
    """Register `f(weight [out, in], inputs, share, **options) -> (mask, new weight)`."""

    def register(function: Method) -> Method:
        POST_TRAINING.add(name, Entry(function, needs, source))
        return function

    return register


def zeroed(weight: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """A mask and the weight with zeros where it removes."""
    return mask, torch.where(mask, weight, 0)
