"""Reconstruction without retraining: in each layer the weights that stay make up for those that go."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.methods.obs import take_out_
from workbench.models import prunable
from workbench.models.running import evaluating, fitted, outputs
from workbench.types import Masks, check_masks, check_sparsity

MOST = 20_000_000
"""Numbers at most in the inverses that exact pruning keeps at a time, one `[in, in]` for each output."""


@torch.no_grad()
def layer_grams(model: nn.Module, inputs: Tensor, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """`X'X` of the inputs that each layer reads, `[in, in]` in float64; a convolution reads one patch per position.

    `X (W - W')'`, a layer's change of outputs, has the squared sum `tr((W - W') X'X (W - W')')`: no more of the inputs
    is needed. `names` are weights of linear and 2-d convolution layers (None: all prunable ones); the model is
    untouched, in evaluation mode.

    >>> layer_grams(nn.Linear(2, 1), torch.tensor([[1.0, 2.0], [0.0, 1.0]]))["weight"].tolist()
    [[1.0, 2.0], [2.0, 5.0]]
    """
    found: dict[str, Tensor] = {}
    hooks = []
    for name in prunable(model) if names is None else names:
        layer = model.get_submodule(name.rpartition(".")[0])
        if not isinstance(layer, nn.Linear | nn.Conv2d) or getattr(layer, "groups", 1) > 1:
            told = (
                f"layers that are reconstructed are linear, or 2-d convolutions without groups; {name!r} is of {layer}"
            )
            raise ValueError(f"{told}. Leave it out of names")

        def add(layer: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
            rows = patches(layer, given[0].detach()).double()
            found[name] = found.get(name, 0) + rows.T @ rows

        hooks.append(layer.register_forward_pre_hook(add))
    try:
        with evaluating(model):
            outputs(model, fitted(model, inputs))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def patches(layer: nn.Module, inputs: Tensor) -> Tensor:
    """What the layer multiplies with its weights, a row for each output position.

    >>> patches(nn.Conv2d(1, 1, 2), torch.arange(6.0).reshape(1, 1, 2, 3)).tolist()
    [[0.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 5.0]]
    """
    if not isinstance(layer, nn.Conv2d):
        return inputs.flatten(0, -2)
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise ValueError(
            f"a convolution that is reconstructed pads by a number of zeros; got {layer}. Leave it out of names"
        )
    rows = functional.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return rows.transpose(1, 2).flatten(0, 1)


@torch.no_grad()
def reconstruct(model: nn.Module, masks: Masks, grams: Mapping[str, Tensor], damp: float = 1e-6) -> dict[str, Tensor]:
    """The weights on the masks that give each layer's outputs best: `min ||X W' - X W'||²` with the removed ones at 0.

    A least squares for each output, in float64 by `X'X` (`layer_grams`), with `damp` times its mean diagonal added to
    the diagonal. Layers without masks stay. The model is untouched:
    `model.load_state_dict(found, strict=False)` puts them in.
    Source: AdaPrune, Hubara et al. 2021, arXiv:2102.08124, section 4.

    Misleads if inputs are few: with fewer rows than kept weights an output fits these inputs, and no others.

    >>> model, kept = nn.Linear(2, 1, bias=False), {"weight": torch.tensor([[False, True]])}
    >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 2.0]]))
    >>> grams = layer_grams(model, torch.tensor([[1.0, 1.0], [2.0, 2.0]]))
    >>> [round(w, 3) for w in reconstruct(model, kept, grams)["weight"][0].tolist()]
    [0.0, 3.0]
    """
    found = {}
    for name, mask in check_masks(model, {n: masks[n] for n in _both(masks, grams)}).items():
        weight = model.get_parameter(name)
        new = solved(weight.flatten(1).double(), damped(grams[name], damp), mask.flatten(1))
        found[name] = new.to(weight.dtype).view_as(weight)
    return found


def solved(rows: Tensor, matrix: Tensor, kept: Tensor) -> Tensor:
    """The rows on these masks that are nearest to `rows` `[out, in]` in the norm of a matrix `[in, in]`.

    >>> rows, kept = torch.tensor([[1.0, 2.0]]), torch.tensor([[False, True]])
    >>> solved(rows, torch.tensor([[1.0, 0.5], [0.5, 1.0]]), kept).tolist()
    [[0.0, 2.5]]
    """
    wanted, new = rows @ matrix, torch.zeros_like(rows)
    for row, own in enumerate(kept):
        if own.any():
            new[row, own] = torch.linalg.solve(matrix[own][:, own], wanted[row, own])
    return new


@torch.no_grad()
def prune_exactly(
    model: nn.Module, grams: Mapping[str, Tensor], sparsity: float, damp: float = 1e-6
) -> tuple[Masks, dict[str, Tensor]]:
    """OBC: weights go one by one in each output of a layer, the others make up for each; masks, and the new weights.

    In each row w the weight of least `w_q² / [H^-1]_qq` goes, with `H = 2 X'X` of its layer (`layer_grams`); the step
    is that of `methods.obs`. Every output loses the same number. The model is untouched.
    Source: Frantar, Singh and Alistarh 2022, arXiv:2208.11580, section 4; the authors split the budget over the rows.

    Misleads for the network: each layer is exact for itself, on the inputs that the dense network gives it.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 2.0]]))
    >>> masks, weights = prune_exactly(model, layer_grams(model, torch.tensor([[1.0, 1.0], [2.0, 2.0]])), 0.5)
    >>> masks["weight"].tolist(), [round(w, 3) for w in weights["weight"][0].tolist()]
    ([[False, True]], [0.0, 3.0])
    """
    masks, weights = {}, {}
    for name, gram in grams.items():
        weight = model.get_parameter(name)
        rows = weight.flatten(1).double()
        gone = int(rows.shape[1] * check_sparsity(sparsity) + 0.5)
        kept, rows = exactly(rows, damped(gram, damp), rows.shape[1] - gone, rows.shape[1])
        masks[name], weights[name] = kept.view_as(weight), rows.to(weight.dtype).view_as(weight)
    return masks, weights


def exactly(rows: Tensor, matrix: Tensor, n: int, m: int) -> tuple[Tensor, Tensor]:
    """The mask and the new rows after weights went one by one in each row, until each group of m inputs has n left.

    >>> kept, new = exactly(torch.tensor([[1.0, 2.0]]).double(), torch.eye(2).double(), 1, 2)
    >>> kept.tolist(), new.tolist()
    ([[False, True]], [[0.0, 2.0]])
    """
    if (size := matrix.numel()) > MOST:
        told = f"exact pruning keeps an inverse [in, in] for each output, {MOST:,} numbers at most; got {size:,}"
        raise ValueError(f"{told}. Leave the layer out, or cut it and call reconstruct")
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(2 * matrix))
    found = [_one_by_one(part, inverse, n, m) for part in rows.split(max(MOST // size, 1))]
    return torch.cat([kept for kept, _ in found]), torch.cat([new for _, new in found])


def _one_by_one(rows: Tensor, inverse: Tensor, n: int, m: int) -> tuple[Tensor, Tensor]:
    rows, inverses = rows.clone(), inverse.repeat(len(rows), 1, 1)
    kept, each = torch.ones_like(rows, dtype=torch.bool), torch.arange(len(rows), device=rows.device)
    left = torch.full((len(rows), rows.shape[1] // m), m, device=rows.device)
    for _ in range(rows.shape[1] // m * (m - n)):
        free = kept & (left > n).repeat_interleave(m, 1)
        gone = torch.where(free, rows.square() / inverses.diagonal(dim1=1, dim2=2), torch.inf).argmin(1)
        take_out_(rows, inverses, gone)
        kept[each, gone] = False
        left[each, gone // m] -= 1
    return kept, rows


@torch.no_grad()
def layer_errors(model: nn.Module, weights: Mapping[str, Tensor], grams: Mapping[str, Tensor]) -> dict[str, float]:
    """`||X W' - X V'||² / ||X W'||²` of each layer: the share of its outputs that new weights V get wrong.

    Where both are 0, as in a layer that reads only zeros, the share is 0; where the outputs alone are, it is infinite.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 2.0]]))
    >>> layer_errors(model, {"weight": torch.tensor([[0.0, 2.0]])}, {"weight": torch.eye(2).double()})
    {'weight': 0.2}
    """

    def power(rows: Tensor, gram: Tensor) -> float:
        return float(((rows @ gram) * rows).sum())

    found = {}
    for name in _both(weights, grams):
        own = model.get_parameter(name).flatten(1).double()
        wrong, whole = power(own - weights[name].flatten(1).double(), grams[name]), power(own, grams[name])
        found[name] = wrong / whole if whole else math.inf if wrong else 0.0
    return found


def damped(gram: Tensor, damp: float) -> Tensor:
    """The matrix with `damp` times its mean diagonal added to the diagonal; an input that is always 0 needs some."""
    if not damp > 0:
        raise ValueError(f"damp is a number above 0, because inputs may be 0 or equal; got {damp}")
    return gram + (damp * float(gram.diagonal().mean()) + torch.finfo(gram.dtype).tiny) * torch.eye(len(gram)).to(gram)


def _both(some: Mapping[str, Tensor], grams: Mapping[str, Tensor]) -> list[str]:
    """The layers that both name."""
    if not (names := [name for name in grams if name in some]):
        told = f"grams and masks or weights name the same layers; got {', '.join(grams)} and {', '.join(some)}"
        raise ValueError(f"{told}. Call layer_grams with the names of the masks")
    return names
