"""What methods that remove channels share: which layers they prune, norms, a cut, and a penalty until the cut."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from workbench.masks import keep_top
from workbench.methods.regrow import last
from workbench.models import prunable
from workbench.models.channels import by_channel
from workbench.models.running import Loss, loss_of
from workbench.states import Progress
from workbench.train import BatchLoss, Update
from workbench.types import Batch, Masks, Scores


def filters(method: str, model: nn.Module) -> list[str]:
    """The weights of all convolutions except a last layer, whose channels are the outputs."""
    layers = list(prunable(model))
    found = [name for name in layers[:-1] if model.get_parameter(name).ndim > 2]
    if found:
        return found
    told = f"{method!r} removes filters of convolutions before the last layer; this model's layers are"
    raise ValueError(f"{told} {', '.join(layers)}. Use a network with convolutions, such as 'vgg', or 'group-lasso'")


def norms(model: nn.Module, names: list[str]) -> Scores:
    """The L2 norm of the weights of each output channel.

    >>> model = nn.Linear(2, 1)
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> norms(model, ["weight"])["weight"].tolist()
    [5.0]
    """
    rows = {name: by_channel(model, name, model.get_parameter(name)) for name in names}
    return {name: torch.linalg.vector_norm(values, dim=1) for name, values in rows.items()}


def hidden(method: str, model: nn.Module) -> list[str]:
    """The weights of all layers except the last, whose channels are the outputs."""
    if names := list(prunable(model))[:-1]:
        return names
    told = f"{method!r} removes channels of layers before the last, whose channels are the outputs"
    raise ValueError(f"{told}; this model has one layer. Use a network with more")


def cut(progress: Progress, scores: Scores, sparsity: float, allocation: str, within: Masks | None = None) -> Masks:
    """The masks that remove the channels with the lowest scores, biases and norms included."""
    whole: dict[str, Any] = dict(granularity="channel", model=progress.model, example=progress.batch.inputs[:1])
    scores = {name: s.detach() for name, s in scores.items()}
    return keep_top(scores, sparsity, allocation=allocation, within=within, **whole)


def penalised(sizes: Callable[[nn.Module], Scores], strength: float, loss_fn: Loss) -> BatchLoss:
    """The loss and `strength` times the sum of the channels' sizes; after the cut the loss alone."""

    def loss(model: nn.Module, batch: Batch, memory: dict[str, Any]) -> Tensor:
        found = loss_of(loss_fn, model(batch.inputs), batch.targets)
        if "cut" in memory:
            return found
        return found + strength * torch.stack([size.sum() for size in sizes(model).values()]).sum()

    return loss


def cut_once(scores: Callable[[nn.Module], Scores], sparsity: float, allocation: str, stop: float) -> Update:
    """One cut, at the share `stop` of the training."""

    def update(progress: Progress) -> Masks | None:
        if not last(progress, stop):
            return None
        return cut(progress, scores(progress.model), sparsity, allocation)

    return update
