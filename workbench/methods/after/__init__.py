"""What comes after training: statistics, weights and masks of a network that was cut: functions, a file each.

Rewinding, fine-tuning and retraining from scratch need no function: they are loops on `wb.steps`. What cuts a trained
network while it is tuned is a method by name: `wb.method("iterative-taylor", ...)`.
"""

from workbench.methods.after.distillation import distilled
from workbench.methods.after.early_bird import first_settled, mask_distances
from workbench.methods.after.line import along
from workbench.methods.after.lora import adapters
from workbench.methods.after.recalibration import recalibrate
from workbench.methods.after.reconstruction import layer_errors, layer_grams, prune_exactly, reconstruct

__all__ = [
    "adapters",
    "along",
    "distilled",
    "first_settled",
    "layer_errors",
    "layer_grams",
    "mask_distances",
    "prune_exactly",
]
__all__ += ["recalibrate", "reconstruct"]
