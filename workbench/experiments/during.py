"""Pruning during training: gradual against one cut, sparse training that grows and drops, filters, n:m."""

from typing import Any

from workbench.experiments.common import SEEDS, gap, size, start
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import dense
from workbench.methods import method
from workbench.metrics import evaluate, macs
from workbench.models import prunable
from workbench.recipes import recipe
from workbench.train import train


def arguments(name: str, model: Any, sparsity: float, **options: Any) -> dict[str, Any]:
    """What a method gives to `train`; "dense" prunes nothing, "static" keeps SET's random masks as they are."""
    if name == "dense":
        return {"masks": dense(model)}
    if name == "static":
        return {"masks": method("set", model, sparsity, **options)["masks"]}
    return method(name, model, sparsity, **options)


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
    """Train once, prune on the way, measure once on the test split.

    The schedule is `times` the recipe's epochs. The other options are those of the method.

    >>> row = prune_while_training("static", seed=0, sparsity=0.98)
    >>> row["kept"], row["flips"]
    (1004, 0)
    """
    task, model, _ = start(data, network, seed)
    told = {"allocation": allocation, "every": every, "stop": stop, "schedule": schedule, "strength": strength}
    options = {option: value for option, value in told.items() if value is not None}
    how = arguments(name, model, sparsity, **options)
    epochs = times * recipe(task, model).epochs
    rows = train(model, task, epochs=epochs, seed=seed, fast=False, **how)
    masks = {n: rows[-1].state().masks[n] for n in prunable(model)}
    example = task.take("val", slice(1)).inputs
    return {"accuracy": evaluate(model, task, masks, "test")["accuracy"], **size(masks)}
