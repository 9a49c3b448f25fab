"""Methods that solve a layer: OBC, which takes one weight after another, and AdaPrune, which mends a magnitude mask."""

import torch
from torch import Tensor

from workbench.methods.after.reconstruction import damped, exactly, solved
from workbench.methods.post_training.base import Inputs, Share, one_shot
from workbench.methods.post_training.scores import magnitude
from workbench.types import warn


@one_shot("obc", needs="gram", source="Frantar, Singh and Alistarh 2022, arXiv:2208.11580, section 4")
def obc(weight: Tensor, inputs: Inputs, share: Share, *, damp: float = 1e-6) -> tuple[Tensor, Tensor]:
    """In each row the weight of least `w_q² / [H^-1]_qq` goes, the others make up for it, and again; in float64.

    Every row loses the same number. Damping grows tenfold, and says so, until `X'X` has an inverse. Misleads as a
    method for large layers: it keeps an inverse for each row.

    >>> inputs = Inputs(2, gram=torch.ones(2, 2))
    >>> [[round(w, 2) for w in row] for row in obc(torch.tensor([[1.0, 2.0]]), inputs, Share(0.5))[1].tolist()]
    [[0.0, 3.0]]
    """
    mask, new = exactly(weight.double(), definite(inputs.whole, damp), *share.groups(weight.shape[1]))
    return mask, new.to(weight.dtype)


@one_shot("adaprune", needs="gram", source="Hubara et al. 2021, arXiv:2102.08124, section 4")
def adaprune(weight: Tensor, inputs: Inputs, share: Share, *, damp: float = 1e-6) -> tuple[Tensor, Tensor]:
    """A mask of magnitude, and on it the weights of least squared error of the layer's outputs; in float64.

    Damping grows as in "obc". Misleads as a method for large layers: it solves a system of equations for each row.

    >>> new = adaprune(torch.tensor([[1.0, 2.0]]), Inputs(2, gram=torch.ones(2, 2)), Share(0.5))[1]
    >>> [round(w, 2) for w in new[0].tolist()]
    [0.0, 3.0]
    """
    mask, _ = magnitude(weight, inputs, share)
    return mask, solved(weight.double(), definite(inputs.whole, damp), mask).to(weight.dtype)


def definite(gram: Tensor, damp: float) -> Tensor:
    """The damped X'X in float64; damping grows tenfold, and says so, until there is an inverse.

    >>> definite(torch.eye(2), 0.5).tolist()
    [[1.5, 0.0], [0.0, 1.5]]
    """
    matrix, used = damped(gram.double(), damp), damp
    while used < 1 and torch.linalg.cholesky_ex(matrix).info:
        used *= 10
        matrix = damped(gram.double(), used)
    if used > damp:
        warn(f"the inputs' X'X is singular: damping grew from {damp:g} to {used:g} of its mean diagonal")
    return matrix
