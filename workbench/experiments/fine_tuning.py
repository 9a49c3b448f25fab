"""Pruning while a trained network is tuned to other classes: by where its weights move, or by how large they are."""

import functools
from typing import Any

import torch
from torch import Tensor, nn

from workbench.experiments.common import SEEDS, gap, size
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.experiments.tickets import task_of
from workbench.masks import dense
from workbench.methods import method
from workbench.metrics import evaluate
from workbench.models import make, prunable
from workbench.seeds import seeded
from workbench.train import snapshot, steps, train


class Encoder(nn.Module):
    """A small transformer: two layers of four heads over the rows of a picture, and the mean of what they give."""

    def __init__(self, shape: tuple[int, ...], classes: int, width: int = 64) -> None:
        super().__init__()
        _, rows, columns = shape
        self.read = nn.Linear(columns, width)
        self.position = nn.Parameter(torch.randn(rows, width) / width**0.5)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.write = nn.Linear(width, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits `[n, classes]` of pictures `[n, 1, rows, columns]`."""
        written: Tensor = self.write(self.layers(self.read(pictures[:, 0]) + self.position).mean(1))
        return written


def network_of(name: str, seed: int) -> nn.Module:
    """The network for five of the digits; the encoder's ends are left out where it is pruned."""
    task = task_of("digits", "0-4")
    if name != "encoder":
        return make(name, task, seed)
    with seeded(seed):
        return Encoder(task.shape, task.outputs)


ENDS = {"encoder": ["read", "write"]}
ADAM: dict[str, Any] = {"optimizer": "adamw", "weight_decay": 0.0, "batch_size": 32, "fast": False}


def last_layer(model: nn.Module) -> str:
    """The layer of the classes, which starts anew with the other ones."""
    return [*prunable(model)][-1].rpartition(".")[0]


@functools.lru_cache(maxsize=16)
def trained_first(network: str, seed: int, epochs: int) -> dict[str, Tensor]:
    """The weights after a training on the digits 0 to 4."""
    model = network_of(network, seed)
    train(model, task_of("digits", "0-4"), epochs=epochs, seed=seed, lr=0.1, **ADAM)
    return snapshot(model)


def prune_while_tuning(
    name: str,
    network: str,
    sparsity: float,
    seed: int,
    granularity: str = "weight",
    first: int = 20,
    epochs: int = 20,
    lr: float = 0.02,
    every: int = 10,
) -> dict[str, float]:
    task, model = task_of("digits", "5-9"), network_of(network, seed)
    ends = [name for name in model.state_dict() if name.rpartition(".")[0] == last_layer(model)]
    model.load_state_dict({n: w for n, w in trained_first(network, seed, first).items() if n not in ends}, strict=False)
    others = ENDS.get(network, [])
    if granularity == "head":
        others = [name for name in prunable(model) if not name.endswith("in_proj_weight")]
    knobs = dict(allocation="layer", granularity=granularity, exclude=others, every=every)
    how = {"masks": dense(model, others)} if name == "dense" else method(name, model, sparsity, **knobs)
    *_, last = steps(model, task, epochs=epochs, seed=seed, lr=lr, **ADAM, **how)
    return {"accuracy": evaluate(model, task, last.masks, "test")["accuracy"], **size(last.masks)}
