"""SparseGPT: column by column, the columns to the right make up for what goes (Frantar and Alistarh 2023)."""

import torch
from torch import Tensor

from workbench.allocation import kept_count
from workbench.granularity.fixed import largest
from workbench.methods.post_training.base import Inputs, Share, one_shot
from workbench.types import check_count, warn


@one_shot("sparsegpt", needs="gram", source="Frantar and Alistarh 2023, arXiv:2301.00774, algorithm 1")
def sparsegpt(
    weight: Tensor, inputs: Inputs, share: Share, *, block: int = 128, damp: float = 0.01
) -> tuple[Tensor, Tensor]:
    """In each `block` of columns the weights of least `(w / U_jj)²` go, and the columns after each make up for it.

    U is the upper Cholesky factor of `H^-1`, with `H = X'X` and `damp` times its mean diagonal on the diagonal. Within
    a block all rows compete; n:m chooses when the first column of its group is reached, in each row. The mask of a
    block is chosen from the weights as they are then. Inputs that are always 0 lose their weights first.

    >>> inputs = Inputs(2, gram=torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
    >>> mask, new = sparsegpt(torch.tensor([[1.0, 2.0]]), inputs, Share(0.5))
    >>> mask.tolist(), round(new[0, 1].item(), 2)
    ([[False, True]], 2.89)
    """
    check_count("block", block)
    if share.m and block % share.m:
        raise ValueError(f"a block holds whole groups of {share.m}; got block={block}. Pass a multiple of {share.m}")
    if damp not in inputs.factors:
        inputs.factors[damp] = upper_inverse(inputs.whole, damp)
    factor = inputs.factors[damp]
    columns = weight.t().to(torch.float32, copy=True, memory_format=torch.contiguous_format)  # [in, out], rows at once
    removed = 0
    columns[inputs.power == 0] = 0
    mask = torch.ones_like(columns, dtype=torch.bool)
    rows, total = weight.shape[0], len(columns)
    for start in range(0, total, block):
        end = min(start + block, total)
        part, own = columns[start:end], factor[start:end, start:end].contiguous()
        diagonal, kept = own.diagonal(), mask[start:end]
        if not share.m:
            goal = rows * end - kept_count(rows * end, share.sparsity)
            scores = (part / diagonal[:, None]).square_().reshape(1, -1)
            kept.copy_(largest(scores, scores.shape[1] - (goal - removed), scores.shape[1]).view(kept.shape))
            removed = goal
        wrong = torch.empty_like(part)
        for at in range(end - start):
            if share.m and at % share.m == 0:
                group = slice(at, at + share.m)
                scores = (part[group] / diagonal[group, None]).square_()
                kept[group] = largest(scores, share.n, share.m, dim=0)
            torch.div(part[at].masked_fill(kept[at], 0), diagonal[at], out=wrong[at])
            part[at:].addr_(own[at, at:], wrong[at], alpha=-1)
        columns[end:].addmm_(factor[start:end, end:].t(), wrong, alpha=-1)
    mask = mask.t().contiguous()
    return mask, torch.where(mask, columns.t(), 0).to(weight.dtype)


def upper_inverse(gram: Tensor, damp: float) -> Tensor:
    """The upper Cholesky factor of the damped inverse; damping grows tenfold, and says so, until there is one.

    >>> [round(u, 3) for u in upper_inverse(torch.eye(2) * 4, 1e-9).diagonal().tolist()]
    [0.5, 0.5]
    """
    if not damp > 0:
        raise ValueError(f"damp is a number above 0, because inputs may be 0 or equal; got {damp}")
    used, diagonal = damp, gram.diagonal()
    mean = float(diagonal.mean()) or 1.0
    while used < 1e6 * damp:
        whole = gram.clone()
        whole.diagonal().add_(used * mean).add_(torch.where(diagonal == 0, mean, 0.0))
        lower, failed = torch.linalg.cholesky_ex(whole)
        if not failed:
            torch.cholesky_inverse(lower, out=whole)
            upper, failed = torch.linalg.cholesky_ex(whole, upper=True, out=(lower, failed))
        if not failed:
            if used > damp:
                warn(f"the inputs' X'X is singular: damping grew from {damp:g} to {used:g} of its mean diagonal")
            return upper
        used *= 10
    raise ValueError(
        f"X'X of a layer's inputs has no inverse, even damped by {used:g} of its mean diagonal. "
        "Check the calibration text, or use more of it"
    )
