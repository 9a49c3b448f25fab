"""Derivatives sample by sample, and the loss's curvature: exact, or without the network's own second derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vjp, vmap

from workbench.criteria.passes import Loss, loss_at
from workbench.types import Batch, check_choice

Weights = dict[str, Tensor]
KINDS = ("exact", "gauss-newton")
CHUNK = 2**26
"""Numbers held at once: samples are taken together as long as their derivatives stay below it (256 MB in float32)."""


def sample_gradients(model: nn.Module, weights: Weights, batch: Batch, loss_fn: Loss) -> Iterator[Weights]:
    """Gradients of each sample's own loss by the weights, `[samples, *shape]`, some samples at a time."""
    loss_at(model, weights, batch, loss_fn)  # says what does not fit

    def loss(weights: Weights, x: Tensor, y: Tensor) -> Tensor:
        return loss_fn(functional_call(model, weights, (x[None],)), y[None])

    run = vmap(grad(loss), in_dims=(None, 0, 0))
    fixed = {name: w.detach() for name, w in weights.items()}
    for part in _parts(batch, _count(weights)):
        yield run(fixed, *part)


def gauss_newton_rows(model: nn.Module, weights: Weights, batch: Batch, loss_fn: Loss) -> Iterator[Tensor]:
    """Rows `[rows, n]` whose sum of outer products, over the samples, is the Gauss-Newton matrix of the summed loss.

    The matrix is `sum of J' S J` with J the outputs' derivative by the n weights and S the loss's second derivative by
    the outputs; the rows of a sample are those of `S^(1/2) J`.
    """
    loss_at(model, weights, batch, loss_fn)
    fixed = {name: w.detach() for name, w in weights.items()}

    def rows(x: Tensor, y: Tensor) -> Tensor:
        def run(weights: Weights) -> Tensor:
            return functional_call(model, weights, (x[None],))[0]

        def loss(outputs: Tensor) -> Tensor:
            return loss_fn(outputs[None], y[None])

        outputs, pull, *_ = vjp(run, fixed)
        second = jacrev(grad(loss))(outputs).reshape(outputs.numel(), -1)
        values, vectors = torch.linalg.eigh(second.to(torch.promote_types(second.dtype, torch.float32)))
        roots = (vectors * values.clamp_min(0).sqrt()).T.to(second.dtype).reshape(-1, *outputs.shape)
        (pulled,) = vmap(pull)(roots)
        return torch.cat([pulled[name].flatten(1) for name in fixed], 1)

    with torch.no_grad():
        width = functional_call(model, fixed, (batch.inputs[:1],)).numel()
    for part in _parts(batch, width * _count(weights)):
        yield vmap(rows)(*part).flatten(0, 1)


def curvature_diagonal(model: nn.Module, weights: Weights, batch: Batch, loss_fn: Loss, kind: str) -> Weights:
    """The diagonal of the mean loss's second derivative by the weights, or of its Gauss-Newton matrix."""
    if check_choice("curvature", kind, KINDS) == "gauss-newton":
        total = sum(rows.square().sum(0) for rows in gauss_newton_rows(model, weights, batch, loss_fn))
        flat = torch.as_tensor(total) / len(batch.inputs)
    else:
        point, loss = _flat(model, weights, batch, loss_fn)
        units = torch.eye(len(point), dtype=point.dtype, device=point.device).split(max(CHUNK // len(point) ** 2, 1))
        _, pull, *_ = vjp(grad(loss), point)
        flat = torch.cat([vmap(lambda unit: (pull(unit)[0] * unit).sum())(part) for part in units])
    return _named(weights, flat)


def curvature_matrix(model: nn.Module, weights: Weights, batch: Batch, loss_fn: Loss, kind: str) -> Tensor:
    """The mean loss's second derivative `[n, n]` by all n weights, as `weights` stand, or its Gauss-Newton matrix."""
    if check_choice("curvature", kind, KINDS) == "gauss-newton":
        total = sum(rows.T @ rows for rows in map(Tensor.double, gauss_newton_rows(model, weights, batch, loss_fn)))
        return torch.as_tensor(total) / len(batch.inputs)
    point, loss = _flat(model, weights, batch, loss_fn)
    return jacrev(grad(loss))(point)


def _flat(model: nn.Module, weights: Weights, batch: Batch, loss_fn: Loss) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    loss_at(model, weights, batch, loss_fn)
    point = torch.cat([w.detach().reshape(-1) for w in weights.values()])

    def loss(flat: Tensor) -> Tensor:
        return loss_fn(functional_call(model, _named(weights, flat), (batch.inputs,)), batch.targets)

    return point, loss


def _named(weights: Weights, flat: Tensor) -> Weights:
    parts = flat.split([w.numel() for w in weights.values()])
    return {name: part.reshape(w.shape) for (name, w), part in zip(weights.items(), parts, strict=True)}


def _count(weights: Weights) -> int:
    return sum(w.numel() for w in weights.values())


def _parts(batch: Batch, each: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batch in parts of as many samples as fit, at `each` numbers a sample."""
    size = max(CHUNK // each, 1)
    return zip(batch.inputs.split(size), batch.targets.split(size), strict=True)
