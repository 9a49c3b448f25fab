"""What a language model writes."""

import copy
from typing import Any

import torch
from torch import nn

from workbench.extras import lab
from workbench.models.running import evaluating
from workbench.seeds import seeded
from workbench.types import check_count


def generate(
    model: nn.Module,
    prompt: str,
    length: int = 200,
    *,
    tokenizer: Any = None,
    seed: int | None = None,
    temperature: float = 1.0,
) -> str:
    """What a decoder of `transformers` writes behind a prompt: `length` tokens, the prompt not among them.

    Each token is the likeliest one; with a `seed` it is drawn as often as the model thinks it likely, with its logits
    divided by the `temperature` (below 1: likely ones more often). Without a `tokenizer` (any of `transformers`) a
    token is a byte of UTF-8, and bytes that are no text show as a mark. The model is untouched. What its own
    `generation_config` asks for (an end, a temperature, a penalty) does not count. Raises TypeError for a model that
    cannot write, ValueError for more tokens than it reads.

    Misleads as a measure: likely text repeats itself, and looks good long after the bits have risen.

    >>> import workbench as wb
    >>> generate(wb.trained("llama", wb.load("text", device="cpu")), "The while stat", 8)
    'ement is'
    """
    if not callable(getattr(model, "generate", None)):
        told = f"decoders of transformers write, by their method generate; got {type(model).__name__}"
        raise TypeError(f"{told}. Load it with transformers.AutoModelForCausalLM")
    check_count("length", length)
    if not temperature > 0:
        raise ValueError(f"temperature divides the logits, a number above 0; got {temperature}. Leave out seed instead")
    if not isinstance(prompt, str):
        raise TypeError(f"a prompt is a text; got {prompt!r} ({type(prompt).__name__}). Pass a str")
    config = model.config.get_text_config()  # type: ignore[union-attr, operator]
    if tokenizer is None and config.vocab_size > 256:
        told = f"without a tokenizer a token is one of 256 bytes; this model knows {config.vocab_size}"
        raise ValueError(f"{told}. Pass tokenizer=transformers.AutoTokenizer.from_pretrained(name or folder)")
    tokens = list(prompt.encode()) if tokenizer is None else tokenizer(prompt).input_ids
    if not tokens:
        raise ValueError("a model goes on behind at least one token; got an empty prompt. Pass a word")
    most = getattr(config, "max_position_embeddings", None)
    if most and len(tokens) + length > most:
        told = f"this model reads at most {most} tokens; got a prompt of {len(tokens)} and length={length}"
        raise ValueError(f"{told}. Pass a shorter prompt or a smaller length")
    inputs = torch.tensor([tokens], device=next(model.parameters()).device)
    drawn: dict[str, Any] = {} if seed is None else {"do_sample": True, "temperature": temperature}
    writer: Any = copy.copy(model)  # shares all but its settings: another thread may use the model
    writer.generation_config = lab("transformers").GenerationConfig(pad_token_id=0, **drawn)
    if drawn:
        writer.generation_config.top_k = 0  # else one of the 50 likeliest is drawn
    with torch.no_grad(), evaluating(model), seeded(seed or 0):
        found = writer.generate(inputs, max_new_tokens=length, use_cache=True)
    new = found[0, len(tokens) :].tolist()
    return bytes(new).decode(errors="replace") if tokenizer is None else str(tokenizer.decode(new))
