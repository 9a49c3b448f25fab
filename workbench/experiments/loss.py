"""The rise of the loss that the removal of weights causes, measured on a tiny trained network."""

import math

import torch
from torch import Tensor, nn

from workbench.criteria import score
from workbench.data import load
from workbench.experiments.common import SEEDS
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import apply_masks_, keep_top
from workbench.methods.obs import remove_weights
from workbench.models import prunable
from workbench.seeds import seeded
from workbench.types import Batch


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
