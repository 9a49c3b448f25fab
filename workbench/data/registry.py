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


def source(name: str, *, tokens: bool = False) -> Callable[[Loader], Loader]:
    """Register `f(root, device) -> Task` under `name`; `root` is the folder of local copies or None."""

    def register(loader: Loader) -> Loader:
        SOURCES.add(name, loader)
        OF_TOKENS.update([name] if tokens else [])
        return loader

    return register
