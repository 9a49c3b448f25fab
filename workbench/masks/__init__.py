"""From scores to masks, exactly; and what masks do to a model."""

from workbench.masks.apply import apply_masks_, clear_grads_, clear_weights_, kept_bits, mask_grads_, reset_state_
from workbench.masks.cut import allocate, dense, keep_top
from workbench.masks.iterate import Round, find_masks, rounds, trajectory
from workbench.masks.ranking import Ranking, rank

__all__ = ["Ranking", "Round", "allocate", "apply_masks_", "clear_grads_", "clear_weights_", "dense", "find_masks"]
__all__ += ["keep_top", "kept_bits", "mask_grads_", "rank", "reset_state_", "rounds", "trajectory"]
