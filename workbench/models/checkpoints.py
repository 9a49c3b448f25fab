"""Networks that the project trained itself, as safetensors among the shipped data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from workbench.models import make
from workbench.project_data import project_data

if TYPE_CHECKING:
    from workbench.data import Task


def checkpoint_name(network: str, task: str) -> str:
    """The file of a network trained on a task's data.

    >>> checkpoint_name("llama", "text")
    'llama-text.safetensors'
    """
    return f"{network}-{task}.safetensors"


def trained(network: str, task: Task) -> nn.Module:
    """A network with the weights that the project trained on this task, in evaluation mode.

    `python tools/checkpoints.py` trains them again; the file's metadata say what it reached. Raises FileNotFoundError
    where there is none: train one with `wb.train(wb.make(network, task), task)`.

    >>> import workbench as wb
    >>> model = wb.trained("llama", wb.load("text", device="cpu"))
    >>> model.network, model.training
    ('llama', False)
    """
    from safetensors.torch import load_file

    path = project_data("checkpoints", checkpoint_name(network, task.name))
    model = make(network, task)
    model.load_state_dict(load_file(path))
    return model.eval()
