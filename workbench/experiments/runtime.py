"""Pruning at run time: gates that follow the input, against the static network of the same mean MACs."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from workbench.experiments.after import trained_model
from workbench.experiments.common import SEEDS
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.methods.runtime import Gated, gated, input_macs, lowering
from workbench.metrics import evaluate, macs
from workbench.models.running import run_model
from workbench.train import train

if TYPE_CHECKING:
    import pandas as pd

STEPS = 256


def equal_static(model: nn.Module, most: float, image: Tensor) -> Gated:
    """The smallest static network with at least `most` MACs: every layer keeps the same share of its channels.

    >>> import workbench as wb
    >>> task = wb.load("digits", device="cpu")
    >>> image = task.batch(1).inputs
    >>> net = equal_static(wb.make("vgg", task), 400_000, image)
    >>> net.setting, input_macs(net, image).item()
    (0.51953125, 403942.0)
    """
    net = gated("static", model, 1.0)

    def count(step: int) -> float:
        net.setting = step / STEPS
        return input_macs(net, image[:1]).item()

    count(min(STEPS, 1 + bisect_left(range(1, STEPS), most, key=count)))
    return net


@experiment(
    "runtime",
    grids=[
        {"method": ["fbs"], "setting": [0.5, 0.25], "seed": SEEDS},
        {"method": ["cgnet"], "setting": [1.0], "seed": SEEDS},
        {"method": ["ftwt"], "mass": [0.8], "seed": SEEDS},
        {"method": ["early-exit"], "setting": [0.9], "seed": SEEDS},
    ],
)
def gate_against_static(
    method: str,
    seed: int,
    setting: float | None = None,
    mass: float | None = None,
    data: str = "digits",
    network: str = "vgg",
    width: float = 0.5,
    epochs: int | None = None,
) -> dict[str, float]:
    """Train a plain network; then train it on with gates and, as long, as the static network of the same mean MACs.

    The shares of "fbs" and of the static network (L1 norm) fall in the first part of this second training, from 1 at
    its second step (the first has the last share already); both trainings follow the recipe. Measured once on the test
    split: accuracies; mean MACs as a share of the plain network's, the gates' own included; those of the half of the
    images with the lowest loss in the plain network ("easy") and of the others ("hard").

    >>> row = gate_against_static("fbs", seed=0, setting=0.5, width=0.125, epochs=1)
    >>> row["macs"] <= row["static macs"], row["easy"] == row["hard"]
    (True, True)
    """
    task, plain, _ = trained_model(data, network, seed, width=width)
    plain.eval()
    images, labels = task.take("test")
    net = gated(method, plain, setting, seed=seed, **({} if mass is None else {"mass": mass}))
    falling = dict(update=lowering(net.setting)) if method == "fbs" else {}
    train(net, task, epochs=epochs, loss=net.loss, seed=seed, fast=False, **falling)
    whole, each = macs(plain, images[:1]), input_macs(net, images)
    rival = equal_static(plain, each.mean().item(), images)
    share = rival.setting
    train(rival, task, epochs=epochs, loss=rival.loss, update=lowering(share), seed=seed, fast=False)
    order = functional.cross_entropy(run_model(plain, images), labels, reduction="none").argsort()
    easy, hard = each[order[: len(order) // 2]], each[order[len(order) // 2 :]]
    return {
        "accuracy": evaluate(net, task, split="test")["accuracy"],
        "static": evaluate(rival, task, split="test")["accuracy"],
        "plain": evaluate(plain, task, split="test")["accuracy"],
        "macs": each.mean().item() / whole,
        "static macs": input_macs(rival, images[:1]).item() / whole,
        "easy": easy.mean().item() / whole,
        "hard": hard.mean().item() / whole,
    }


@reading("gates-beat-static", of="runtime")
def gates_minus_static(rows: Rows) -> Effects:
    return _by_method(rows, rows["accuracy"] - rows["static"], "fbs", "cgnet", "ftwt")


@reading("easy-inputs-cost-less", of="runtime")
def hard_minus_easy(rows: Rows) -> Effects:
    return _by_method(rows, rows["hard"] - rows["easy"], "cgnet", "ftwt")


def _by_method(rows: Rows, values: pd.Series, *methods: str) -> Effects:
    """The mean over the settings, at each seed, of each method."""
    table = rows.assign(value=values).pivot_table(index="seed", columns="method", values="value")
    return table[list(methods)]
