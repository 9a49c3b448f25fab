"""A workbench for pruning networks: data -> model -> score -> mask -> train -> measure -> rows -> plot -> explorer."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from workbench import stopping

if stopping.is_command():
    stopping.listen()  # before torch is imported, which takes a second

from workbench.criteria import criteria, criterion_table, register_criterion, score
from workbench.criteria.contract import check_criterion
from workbench.data import Task, load
from workbench.extras import check_lab
from workbench.masks import allocate, apply_masks_, dense, find_masks, keep_top, mask_grads_, rank, reset_state_, rounds
from workbench.methods import gated, input_macs, method, method_table, methods, timing, timings
from workbench.methods.after import adapters, distilled
from workbench.methods.post_training import (
    activation_scores,
    block_influence,
    calibration_tokens,
    drop_blocks,
    layer_inputs,
    loss_changes,
    one_shot_methods,
    prune_layer,
    prune_llm,
)
from workbench.metrics.accuracy import evaluate
from workbench.metrics.collapse import collapsed, critical, critical_iterated, first_failure, max_compression
from workbench.metrics.cost import latency, macs
from workbench.metrics.language import perplexity
from workbench.metrics.paths import effective, effective_sparsity
from workbench.metrics.size import compression, layers, size_ratio, sparsity
from workbench.models import left_out, make, networks, prunable
from workbench.models.checkpoints import trained
from workbench.models.untouched import untouched
from workbench.models.writing import generate
from workbench.profiles import plan
from workbench.recording import Recording
from workbench.removal import (
    break_even,
    costs,
    export,
    group_masks,
    group_scores,
    groups,
    load_removed,
    masks_to,
    remove,
    save_removed,
)
from workbench.seeds import versions
from workbench.states import State
from workbench.sweeps import batched, results, sweep
from workbench.together import train_together
from workbench.train import Progress, snapshot, steps, train
from workbench.types import Batch, Masks, Scores

if TYPE_CHECKING:
    from workbench import claims, exercises, experiments, explorers, plots, reports
    from workbench.explorers import controls as controls
    from workbench.explorers import explore

__all__ = ["Batch", "Masks", "Progress", "Scores", "State", "Task", "left_out", "load", "make", "networks", "prunable"]
__all__ += ["check_criterion", "criteria", "criterion_table", "register_criterion", "score", "untouched", "versions"]
__all__ += ["allocate", "apply_masks_", "dense", "find_masks", "keep_top", "mask_grads_", "rank", "reset_state_"]
__all__ += ["collapsed", "compression", "critical", "critical_iterated", "effective", "effective_sparsity", "evaluate"]
__all__ += ["first_failure", "latency", "layers", "macs", "max_compression", "size_ratio", "sparsity"]
__all__ += ["Recording", "gated", "input_macs", "method", "method_table", "methods", "plan", "rounds", "snapshot"]
__all__ += ["activation_scores", "adapters", "block_influence", "distilled", "drop_blocks", "loss_changes"]
__all__ += ["break_even", "calibration_tokens", "costs", "export"]
__all__ += ["group_masks", "group_scores", "groups", "load_removed", "masks_to", "remove", "save_removed"]
__all__ += ["generate", "layer_inputs", "one_shot_methods", "perplexity", "prune_layer", "prune_llm"]
__all__ += ["batched", "results", "steps", "sweep", "timing", "timings", "train", "train_together", "trained"]
# Imported when first used:
__all__ += ["claims", "exercises", "experiments", "explore", "explorers", "plots", "reports"]

# These functions hide the modules of their names. They carry what the modules hold, so that
# `import workbench.criteria.snip` finds a criterion's module.
for _function in (criteria, methods, train):
    _function.__dict__ = vars(sys.modules[f"workbench.{_function.__name__}"])


def __dir__() -> list[str]:
    """The rooms that are imported when first used are there, too."""
    return sorted({*globals(), *__all__, "controls"})


def __getattr__(name: str) -> object:
    """The rooms that need heavier libraries are imported when first used."""
    if name == "explore":
        return importlib.import_module("workbench.explorers").explore
    if name == "controls":
        check_lab("anywidget", "ipywidgets")
        return importlib.import_module("workbench.explorers.controls")
    if name in __all__:
        return importlib.import_module(f"workbench.{name}")
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")
