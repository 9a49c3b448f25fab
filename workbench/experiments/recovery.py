"""A cut language model trained again: all its weights, adapters beside them, or to the dense model's outputs."""

import contextlib
import copy
from typing import Any

import torch
from torch import nn

from workbench.experiments.common import SEEDS
from workbench.experiments.language import bits, network
from workbench.experiments.registry import experiment
from workbench.masks import keep_top
from workbench.methods.after import adapters, distilled
from workbench.methods.post_training import drop_blocks, loss_changes, prune_llm
from workbench.removal import group_masks, group_scores, groups, remove
from workbench.train import steps as train_steps
from workbench.types import Masks

CUTS = ["wanda, 70 %", "a fifth of the units", "one block"]
RATES = {"fine-tuned": 0.05, "LoRA": 0.5, "distilled": 0.05}
GENTLE = 0.1
"""Highest rates, chosen on the validation split with seed 100; a tenth of them where units went, which costs little."""
SHOWN = [10, 20, 40]


def smaller(model: nn.Module, calibration: torch.Tensor, task: Any, how: str, seed: int) -> tuple[nn.Module, Masks]:
    """The model after a cut, and the masks that hold it where it is no smaller."""
    if how == CUTS[0]:
        masks, weights = prune_llm(model, calibration, "wanda", 0.7)
        small = copy.deepcopy(model)
        small.load_state_dict(weights, strict=False)
        return small, masks
    if how == CUTS[1]:
        found = groups(model, calibration[:1])
        scores = group_scores(model, loss_changes(model, task.batch(32, seed=seed), task.loss), found)
        return remove(model, group_masks(model, keep_top(scores, 0.2, allocation="layer"), found), found), {}
    return drop_blocks(model, ["model.layers.1"]), {}


@experiment("recovery", grids=[{"how": CUTS, "way": list(RATES), "seed": SEEDS[:3]}])
def recovered_bits(how: str, way: str, seed: int, lr: float | None = None, split: str = "test") -> dict[str, float]:
    """Bits a byte of the shipped Llama after a cut, and after 10, 20 and 40 steps of 8 windows.

    `way`: all weights that are left, by the text ("fine-tuned") or half by the dense model's outputs ("distilled"), or
    adapters of rank 8 beside the linear layers ("LoRA"). `seed` draws what calibrates, and orders the text.
    """
    task, dense, calibration = network(seed, None)
    model, masks = smaller(dense, calibration, task, how, seed)
    found = {"dense": bits(dense, task, split=split), "step 0": bits(model, task, split=split)}
    lora = way == "LoRA"
    loss = distilled(dense, task.loss) if way == "distilled" else None
    kept: dict[str, Any] = {} if lora else {"masks": masks or None}
    with adapters(model, masks=masks, seed=seed) if lora else contextlib.nullcontext(model) as learner:
        rate = RATES[way] * (GENTLE if how == CUTS[1] else 1) if lr is None else lr
        for record in train_steps(learner, task, steps=SHOWN[-1], loss=loss, seed=seed, lr=rate, batch_size=8, **kept):
            if record["step"] in SHOWN:
                found[f"step {record['step']}"] = bits(learner, task, split=split)
    return found
