"""Pruning before training: accuracy against compression, sanity checks of the masks, random masks, width."""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from workbench.allocation import allocations
from workbench.criteria import criteria, score
from workbench.data import Task
from workbench.data.registry import SOURCES
from workbench.experiments.common import BOTH, SEEDS, authors, chosen, gap, size, start
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import find_masks, keep_top
from workbench.metrics import effective_sparsity, evaluate
from workbench.models import make, networks
from workbench.recipes import recipe
from workbench.seeds import generator
from workbench.states import Record
from workbench.sweeps import Point, batched, checked
from workbench.together import train_together
from workbench.train import train
from workbench.types import Batch, Masks, check_choice

BEFORE = ["snip", "grasp", "synflow"]
CHANGES = ("invert", "none", "random labels", "reinitialise", "shuffle")
PLAIN = ["none", "shuffle", "reinitialise"]
COMPRESSIONS = [10, 30, 100, 300, 1000, 3000, 10000, 30000]
FORMULAS = ["erk", "smart-ratio", "layer"]
WIDTHS = [0.25, 0.5, 1.0, 2.0]
FEW = [5, 20, 100]
MIDDLE = [30, 100, 300, 1000]


def names_known(
    criterion: str,
    compression: float,
    allocation: str = "global",
    data: str = "digits",
    network: str = "vgg",
    lr: float | None = None,
    **_: Any,
) -> None:
    """Raise ValueError where an argument of `prune_then_train` names nothing."""
    check_choice("criterion", criterion, criteria())
    check_choice("allocation", allocation, allocations())
    check_choice("data", data, SOURCES)
    check_choice("network", network, networks())
    if not compression >= 1:
        raise ValueError(f"compression is prunable / kept weights, at least 1; got {compression!r}. 10 keeps a tenth")
    if lr is not None and not lr > 0:
        raise ValueError(f"lr is more than 0, or None for that of the recipe; got {lr!r}")


# Accuracy against compression, vgg on digits; compression 1 is the dense network.
@experiment(
    "headline",
    grids=[
        {"criterion": ["magnitude"], "compression": [1], "seed": SEEDS},
        {"criterion": ["random", "magnitude"], "compression": COMPRESSIONS, "seed": SEEDS},
        {"criterion": ["snip"], "bn": BOTH, "compression": COMPRESSIONS, "seed": SEEDS},
        {"criterion": ["grasp"], "bn": ["batch"], "compression": COMPRESSIONS, "seed": SEEDS},
        {"criterion": ["synflow"], "compression": COMPRESSIONS, "rounds": [100], "seed": SEEDS},
    ],
)
# The same for the criteria that came after these.
@experiment(
    "successors",
    grids=[
        {"criterion": ["force"], "bn": ["batch"], "compression": COMPRESSIONS, "rounds": [20], "seed": SEEDS},
        {"criterion": ["ntk-sap"], "compression": COMPRESSIONS, "rounds": [20], "seed": SEEDS},
        {"criterion": ["prospr"], "compression": COMPRESSIONS, "seed": SEEDS},
    ],
)
# Under the other statistics than those of the authors' code, and in 20 rounds.
@experiment(
    "statistics",
    grids=[
        {"criterion": ["snip"], "compression": MIDDLE, "rounds": [20], "bn": ["running"], "seed": SEEDS},
        {"criterion": ["grasp"], "compression": MIDDLE, "rounds": [1, 20], "bn": ["running"], "seed": SEEDS},
    ],
)
# What masks owe to their places, to the weights and to the labels.
@experiment(
    "sanity",
    grids=[
        {"criterion": ["snip"], "bn": ["running"], "change": CHANGES, "compression": FEW, "seed": SEEDS},
        {"criterion": ["grasp"], "bn": ["batch"], "change": CHANGES, "compression": FEW, "seed": SEEDS},
        {"criterion": ["synflow"], "rounds": [100], "change": PLAIN, "compression": FEW, "seed": SEEDS},
        {"criterion": ["magnitude"], "change": [*PLAIN, "invert"], "compression": FEW, "seed": SEEDS},
    ],
)
# Random masks whose layer densities come from a formula.
@experiment(
    "allocated", grids=[{"criterion": ["random"], "compression": [10, *MIDDLE], "allocation": FORMULAS, "seed": SEEDS}]
)
# Dense and randomly pruned networks of growing width.
@experiment(
    "width",
    grids=[{"criterion": ["random"], "compression": [1, 5, 20], "allocation": ["erk"], "width": WIDTHS, "seed": SEEDS}],
)
@checked(names_known)
def prune_then_train(
    criterion: str,
    compression: float,
    seed: int,
    rounds: int = 1,
    allocation: str = "global",
    data: str = "digits",
    network: str = "vgg",
    epochs: int | None = None,
    change: str = "none",
    width: float = 1.0,
    device: str = "cpu",
    bn: str | None = None,
    lr: float | None = None,
) -> dict[str, float]:
    """Prune a fresh network at initialisation, train it by its recipe, measure it once on the test split.

    `seed` draws the weights, the batch that scores (10 a class), random scores and the order of data. `dead` counts
    layers without a weight. Where the `effective` sparsity is 1, no path leads from input to output: the network is a
    constant and is measured as it is, after 0 steps. `width` multiplies the channels of every hidden layer; `bn` is
    the BatchNorm statistics that the criterion sees (None: its authors'); `lr` is the rate of the training (None: that
    of the recipe).

    `change` asks what the masks owe to their weights and data (Su et al. 2020, arXiv:2009.11094; Frankle et al. 2021,
    arXiv:2009.08576): "shuffle" permutes each layer's mask, "reinitialise" draws the weights again before training,
    "invert" keeps the lowest scores, "random labels" gives the criterion labels in a random order.
    Misleads at one seed: on the 300 test digits one image is 0.33 points.

    >>> row = prune_then_train("snip", compression=10, seed=0, epochs=1)
    >>> row["kept"], row["dead"]
    (29403, 0)
    """
    run = _pruned(criterion, compression, seed, rounds, allocation, data, network, change, width, device, bn, lr)
    steps = 0
    if run.effective < 1:
        steps = len(train(run.model, run.task, masks=run.masks, epochs=epochs, seed=seed, lr=run.lr, fast=False))
    return _measured(run, steps)


@batched(prune_then_train, over=["criterion", "compression", "seed", "rounds", "allocation", "change", "bn", "lr"])
def prune_then_train_together(points: list[Point]) -> list[dict[str, float] | Exception]:
    """`prune_then_train` at several points: the networks are pruned one by one, and trained in one computation.

    >>> points = [{"criterion": "random", "compression": c, "seed": 0, "epochs": 1} for c in (1, 10)]
    >>> [row["kept"] for row in prune_then_train_together(points)]
    [294032, 29403]
    """
    runs = [_tried(point) for point in points]
    going = [run for run in runs if isinstance(run, Pruned) and run.effective < 1]
    records: list[Record] = []
    if going:
        models, task = [run.model for run in going], going[0].task
        masks, seeds, lr = [run.masks for run in going], [run.seed for run in going], [run.lr for run in going]
        records = train_together(models, task, masks=masks, seeds=seeds, lr=lr, epochs=points[0].get("epochs"))
    left = iter(records)
    return [
        run if isinstance(run, Exception) else _row(run, next(left) if run.effective < 1 else {"step": 0})
        for run in runs
    ]


class Pruned(NamedTuple):
    """A network before its training, with its masks, and how sparse these are in effect."""

    task: Task
    model: nn.Module
    masks: Masks
    effective: float
    seed: int
    lr: float


def _pruned(
    criterion: str,
    compression: float,
    seed: int,
    rounds: int,
    allocation: str,
    data: str,
    network: str,
    change: str,
    width: float,
    device: str,
    bn: str | None,
    lr: float | None,
) -> Pruned:
    """What `prune_then_train` trains."""
    check_choice("change", change, CHANGES)
    task, model, batch = start(data, network, seed, width, device)
    sparsity = 1 - 1 / compression
    if change == "random labels":
        batch = shuffled_labels(batch, seed)
    if change == "invert":
        if rounds > 1:
            raise ValueError(f"scores are inverted in one round; got rounds={rounds}")
        scores = {name: -s for name, s in score(model, batch, criterion, seed=seed, bn=bn).items()}
        masks = keep_top(scores, sparsity, allocation=allocation)
    else:
        masks = find_masks(model, batch, criterion, sparsity, rounds=rounds, allocation=allocation, seed=seed, bn=bn)
    if change == "shuffle":
        masks = shuffled(masks, seed)
    if change == "reinitialise":
        model = make(network, task, seed + 1000, width)
    effective = effective_sparsity(model, masks, batch.inputs[:1])
    return Pruned(task, model, masks, effective, seed, recipe(task, model).lr if lr is None else lr)


def _tried(point: Point) -> Pruned | Exception:
    arguments = inspect.signature(prune_then_train).bind(**point)
    arguments.apply_defaults()
    try:
        return _pruned(**{name: value for name, value in arguments.arguments.items() if name != "epochs"})
    except Exception as error:
        return error


def _row(run: Pruned, record: Mapping[str, Any]) -> dict[str, float] | Exception:
    return ValueError(record["error"]) if "error" in record else _measured(run, record["step"])


def _measured(run: Pruned, steps: int) -> dict[str, float]:
    accuracy = evaluate(run.model, run.task, run.masks, "test")["accuracy"]
    return {"accuracy": accuracy, **size(run.masks), "effective": run.effective, "steps": steps}


def shuffled_labels(batch: Batch, seed: int) -> Batch:
    """The batch with its labels in a random order: as many of each class, on the wrong inputs."""
    order = torch.randperm(len(batch.targets), generator=generator(seed))
    return Batch(batch.inputs, batch.targets[order])


def shuffled(masks: Masks, seed: int) -> Masks:
    """Each layer's mask with its entries in a random order: the densities stay, the places do not.

    >>> int(shuffled({"a": torch.tensor([True, False, False])}, seed=0)["a"].sum())
    1
    """
    draw = generator(seed)
    return {n: m.reshape(-1)[torch.randperm(m.numel(), generator=draw)].reshape(m.shape) for n, m in masks.items()}


def at(rows: Rows, compression: float) -> Rows:
    """Accuracy of each criterion (columns) by seed at one compression, under its authors' BatchNorm statistics."""
    return authors(chosen(rows, compression=compression)).pivot(columns="criterion", values="accuracy")


@reading("before-beats-random", of="headline")
def before_minus_random(rows: Rows) -> Effects:
    found = at(rows, 30)
    return found[BEFORE].sub(found["random"], axis=0)


@reading("data-free-is-as-good", of="headline", criterion="synflow", others=["snip"])
@reading("random-is-as-good", of="headline", criterion="random", others=["snip", "synflow"])
def criterion_minus_others(rows: Rows, criterion: str, others: list[str]) -> Effects:
    found = at(rows, 10)
    return found[others].rsub(found[criterion], axis=0)


@reading("formula-masks", of=("headline", "allocated"))
def formulas_minus_criteria(headline: Rows, allocated: Rows) -> Effects:
    """Each formula minus each criterion, mean over 10x and 30x."""
    rows = chosen(allocated, compression=[10, 30], allocation=["erk", "smart-ratio"])
    formulas = rows.groupby(["seed", "allocation"])["accuracy"].mean().unstack()
    others = (at(headline, 10) + at(headline, 30)) / 2
    return {f"{a} - {b}": formulas[a] - others[b] for a in formulas for b in ("grasp", "snip")}


@reading("width-closes-the-gap", of="width")
def loss_of_narrow_minus_wide(rows: Rows) -> Effects:
    found = rows.pivot(columns=["width", "compression"], values="accuracy")
    return (found[0.25, 1] - found[0.25, 20]) - (found[2.0, 1] - found[2.0, 20])


reading("random-matches-dense", of="width", arm="compression", a=5, b=1, width=2.0)(gap)


@reading("shuffled-masks", of="sanity", change="shuffle")
@reading("reinitialised-masks", of="sanity", change="reinitialise")
def changed_minus_unchanged(rows: Rows, change: str) -> Effects:
    return gap(rows, "change", change, "none", each="criterion", compression=20, criterion=BEFORE)
