"""A head of attention."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from workbench.granularity.base import GRANULARITIES, Granularity, Rule, needed, of_weights, shapes_of
from workbench.types import Masks, Scores


def _heads(model: nn.Module | None, values: Scores, rule: Rule) -> Scores:
    """A head of a `MultiheadAttention`: its rows of the matrices of queries, keys and values."""
    shapes, found = shapes_of(model, values), {}
    for name, value in values.items():
        layer = _attention(model, name)
        if of_weights(name, value, shapes[name], (layer.num_heads,)):
            parts = value.view(len(value) // layer.embed_dim, layer.num_heads, -1)
            value = rule(parts.transpose(0, 1).flatten(1))
        found[name] = value
    return found


def _head_masks(model: nn.Module | None, example: Tensor | None) -> Callable[[Masks], Masks]:
    """Masks of a head's rows, and of their biases: what it gives is 0 behind them."""

    def expand(units: Masks) -> Masks:
        masks = {}
        for name, mask in units.items():
            layer, own = _attention(model, name), name.rpartition(".")[0]
            rows = mask.repeat_interleave(layer.head_dim).repeat(3)
            masks[name] = rows[:, None].expand(layer.in_proj_weight.shape).clone()
            if layer.in_proj_bias is not None:
                masks[f"{own}.in_proj_bias".lstrip(".")] = rows
        return masks

    return expand


def _attention(model: nn.Module | None, name: str) -> Any:
    layer = needed(model).get_submodule(name.rpartition(".")[0])
    if isinstance(layer, nn.MultiheadAttention) and name.endswith("in_proj_weight"):
        return layer
    if isinstance(layer, nn.MultiheadAttention):
        told = f"heads whose keys or values have another size are not masked; got {name!r}"
        raise ValueError(f"{told}. Pass exclude=[{name!r}] to wb.score, or use 'channel'")
    told = f"heads are of MultiheadAttention; {name!r} belongs to {type(layer).__name__}"
    other = "for heads of other attention take wb.group_scores and wb.group_masks, whose units they are"
    raise ValueError(f"{told}. Pass exclude=[{name!r}] to wb.score; {other}")


GRANULARITIES.add("head", Granularity(_heads, _head_masks))
