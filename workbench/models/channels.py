"""Weights seen channel by channel: what belongs to one output of a layer."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from workbench.models.watch import following
from workbench.models.weights import QUERY_KEY_VALUE, RECURRENT, TRANSPOSED, prunable, turned
from workbench.types import Batch


def by_channel(model: nn.Module, name: str, values: Tensor) -> Tensor:
    """Values of a weight's shape as `[out, weights of one output channel]`, in the layer's order of outputs.

    An output of a recurrent layer is a hidden unit: the rows of all its gates belong to it.

    >>> by_channel(nn.ConvTranspose1d(4, 6, 3, groups=2), "weight", torch.ones(4, 3, 3)).shape
    torch.Size([6, 6])
    """
    layer = model.get_submodule(name.rpartition(".")[0])
    if isinstance(layer, TRANSPOSED):  # their weights are [in, out / groups, ...]
        grouped = values.unflatten(0, (layer.groups, -1))
        return grouped.transpose(1, 2).reshape(layer.groups * values.shape[1], -1)
    if turned(layer):  # [in, out]
        return values.t()
    if isinstance(layer, RECURRENT) and "weight_hr" not in name:  # [gates * hidden, in]
        return values.reshape(-1, layer.hidden_size, values.shape[1]).transpose(0, 1).flatten(1)
    return values.reshape(len(values), -1)


def whole(model: nn.Module, name: str, values: Tensor) -> Tensor:
    """Values of channels `[out]` in the weight's shape: each of a channel's weights has the channel's.

    >>> whole(nn.Linear(2, 3), "weight", torch.tensor([True, False, True])).tolist()
    [[True, True], [False, False], [True, True]]
    """
    shape = model.get_parameter(name).shape
    places = by_channel(model, name, torch.arange(shape.numel(), device=values.device).view(shape))
    flat = values.new_empty(shape.numel())
    flat[places] = values[:, None]
    return flat.view(shape)


def entries(model: nn.Module, example: Tensor) -> dict[str, list[tuple[str, Tensor]]]:
    """What belongs to channels beside their weights: parameter name -> the layers it serves, each with its places.

    They are biases, and parameters of norms of single channels (see `following`). `places[c]` are channel c's entries.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    >>> {own: places.tolist() for own, [(_, places)] in entries(model, torch.zeros(1, 1, 3, 3)).items()}
    {'0.bias': [[0], [1]], '1.weight': [[0], [1]], '1.bias': [[0], [1]]}
    """
    weights, names = prunable(model, strict=False), {id(p): name for name, p in model.named_parameters()}
    sizes, of = channels(model, strict=False), {id(w): name for name, w in weights.items()}
    found: dict[str, list[tuple[str, Tensor]]] = {}
    for module in model.modules():
        for own, weight in module.named_parameters(recurse=False):
            name, bias = of.get(id(weight)), getattr(module, own.replace("weight", "bias"), None)
            if name is None:
                continue
            if own in QUERY_KEY_VALUE and module.in_proj_bias is not None:
                part = torch.arange(3 * sizes[name]).view(3, -1)[QUERY_KEY_VALUE.index(own)]
                found.setdefault(names[id(module.in_proj_bias)], []).append((name, part[:, None]))
            elif isinstance(bias, Tensor) and id(bias) in names:  # of a recurrent layer [gates * hidden], else [out]
                places = torch.arange(len(bias)).view(-1, sizes[name]).t()
                found.setdefault(names[id(bias)], []).append((name, places))
    for name, follows in following(model, Batch(example, example)).items():
        for entry in follows.entries:
            if id(entry) in names:
                found.setdefault(names[id(entry)], []).append((name, torch.arange(len(entry)).view(sizes[name], -1)))
    return found


def channels(model: nn.Module, exclude: Iterable[str] = (), strict: bool = True) -> dict[str, int]:
    """Output channels of every prunable layer, by the name of its weight.

    >>> channels(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2)))
    {'0.weight': 8, '2.weight': 4}
    """
    return {name: len(by_channel(model, name, w)) for name, w in prunable(model, exclude, strict).items()}
