"""One-shot pruning of a small Llama: CPU seconds of each method, all of it, beside a pass of the same tokens."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from benchmarks.measure import Row, in_turns
from workbench.methods.post_training import prune_llm

BOUNDS = {"wanda": 1.0, "sparsegpt": 1.8}
"""Seconds of one thread for 3.4 M parameters and 32 x 128 tokens."""


def small(units: int) -> nn.Module:
    """A Llama of four blocks with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = dict(hidden_size=units, intermediate_size=units * 43 // 16, num_hidden_layers=4, num_attention_heads=4)
    model: nn.Module = LlamaForCausalLM(LlamaConfig(vocab_size=512, use_cache=False, **sizes))
    return model.eval()


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
    seconds = in_turns(1 if quick else 5, once=once, **calls)
    yield Row(f"a pass of {tokens.numel():,} tokens through a Llama of {size:.1f} M parameters", seconds["once"], "s")
    for name in calls:
        yield Row(f"{name} at half of the weights, calibration and all", seconds[name], "s", BOUNDS.get(name))
        yield Row(f"{name} / a pass", seconds[name] / seconds["once"], "x")
