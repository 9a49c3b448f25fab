"""Layers that get tensors of other sizes, and what says their sizes."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from workbench.models.weights import RECURRENT, turned


class FewerHeads(nn.MultiheadAttention):
    """`nn.MultiheadAttention` whose heads need not fill its width, as torch's own must; it computes the same."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As of `nn.MultiheadAttention`."""
        single, given = query.ndim == 2, [query, key, value]
        if single or not self.batch_first:
            given = [t[None] if single else t.transpose(0, 1) for t in given]
        stacked, biases = self.in_proj_weight, self.in_proj_bias
        weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight) if stacked is None else stacked.chunk(3)
        added = (None, None, None) if biases is None else biases.chunk(3)
        q, k, v = (
            functional.linear(t, w, b).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for t, w, b in zip(given, weights, added, strict=True)
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        for mask, shape in ((attn_mask, scores.shape), (key_padding_mask, (len(scores), 1, 1, scores.shape[-1]))):
            if mask is not None:
                mask = mask if mask.ndim == 2 and mask is attn_mask else mask.reshape(shape)
                scores = scores.masked_fill(mask, -math.inf) if mask.dtype.is_floating_point is False else scores + mask
        attention = functional.dropout(scores.softmax(-1), self.dropout, self.training)
        out = self.out_proj((attention @ v).transpose(1, 2).flatten(2))
        out = out[0] if single else out if self.batch_first else out.transpose(0, 1)
        if not need_weights:
            return out, None
        shown = attention.mean(1) if average_attn_weights else attention
        return out, shown[0] if single else shown


def resized(
    model: nn.Module, tensors: Mapping[str, Tensor], numbers: Mapping[str, Mapping[str, int]] | None = None
) -> nn.Module:
    """A copy of a model with other tensors, under all names that its own have; layers tell the new sizes.

    `numbers` are those that modules of the model's own code keep: module name -> attribute -> value.
    """
    made, touched = dict[int, Any](), set[int]()
    for name, new in tensors.items():
        path, _, own = name.rpartition(".")
        old = getattr(model.get_submodule(path), own)
        made[id(old)] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
        touched |= {id(old)} if old.shape != new.shape else set()
    try:
        small = copy.deepcopy(model, made)
    except (RuntimeError, TypeError) as error:
        told = f"removal works on a copy of the model; copy.deepcopy fails: {error}"
        raise ValueError(f"{told}. Detach tensors that modules keep, and take off what cannot be copied") from error
    for before, module in zip(model.modules(), small.modules(), strict=True):
        inside = isinstance(module, nn.MultiheadAttention)
        if any(id(held) in touched for held in (*before.parameters(inside), *before.buffers(inside))):
            _refit(module)
    for name, values in (numbers or {}).items():
        for attribute, value in values.items():
            setattr(small.get_submodule(name), attribute, value)
    return small


def _refit(module: Any) -> None:
    """Make a layer say the sizes of its tensors."""
    if isinstance(module, _ConvNd):
        lead, inner = module.weight.shape[:2]
        if module.groups > 1:  # whole groups went
            module.groups = module.groups * lead // (module.in_channels if module.transposed else module.out_channels)
        sides = lead, inner * module.groups
        module.in_channels, module.out_channels = sides if module.transposed else sides[::-1]
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Bilinear):
        module.out_features, module.in1_features, module.in2_features = module.weight.shape
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    elif isinstance(module, _NormBase):
        module.num_features = len(next(t for t in (module.weight, module.running_mean) if t is not None))
    elif isinstance(module, nn.GroupNorm):
        module.num_groups = module.num_groups * len(module.weight) // module.num_channels
        module.num_channels = len(module.weight)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
    elif isinstance(module, nn.RNNBase):
        read, back, *_, last = (getattr(module, name) for name in module._flat_weights_names)
        module.input_size, inner = read.shape[1], back.shape[1]
        module.hidden_size, module.proj_size = (last.shape[1], inner) if module.proj_size else (inner, 0)
    elif isinstance(module, RECURRENT):
        module.input_size, module.hidden_size = (getattr(module, f"weight_{side}").shape[1] for side in ("ih", "hh"))
    elif isinstance(module, nn.MultiheadAttention):
        module.__class__, module._qkv_same_embed_dim = FewerHeads, False
        module.num_heads = module.out_proj.weight.shape[1] // module.head_dim
        module.embed_dim = len(module.out_proj.weight)
    elif turned(module) or hasattr(module, "nf"):
        module.nx, module.nf = module.weight.shape
