"""Pruning of trained networks without training: one pass of calibration, a layer after another, a method a file."""

from workbench.methods.post_training import exact, scores, sparsegpt  # noqa: F401  (importing registers the methods)
from workbench.methods.post_training.base import POST_TRAINING
from workbench.methods.post_training.layer import layer_inputs, prune_layer
from workbench.methods.post_training.outliers import outlier_shares, owl
from workbench.methods.post_training.prune import prune_llm
from workbench.methods.post_training.tokens import calibration_tokens

__all__ = [
    "calibration_tokens",
    "layer_inputs",
    "one_shot_methods",
    "outlier_shares",
    "owl",
    "prune_layer",
    "prune_llm",
]


def one_shot_methods() -> list[str]:
    """Names of the methods that prune without training.

    >>> one_shot_methods()
    ['adaprune', 'magnitude', 'obc', 'ria', 'sparsegpt', 'wanda']
    """
    return list(POST_TRAINING)
