"""Weights seen channel by channel: what belongs to one output of a layer."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from workbench.models.weights import prunable, turned

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)


def by_channel(model: nn.Module, name: str, values: Tensor) -> Tensor:
    """Values of a weight's shape as `[out, weights of one output channel]`, in the layer's order of outputs.

    An output of a recurrent layer is a hidden unit: the rows of all its gates belong to it.

    >>> by_channel(nn.ConvTranspose1d(4, 6, 3, groups=2), "weight", nn.ConvTranspose1d(4, 6, 3, groups=2).weight).shape
    torch.Size([6, 6])
    """
    layer = model.get_submodule(name.rpartition(".")[0])
    if isinstance(layer, TRANSPOSED):  # their weights are [in, out / groups, ...]
        inputs, outputs = values.shape[:2]
        grouped = values.reshape(layer.groups, inputs // layer.groups, outputs, -1)
        return grouped.transpose(1, 2).reshape(layer.groups * outputs, -1)
    if turned(layer):  # [in, out]
        return values.t()
    if isinstance(layer, RECURRENT) and "weight_hr" not in name:  # [gates * hidden, in]
        return values.reshape(-1, layer.hidden_size, values.shape[1]).transpose(0, 1).flatten(1)
    return values.reshape(len(values), -1)


def channels(model: nn.Module, exclude: Iterable[str] = (), strict: bool = True) -> dict[str, int]:
    """Output channels of every prunable layer, by the name of its weight.

    >>> channels(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2)))
    {'0.weight': 8, '2.weight': 4}
    """
    return {name: len(by_channel(model, name, w)) for name, w in prunable(model, exclude, strict).items()}
