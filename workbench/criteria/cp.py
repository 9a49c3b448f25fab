"""Channel pruning by LASSO on the next layer's outputs (He, Zhang and Sun 2017, arXiv:1707.06168)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.criteria.next_layer import Contributions, channel_contributions
from workbench.criteria.registry import MAPS, criterion
from workbench.models import prunable
from workbench.types import Batch, Masks, Scores


@criterion(
    "cp",
    cost="2 forward; a LASSO path over the channels of each layer",
    source="He et al. 2017, arXiv:1707.06168",
    **MAPS,
)
def cp(
    model: nn.Module, batch: Batch, masks: Masks | None, generator: torch.Generator, samples: int | None = 10
) -> Scores:
    """`s_c`: the largest λ with `β_c ≠ 0` in `min 1/(2N) ||y - sum_c β_c x_c / ||W_c|| ||² + λ ||β||_1`.

    y are `samples` outputs of the next layer without bias, drawn from each input (None: all), x_c is what channel c
    adds to them, and W_c the next layer's weights that read it, whose norm is set to 1 as in the paper. The path of
    solutions is exact, without the paper's least squares on W and the intercept of the authors' code. A channel that it
    never takes in (always zero, or equal to an earlier one) scores 0. Layers without one certain next layer (residual
    sums, the last layer) have no score and must be left out with `exclude`; ValueError if no layer has one.
    Misleads under global allocation, as λ has the scale of the layer's outputs, and with fewer samples than channels.
    """
    found = channel_contributions("cp", model, batch, masks, samples, generator)
    weights = prunable(model, strict=False)
    return {name: _penalties(one).to(weights[name].device) for name, one in found.items()}


def _penalties(found: Contributions) -> Tensor:
    columns = found.parts / found.norms.where(found.parts.any(0), 1)
    return lasso_entries(columns.T @ columns, columns.T @ found.parts.sum(1)) / len(columns)


def lasso_entries(gram: Tensor, products: Tensor) -> Tensor:
    """The largest λ at which each coefficient of `min 1/2 ||y - X β||² + λ ||β||_1` is not 0, from `X'X` and `X'y`.

    The path of solutions from knot to knot (Efron et al. 2004, "Least angle regression"). Columns that reach a knot
    together, to a part in 10^9, enter by their index; one that the columns inside already give, to a part in 10^5 of
    its length, stays out until one of them leaves: a solver would leave the entries of equal columns to rounding.

    >>> lasso_entries(torch.eye(2).double(), torch.tensor([3.0, -1.0]).double())
    tensor([3., 1.], dtype=torch.float64)
    """
    entries, beta, signs = products.new_zeros(3, len(products)).unbind()
    inside: list[int] = []
    gone: list[int] = []  # what left at this very knot
    inverse = gram.new_empty(0, 0)  # of the part of `gram` inside
    empty = gram.diagonal() <= 0
    out = empty.clone()  # what cannot enter while these are inside
    penalty = float(products.abs().max()) if len(products) else 0.0
    for _ in range(8 * len(products)):
        rest = products - gram @ beta
        move = torch.zeros_like(beta)
        move[inside] = inverse @ signs[inside]
        slopes = gram @ move
        ends = torch.stack([(penalty - rest) / (1 - slopes), (penalty + rest) / (1 + slopes)]).clamp_min(0)
        ends = torch.where(torch.stack([slopes < 1, slopes > -1]), ends, math.inf).amin(0)
        ends[inside + gone], ends[out], gone = math.inf, math.inf, []
        leaves = torch.where(beta * move < 0, -beta / move, math.inf)
        step, end = min(float(ends.min()), penalty), float(leaves.min())
        beta, penalty = beta + min(step, end) * move, penalty - min(step, end)
        if end <= step:
            gone = [int(leaves.argmin())]
            place = inside.index(gone[0])
            stay = [k for k in range(len(inside)) if k != place]
            inside.remove(gone[0])
            across = inverse[stay, place]
            inverse = inverse[stay][:, stay] - torch.outer(across, across) / inverse[place, place]
            beta[gone], out = 0, empty.clone()
            continue
        if penalty <= 1e-12 * float(products.abs().max()):
            break
        new = int((ends <= step + 1e-9 * penalty).to(torch.int8).argmax())
        given = inverse @ gram[inside, new]
        left = gram[new, new] - gram[inside, new] @ given
        if float(left) <= 1e-10 * float(gram[new, new]):
            out[new] = True
            continue
        signs[new] = torch.sign(products[new] - gram[new] @ beta)
        inside.append(new)
        border = torch.cat([given, given.new_tensor([-1.0])])
        inverse = functional.pad(inverse, (0, 1, 0, 1)) + torch.outer(border, border) / left
        entries[new] = max(float(entries[new]), penalty)
    return entries
