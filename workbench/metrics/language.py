"""How well a language model predicts a text: perplexity and bits, with the windows that they are measured in."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.models.running import evaluating, run_model
from workbench.types import check_count


@torch.no_grad()
def perplexity(
    model: nn.Module, tokens: Tensor, context: int, stride: int | None = None, *, text_bytes: int | None = None
) -> dict[str, float]:
    """The perplexity `exp(mean of -log p)` of a text's `tokens` `[n]`, in windows of `context` tokens.

    A window begins each `stride` tokens (default: `context`, windows that do not overlap, as Frantar and Alistarh,
    arXiv:2301.00774, and Sun et al., arXiv:2306.11695, measure). In each window the model predicts the tokens that no
    window before it has predicted, from those before them in this window; so the first token of all, and without
    overlap the first one of each window, is not predicted. The last window may be shorter. A smaller stride gives each
    token more context and takes longer.

    Returns `perplexity`, `bits_per_token`, `tokens` (predicted ones) and, with the length of the same text in bytes,
    `bits_per_byte`: all bits by all bytes, a unit that tokenizers share. Raises ValueError for a context longer than
    the model's, and for tokens that it cannot look up. Misleads between tokenizers, contexts and strides: compare
    perplexities of equal ones only. Tokens that are not predicted add bytes and no bits: one in `context` without
    overlap.

    >>> import workbench as wb
    >>> task = wb.load("text", device="cpu")
    >>> found = perplexity(wb.make("llama", task, width=0.25), task.splits["val"].inputs[:4].flatten(), 256)
    >>> found["tokens"], round(found["bits_per_token"]) in (8, 9)
    (1020, True)
    """
    if not isinstance(model, nn.Module):
        told = f"model is an nn.Module; got {type(model).__name__}"
        raise TypeError(f"{told}. Load a folder with transformers.AutoModelForCausalLM.from_pretrained")
    if not isinstance(tokens, Tensor):
        told = f"tokens of one text are a tensor, int64 [n]; got {type(tokens).__name__}"
        raise TypeError(f"{told}. Make them with the model's tokenizer, or of bytes: torch.tensor(list(text.encode()))")
    stride = check_count("stride", check_count("context", context) if stride is None else stride)
    if tokens.ndim != 1 or tokens.dtype != torch.int64 or len(tokens) < 2:
        told = f"tokens of one text, int64 [n], at least 2; got {tokens.dtype} {tuple(tokens.shape)}"
        raise ValueError(f"{told}. Pass the text's tokens in one row")
    if context < 2:
        raise ValueError(f"context is at least 2: one token is read to predict the next; got {context}. Pass more")
    if stride > context:
        told = f"stride is at most context, or tokens are left out; got {stride} and {context}"
        raise ValueError(f"{told}. Pass stride={context}, or a smaller one")
    most = getattr(getattr(model, "config", None), "max_position_embeddings", None) or context
    if context > most:
        raise ValueError(f"this model reads at most {most} tokens; got context={context}. Pass a smaller one")
    sums, counted, done = 0.0, 0, 1
    with evaluating(model):
        for start in range(0, len(tokens) - 1, stride):
            window = tokens[start : start + context]
            logits = run_model(model, window[None])[0]
            first = max(done - start, 1)  # the place in the window of the first token that is predicted
            sums += float(functional.cross_entropy(logits[first - 1 : -1].float(), window[first:], reduction="sum"))
            counted += len(window) - first
            done = start + len(window)
            if done == len(tokens):
                break
    bits = sums / math.log(2)
    mean = torch.tensor(sums / counted, dtype=torch.float64)
    found = {"perplexity": float(mean.exp()), "bits_per_token": bits / counted, "tokens": counted}
    return found | ({} if text_bytes is None else {"bits_per_byte": bits / check_count("text_bytes", text_bytes)})
