"""Which data can be loaded by name. One source a file; importing the file registers it."""

from collections.abc import Callable
from pathlib import Path

import torch

from workbench.data.task import Task
from workbench.registry import Registry

Loader = Callable[[Path | None, torch.device], Task]
SOURCES: Registry[Loader] = Registry("data")


def source(name: str) -> Callable[[Loader], Loader]:
    """Register `f(root, device) -> Task` under `name`; `root` is the folder of local copies or None."""

    def register(loader: Loader) -> Loader:
        SOURCES.add(name, loader)
        return loader

    return register
