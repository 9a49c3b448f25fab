"""Removal: the coupled groups of a model, a smaller model in place of a masked one, and its files."""

from workbench.removal.files import load_removed, save_removed
from workbench.removal.smaller import remove
from workbench.removal.units import Group, Member, group_masks, group_scores, groups

__all__ = ["Group", "Member", "group_masks", "group_scores", "groups", "load_removed", "remove", "save_removed"]
