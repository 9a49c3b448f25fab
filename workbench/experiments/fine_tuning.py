"""Pruning while a trained network is tuned to other classes: by where its weights move, or by how large they are."""

import functools
from typing import Any

import torch
from torch import Tensor, nn

from workbench.experiments.common import SEEDS, chosen, size
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


NETWORKS, NAMES = ["encoder", "vgg"], ["gradual", "movement"]
ADAMW: dict[str, Any] = {"optimizer": "adamw", "weight_decay": 0.0, "batch_size": 32, "fast": False}


def network_of(name: str, seed: int) -> nn.Module:
    """The network for five of the digits."""
    task = task_of("digits", "0-4")
    if name != "encoder":
        return make(name, task, seed)
    with seeded(seed):
        return Encoder(task.shape, task.outputs)


def last_layer(model: nn.Module) -> str:
    """The layer of the classes, which starts anew with the other ones."""
    return list(prunable(model))[-1].rpartition(".")[0]


@functools.lru_cache(maxsize=16)
def trained_first(network: str, seed: int, epochs: int) -> dict[str, Tensor]:
    """The weights after a training on the digits 0 to 4, without the last layer."""
    model = network_of(network, seed)
    train(model, task_of("digits", "0-4"), epochs=epochs, seed=seed, lr=0.1, **ADAMW)
    return {n: w for n, w in snapshot(model).items() if n.rpartition(".")[0] != last_layer(model)}


def kept_whole(network: str, model: nn.Module, granularity: str) -> list[str]:
    """What is not pruned: both ends of the encoder, and beside its heads all else."""
    if granularity == "head":
        return [name for name in prunable(model) if not name.endswith("in_proj_weight")]
    return ["read", "write"] if network == "encoder" else []


@experiment(
    "movement",
    grids=[{"network": NETWORKS, "name": NAMES, "sparsity": [0.2, 0.5, 0.9, 0.97], "seed": SEEDS}],
)
@experiment(
    "movement-heads",
    grids=[
        {"network": ["encoder"], "granularity": ["head"], "name": NAMES, "sparsity": [0.5, 0.75], "seed": SEEDS},
        {"network": NETWORKS, "name": ["dense"], "sparsity": [0.0], "seed": SEEDS},
    ],
)
def prune_while_tuning(
    name: str,
    network: str,
    sparsity: float,
    seed: int,
    granularity: str = "weight",
    first: int = 20,
    epochs: int | None = None,
    lr: float = 0.01,
    every: int = 10,
) -> dict[str, float]:
    """Train on the digits 0 to 4, then tune to 5 to 9 and prune on the way; measure once on the test split of these.

    Both trainings are AdamW's; `lr` and `epochs` (30, or 15 for vgg) are of the second. The last layer starts anew.
    "gradual" keeps what is large, "movement" what moves away from zero, both by one schedule, the same share of each
    layer; "dense" prunes nothing. Source: Sanh, Wolf and Rush 2020, arXiv:2005.07683.

    >>> row = prune_while_tuning("movement", "encoder", 0.9, seed=0, first=1, epochs=1)
    >>> row["kept"]
    6554
    """
    task, model = task_of("digits", "5-9"), network_of(network, seed)
    model.load_state_dict(trained_first(network, seed, first), strict=False)
    whole = kept_whole(network, model, granularity)
    knobs = dict(allocation="layer", granularity=granularity, exclude=whole, every=every)
    how = {"masks": dense(model, whole)} if name == "dense" else method(name, model, sparsity, **knobs)
    epochs = epochs or {"vgg": 15}.get(network, 30)
    *_, last = steps(model, task, epochs=epochs, seed=seed, lr=lr, **ADAMW, **how)
    found = size({name: mask for name, mask in last.masks.items() if name in prunable(model)})
    return {"accuracy": evaluate(model, task, last.masks, "test")["accuracy"], "kept": found["kept"]}


@reading("movement-over-magnitude-sparse", of="movement", left=[0.9, 0.97])
@reading("movement-over-magnitude-dense", of="movement", left=[0.2, 0.5])
def movement_minus_magnitude(rows: Rows, left: list[float]) -> Effects:
    """The mean over these sparsities, for each network."""
    found = chosen(rows, sparsity=left).groupby(["seed", "network", "name"])["accuracy"].mean().unstack()
    return (found["movement"] - found["gradual"]).unstack()


@reading("movement-of-heads", of="movement-heads")
def movement_minus_magnitude_of_heads(rows: Rows) -> Effects:
    found = chosen(rows, granularity="head").pivot(columns=["name", "sparsity"], values="accuracy")
    return found["movement"] - found["gradual"]
