"""Pruning during training: gradual against one cut, sparse networks that grow and drop, filters, n:m."""

import math
from typing import Any

from torch import nn

from workbench.experiments.common import SEEDS, gap, size, start
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import dense
from workbench.methods import method
from workbench.methods.registry import METHODS
from workbench.metrics import evaluate
from workbench.models import prunable
from workbench.recipes import recipe
from workbench.recording import Recording
from workbench.train import steps

WEIGHTS = ["dpf", "dsr", "gradual", "l0", "rigl", "set", "snfs", "static", "top-kast"]
VGG: dict[str, list[Any]] = {"network": ["vgg"], "seed": SEEDS}


def arguments(name: str, model: nn.Module, sparsity: float, **options: Any) -> dict[str, Any]:
    """What a method gives to `steps`; "dense" prunes nothing, "static" keeps SET's random masks as they are."""
    if name == "dense":
        return {"masks": dense(model)}
    if name == "static":
        return {"masks": method("set", model, sparsity, **options)["masks"]}
    return method(name, model, sparsity, **options)


ONE_CUT = 100_000
"""More steps between changes than a training has: only the final cut is left."""


# Methods for single weights, as they are registered, against random masks that never change and the dense network.
@experiment(
    "during",
    grids=[
        {"name": ["dense"], "sparsity": [0.0], "seed": SEEDS},
        {"name": WEIGHTS, "sparsity": [0.98], "seed": SEEDS},
        {"name": ["str"], "sparsity": [0.98], "strength": [0.1], "seed": SEEDS},  # chosen on seed 100
        {"name": ["rigl", "set"], "sparsity": [0.98], "times": [5], "seed": SEEDS},
    ],
)
@experiment(
    "gradual",
    grids=[
        {"name": ["gradual"], "sparsity": [0.95], "schedule": ["cubic", "linear"], "seed": SEEDS},
        {"name": ["gradual"], "sparsity": [0.95], "every": [ONE_CUT], "stop": [0.25, 0.5, 0.75], "seed": SEEDS},
    ],
)
# Every 10 steps, because the training has 228.
@experiment("erk", grids=[{"name": ["rigl"], "sparsity": [0.95], "allocation": ["erk", "layer"], "every": [10], **VGG}])
@experiment("soft", grids=[{"name": ["hard-filter", "soft-filter"], "sparsity": [0.4], **VGG}])
@experiment(
    "n-of-m",
    grids=[
        {"name": ["dense"], "sparsity": [0.0], **VGG},
        {"name": ["ste"], "sparsity": [0.5], **VGG},
        {"name": ["sr-ste"], "sparsity": [0.5], "strength": [0.02], **VGG},
    ],
)
def prune_while_training(
    name: str,
    seed: int,
    sparsity: float,
    data: str = "digits",
    network: str = "lenet-300-100",
    times: int = 1,
    allocation: str | None = None,
    every: int | None = None,
    stop: float | None = None,
    schedule: str | None = None,
    strength: float | None = None,
) -> dict[str, float]:
    """Train once, `times` the recipe's epochs, prune on the way, measure once on the test split.

    The other arguments are options of the method; None leaves its default. `flips` counts weights that were removed or
    came back, `late` those in the last quarter of the training; `training` is the MACs of the training, `macs` of the
    network after it, both as a share of the dense one's.

    >>> row = prune_while_training("static", seed=0, sparsity=0.98)
    >>> row["kept"], row["flips"], round(row["training"], 3)
    (1004, 0, 0.02)
    """
    task, model, _ = start(data, network, seed)
    told = {"allocation": allocation, "every": every, "stop": stop, "schedule": schedule, "strength": strength}
    options = {option: value for option, value in told.items() if value is not None}
    film = Recording(model, task, gradients=METHODS[name].gradients if name in METHODS else "kept")
    epochs = times * recipe(task, model).epochs
    how = arguments(name, model, sparsity, **options)
    *_, last = film.watch(steps(model, task, epochs=epochs, seed=seed, fast=False, **how))
    found = size(dense(model) | {n: mask for n, mask in last.masks.items() if n in prunable(model)})
    flips = film.layers.groupby("at")[["born", "died"]].sum().sum(axis=1)
    ledger = film.ledger()
    return {
        "accuracy": evaluate(model, task, last.masks, "test")["accuracy"],
        "kept": found["kept"],
        "dead": found["dead"],
        "flips": int(flips.sum()),
        "late": int(flips[flips.index > 0.75 * len(film.steps)].sum()),
        "training": ledger["training_macs"] / ledger["training_macs_dense"],
        "macs": ledger["inference_macs"] / ledger["inference_macs_dense"],
    }


@reading("growth-by-gradient", of="during")
def grown_over_random(rows: Rows) -> Effects:
    """RigL over SET, and SET over masks that never change, in equally long trainings."""
    arms = rows[(rows["sparsity"] == 0.98) & (rows["times"] == 1)].pivot(columns="name", values="accuracy")
    return {"rigl - set": arms["rigl"] - arms["set"], "set - static": arms["set"] - arms["static"]}


@reading("longer-sparse-training", of="during")
def longer_minus_as_long(rows: Rows) -> Effects:
    arms = rows[rows["name"].isin(["rigl", "set"]) & (rows["sparsity"] == 0.98)]
    arms = arms.pivot(columns=["name", "times"], values="accuracy")
    return {name: arms[name, 5] - arms[name, 1] for name in ("rigl", "set")}


@reading("gradual-over-one-cut", of="gradual")
def gradual_minus_one_cut(rows: Rows) -> Effects:
    """The cubic schedule minus one cut after each of three shares of the training."""
    cuts = rows[rows["every"] == ONE_CUT].pivot(columns="stop", values="accuracy")
    return cuts.rsub(rows[rows["schedule"] == "cubic"]["accuracy"], axis=0)


reading("erk-over-uniform", of="erk", arm="allocation", a="erk", b="layer")(gap)
reading("soft-over-hard", of="soft", arm="name", a="soft-filter", b="hard-filter")(gap)
reading("sr-ste-reaches-dense", of="n-of-m", arm="name", a="sr-ste", b="dense")(gap)
reading("sr-ste-over-ste", of="n-of-m", arm="name", a="sr-ste", b="ste")(gap)


@reading("erk-costs-more", of="erk")
def macs_of_erk_over_uniform(rows: Rows) -> Effects:
    found = rows.pivot(columns="allocation", values="macs")
    return found["erk"] / found["layer"]


@reading("sr-ste-settles", of="n-of-m")
def log_flips(rows: Rows) -> Effects:
    found = rows.pivot(columns="name", values="flips")
    return (found["sr-ste"] / found["ste"]).map(math.log10)
