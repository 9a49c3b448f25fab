"""One-shot pruning of a small Llama: CPU seconds of each method, all of it, beside a pass and beside bare functions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import Row, in_turns
from workbench.methods.post_training import prune_llm
from workbench.methods.post_training.base import POST_TRAINING, Inputs, Share

BOUNDS = {"wanda": 1.0, "sparsegpt": 1.8}
"""Seconds of one thread for 3.4 M parameters and 32 x 128 tokens."""


def small(units: int) -> nn.Module:
    """A Llama of four blocks with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = dict(hidden_size=units, intermediate_size=units * 43 // 16, num_hidden_layers=4, num_attention_heads=4)
    model: nn.Module = LlamaForCausalLM(LlamaConfig(vocab_size=512, use_cache=False, **sizes))
    return model.eval()


GROUPS = [["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], ["self_attn.o_proj"]]
GROUPS += [["mlp.gate_proj", "mlp.up_proj"], ["mlp.down_proj"]]
"""Layers of a Llama's block that read one tensor."""


@torch.no_grad()
def bare(model: Any, tokens: Tensor, method: str, rows: int = 8) -> None:
    """The same work by hand, for this model alone: a block after another, hooks, and the method's function."""
    entry, parts = POST_TRAINING[method], model.model.embed_tokens(tokens).split(rows)
    place = model.model.rotary_emb(parts[0], torch.arange(tokens.shape[1])[None])
    before = []
    for block in model.model.layers:
        given = [Inputs() for _ in GROUPS]
        hooks = []
        for inputs, names in zip(given, GROUPS, strict=True):
            layer = block.get_submodule(names[0])
            add = lambda module, args, inputs=inputs: inputs.add(args[0].flatten(0, 1), entry.needs)  # noqa: E731
            hooks.append(layer.register_forward_pre_hook(add))
        if entry.needs != "nothing":
            for part in parts:
                block(part, position_embeddings=place)
        for hook in hooks:
            hook.remove()
        for inputs, names in zip(given, GROUPS, strict=True):
            for name in names:
                weight = block.get_submodule(name).weight
                before.append((weight, weight.clone()))
                weight.copy_(entry.function(weight.detach(), inputs, Share(0.5))[1])
        if block is not model.model.layers[-1]:
            parts = [block(part, position_embeddings=place) for part in parts]
    for weight, own in before:
        weight.copy_(own)


def rows(quick: bool) -> Iterator[Row]:
    """Yield a row for each method, and its multiple of a pass."""
    model = small(32 if quick else 256)
    tokens = torch.randint(512, (4, 16) if quick else (32, 128), generator=torch.Generator().manual_seed(0))
    size = sum(p.numel() for p in model.parameters()) / 1e6

    def once() -> None:
        with torch.no_grad():
            model(tokens)

    calls = {
        name: lambda name=name: prune_llm(model, tokens, name, 0.5)
        for name in ("magnitude", "wanda", "ria", "sparsegpt")
    }
    names = [name for name in calls if name in BOUNDS]
    calls |= {f"bare {name}": lambda name=name: bare(model, tokens, name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(f"{folder}/dense")  # type: ignore[operator]
        numbers = count()
        calls |= {
            f"folder {name}": lambda name=name: prune_llm(
                Path(folder, "dense"), tokens, name, 0.5, out=Path(folder, str(next(numbers)))
            )
            for name in names
        }
        seconds = in_turns(1 if quick else 9, once=once, **calls)
    yield Row(f"a pass of {tokens.numel():,} tokens through a Llama of {size:.1f} M parameters", seconds["once"], "s")
    for name in ("magnitude", "wanda", "ria", "sparsegpt"):
        yield Row(f"{name} at half of the weights, calibration and all", seconds[name], "s", BOUNDS.get(name))
        yield Row(f"{name} / a pass", seconds[name] / seconds["once"], "x")
    for name in names:
        yield Row(f"{name} / the same by bare functions", seconds[name] / seconds[f"bare {name}"], "x", 1.1)
        yield Row(f"{name} from a folder into a folder / in memory", seconds[f"folder {name}"] / seconds[name], "x")
