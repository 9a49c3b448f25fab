"""wikitext2: articles of Wikipedia, on which language models are compared (Merity et al. 2016, arXiv:1609.07843)."""

from pathlib import Path

import torch

from workbench.data.hub import downloaded
from workbench.data.registry import source
from workbench.data.task import Task
from workbench.data.text import CONTEXT, numbers, of_windows

NAME, HUB, CONFIG = "wikitext2", "Salesforce/wikitext", "wikitext-2-raw-v1"
NAMES = {"train": "train", "val": "validation", "test": "test"}
FILES = {"train": "train.txt", "val": "valid.txt", "test": "test.txt"}


def has_copy(root: Path | None) -> bool:
    """Whether the validation and the test text are there; the training text may be missing."""
    return root is not None and all((root / NAME / FILES[split]).is_file() for split in ("val", "test"))


def read_wikitext2(split: str, root: Path | None = None) -> str:
    """A split's raw text, "train", "val" or "test": from `root/wikitext2/{train,valid,test}.txt`, or through the hub.

    Perplexities of models with a tokenizer are of the tokens of this text: see `wb.perplexity`.
    """
    file = None if root is None else root / NAME / FILES[split]
    if file is not None and file.is_file():
        return file.read_text(encoding="utf-8")
    told = f"{FILES['val']} and {FILES['test']} (and {FILES['train']})"
    return "".join(downloaded(NAME, HUB, CONFIG, NAMES[split], root, told)["text"])


@source(NAME, tokens=True, copy=has_copy)
def load_wikitext2(root: Path | None, device: torch.device) -> Task:
    """Windows of 256 bytes of the raw articles, to predict the next byte of each; as `text` in all else.

    A local copy without `train.txt` trains on the first nine tenths of the validation text, and holds out the rest.
    Misleads where published numbers are near: those are perplexities of the tokens of one tokenizer, and a copy of
    the version that is not raw has `<unk>` in place of rare words.
    """
    local = has_copy(root)
    wanted = [split for split in FILES if not local or root is None or (root / NAME / FILES[split]).is_file()]
    texts = {split: numbers(read_wikitext2(split, root).encode()) for split in wanted}
    for split, text in texts.items():
        if len(text) < 10 * (CONTEXT + 1):
            told = f"{split!r} of {NAME} has at least {10 * (CONTEXT + 1):,} bytes; got {len(text):,}"
            raise ValueError(f"{told}. Copy {FILES[split]} again, or move it away to download the data")
    if "train" not in texts:
        texts["train"], texts["val"] = texts["val"].tensor_split([len(texts["val"]) * 9 // 10])
    return of_windows({split: [text] for split, text in texts.items()}, NAME, device)
