"""Data by name: `load(name) -> Task`. A new source is one file here and one import line below."""

import os
from pathlib import Path

import torch

from workbench.data import digits, hub, text, toy, wikitext  # noqa: F401  (importing registers the sources)
from workbench.data.measures import squared_error
from workbench.data.registry import COPIES, SOURCES
from workbench.data.task import Task
from workbench.seeds import pick_device

__all__ = ["Task", "available", "load", "sources", "squared_error"]


def sources() -> list[str]:
    """Names of all data that `load` knows.

    >>> "digits" in sources() and "cifar10" in sources()
    True
    """
    return list(SOURCES)


def _root(root: str | Path | None) -> Path | None:
    folder = root if root is not None else os.environ.get("WORKBENCH_DATA")
    return Path(folder) if folder else None


def available(root: str | Path | None = None) -> list[str]:
    """Names that load without a network: the embedded ones and those with a whole local copy.

    >>> {"circles", "digits", "moons", "spirals"} <= set(available())
    True
    """
    return [name for name in SOURCES if name not in COPIES or COPIES[name](_root(root))]


def load(name: str, root: str | Path | None = None, device: str | torch.device | None = None) -> Task:
    """Load a data set as a Task with fixed train/val/test splits, on `device` (default: CUDA if there, else CPU).

    Embedded, no network: `digits`, `moons`, `circles`, `spirals`, `text`. By hub name: `mnist`, `fashion-mnist`,
    `cifar10`, `cifar100`, `svhn`, `wikitext2`, first from local copies below `root` (default: the folder in
    `WORKBENCH_DATA`), then through the `datasets` library. Raises ValueError for an unknown name or a damaged copy,
    FileNotFoundError if there is neither a copy nor a network.

    Misleads when numbers are compared with published ones: 10 % of the training split is held out for validation.

    >>> load("moons", device="cpu").shape
    (2,)
    """
    return SOURCES[name](_root(root), pick_device(device))
