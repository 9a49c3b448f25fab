"""Models of others, tiny and with random weights: half of each group's units removed and proven."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import workbench as wb

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    hub = pytest.importorskip("transformers")


class Translates(nn.Module):
    """A model with an encoder and a decoder, of one tensor of inputs."""

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, x: Tensor) -> Tensor:
        words = torch.arange(4).expand(len(x), -1)
        return self.model(**{self.name: x}, decoder_input_ids=words, use_cache=False).logits


IMAGES, TOKENS = (2, 3, 32, 32), (2, 7)
SMALL = dict(num_attention_heads=4, vocab_size=30)
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "ResNet": (
        lambda: hub.ResNetForImageClassification(
            hub.ResNetConfig(embedding_size=8, hidden_sizes=[16, 24], depths=[2, 2])
        ),
        IMAGES, 11,
    ),
    "MobileNetV2": (
        lambda: hub.MobileNetV2ForImageClassification(hub.MobileNetV2Config(depth_multiplier=0.25, image_size=32)),
        IMAGES, 25,
    ),
    "ConvNeXt": (
        lambda: hub.ConvNextForImageClassification(
            hub.ConvNextConfig(hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 2, 1])
        ),
        IMAGES, 5,
    ),
    "SegFormer": (
        lambda: hub.SegformerForSemanticSegmentation(
            hub.SegformerConfig(
                num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16], patch_sizes=[7, 3],
                strides=[4, 2], num_attention_heads=[2, 4], mlp_ratios=[2, 2], decoder_hidden_size=12,
            )
        ),
        IMAGES, 7,
    ),
    "BERT": (
        lambda: hub.BertForSequenceClassification(
            hub.BertConfig(hidden_size=16, num_hidden_layers=2, intermediate_size=24, **SMALL)
        ),
        TOKENS, 5,
    ),
    "GPT-2": (
        lambda: hub.GPT2LMHeadModel(hub.GPT2Config(n_embd=16, n_layer=2, n_head=4, vocab_size=30, n_positions=16)),
        TOKENS, 4,
    ),
    "T5": (
        lambda: Translates(
            hub.T5ForConditionalGeneration(
                hub.T5Config(d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, vocab_size=30)
            ),
            "input_ids",
        ),
        TOKENS, 6,
    ),
    "Whisper": (
        lambda: Translates(
            hub.WhisperForConditionalGeneration(
                hub.WhisperConfig(
                    d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
                    decoder_attention_heads=4, encoder_ffn_dim=24, decoder_ffn_dim=24, vocab_size=30, num_mel_bins=8,
                    max_source_positions=16, max_target_positions=8, pad_token_id=0, bos_token_id=1, eos_token_id=2,
                    decoder_start_token_id=1,
                )
            ),
            "input_features",
        ),
        (2, 8, 32), 6,
    ),
    "Llama": (
        lambda: hub.LlamaForCausalLM(
            hub.LlamaConfig(
                hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=8,
                num_key_value_heads=4, vocab_size=30,
            )
        ),
        TOKENS, 4,
    ),
    "ViT": (
        lambda: hub.ViTForImageClassification(
            hub.ViTConfig(
                hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24, image_size=32,
                patch_size=8,
            )
        ),
        IMAGES, 4,
    ),
}  # fmt: skip
"""A model, the shape of its inputs, and how many of its groups can shrink."""


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("name", MODELS)
def test_models_of_others_are_removed_and_proven(name, sparsity, tmp_path):
    build, shape, shrinking = MODELS[name]
    torch.manual_seed(0)
    model, x = build(), torch.randint(3, 30, shape) if shape == TOKENS else torch.randn(shape)
    scores = wb.group_scores(model, wb.score(model, None, "magnitude"), x, reduce="mean")
    assert len(scores) == shrinking
    units = wb.keep_top(scores, sparsity, allocation="layer")
    small = wb.remove(model, wb.group_masks(model, units, x), x)
    left = {group.name: group.units for group in wb.groups(small, x)}
    for group, kept in units.items():
        assert kept.sum() == 1 or left[group] == int(kept.sum())  # a single unit is no group
    wb.save_removed(small, tmp_path)
    again = wb.load_removed(tmp_path, build())
    with torch.no_grad():
        a, b = (one.eval()(x) for one in (small, again))
    torch.testing.assert_close(*(one if isinstance(one, Tensor) else one.logits for one in (a, b)))
