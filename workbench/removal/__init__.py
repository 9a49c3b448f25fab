"""Removal: the coupled groups of a model, a smaller model in place of a masked one, and its files."""

from workbench.removal.groups import Group, Member, groups
from workbench.removal.remove import remove

__all__ = ["Group", "Member", "groups", "remove"]
