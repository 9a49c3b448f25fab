"""Methods that only choose: magnitude, Wanda, RIA. What stays keeps its value."""

from torch import Tensor

from workbench.methods.post_training.base import Inputs, Share, one_shot, zeroed


@one_shot("magnitude", needs="nothing", source="Han et al. 2015, arXiv:1506.02626")
def magnitude(weight: Tensor, inputs: Inputs, share: Share, *, by_row: bool = False) -> tuple[Tensor, Tensor]:
    """The largest `|w|` of the layer stay, or with `by_row` as many in each row.

    >>> import torch
    >>> magnitude(torch.tensor([[3.0, 1.0], [4.0, 2.0]]), Inputs(), Share(0.5))[0].tolist()
    [[True, False], [True, False]]
    """
    return zeroed(weight, (share.by_row if by_row else share.anywhere)(weight.abs()))


@one_shot("wanda", needs="squares", source="Sun et al. 2023, arXiv:2306.11695, eq. 1")
def wanda(weight: Tensor, inputs: Inputs, share: Share) -> tuple[Tensor, Tensor]:
    """The largest `|w_ij| ||X_j||` of each row stay; the norm of input j is over all tokens.

    Misleads where inputs have equal norms: then it is magnitude, row by row.

    >>> import torch
    >>> wanda(torch.tensor([[1.0, 2.0]]), Inputs(1, squares=torch.tensor([9.0, 1.0])), Share(0.5))[0].tolist()
    [[True, False]]
    """
    return zeroed(weight, share.by_row(weight.abs() * inputs.power.sqrt()))


@one_shot("ria", needs="squares", source="Zhang et al. 2024, arXiv:2402.10041, eq. 3-4")
def ria(weight: Tensor, inputs: Inputs, share: Share, *, power: float = 0.5) -> tuple[Tensor, Tensor]:
    """A weight's shares of its row and of its column, added, times `||X_j||` to a power; the largest of the layer stay.

    The shares keep rows and columns of small weights from being emptied. The norm is of the mean square: a constant
    factor of it changes no order.

    >>> import torch
    >>> rows = torch.tensor([[8.0, 8.0], [1.0, 2.0]])
    >>> ria(rows, Inputs(1, squares=torch.ones(2)), Share(0.5))[0].tolist()
    [[True, True], [False, False]]
    """
    size = weight.abs()
    tiny = size.new_tensor(1e-30)
    shares = size / size.sum(1, keepdim=True).maximum(tiny) + size / size.sum(0, keepdim=True).maximum(tiny)
    return zeroed(weight, share.anywhere(shares * inputs.power.sqrt() ** power))
