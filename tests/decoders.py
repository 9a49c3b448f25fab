"""Tiny random decoders of `transformers`."""

from __future__ import annotations

from typing import Any

import torch

TOKENS = torch.randint(256, (4, 16), generator=torch.Generator().manual_seed(0))


def small(kind: str, **own: Any) -> Any:
    """A decoder of two blocks of 32 units that knows 256 tokens, in evaluation mode."""
    import transformers

    torch.manual_seed(0)
    shared = dict(
        vocab_size=256, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64
    )
    more = {
        "GPT2": dict(n_positions=64, n_embd=32, n_layer=2, n_head=4, vocab_size=256),
        "OPT": dict(shared, ffn_dim=64, word_embed_proj_dim=32),
        "GPTNeoX": dict(shared, intermediate_size=64),
        "Bloom": dict(vocab_size=256, hidden_size=32, n_layer=2, n_head=4),
        "Mpt": dict(vocab_size=256, d_model=32, n_layers=2, n_heads=4, max_seq_len=64, use_cache=True),
        "Mixtral": dict(shared, intermediate_size=64, num_key_value_heads=2, num_local_experts=3),
    }.get(kind, dict(shared, intermediate_size=64, num_key_value_heads=2, head_dim=8))
    more = {**more, **dict(bos_token_id=0, eos_token_id=0, pad_token_id=0), **own}
    return transformers.AutoModelForCausalLM.from_config(getattr(transformers, f"{kind}Config")(**more)).eval()
