"""A small Llama pruned without training, in bits a byte: methods, n:m, outliers, OWL, rounding, large and small."""

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from workbench.data import Task, load
from workbench.experiments.common import SEEDS, chosen
from workbench.experiments.registry import Effects, Rows, experiment, reading
from workbench.methods.post_training import outlier_shares, owl, planted_outliers, prune_llm, rounded
from workbench.metrics import evaluate
from workbench.models import make
from workbench.models.checkpoints import trained
from workbench.train import snapshot, train
from workbench.types import Masks

METHODS = ("magnitude", "wanda", "ria", "sparsegpt", "adaprune")
CALIBRATION = 32
SHORT: dict[str, Any] = {"batch_size": 4, "lr": 0.4}
"""What trains a Llama of half or a quarter of the width in three epochs: 1.85 bits a byte at half (seed 100, val)."""

SPARSITIES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
HALF: dict[str, list[Any]] = {"width": [0.5], "seed": SEEDS}
DRAWS = SEEDS[:3]


@functools.lru_cache(maxsize=16)
def _trained(seed: int, width: float) -> dict[str, Tensor]:
    task = load("text", device="cpu")
    model = make("llama", task, seed, width)
    train(model, task, epochs=3, seed=seed, **SHORT)
    return snapshot(model)


def network(seed: int, width: float | None, factor: float = 1) -> tuple[Task, nn.Module, Tensor]:
    """The text, a trained Llama, and what calibrates it: 32 windows of 256 bytes, as `seed` draws them.

    With a width a Llama that `seed` initialised and trained; without one, the one that the project ships. Of the test
    split each third window is left. `factor` plants outliers (`planted_outliers`) that `seed` draws.
    """
    task = load("text", device="cpu")
    task = replace(task, splits={**task.splits, "test": task.take("test", slice(None, None, 3))})
    if width is None:
        model = trained("llama", task)
    else:
        model = make("llama", task, seed, width).eval()
        model.load_state_dict(_trained(seed, width))
    calibration = task.batch(CALIBRATION, seed=seed).inputs
    if factor != 1:
        model.load_state_dict(planted_outliers(model, calibration, factor, seed=seed), strict=False)
    return task, model, calibration


def bits(model: nn.Module, task: Task, weights: Mapping[str, Tensor] | None = None, split: str = "test") -> float:
    """Bits a byte, with these weights in place of the model's own."""
    before = snapshot(model) if weights else {}
    try:
        model.load_state_dict(weights or {}, strict=False)
        return evaluate(model, task, split=split)["bits_per_byte"]
    finally:
        model.load_state_dict(before, strict=False)


@experiment(
    "one-shot",
    grids=[
        {"sparsity": SPARSITIES, "seed": DRAWS},
        {"sparsity": [0.5], "granularity": ["4:8", "2:4"], "seed": DRAWS},
        {"sparsity": [0.75], "granularity": ["weight", "2:8", "1:4"], "seed": DRAWS},
    ],
)
@experiment("outliers", grids=[{"sparsity": [0.5], "factor": [2, 5, 10, 20, 50], "seed": DRAWS}])
@experiment(
    "one-shot-networks",
    grids=[
        {"sparsity": [0.5, 0.7], **HALF},
        {"sparsity": [0.5], "granularity": ["4:8", "2:4"], **HALF},
        {"sparsity": [0.5], "factor": [20], **HALF},
    ],
)
def one_shot_bits(
    sparsity: float, seed: int, granularity: str = "weight", factor: float = 1, width: float | None = None
) -> dict[str, float]:
    """Bits a byte of a Llama pruned by each method, and of SparseGPT's mask on the weights as they were.

    Of the shipped Llama `seed` draws what calibrates it, and of a width also the network (`network`); magnitude sees no
    calibration. All linear layers of the blocks lose the same share; the test text is each third of its windows.
    """
    task, model, calibration = network(seed, width, factor)
    found = {"dense": bits(model, task)}
    for method in METHODS:
        masks, weights = prune_llm(model, calibration, method, sparsity, granularity=granularity)
        found[method] = bits(model, task, weights)
        if method == "sparsegpt":
            found["sparsegpt, no update"] = bits(model, task, cut(model, masks))
    return found


def cut(model: nn.Module, masks: Masks) -> dict[str, Tensor]:
    """The model's own weights, 0 where a mask removes them."""
    return {name: torch.where(mask, model.get_parameter(name).detach(), 0) for name, mask in masks.items()}


@experiment("owl", grids=[{"factor": [1, 20], "width": [None, 0.5], "seed": SEEDS}])
def owl_bits(seed: int, factor: float = 1, width: float | None = None, sparsity: float = 0.7) -> dict[str, float]:
    """Bits a byte with one sparsity for all blocks, and with OWL's, which keep blocks of many outliers whole.

    `lowest` and `highest` are OWL's sparsities.
    """
    task, model, calibration = network(seed, width, factor)
    shares = owl(outlier_shares(model, calibration), sparsity)
    found = {"lowest": min(shares.values()), "highest": max(shares.values())}
    for method in ("magnitude", "wanda", "sparsegpt"):
        for name, share in (("uniform", sparsity), ("owl", shares)):
            found[f"{method}, {name}"] = bits(model, task, prune_llm(model, calibration, method, share)[1])
    return found


@experiment("bits-and-zeros", grids=[HALF, {"seed": [0]}])
def half_and_bits(seed: int, width: float | None = None) -> dict[str, float]:
    """Bits a byte with weights rounded (`rounded`) to 2, 3, 4 and 8 bits, all of them or the half that a method keeps.

    Storage of a weight, without the two numbers of a row: half of them in 4 bits are 2 bits, and 3 with a mask of a bit
    a weight (2.65 with 2:4, whose six masks of four weights take log2 6 bits).
    """
    task, model, calibration = network(seed, width)
    linear = prune_llm(model, calibration, "magnitude", 0.0)[1]
    found = {"dense": bits(model, task)}
    for b in (2, 3, 4, 8):
        found[f"{b} bits"] = bits(model, task, {name: rounded(weight, b) for name, weight in linear.items()})
    for method in ("wanda", "sparsegpt"):
        for granularity in ("weight", "2:4"):
            masks, weights = prune_llm(model, calibration, method, 0.5, granularity=granularity)
            coarse = {name: rounded(weight, 4, masks[name]) for name, weight in weights.items()}
            found[f"{method}, {granularity}"] = bits(model, task, weights)
            found[f"{method}, {granularity}, 4 bits"] = bits(model, task, coarse)
    return found


SMALL, LARGE = 0.25, 0.5
KEPT = [34_400, 17_200]
"""Weights of the blocks that are left: 80 and 40 % of the small Llama's, 20 and 10 % of the large one's."""


@experiment("large-and-hard", grids=[{"kept": KEPT, "width": [SMALL, LARGE], "seed": SEEDS}])
def kept_weights(kept: int, width: float, seed: int, retrained: int = 300) -> dict[str, float]:
    """Bits a byte of a Llama of which SparseGPT keeps so many weights, right after the cut and trained for some steps.

    Embeddings, head and norms are not counted in `kept`; `parameters` counts them, too.
    """
    task, model, calibration = network(seed, width)
    total = sum(weight.numel() for weight in prune_llm(model, calibration, "magnitude", 0.0)[1].values())
    masks, weights = prune_llm(model, calibration, "sparsegpt", 1 - kept / total)
    found = {"dense": bits(model, task), "cut": bits(model, task, weights)}
    left = sum(int(mask.sum()) for mask in masks.values())
    found |= {"left": left, "parameters": sum(p.numel() for p in model.parameters()) - total + left}
    model.load_state_dict(weights, strict=False)
    train(model, task, masks=masks, steps=retrained, seed=seed, **SHORT)
    return {**found, "retrained": bits(model, task, cut(model, masks))}


@reading("four-of-eight-language", of="one-shot-networks")
def coarser_minus_finer(rows: Rows) -> Effects:
    half = chosen(rows, sparsity=0.5, factor=1)
    free, eight, four = (chosen(half, granularity=unit) for unit in ("weight", "4:8", "2:4"))
    methods = ("magnitude", "wanda", "sparsegpt")
    found = {f"4:8 - weight, {method}": eight[method] - free[method] for method in methods}
    return found | {f"2:4 - 4:8, {method}": four[method] - eight[method] for method in methods}


@reading("update-saves-more", of="one-shot-networks", share=False)
@reading("update-mends-more", of="one-shot-networks", share=True)
def gain_where_it_is_hard(rows: Rows, share: bool) -> Effects:
    def gain(**settings: Any) -> Any:
        found = chosen(rows, factor=1, **settings)
        without = found["sparsegpt, no update"]
        return (without - found["sparsegpt"]) / ((without - found["dense"]) if share else 1)

    half = gain(granularity="weight", sparsity=0.5)
    hard = {"2:4": gain(granularity="2:4"), "70%": gain(granularity="weight", sparsity=0.7)}
    return {f"{name} - 50%": found - half for name, found in hard.items()}


@reading("outliers-need-inputs", of="one-shot-networks")
def magnitude_minus_wanda(rows: Rows) -> Effects:
    found = chosen(rows, factor=20)
    return found["magnitude"] - found["wanda"]


@reading("owl-beats-uniform", of="owl")
def uniform_minus_owl(rows: Rows) -> Effects:
    found = chosen(rows, width=LARGE, factor=1)
    return {method: found[f"{method}, uniform"] - found[f"{method}, owl"] for method in ("wanda", "sparsegpt")}


@reading("half-and-4-bits-beat-2", of="bits-and-zeros", other="2 bits")
@reading("half-and-4-bits-beat-3", of="bits-and-zeros", other="3 bits")
def fewer_bits_minus_half(rows: Rows, other: str) -> Effects:
    found = chosen(rows, width=LARGE)
    return {method: found[other] - found[f"{method}, weight, 4 bits"] for method in ("wanda", "sparsegpt")}


@reading("large-and-hard-cut", of="large-and-hard", when="cut")
@reading("large-and-hard-retrained", of="large-and-hard", when="retrained")
def small_minus_large(rows: Rows, when: str) -> Effects:
    found = rows.pivot(columns=["kept", "width"], values=when)
    return {f"{kept:,} weights": found[kept, SMALL] - found[kept, LARGE] for kept in KEPT}
