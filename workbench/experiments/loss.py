"""The rise of the loss that the removal of weights causes, measured on a tiny trained network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from workbench.criteria import score
from workbench.criteria.curvature import curvature_diagonal, curvature_matrix, flat, named
from workbench.data import load
from workbench.experiments.common import SEEDS
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import apply_masks_, keep_top
from workbench.methods.obs import remove_weights
from workbench.models import prunable
from workbench.seeds import seeded
from workbench.train import snapshot
from workbench.types import Batch

if TYPE_CHECKING:
    import pandas as pd


@experiment(
    "loss",
    grids=[{"criterion": ["magnitude", "taylor", "fisher", "obd", "obs"], "sparsity": [0.1, 0.3, 0.5], "seed": SEEDS}],
)
def loss_rise(criterion: str, seed: int, sparsity: float = 0.3) -> dict[str, float]:
    """Rise of the training loss of a tiny trained network when weights are removed at once; moons, 2-12-12-2.

    "obs" takes them out one by one and corrects all others, in the curvature of the start; the other criteria cut once.
    All see the training set; curvature by Gauss-Newton, float64.

    >>> loss_rise("magnitude", seed=0)["rise"] > 0
    True
    """
    model, batch = _tiny(seed)
    before = _loss(model, batch)
    count = math.floor(sparsity * sum(w.numel() for w in prunable(model).values()) + 0.5)
    if criterion == "obs":
        _, weights = remove_weights(model, batch, count, damp=1e-4)
        model.load_state_dict({**model.state_dict(), **weights})
    else:
        apply_masks_(model, keep_top(score(model, batch, criterion, seed=seed), sparsity))
    return {"rise": _loss(model, batch) - before, "dense": before}


def _tiny(seed: int) -> tuple[nn.Module, Batch]:
    """The trained network and its training set."""
    inputs, targets = load("moons", device="cpu").take("train")
    batch = Batch(inputs.double(), targets)
    with seeded(seed):
        model = nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 2)).double()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch.inputs), batch.targets)
        loss = loss + 1e-4 * sum(w.square().sum() for w in prunable(model).values())
        loss.backward()
        return loss

    optimizer.step(closure)
    return model, batch


@torch.no_grad()
def _loss(model: nn.Module, batch: Batch) -> float:
    return float(nn.functional.cross_entropy(model.eval()(batch.inputs), batch.targets))


@reading("surgeon-first", of="loss")
def gaps_in_rise(rows: Rows) -> Effects:
    """The gaps OBD - OBS and magnitude - OBD in log10 of the loss's rise, mean over the sparsities."""
    rises = rows.pivot(columns=["criterion", "sparsity"], values="rise").clip(lower=1e-6).map(math.log10)
    mean = rises.T.groupby("criterion").mean().T
    return {"OBD - OBS": mean["obd"] - mean["obs"], "magnitude - OBD": mean["magnitude"] - mean["obd"]}


# A network at a minimum, where the theory of loss change holds: what each criterion predicts there, and what happens

PENALTY = 3e-4
"""Without a penalty the loss of separable data has no minimum: the weights grow for ever."""


class Minimum(NamedTuple):
    """A network at a minimum of `penalised`, the points it fits, and how exact the minimum is."""

    model: nn.Module
    batch: Batch
    facts: dict[str, float]


def penalised(model: nn.Module, batch: Batch) -> Tensor:
    """The objective `J = L + PENALTY / 2 * |w|^2`, L the cross entropy, over all parameters, biases too."""
    squares = torch.stack([parameter.square().sum() for parameter in model.parameters()]).sum()
    return nn.functional.cross_entropy(model(batch.inputs), batch.targets) + PENALTY / 2 * squares


def at_minimum(seed: int, width: int = 8, points: int = 300) -> Minimum:
    """A network 2-width-width-4 with tanh, in float64, at a minimum of `penalised` on `points` of the spirals.

    BFGS, then a trust region with the exact Hessian, until no slope is above 1e-10. `seed` draws points and weights.

    >>> at_minimum(0, width=3, points=20).facts["lowest eigenvalue"] > 0
    True
    """
    from scipy.optimize import minimize

    with seeded(seed):
        layers = [nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 4)]
    model, drawn = nn.Sequential(*layers).double(), load("spirals", device="cpu").batch(points, seed=seed)
    batch = Batch(drawn.inputs.double(), drawn.targets)
    parameters = list(model.parameters())

    def slope(vector: Any) -> tuple[float, Any]:
        vector_to_parameters(torch.from_numpy(vector), parameters)
        value = penalised(model, batch)
        return value.item(), parameters_to_vector(torch.autograd.grad(value, parameters)).numpy()

    def curvature(vector: Any) -> Any:
        weights = named(dict(model.named_parameters()), torch.from_numpy(vector))
        loss = curvature_matrix(model, weights, batch, nn.functional.cross_entropy, "exact").detach()
        return (loss + PENALTY * torch.eye(len(loss), dtype=loss.dtype)).numpy()

    start = parameters_to_vector(parameters).detach().numpy()
    near = minimize(slope, start, jac=True, method="BFGS", options={"gtol": 1e-5, "maxiter": 3000})
    end = minimize(slope, near.x, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-10})
    slope(end.x)
    sizes = flat(dict(prunable(model))).abs()
    lowest = float(torch.linalg.eigvalsh(torch.from_numpy(curvature(end.x)))[0])
    facts = {"J": float(end.fun), "largest slope": float(abs(end.jac).max()), "lowest eigenvalue": lowest}
    different = len((1e4 * sizes).round().unique())  # units that are copies of each other would show here
    return Minimum(model, batch, {**facts, "weights": len(sizes), "different sizes": different})


@torch.no_grad()
def rise(minimum: Minimum, row: Tensor) -> float:
    """How much higher `penalised` is with the prunable weights `row` (all in one row); biases stay."""
    model, kept = minimum.model, snapshot(minimum.model)
    before = penalised(model, minimum.batch)
    model.load_state_dict(kept | named(dict(prunable(model)), row))
    after = penalised(model, minimum.batch)
    model.load_state_dict(kept)
    return float(after - before)


def one_by_one(minimum: Minimum) -> pd.DataFrame:
    """Predicted and measured rise of `penalised` for each weight removed alone: a row for each criterion and weight.

    The scores on one scale: magnitude with the mean curvature for all weights, taylor as |w g|, the others with the
    penalty's own curvature; OBD and OBS take the exact Hessian. For OBS the other weights are corrected first.
    """
    import pandas as pd

    (model, batch, _), loss = minimum, nn.functional.cross_entropy
    weights: dict[str, Tensor] = dict(prunable(model))
    w, h = flat(weights), flat(curvature_diagonal(model, weights, batch, loss, "exact"))
    unit = torch.eye(len(w), dtype=w.dtype)
    back = torch.linalg.inv(curvature_matrix(model, weights, batch, loss, "exact").detach() + PENALTY * unit)
    half, scores = w.square() / 2, {name: flat(score(model, batch, name)) for name in ("snip", "fisher")}
    predicted = {"magnitude": (h.mean() + PENALTY) * half, "taylor": scores["snip"]}
    predicted |= {"fisher": scores["fisher"] + PENALTY * half, "obd": (h + PENALTY) * half}
    predicted["obs"] = half / back.diagonal()
    alone = [rise(minimum, w - w[q] * unit[q]) for q in range(len(w))]
    moved = [rise(minimum, w - w[q] * back[:, q] / back[q, q]) for q in range(len(w))]
    return pd.concat(
        pd.DataFrame({"criterion": name, "weight": range(len(w)), "predicted rise": values.tolist()}).assign(
            **{"measured rise": moved if name == "obs" else alone}
        )
        for name, values in predicted.items()
    )


def cuts(minimum: Minimum, sparsity: float, seed: int = 0) -> dict[str, Tensor]:
    """The weights, all in one row, that each way to remove a share of them leaves.

    "obs" removes one weight after the other, each with its correction; "obs, scores only" cuts by the same scores;
    "magnitude, corrected" removes what magnitude chooses, R, and moves the others by `-H^-1_.R (H^-1_RR)^-1 w_R`.
    H is the Gauss-Newton matrix with the penalty's curvature.
    """
    model, batch, _ = minimum
    weights: dict[str, Tensor] = dict(prunable(model))
    point, unit = flat(weights), torch.eye(sum(w.numel() for w in weights.values()), dtype=torch.float64)
    matrix = curvature_matrix(model, weights, batch, nn.functional.cross_entropy, "gauss-newton").detach()
    damp = float(PENALTY / matrix.diagonal().mean())
    scores = {name: score(model, batch, name, seed=seed) for name in ("random", "magnitude", "fisher", "obd")}
    scores["obs, scores only"] = score(model, batch, "obs", damp=damp)
    kept = {name: flat(keep_top(found, sparsity)) for name, found in scores.items()}
    left = {name: point * mask for name, mask in kept.items()}
    gone, back = ~kept["magnitude"], torch.linalg.inv(matrix + PENALTY * unit)
    step = back[:, gone] @ torch.linalg.solve(back[gone][:, gone], point[gone])
    left["magnitude, corrected"] = torch.where(gone, 0.0, point - step)
    return left | {"obs": flat(remove_weights(model, batch, int(gone.sum()), damp=damp)[1])}
