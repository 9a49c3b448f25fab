"""Text that a user reads is plain modern English, for readers whose first language is another."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "tasks.py", *ROOT.glob("notebooks/*.ipynb")]
TEXTS += [path for path in ROOT.rglob("workbench/**/*") if path.suffix in (".py", ".html", ".js")]
OLD = re.compile(
    r"\b(albeit|lest|nay|nought|oft|ought|shall|thereof|thrice|thus|till|twain|upon|whence|wherein|whereof)\b"
    r"|\b(one's own|sees? to it|told (as|that)|for what it is worth|no more a)\b",
    re.IGNORECASE,
)
"""Words and turns that are old or literary: write `with`, `so`, `must`, `your own`, `a warning says`, ..."""


@pytest.mark.parametrize("path", sorted(TEXTS), ids=lambda path: path.name)
def test_words_are_plain(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    found = [f"{line}: {m[0]}" for line, words in enumerate(text.splitlines(), 1) if (m := OLD.search(words))]
    assert not found


@pytest.mark.parametrize("words", ["Whence the mask?", "a failure is told as that", "a loss of one's own"])
def test_an_old_word_is_seen(words):
    assert OLD.search(words)
