"""Lottery tickets: trained again, drawn anew, found early, and carried to other data."""

import functools
import math
from typing import Any

from workbench.criteria import score
from workbench.data import Task, load
from workbench.experiments.before import shuffled
from workbench.experiments.common import SEEDS, chosen, gap, last_weight, size, start
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import dense, keep_top
from workbench.methods.after import mask_distances
from workbench.metrics import evaluate
from workbench.models import make
from workbench.train import steps, train
from workbench.types import Batch, Masks, Scores, check_choice, check_count

ARMS = ("reinitialised", "shuffled", "ticket")
LEVELS = [3, 6, 9, 12, 15]
DEEP = LEVELS[2:]
# By and large what Frankle and Carbin train LeNet-300-100 with; the rate follows the schedule of all recipes.
ADAM: dict[str, Any] = {"optimizer": "adam", "weight_decay": 0.0, "lr": 0.1, "batch_size": 64}
HALVES = {"0-4": range(5), "5-9": range(5, 10)}


@functools.lru_cache(maxsize=64)
def half(name: str) -> Task:
    """Digits of five classes, numbered from 0."""
    whole, first = load("digits", device="cpu"), min(HALVES[name])
    parts = {}
    for split, (inputs, targets) in whole.splits.items():
        own = (targets >= first) & (targets < first + 5)
        parts[split] = Batch(inputs[own], targets[own] - first)
    return Task(f"digits {name}", parts, whole.classes[first : first + 5], whole.prepare)


@functools.lru_cache(maxsize=64)
def ticket(level: int, seed: int, data: str, fraction: float, epochs: int) -> Masks:
    """The masks of iterative magnitude pruning after `level` cuts, rewound to the first weights each time."""
    task = half(data) if data in HALVES else load(data, device="cpu")
    model = make("lenet-300-100", task, seed)
    if level == 0:
        return dense(model)
    masks = ticket(level - 1, seed, data, fraction, epochs)
    train(model, task, masks=masks, epochs=epochs, seed=seed, fast=False, **ADAM)
    return keep_top(score(model, None, "magnitude"), 1 - (1 - fraction) ** level, within=masks)


@experiment(
    "lottery",
    grids=[
        {"seed": SEEDS, "arm": ["ticket"], "level": [0, *LEVELS]},
        {"seed": SEEDS, "arm": ["reinitialised", "shuffled"], "level": LEVELS},
    ],
)
def train_a_ticket(
    arm: str,
    level: int,
    seed: int,
    fraction: float = 0.2,
    data: str = "digits",
    epochs: int = 30,
    every: int = 10,
) -> dict[str, float]:
    """Train LeNet-300-100 on the mask that iterative magnitude pruning found, from its first weights or others.

    "ticket" has the weights that the mask was found with, "reinitialised" others under the same mask, "shuffled" the
    same weights under the mask with its entries in a random order in each layer. `early` is the step of the lowest
    validation loss, looked at every `every` steps (early stopping); accuracy is measured once at the end, on the test
    split. Source: Frankle and Carbin 2019, arXiv:1803.03635, section 2.

    >>> row = train_a_ticket("ticket", level=1, seed=0, epochs=1)
    >>> row["kept"], row["steps"], row["early"] <= 19
    (40160, 19, True)
    """
    task, model, _ = start(
        data, "lenet-300-100", seed + 1000 if check_choice("arm", arm, ARMS) == "reinitialised" else seed
    )
    masks = ticket(check_count("level", level, least=0), seed, data, fraction, epochs)
    masks = shuffled(masks, seed) if arm == "shuffled" else masks
    lowest, early, step = math.inf, 0, 0
    for row in steps(model, task, masks=masks, epochs=epochs, seed=seed, fast=False, **ADAM):
        step = int(row["step"])
        if (step % every == 0 or step == row["total"]) and (loss := evaluate(model, task)["loss"]) < lowest:
            lowest, early = loss, step
    return {"accuracy": evaluate(model, task, masks, "test")["accuracy"], **size(masks), "early": early, "steps": step}


@reading("tickets-train-as-dense", of="lottery")
def ticket_minus_dense(rows: Rows) -> Effects:
    found = chosen(rows, arm="ticket").pivot(columns="level", values="accuracy")
    return found[DEEP].mean(axis=1) - found[0]


reading("tickets-beat-new-weights", of="lottery", arm="arm", a="ticket", b="reinitialised", over="level", level=DEEP)(
    gap
)


@reading("tickets-learn-sooner", of="lottery")
def steps_of_ticket_and_new_weights(rows: Rows) -> Effects:
    found = chosen(rows, level=DEEP).groupby(["seed", "arm"])["early"].mean().unstack()
    return found["ticket"] / found["reinitialised"]


@experiment(
    "transfer", grids=[{"seed": SEEDS, "source": ["dense", "0-4", "5-9", "0-4, new weights"], "level": [7, 10]}]
)
def carry_a_ticket(source: str, level: int, seed: int, fraction: float = 0.2, epochs: int = 30) -> dict[str, float]:
    """Train LeNet-300-100 on the digits 5-9, on a ticket found on 0-4, or on 5-9 itself, or dense.

    "0-4, new weights" has the mask that was found on 0-4 and other first weights. Test accuracy on the digits 5-9.
    Source: Morcos et al. 2019, arXiv:1906.02773.

    >>> carry_a_ticket("0-4", level=1, seed=0, epochs=1)["kept"]
    39760
    """
    task = half("5-9")
    model = make("lenet-300-100", task, seed + 1000 if source.endswith("new weights") else seed)
    check_choice("source", source, ("dense", *HALVES, "0-4, new weights"))
    masks = dense(model) if source == "dense" else ticket(level, seed, source[:3], fraction, epochs)
    train(model, task, masks=masks, epochs=epochs, seed=seed, fast=False, **ADAM)
    return {"accuracy": evaluate(model, task, masks, "test")["accuracy"], **size(masks)}


@reading("tickets-transfer", of="transfer")
def carried_minus_dense(rows: Rows) -> Effects:
    return gap(rows, "source", "0-4", "dense", over="level")


@functools.lru_cache(maxsize=8)
def scales(seed: int, parts: int, data: str, network: str, epochs: int | None) -> list[Scores]:
    """|gamma| of every channel, after each of `parts` equal parts of a dense training."""
    task, model, batch = start(data, network, seed)
    found: list[Scores] = []
    for row in steps(model, task, epochs=epochs, seed=seed, fast=False):
        if int(row["step"] * parts / row["total"]) > len(found):
            found.append(score(model, batch, "bn-scale", granularity="channel", exclude=last_weight(model)))
    return found


@experiment("early-bird", grids=[{"seed": SEEDS, "sparsity": [0.3, 0.5, 0.7]}])
def draw_masks_early(
    sparsity: float, seed: int, parts: int = 20, data: str = "digits", network: str = "vgg", epochs: int | None = None
) -> dict[str, object]:
    """Train densely, and draw the channel mask by |gamma| `parts` times: how far each is from the last one.

    All channels are in one ranking. `to_last` is the distance after each part of the training, `tenth` that after a
    tenth. Source: You et al. 2020, arXiv:1909.11957.

    >>> row = draw_masks_early(0.5, seed=0, epochs=1, parts=10)
    >>> len(row["to_last"]), row["to_last"][-1]
    (10, 0.0)
    """
    drawn = [keep_top(scores, sparsity) for scores in scales(seed, parts, data, network, epochs)]
    to_last = mask_distances(drawn)[-1].tolist()
    return {"to_last": [round(d, 4) for d in to_last], "tenth": to_last[round(parts / 10) - 1]}


@reading("early-birds-settle", of="early-bird")
def distance_after_a_tenth(rows: Rows) -> Effects:
    return rows.pivot(columns="sparsity", values="tenth")
