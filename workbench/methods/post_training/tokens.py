"""Calibration tokens from a text."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.extras import lab
from workbench.seeds import generator
from workbench.types import check_count


def calibration_tokens(text: str, n: int, t: int, *, tokenizer: Any = None, seed: int = 0) -> Tensor:
    """Windows `[n, t]` of a text's tokens, int64, that begin at random places and may overlap.

    A `tokenizer` is any of `transformers`; without one a token is a byte of UTF-8. The text is one row of tokens,
    without marks of begin or end; Frantar and Alistarh (arXiv:2301.00774) draw each window from another document of C4.
    Raises ValueError for a text of fewer than `t` tokens.

    Misleads where the text is not of the kind that the model will read: calibrate on what you use it for.

    >>> bytes(calibration_tokens("abcdef", 1, 5)[0].tolist())
    b'bcdef'
    """
    check_count("n", n)
    check_count("t", t)
    if not isinstance(text, str):
        raise TypeError(f"calibration tokens are made from a text; got {type(text).__name__}. Pass a str")
    if tokenizer is not None and not callable(tokenizer):
        told = f"tokenizer is one of transformers, or None for bytes; got {tokenizer!r} ({type(tokenizer).__name__})"
        raise TypeError(f"{told}. Pass transformers.AutoTokenizer.from_pretrained(name or folder)")
    whole = (
        list(text.encode()) if tokenizer is None else tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    )
    if len(whole) < t:
        told = f"a text has at least as many tokens as a sample has, {t:,}; got {len(whole):,}"
        raise ValueError(f"{told}. Pass a longer text, or shorter samples")
    tokens = torch.tensor(whole)
    starts = torch.randint(len(whole) - t + 1, (n,), generator=generator(seed, "calibration"))
    return tokens.unfold(0, t, 1)[starts]


TOKENIZERS = "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model"


def tokenizer_of(folder: str | Path, vocabulary: int) -> Any:
    """The tokenizer in a decoder's folder, or None for a model of bytes, which has 256 tokens and needs none."""
    path = Path(folder)
    if any((path / name).is_file() for name in TOKENIZERS):
        try:
            return lab("transformers").AutoTokenizer.from_pretrained(path, local_files_only=True)
        except (OSError, ValueError, ImportError) as error:
            told = f"transformers cannot read the tokenizer in {path}: {str(error).splitlines()[0]}"
            raise ValueError(f"{told}. Get its files again, or pass tokens to wb.prune_llm") from error
    if vocabulary != 256:
        told = f"a folder with a tokenizer, or a model of 256 tokens, which are bytes; {path} has {vocabulary} and none"
        raise ValueError(f"{told}. Copy the tokenizer's files into it, or pass tokens to wb.prune_llm")
    return None
