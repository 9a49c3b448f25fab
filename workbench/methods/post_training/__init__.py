"""Pruning of trained networks without training: one pass of calibration, a layer after another, a method a file."""

from workbench.methods.post_training import exact, scores, sparsegpt  # noqa: F401  (importing registers the methods)
from workbench.methods.post_training.base import POST_TRAINING
from workbench.methods.post_training.depth import block_influence, drop_blocks
from workbench.methods.post_training.layer import layer_inputs, prune_layer
from workbench.methods.post_training.outliers import outlier_shares, owl
from workbench.methods.post_training.planted import planted_outliers
from workbench.methods.post_training.prune import prune_llm
from workbench.methods.post_training.rounding import rounded
from workbench.methods.post_training.tokens import calibration_tokens
from workbench.methods.post_training.units import activation_scores, loss_changes

__all__ = ["activation_scores", "block_influence", "calibration_tokens", "drop_blocks", "layer_inputs", "loss_changes"]
__all__ += ["one_shot_methods", "outlier_shares", "owl", "planted_outliers", "prune_layer", "prune_llm", "rounded"]


def one_shot_methods() -> list[str]:
    """Names of the methods that prune without training.

    >>> one_shot_methods()
    ['adaprune', 'magnitude', 'obc', 'ria', 'sparsegpt', 'wanda']
    """
    return list(POST_TRAINING)
