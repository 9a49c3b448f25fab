"""A small Llama (Touvron et al. 2023, arXiv:2302.13971) with grouped queries, as `transformers` builds it."""

from torch import nn

from workbench.extras import lab
from workbench.models.registry import Shape, network, scaled


@network("llama", fits=lambda shape: len(shape) == 1, inputs="tokens of one dimension, whole numbers", tokens=True)
def llama(shape: Shape, classes: int, width: float) -> nn.Module:
    """Four blocks of 128 units: four heads that share two pairs of keys and values, and a gated layer of 320 units.

    It returns what all models of `transformers` return: outputs with `logits` `[n, t, classes]`.
    """
    llamas = lab("transformers")
    config = llamas.LlamaConfig(
        vocab_size=classes,
        hidden_size=4 * scaled(32, width),
        intermediate_size=scaled(320, width),
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2 * shape[0],
        use_cache=False,
    )
    model: nn.Module = llamas.LlamaForCausalLM(config)
    return model
