"""Which data can be loaded by name. One source a file; importing the file registers it."""

from collections.abc import Callable
from pathlib import Path

import torch

from workbench.data.task import Task
from workbench.registry import Registry

Loader = Callable[[Path | None, torch.device], Task]
SOURCES: Registry[Loader] = Registry("data")
OF_TOKENS: set[str] = set()
"""Names of data whose inputs are whole numbers."""
COPIES: dict[str, Callable[[Path | None], bool]] = {}
"""Data that is not shipped: whether a whole local copy is in a folder."""


def source(
    name: str, *, tokens: bool = False, copy: Callable[[Path | None], bool] | None = None
) -> Callable[[Loader], Loader]:
    """Register `f(root, device) -> Task` under `name`; `root` is the folder of local copies or None.

    `copy(root)` tells of data that is not shipped whether a whole copy is there.
    """

    def register(loader: Loader) -> Loader:
        SOURCES.add(name, loader)
        OF_TOKENS.update([name] if tokens else [])
        COPIES.update({name: copy} if copy else {})
        return loader

    return register
