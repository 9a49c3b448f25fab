"""What a folder and a live model of `transformers` are checked for alike: that it is a decoder, and its tokens."""

from typing import Any

import torch
from torch import Tensor, nn

from workbench.extras import lab
from workbench.types import warn


def check_decoder(config: Any, name: str) -> None:
    """Raise ValueError where a config of `transformers` is that of an encoder, or of an encoder and a decoder."""
    masked = type(config) in lab("transformers").MODEL_FOR_MASKED_LM_MAPPING
    if config.is_encoder_decoder or (masked and not getattr(config, "is_decoder", False)):
        kind = "an encoder and a decoder" if config.is_encoder_decoder else "an encoder"
        told = f"a decoder predicts the next token from those before it; {name} is {kind} ({config.model_type})"
        raise ValueError(f"{told}. Prune it with wb.score and wb.keep_top, which take any model")


def is_pretrained(model: nn.Module) -> bool:
    """Whether a model is one of `transformers`, by what it has; a module around such a model is none.

    >>> is_pretrained(nn.Linear(2, 2))
    False
    """
    return hasattr(getattr(model, "config", None), "is_encoder_decoder") and hasattr(model, "get_input_embeddings")


def check_tokens(model: Any, name: str, inputs: object) -> None:
    """Raise TypeError or ValueError where a model of `transformers` cannot look these calibration tokens up."""
    if not isinstance(inputs, Tensor) or inputs.dtype != torch.int64 or inputs.ndim != 2 or not inputs.numel():
        got = f"{inputs.dtype} {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else type(inputs).__name__
        one = isinstance(inputs, Tensor) and inputs.dtype == torch.int64 and inputs.ndim == 1 and inputs.numel()
        remedy = "Pass tokens[None], one row" if one else "Make them with wb.calibration_tokens"
        raise TypeError(f"calibration reads tokens, an int64 tensor [n, t]; got {got}. {remedy}")
    known = model.get_input_embeddings().weight.shape[0]
    low, high = int(inputs.min()), int(inputs.max())
    if low < 0 or high >= known:
        raise ValueError(
            f"{name} knows the tokens 0 to {known - 1}; got {low} to {high}. Use the tokenizer of this model"
        )
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if most and inputs.shape[1] > most:
        raise ValueError(f"{name} reads at most {most} tokens; got rows of {inputs.shape[1]}. Pass shorter rows")


def warn_of_bytes(model: Any, name: str, inputs: Tensor) -> None:
    """Warn where tokens look like bytes, all below 256, and the model knows more of them."""
    known = model.get_input_embeddings().weight.shape[0]
    if known > 256 and int(inputs.max()) < 256:
        told = f"{name} knows {known} tokens; no calibration token is over 255, as if they were bytes"
        warn(f"{told}. If they are, use its tokenizer: wb.calibration_tokens(text, n, t, tokenizer=...)")
