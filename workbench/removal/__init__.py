"""Removal: coupled groups, a smaller model in place of a masked one, its files, its export, its costs."""

from workbench.removal.files import load_removed, save_removed
from workbench.removal.forms import costs
from workbench.removal.measure import break_even
from workbench.removal.onnx_file import export
from workbench.removal.scoring import group_masks, group_scores
from workbench.removal.smaller import remove
from workbench.removal.targets import masks_to
from workbench.removal.units import Group, Groups, Member, groups

__all__ = [
    "Group",
    "Groups",
    "Member",
    "break_even",
    "costs",
    "export",
    "group_masks",
    "group_scores",
    "groups",
    "load_removed",
    "masks_to",
    "remove",
    "save_removed",
]
