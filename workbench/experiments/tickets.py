"""Lottery tickets: trained again, drawn anew, found early, and carried to other data."""

import functools
import math
from typing import Any, NamedTuple

from torch import Tensor, nn

from workbench.criteria import score
from workbench.data import Task, load
from workbench.experiments.before import shuffled
from workbench.experiments.common import SEEDS, chosen, gap, last_weight, size, start
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.masks import dense, keep_top
from workbench.methods.after import mask_distances
from workbench.metrics import evaluate
from workbench.models import make
from workbench.train import snapshot, steps, train
from workbench.types import Batch, Masks, Scores, check_choice, check_count

ARMS = ("reinitialised", "shuffled", "ticket")
LEVELS = [3, 6, 9, 12, 15]
DEEP = LEVELS[2:]
FEW = [2, 4, 6]
CARRIED = ["dense", "0-4", "5-9", "0-4, new weights"]
RESNET: dict[str, list[Any]] = {"network": ["resnet-20"], "fraction": [0.5], "epochs": [8], "rewind": [20]}
CIFAR10: dict[str, list[Any]] = {"data": ["cifar10"], "fraction": [0.5], "epochs": [6]}
# By and large what Frankle and Carbin train LeNet-300-100 with; the rate follows the schedule of all recipes. Other
# networks are trained by their recipe.
ADAM: dict[str, Any] = {"optimizer": "adam", "weight_decay": 0.0, "lr": 0.1}
HALVES = {"0-4": range(5), "5-9": range(5, 10)}


class Question(NamedTuple):
    """Whose tickets are asked for: iterative magnitude pruning of a network, rewound to the same step at each level."""

    seed: int
    fraction: float
    epochs: int
    every: int
    data: str
    network: str
    rewind: int
    classes: str = ""

    @property
    def task(self) -> Task:
        return task_of(self.data, self.classes)

    def make(self, new: bool = False) -> nn.Module:
        return make(self.network, self.task, self.seed + 1000 if new else self.seed)

    @property
    def how(self) -> dict[str, Any]:
        own = ADAM if self.network == "lenet-300-100" else {}
        small = {"batch_size": 64} if self.data == "digits" else {}
        return {"epochs": self.epochs, "seed": self.seed, "fast": False, **own, **small}


@functools.lru_cache(maxsize=64)
def task_of(data: str, classes: str = "") -> Task:
    """A data set, or its five first or last classes, numbered from 0."""
    if not classes:
        return load(data, device="cpu")
    whole, first = task_of(data), min(HALVES[classes])
    parts = {}
    for split, (inputs, targets) in whole.splits.items():
        own = (targets >= first) & (targets < first + 5)
        parts[split] = Batch(inputs[own], targets[own] - first)
    return Task(f"{data} {classes}", parts, whole.classes[first : first + 5], whole.prepare, augment=whole.augment)


@functools.lru_cache(maxsize=8)
def early_weights(ask: Question) -> dict[str, Tensor]:
    """The weights that are gone back to: the first ones, or those after `rewind` dense steps."""
    model = ask.make()
    if ask.rewind:
        train(model, ask.task, stop=ask.rewind, **ask.how)
    return snapshot(model)


def trained(ask: Question, model: nn.Module, masks: Masks, start: int) -> dict[str, float]:
    """Train on the masks; the step of the lowest validation loss, and the test accuracy at the end."""
    lowest, early, step = math.inf, 0, 0
    for row in steps(model, ask.task, masks=masks, start=start, **ask.how):
        step = int(row["step"])
        if (step % ask.every == 0 or step == row["total"]) and (loss := evaluate(model, ask.task)["loss"]) < lowest:
            lowest, early = loss, step
    return {
        "accuracy": evaluate(model, ask.task, masks, "test")["accuracy"],
        **size(masks),
        "early": early,
        "steps": step,
    }


@functools.lru_cache(maxsize=64)
def level_of(level: int, ask: Question) -> tuple[Masks, Scores, dict[str, float]]:
    """The ticket after `level` cuts, and what it is trained to: its masks, the magnitudes, the row."""
    model = ask.make()
    if level == 0:
        masks = dense(model)
    else:
        before, scores, _ = level_of(level - 1, ask)
        masks = keep_top(scores, 1 - (1 - ask.fraction) ** level, within=before)
    model.load_state_dict(early_weights(ask))
    row = trained(ask, model, masks, ask.rewind)
    return masks, score(model, None, "magnitude"), row


@experiment(
    "lottery",
    grids=[
        {"seed": SEEDS, "arm": ["ticket"], "level": [0, *LEVELS]},
        {"seed": SEEDS, "arm": ["reinitialised", "shuffled"], "level": LEVELS},
    ],
)
@experiment(
    "lottery-resnet",
    grids=[
        {"seed": SEEDS, "arm": ["ticket"], "level": [0, *FEW], **RESNET},
        {"seed": SEEDS, "arm": ["reinitialised", "shuffled"], "level": FEW, **RESNET},
    ],
)
@experiment(
    "lottery-cifar10",
    grids=[
        {"seed": SEEDS, "arm": ["ticket"], "level": [0, *FEW], "every": [88], **CIFAR10},
        {"seed": SEEDS, "arm": ["reinitialised", "shuffled"], "level": FEW, "every": [88], **CIFAR10},
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
    network: str = "lenet-300-100",
    rewind: int = 0,
) -> dict[str, float]:
    """Train on the mask that iterative magnitude pruning found, from its early weights or from others.

    "ticket" has the weights of step `rewind`, with which the mask was found, "reinitialised" new first weights under
    the same mask, "shuffled" the ticket's weights under the mask with its entries in a random order in each layer.
    `early` is the step of the lowest validation loss, looked at every `every` steps (early stopping); accuracy is
    measured once at the end, on the test split. Source: Frankle and Carbin 2019, arXiv:1803.03635, section 2; for
    `rewind`, Frankle et al. 2019, arXiv:1903.01611.

    >>> row = train_a_ticket("ticket", level=1, seed=0, epochs=1)
    >>> row["kept"], row["steps"], row["early"] <= 19
    (40160, 19, True)
    """
    ask = Question(seed, fraction, epochs, check_count("every", every), data, network, rewind)
    masks, _, row = level_of(check_count("level", level, least=0), ask)
    if check_choice("arm", arm, ARMS) == "ticket":
        return row
    model = ask.make(new=arm == "reinitialised")
    if arm == "reinitialised":
        return trained(ask, model, masks, 0)
    model.load_state_dict(early_weights(ask))
    return trained(ask, model, shuffled(masks, seed), rewind)


@reading("tickets-train-as-dense", of="lottery", levels=DEEP)
@reading("tickets-train-as-dense-resnet", of="lottery-resnet", levels=FEW)
@reading("tickets-train-as-dense-cifar10", of="lottery-cifar10", levels=FEW)
def ticket_minus_dense(rows: Rows, levels: list[int]) -> Effects:
    found = chosen(rows, arm="ticket").pivot(columns="level", values="accuracy")
    return found[levels].mean(axis=1) - found[0]


for _claim, _rows, _levels in (
    ("tickets-beat-new-weights", "lottery", DEEP),
    ("tickets-beat-new-weights-resnet", "lottery-resnet", FEW),
    ("tickets-beat-new-weights-cifar10", "lottery-cifar10", FEW),
):
    reading(_claim, of=_rows, arm="arm", a="ticket", b="reinitialised", over="level", level=_levels)(gap)


@reading("tickets-learn-sooner", of="lottery", levels=DEEP)
@reading("tickets-learn-sooner-cifar10", of="lottery-cifar10", levels=FEW)
def steps_of_ticket_and_new_weights(rows: Rows, levels: list[int]) -> Effects:
    found = chosen(rows, level=levels).groupby(["seed", "arm"])["early"].mean().unstack()
    return found["ticket"] / found["reinitialised"]


@experiment("transfer", grids=[{"seed": SEEDS, "source": CARRIED, "level": [7, 10]}])
@experiment("transfer-cifar10", grids=[{"seed": SEEDS, "source": CARRIED, "level": [2, 4], **CIFAR10}])
def carry_a_ticket(
    source: str,
    level: int,
    seed: int,
    fraction: float = 0.2,
    epochs: int = 30,
    data: str = "digits",
    network: str = "lenet-300-100",
) -> dict[str, float]:
    """Train on the classes 5-9, on a ticket found on the classes 0-4, or on 5-9 itself, or dense.

    A ticket brings its mask and its first weights; "0-4, new weights" has the mask that was found on 0-4 and
    other first weights. Test accuracy on the classes 5-9. Source: Morcos et al. 2019, arXiv:1906.02773.

    >>> carry_a_ticket("0-4", level=1, seed=0, epochs=1)["kept"]
    39760
    """
    ask = Question(seed, fraction, epochs, 10**9, data, network, 0, "5-9")
    if check_choice("source", source, CARRIED) in ("dense", "5-9"):
        row = level_of(0 if source == "dense" else level, ask)[2]
    else:
        masks = level_of(level, ask._replace(classes="0-4"))[0]
        row = trained(ask, ask.make(new=source.endswith("new weights")), masks, 0)
    return {name: row[name] for name in ("accuracy", "kept", "sparsity", "dead")}


@reading("tickets-transfer", of="transfer")
@reading("tickets-transfer-cifar10", of="transfer-cifar10")
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
    drawn = [
        keep_top(scores, sparsity)
        for scores in scales(seed, check_count("parts", parts, least=10), data, network, epochs)
    ]
    to_last = mask_distances(drawn)[-1].tolist()
    return {"to_last": [round(d, 4) for d in to_last], "tenth": to_last[round(parts / 10) - 1]}


@reading("early-birds-settle", of="early-bird")
def distance_after_a_tenth(rows: Rows) -> Effects:
    return rows.pivot(columns="sparsity", values="tenth")
