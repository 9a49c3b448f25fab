"""The small picture of a run: its first figure, as data that stands in a list of runs."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

from workbench.headless.notebook import results

if TYPE_CHECKING:
    from nbformat import NotebookNode

KINDS = ("image/png", "image/jpeg", "image/gif", "image/webp")
SIZE = (240, 160)  # pixels: twice what the list shows
MOST = 11_000  # bytes; as text these are at most 15 kB
WORDS = 300  # characters of its text


def small_picture(notebook: NotebookNode) -> dict[str, str]:
    """{"picture": a data URI of at most 15 kB, "alt": what it shows} of the first picture that can be read, else "".

    It is scaled to at most 240 x 160 pixels on white. The words are those of the output, cut off after 300 characters.
    It misleads where the first figure is the same in all runs: it does not look for the one that differs.
    """
    for output in results(notebook):
        data = output.get("data", {})
        kind = next((kind for kind in KINDS if kind in data), None)
        if kind and (small := _scaled(data[kind])):
            words = " ".join(str(output.get("metadata", {}).get("alt") or data.get("text/plain", "")).split())
            alt = words if len(words) <= WORDS else f"{words[:WORDS].rpartition(' ')[0] or words[:WORDS]} ..."
            return {"picture": f"data:image/webp;base64,{base64.b64encode(small).decode()}", "alt": alt}
    return {"picture": "", "alt": ""}


def _scaled(data: Any) -> bytes:
    """Base64 of an image, as a small WebP; empty where it cannot be read, or made small enough."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        image.thumbnail(SIZE)
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        for quality in (80, 50, 20, 0):
            file = io.BytesIO()
            ground.convert("RGB").save(file, "WEBP", quality=quality)
            if file.tell() <= MOST:
                return file.getvalue()
    except Exception:  # broken images raise errors of many kinds: a picture fails no run
        return b""
    return b""
