"""Criteria that score weights."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import numpy as np
import torch
from scipy import linalg
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev
from torch.nn import functional
from torch.nn.utils import prune

import workbench as wb
from parity import parity
from parity.nets import apart, draw, flat, loss_of, mlp, relative, small, weights_of
from workbench.methods.obs import remove_weights
from workbench.seeds import generator


@parity("magnitude", "torch.nn.utils.prune.L1Unstructured: masks at 49 sparsities")
def magnitude() -> float:
    weight = torch.randn(20, 5, generator=draw())
    layer = nn.Linear(5, 20, bias=False)
    layer.weight.data = weight
    scores = wb.score(layer, None, "magnitude")
    wrong = 0
    for removed in range(1, 99, 2):
        theirs = prune.L1Unstructured(amount=removed).compute_mask(weight, torch.ones_like(weight)).bool()
        wrong += int((theirs != wb.keep_top(scores, removed / 100)["weight"]).sum())
    return float(wrong)


def by_masks(model: nn.Module, batch: wb.Batch, at: dict[str, Tensor]) -> dict[str, Tensor]:
    weights, loss = weights_of(model), loss_of(model, batch)
    slopes = grad(lambda masks: loss({name: masks[name] * w for name, w in weights.items()}))(at)
    return {name: slope.abs() for name, slope in slopes.items()}


@parity("snip", "torch.func: |dL/dm| with the masks as variables")
def snip() -> float:
    model, batch = small()
    ones = {name: torch.ones_like(w) for name, w in weights_of(model).items()}
    return apart(wb.score(model, batch, "snip", bn="running"), by_masks(model, batch, ones))


@parity("force", "torch.func: |dL/dm| at the masks of the round before, three rounds, all weights free to return")
def force() -> float:
    model, batch = small()
    at = {name: torch.ones_like(w) for name, w in weights_of(model).items()}
    total, worst = 0, 0.0
    for k, _, found in wb.rounds(model, batch, "force", 0.8, rounds=3, bn="running"):
        expected = by_masks(model, batch, at)
        masks = {name: mask.bool() for name, mask in at.items()}
        worst = max(worst, apart(wb.score(model, batch, "force", masks=masks, bn="running"), expected))
        order = flat(expected).argsort(descending=True, stable=True)
        total = len(order)
        kept = torch.zeros(total)
        kept[order[: total - int(total * (1 - 0.2 ** (k / 3)) + 0.5)]] = 1.0
        parts = kept.double().split([m.numel() for m in at.values()])
        at = {name: part.reshape(m.shape) for (name, m), part in zip(at.items(), parts, strict=True)}
        worst = max(worst, apart({n: m.double() for n, m in found.items()}, at))
    return worst


@parity("grasp", "torch.func: the whole Hessian times the gradient, temperature 200")
def grasp() -> float:
    model, batch = small()
    weights, loss = weights_of(model), loss_of(model, batch, 200.0)
    slopes, second = grad(loss)(weights), jacrev(grad(loss))(weights)
    expected = {}
    for a, w in weights.items():
        product = sum(torch.tensordot(second[a][b], slopes[b], dims=slopes[b].ndim) for b in weights)
        expected[a] = w * product
    return apart(wb.score(model, batch, "grasp", bn="running"), expected)


@parity("synflow", "sum over all paths of a 3-4-2-3 network, path by path")
def synflow() -> float:
    model = mlp(3, 4, 2, 3)
    weights = [w.abs().numpy() for w in weights_of(model).values()]
    expected = [np.zeros_like(w) for w in weights]
    for path in itertools.product(range(3), range(4), range(2), range(3)):
        steps = list(itertools.pairwise(path))
        flow = np.prod([w[j, i] for w, (i, j) in zip(weights, steps, strict=True)])
        for total, (i, j) in zip(expected, steps, strict=True):
            total[j, i] += flow
    scores = wb.score(model, wb.Batch(torch.ones(1, 3), torch.zeros(1)), "synflow")
    return apart(scores, {n: torch.from_numpy(e) for n, e in zip(scores, expected, strict=True)})


@parity("lamp", "numpy: the definition by two loops")
def lamp() -> float:
    model = mlp(3, 4, 2)
    expected = {}
    for name, w in weights_of(model).items():
        square = w.numpy().reshape(-1) ** 2
        above = [[v for v in square if v >= u] for u in square]
        expected[name] = torch.tensor([u / sum(vs) for u, vs in zip(square, above, strict=True)]).reshape(w.shape)
    return apart(wb.score(model, None, "lamp"), expected)


@parity("fisher", "torch.autograd: a backward pass for each sample")
def fisher() -> float:
    model, batch = small()
    expected = {name: torch.zeros_like(w) for name, w in weights_of(model).items()}
    for x, y in zip(*batch, strict=True):
        model.zero_grad()
        functional.cross_entropy(model(x[None]), y[None]).backward()
        for name, w in wb.prunable(model).items():
            expected[name] += (w.detach() * w.grad).square() / 2 / len(batch.inputs)
    return apart(wb.score(model, batch, "fisher"), expected)


@parity("obd", "torch.func: the diagonal of the whole Hessian (exact curvature)")
def obd_exact() -> float:
    model, batch = small()
    weights, second = weights_of(model), jacrev(grad(loss_of(model, batch)))(weights_of(model))
    expected = {}
    for name, w in weights.items():
        matrix = second[name][name].reshape(w.numel(), w.numel())
        expected[name] = w.square() * matrix.diagonal().reshape(w.shape) / 2
    return apart(wb.score(model, batch, "obd", curvature="exact"), expected)


def gauss_newton(model: nn.Module, batch: wb.Batch) -> Tensor:
    """The mean of J' (diag(p) - p p') J, J by torch.func.jacrev."""
    weights = weights_of(model)
    total: Tensor | float = 0.0
    model.requires_grad_(False)
    for x in batch.inputs:
        jacobian = jacrev(lambda weights, x=x: functional_call(model, weights, (x[None],))[0])(weights)
        rows = torch.cat([part.flatten(1) for part in jacobian.values()], 1)
        p = functional_call(model, weights, (x[None],))[0].softmax(0)
        total = total + rows.T @ (torch.diag(p) - torch.outer(p, p)) @ rows
    return torch.as_tensor(total) / len(batch.inputs)


@parity("obd", "torch.func.jacrev: the diagonal of J' (diag(p) - p p') J (Gauss-Newton curvature)")
def obd_gauss_newton() -> float:
    model, batch = small()
    expected = flat(weights_of(model)).square() * gauss_newton(model, batch).diagonal() / 2
    return relative(flat(wb.score(model, batch, "obd")), expected)


@parity("obs", "SciPy: the inverse of the damped Gauss-Newton matrix")
def obs_inverse() -> float:
    model, batch = small()
    matrix = gauss_newton(model, batch).numpy()
    inverse = linalg.inv(matrix + 0.01 * matrix.diagonal().mean() * np.eye(len(matrix)))
    expected = flat(weights_of(model)).numpy() ** 2 / (2 * inverse.diagonal())
    return relative(flat(wb.score(model, batch, "obs", damp=0.01)), torch.from_numpy(expected))


def regression() -> tuple[nn.Module, wb.Batch, np.ndarray, np.ndarray]:
    """Six weights at the minimum of a mean squared error."""
    x = torch.randn(40, 6, generator=draw(5), dtype=torch.float64) @ torch.randn(6, 6, generator=draw(6)).double()
    y = torch.randn(40, 1, generator=draw(7), dtype=torch.float64)
    model = nn.Linear(6, 1, bias=False).double()
    model.weight.data = torch.linalg.lstsq(x, y).solution.T.contiguous()
    return model, wb.Batch(x, y), x.numpy(), y.numpy()


def refit(x: np.ndarray, y: np.ndarray, kept: list[int]) -> tuple[np.ndarray, float]:
    """The best weights with all others 0, by SciPy's least squares, and half their mean squared error."""
    solution = np.zeros((x.shape[1], 1))
    if kept:
        solution[kept] = linalg.lstsq(x[:, kept], y)[0]
    return solution, float(((x @ solution - y) ** 2).mean() / 2)


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean() / 2


@parity("obs", "SciPy lstsq: the loss's rise when a weight is left out and the others are fitted again, all six")
def obs_rise() -> float:
    model, batch, x, y = regression()
    scores = wb.score(model, batch, "obs", loss_fn=half_square, damp=0.0)["weight"][0]
    least = refit(x, y, list(range(6)))[1]
    rises = [refit(x, y, [i for i in range(6) if i != q])[1] - least for q in range(6)]
    return relative(scores, torch.tensor(rises, dtype=torch.float64))


@parity("obs", "brute force over all subsets of six weights: what is removed, and the corrected weights by SciPy lstsq")
def obs_removal() -> float:
    model, batch, x, y = regression()
    worst = 0.0
    for count in range(6):
        masks, weights = remove_weights(model, batch, count, loss_fn=half_square, damp=0.0)
        kept = masks["weight"][0].nonzero().reshape(-1).tolist()
        solution, loss = refit(x, y, kept)
        worst = max(worst, float(np.abs(weights["weight"].numpy().T - solution).max()))
        if count == 1:  # one removal is the best of all; later ones are the best given the earlier
            best = min(refit(x, y, list(c))[1] for c in itertools.combinations(range(6), 5))
            worst = max(worst, abs(loss - best))
    return worst


@parity("prospr", "central finite differences of the loss after three steps, by each weight's mask")
def prospr() -> float:
    model, batch = small()
    twin = copy.deepcopy(model)
    twin[1].running_mean = twin[1].running_var = None  # such a norm takes the batch's statistics
    weights = weights_of(model)
    others = {name: p.detach() for name, p in model.named_parameters() if name not in weights}

    def loss(now: dict[str, Tensor]) -> Tensor:
        return functional.cross_entropy(functional_call(twin, now, (batch.inputs,)), batch.targets)

    def after(masks: Tensor) -> float:
        parts = masks.split([w.numel() for w in weights.values()])
        now = {name: part.reshape(w.shape) * w for (name, w), part in zip(weights.items(), parts, strict=True)}
        now |= others
        for _ in range(3):
            slopes = grad(loss)(now)
            now = {name: w - 0.1 * slopes[name] for name, w in now.items()}
        return float(loss(now).detach())

    return _differences(after, flat(wb.score(model, batch, "prospr")))


@parity("ntk-sap", "central finite differences of the mean output shift, by each weight's mask, with the same draws")
def ntk_sap() -> float:
    model, batch = small()
    shapes = {name: w.shape for name, w in weights_of(model).items()}
    stream = generator(9, "scores")
    inputs = torch.randn(16, 2, 6, 6, generator=stream).double()
    drawn = {name: torch.randn(shape, generator=stream).double() for name, shape in shapes.items()}
    deviations = {name: w.numpy().std() for name, w in weights_of(model).items()}
    drawn = {name: value * deviations[name] for name, value in drawn.items()}
    moved = {name: value + 0.01 * torch.randn(value.shape, generator=stream).double() for name, value in drawn.items()}
    twin = copy.deepcopy(model).eval()
    maps = (
        functional_call(model[0], {"weight": drawn["0.weight"]}, (inputs,)).transpose(0, 1).flatten(1).detach().numpy()
    )
    twin[1].running_mean = torch.from_numpy(maps.mean(1))
    twin[1].running_var = torch.from_numpy(maps.var(1, ddof=1))

    def shift(masks: Tensor) -> float:
        parts = dict(zip(shapes, masks.split([s.numel() for s in shapes.values()]), strict=True))
        one, two = (
            functional_call(twin, {n: parts[n].reshape(w.shape) * w for n, w in weights.items()}, (inputs,))
            for weights in (drawn, moved)
        )
        return float((one - two).square().sum().detach())

    scores = flat(wb.score(model, batch, "ntk-sap", seed=9, samples=16))
    return _differences(shift, scores)


def _differences(function: Callable[[Tensor], float], scores: Tensor, step: float = 1e-5) -> float:
    """How far the scores are from |central differences| at masks of 1."""
    slopes = []
    for index in range(len(scores)):
        up, down = torch.ones(2, len(scores), dtype=torch.float64)
        up[index] += step
        down[index] -= step
        slopes.append(abs(function(up) - function(down)) / (2 * step))
    return relative(scores, torch.tensor(slopes, dtype=torch.float64))


@parity("taylor", "torch.func: (w dL/dw)^2 with the gradient by the weights themselves")
def taylor() -> float:
    model, batch = small()
    weights = weights_of(model)
    slopes = grad(loss_of(model, batch))(weights)
    expected = {name: (w * slopes[name]).square() for name, w in weights.items()}
    return apart(wb.score(model, batch, "taylor", bn="running"), expected)
