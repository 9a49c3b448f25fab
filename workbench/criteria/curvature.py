"""Derivatives sample by sample, and the loss's curvature: exact, or without the network's own second derivatives."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vjp, vmap

from workbench.criteria.passes import Weights, derivatives, loss_at
from workbench.models.running import Loss, taken
from workbench.types import Batch, check_choice

KINDS = ("exact", "gauss-newton")
CHUNK = 2**26
"""Numbers held at once: samples are taken together as long as their derivatives stay below it (256 MB in float32)."""


def sample_gradients(model: nn.Module, weights: Weights, batch: Batch, loss_fn: Loss) -> Iterator[Weights]:
    """Gradients of each sample's own loss by the weights, `[samples, *shape]`, some samples at a time.

    Samples are mapped over together; where the model cannot be (recurrent layers, `item`), one after another, slower.
    """
    loss_at(model, weights, batch, loss_fn)  # says what does not fit

    def loss(weights: Weights, x: Tensor, y: Tensor) -> Tensor:
        return loss_fn(_outputs(model, weights, x[None], loss_fn), y[None])

    def alone(x: Tensor, y: Tensor) -> Weights:
        leaves = _leaves(weights)
        with torch.enable_grad():
            return derivatives(loss(leaves, x, y), leaves)

    fixed = {name: w.detach() for name, w in weights.items()}
    for part in _parts(batch, sum(map(torch.numel, weights.values()))):
        with torch.no_grad():  # parameters that are not among the weights, such as embeddings, would keep a graph
            grads = _together(grad(loss), (None, 0, 0), fixed, *part)
        if grads is None:
            each = [alone(*sample) for sample in zip(*part, strict=True)]
            grads = {name: torch.stack([own[name] for own in each]) for name in weights}
        yield grads


def gauss_newton_rows(model: nn.Module, weights: Weights, batch: Batch, loss_fn: Loss) -> Iterator[Tensor]:
    """Rows `[rows, n]` whose sum of outer products, over the samples, is the Gauss-Newton matrix of the summed loss.

    The matrix is `sum of J' S J` with J the outputs' derivative by the n weights and S the loss's second derivative by
    the outputs; the rows of a sample are those of `S^(1/2) J`. Samples are taken as in `sample_gradients`.
    """
    loss_at(model, weights, batch, loss_fn)
    fixed = {name: w.detach() for name, w in weights.items()}

    def roots(outputs: Tensor, y: Tensor) -> Tensor:
        def loss(outputs: Tensor) -> Tensor:
            return loss_fn(outputs[None], y[None])

        second = jacrev(grad(loss))(outputs).reshape(outputs.numel(), -1)
        values, vectors = torch.linalg.eigh(second.to(torch.promote_types(second.dtype, torch.float32)))
        return (vectors * values.clamp_min(0).sqrt()).T.to(second.dtype).reshape(-1, *outputs.shape)

    def rows(x: Tensor, y: Tensor) -> Tensor:
        outputs, pull, *_ = vjp(lambda weights: _outputs(model, weights, x[None], loss_fn)[0], fixed)
        (pulled,) = vmap(pull)(roots(outputs, y))
        return torch.cat([pulled[name].flatten(1) for name in fixed], 1)

    def alone(x: Tensor, y: Tensor) -> Tensor:
        leaves = _leaves(weights)
        with torch.enable_grad():
            outputs = _outputs(model, leaves, x[None], loss_fn)[0]
        pulled = [derivatives(outputs, leaves, root, retain_graph=True) for root in roots(outputs.detach(), y)]
        return torch.stack([flat(grads) for grads in pulled])

    with torch.no_grad():
        outputs = _outputs(model, fixed, batch.inputs[:1], loss_fn)
    if not isinstance(outputs, Tensor):
        raise ValueError(
            "with your own loss, curvature='gauss-newton' needs outputs of one tensor; the model returns "
            f"{type(outputs).__name__}. Wrap the model, or pass curvature='exact'"
        )
    for part in _parts(batch, outputs.numel() * sum(map(torch.numel, weights.values()))):
        found = _together(rows, (0, 0), *part)
        if found is None:
            found = torch.stack([alone(*sample) for sample in zip(*part, strict=True)])
        yield found.flatten(0, 1)


def curvature_diagonal(model: nn.Module, weights: Weights, batch: Batch, loss_fn: Loss, kind: str) -> Weights:
    """The diagonal of the mean loss's second derivative by the weights, or of its Gauss-Newton matrix."""
    if check_choice("curvature", kind, KINDS) == "gauss-newton":
        total = sum(rows.square().sum(0) for rows in gauss_newton_rows(model, weights, batch, loss_fn))
        diagonal = torch.as_tensor(total) / len(batch.inputs)
    else:
        point, loss = flat(weights), _loss_by_point(model, weights, batch, loss_fn)
        units = torch.eye(len(point), dtype=point.dtype, device=point.device).split(max(CHUNK // len(point) ** 2, 1))
        with _second_derivatives():
            _, pull, *_ = vjp(grad(loss), point)
            diagonal = torch.cat([vmap(lambda unit: (pull(unit)[0] * unit).sum())(part) for part in units])
    return named(weights, diagonal)


def curvature_matrix(model: nn.Module, weights: Weights, batch: Batch, loss_fn: Loss, kind: str) -> Tensor:
    """The mean loss's second derivative `[n, n]` by all n weights, as `weights` stand, or its Gauss-Newton matrix."""
    if check_choice("curvature", kind, KINDS) == "gauss-newton":
        total = sum(rows.T @ rows for rows in map(Tensor.double, gauss_newton_rows(model, weights, batch, loss_fn)))
        return torch.as_tensor(total) / len(batch.inputs)
    with _second_derivatives():
        return jacrev(grad(_loss_by_point(model, weights, batch, loss_fn)))(flat(weights))


def flat(tensors: Weights) -> Tensor:
    """All numbers in one row."""
    return torch.cat([t.detach().reshape(-1) for t in tensors.values()])


def named(weights: Weights, row: Tensor) -> Weights:
    """A row of numbers in the weights' shapes, by name."""
    parts = row.split([w.numel() for w in weights.values()])
    return {name: part.reshape(w.shape) for (name, w), part in zip(weights.items(), parts, strict=True)}


def _together(function: Callable[..., Any], dims: tuple[int | None, ...], *arguments: Any) -> Any:
    """`function` mapped over the samples, or None where torch cannot map it."""
    with contextlib.suppress(RuntimeError), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")  # some functions are mapped slowly
        return vmap(function, dims)(*arguments)


def _leaves(weights: Weights) -> Weights:
    return {name: w.detach().clone().requires_grad_() for name, w in weights.items()}


@contextlib.contextmanager
def _second_derivatives() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ValueError(
            f"curvature='exact' needs second derivatives of the network, and torch cannot take them: {error}. "
            "Use curvature='gauss-newton'"
        ) from error


def _outputs(model: nn.Module, weights: Weights, inputs: Tensor, loss_fn: Loss) -> Any:
    return taken(loss_fn, functional_call(model, weights, (inputs,)))


def _loss_by_point(model: nn.Module, weights: Weights, batch: Batch, loss_fn: Loss) -> Callable[[Tensor], Tensor]:
    loss_at(model, weights, batch, loss_fn)  # says what does not fit
    return lambda point: loss_fn(_outputs(model, named(weights, point), batch.inputs, loss_fn), batch.targets)


def _parts(batch: Batch, each: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batch in parts of as many samples as fit, at `each` numbers a sample."""
    size = max(CHUNK // each, 1)
    return zip(batch.inputs.split(size), batch.targets.split(size), strict=True)
