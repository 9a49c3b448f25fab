"""Pictures: PIL images and folders of image files as uint8 arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from workbench.types import Batch, warn

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
GREY, DEEP = ("1", "L", "LA", "La"), ("F", "I", "I;16", "I;16B", "I;16L", "I;16N")


def are_pictures(values: Any) -> bool:
    """Whether `values` is a list of PIL images and nothing else."""
    from PIL.Image import Image

    return isinstance(values, list | tuple) and len(values) > 0 and all(isinstance(value, Image) for value in values)


def pixels(images: Iterable[tuple[str, Image]], side: tuple[int, int] | None = None) -> np.ndarray:
    """Named images as uint8 `[n, c, h, w]`: one channel if all are grey, else RGB; resized to `side` (h, w) if given.

    Raises ValueError naming the first that is transparent, deeper than 8 bits, or of another size.
    """
    arrays: list[np.ndarray] = []
    for name, image in images:
        array = _array(name, image, side)
        if arrays and array.shape[:2] != arrays[0].shape[:2]:
            (height, width), (other, wide) = arrays[0].shape[:2], array.shape[:2]
            told = f"images have one size, here {height} x {width} (height x width); {name} has {other} x {wide}"
            raise ValueError(f"{told}. Resize them first (Task.from_folder does it with size=)")
        arrays.append(array)
    colour = any(array.ndim == 3 for array in arrays)
    stacked = np.empty((len(arrays), 3 if colour else 1, *arrays[0].shape[:2]), dtype=np.uint8)
    for row, array in zip(stacked, arrays, strict=True):
        row[...] = array.transpose(2, 0, 1) if array.ndim == 3 else array
    return stacked


def _array(name: str, image: Image, side: tuple[int, int] | None) -> np.ndarray:
    """uint8 `[h, w]` of a grey image, `[h, w, 3]` of a coloured one."""
    from PIL.Image import Resampling

    if image.mode in DEEP:
        raise ValueError(f"images have 8 bits per channel; {name} has mode {image.mode}. Convert it to L or RGB first")
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        raise ValueError(f"images are opaque; {name} is transparent in parts. Paste it on a background first")
    image = image.convert("L" if image.mode in GREY else "RGB")
    return np.asarray(image if side is None else image.resize(side[::-1], Resampling.BILINEAR))


def read_folder(
    path: str | Path, size: int | tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, list[str]]:
    """Images uint8 `[n, c, h, w]` of a folder, their labels, which are of the split "test", and the classes.

    These are `path/train/<class>/*` and `path/test/<class>/*`, or `path/<class>/*` (then no split: None), sorted by the
    names of class and file. Hidden files are passed over; a warning tells how many others are no images.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"path is a folder with a folder of images for each class; there is no folder {path}")
    folders = [f.name for f in _visible(path) if f.is_dir()]
    split = bool({"train", "test"} & {f.lower() for f in folders})
    if split and folders != ["test", "train"]:
        rule = f"{path} holds only the folders train and test, or one folder for each class"
        remedy = "Rename or move folders; validation samples are taken from train"
        raise ValueError(f"{rule}; got {', '.join(folders)}. {remedy}")
    strange: list[Path] = []
    found = {s: _classes(path / s, strange) for s in (("train", "test") if split else ("",))}
    classes = sorted(next(iter(found.values())))
    if split and (odd := sorted(set(found["train"]) ^ set(found["test"]))):
        raise ValueError(f"train and test in {path} hold the same classes; {odd[0]!r} is in only one of them")
    strange += [f for folder in ({path, *(path / s for s in found)}) for f in _visible(folder) if f.is_file()]
    if strange:
        warn(f"left out of {path}: {len(strange)} that are not images in the folder of a class, such as {min(strange)}")
    files = [(s, classes.index(c), f) for s, of in found.items() for c in classes for f in of[c]]
    of_split, labels, paths = zip(*files, strict=True)
    test = np.asarray(of_split) == "test" if split else None
    return pixels(_open(paths), _side(size)), np.asarray(labels), test, classes


def _visible(folder: Path) -> list[Path]:
    hidden = (".", "Thumbs.db", "desktop.ini")
    return sorted((f for f in folder.iterdir() if not f.name.startswith(hidden)), key=lambda f: f.name)


def _classes(folder: Path, strange: list[Path]) -> dict[str, list[Path]]:
    """Class -> its image files; what is neither goes to `strange`."""
    classes: dict[str, list[Path]] = {}
    for of_class in (f for f in _visible(folder) if f.is_dir()):
        inside = _visible(of_class)
        if deeper := [f for f in inside if f.is_dir()]:
            rule = "images lie in the folder of their class, and splits are named train and test"
            raise ValueError(f"{rule}; got {deeper[0]}, a folder. Move its images up or the folder out")
        classes[of_class.name] = [f for f in inside if f.suffix.lower() in SUFFIXES]
        strange += [f for f in inside if f.suffix.lower() not in SUFFIXES]
        if not classes[of_class.name]:
            raise ValueError(f"each class has at least one image ({', '.join(SUFFIXES)}); {of_class} has none")
    if not classes:
        raise ValueError(
            f"images lie in one folder for each class; {folder} holds no folder. Make {folder}/<class>/*.png"
        )
    return classes


def _side(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = size if isinstance(size, tuple | list) and len(size) == 2 else (size, size)
    if type(height) is int and type(width) is int and min(height, width) > 0:
        return height, width
    raise ValueError(f"size is a number of pixels or (height, width); got {size!r}")


def _open(files: Iterable[Path]) -> Iterator[tuple[str, Image]]:
    from PIL import Image

    for file in files:
        try:
            with Image.open(file) as image:
                if (frames := getattr(image, "n_frames", 1)) > 1:
                    raise ValueError(f"a file holds one image; {file} holds {frames}. Save them one by one")
                image.load()
                yield str(file), image
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{file} cannot be read as an image; got {error}. Copy it again or remove it") from error


def count_shared(train: np.ndarray, test: np.ndarray) -> int:
    """How many images of `test` are in `train` bit for bit."""
    known = {hashlib.blake2b(image.tobytes()).digest() for image in train}
    return sum(hashlib.blake2b(image.tobytes()).digest() in known for image in test)


def crop_and_flip(batch: Batch, draw: torch.Generator) -> Batch:
    """Shift each image by up to an eighth of its side (zero padded) and mirror half of them.

    One gather on the whole batch; offsets and flips are drawn per sample on the CPU from `draw`.
    """
    n, _, height, width = batch.inputs.shape
    pad = max(height // 8, 1)
    device = batch.inputs.device
    padded = functional.pad(batch.inputs, (pad,) * 4)
    down, right = torch.randint(0, 2 * pad + 1, (2, n), generator=draw).to(device)
    flip = (torch.rand(n, generator=draw) < 0.5).to(device)
    rows = down[:, None] + torch.arange(height, device=device)
    columns = torch.arange(width, device=device).expand(n, width)
    columns = right[:, None] + torch.where(flip[:, None], width - 1 - columns, columns)
    picked = padded[torch.arange(n, device=device)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return Batch(picked.permute(0, 3, 1, 2).contiguous(), batch.targets)
