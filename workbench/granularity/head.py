"""A head of attention."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from workbench.granularity.base import GRANULARITIES, Granularity, Rule, needed
from workbench.types import Masks, Scores


def _heads(model: nn.Module | None, values: Scores, rule: Rule) -> Scores:
    """A head of a `MultiheadAttention`: its rows of the matrices of queries, keys and values."""
    found = {}
    for name, value in values.items():
        heads = _attention(model, name).num_heads
        parts = len(value) // _attention(model, name).embed_dim
        found[name] = (
            value if value.shape == (heads,) else rule(value.view(parts, heads, -1).transpose(0, 1).flatten(1))
        )
    return found


def _head_masks(model: nn.Module | None, example: Tensor | None) -> Callable[[Masks], Masks]:
    """Masks of a head's rows, and of their biases: what it gives is 0 behind them."""

    def expand(units: Masks) -> Masks:
        masks = {}
        for name, mask in units.items():
            layer, own = _attention(model, name), name.rpartition(".")[0]
            if not name.endswith("in_proj_weight"):
                raise ValueError(f"heads with keys of another size are not masked; got {name!r}. Use 'channel'")
            rows = mask.repeat_interleave(layer.head_dim).repeat(3)
            masks[name] = rows[:, None].expand(layer.in_proj_weight.shape).clone()
            if layer.in_proj_bias is not None:
                masks[f"{own}.in_proj_bias".lstrip(".")] = rows
        return masks

    return expand


def _attention(model: nn.Module | None, name: str) -> Any:
    layer = needed(model).get_submodule(name.rpartition(".")[0])
    if isinstance(layer, nn.MultiheadAttention):
        return layer
    told = f"heads are of MultiheadAttention; {name!r} belongs to {type(layer).__name__}"
    raise ValueError(f"{told}. Pass exclude=[{name!r}] to wb.score")


GRANULARITIES.add("head", Granularity(_heads, _head_masks))
