"""Image data by their hub names: local parquet copies first, the `datasets` library otherwise."""

import filecmp
import io
import itertools
import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from workbench.data.registry import source
from workbench.data.task import Task
from workbench.extras import lab

Columns = tuple[list[Any], list[int]]


class Listing(NamedTuple):
    """Where a data set stands on the hub, and its column names."""

    hub: str
    config: str | None = None
    image: str = "image"
    label: str = "label"
    colour: bool = True
    augment: bool = False
    side: int = 32


LISTINGS = {
    "mnist": Listing("ylecun/mnist", colour=False, side=28),
    "fashion-mnist": Listing("zalando-datasets/fashion_mnist", colour=False, side=28),
    "cifar10": Listing("uoft-cs/cifar10", image="img", augment=True),
    "cifar100": Listing("uoft-cs/cifar100", image="img", label="fine_label", augment=True),
    "svhn": Listing("ufldl-stanford/svhn", "cropped_digits"),
}

AGAIN = "Copy the file again, or move it away to download the data"
FILE = re.compile(r"(train|test)-(\d+)-of-(\d+)(-\w+)?\.parquet")  # the hub adds a hash to some names


def local_files(name: str, root: Path | None) -> dict[str, list[Path]]:
    """Split -> its parquet files, named as on the hub (`train-00000-of-00001.parquet`), all in one folder.

    The folder is `root/name` or one below it; among several, the one named after the listing's configuration. Empty
    without any such file. Raises ValueError where files are missing, too many, copies, or spread over folders.
    """
    home = Path() if root is None else root / name
    found = [] if root is None else sorted(f for f in home.rglob("*.parquet") if f.name.startswith(("train-", "test-")))
    folders = sorted({f.parent for f in found if not any(p.startswith(".") for p in f.relative_to(home).parts)})
    folders = [f for f in folders if f.name == LISTINGS[name].config] or folders
    if not folders:
        return {}
    if len(folders) > 1:
        raise ValueError(f"the files of {name!r} lie in one folder; got {' and '.join(map(str, folders))}. Keep one")
    files = [f for f in found if f.parent == folders[0]]
    for one, other in itertools.combinations(files, 2):  # rows would count twice, or be trained on and tested on
        size = one.stat().st_size
        if size and size == other.stat().st_size and filecmp.cmp(one, other, shallow=False):
            raise ValueError(
                f"each file holds different rows; {other} is a copy of {one}. Remove one, or copy it again"
            )
    return {split: _complete(split, folders[0], files) for split in ("train", "test")}


def _complete(split: str, folder: Path, files: list[Path]) -> list[Path]:
    """The split's files in order, as many as their names say."""
    of_split = [f for f in files if f.name.startswith(f"{split}-")]
    parts = {f: FILE.fullmatch(f.name) for f in of_split}
    if strange := [f for f, part in parts.items() if part is None]:
        rule = f"files are named as on the hub, such as {split}-00000-of-00001.parquet"
        raise ValueError(f"{rule}; got {strange[0]}. Rename it or move it away")
    places = [(int(part[2]), int(part[3])) for part in parts.values() if part]
    total = max((total for _, total in places), default=1)
    wanted = [(index, total) for index in range(total)]
    if missing := [f"{split}-{i:05d}-of-{n:05d}.parquet" for i, n in wanted if (i, n) not in places]:
        told = f"{folder} holds part of the data; missing: {', '.join(missing)}"
        raise ValueError(f"{told}. Copy all files of the hub, or move these away to download the data")
    if places != wanted:
        got = ", ".join(f.name for f in of_split)
        raise ValueError(
            f"{folder} holds each file of {split!r} once; got {got}. Move the files of the other version away"
        )
    return of_split


def has_copy(name: str, root: Path | None) -> bool:
    """Whether `load_listing` finds a complete local copy."""
    try:
        return bool(local_files(name, root))
    except ValueError:
        return False


def load_listing(name: str, root: Path | None, device: torch.device) -> Task:
    """Read `name` from local parquet files where they are, else through the hub; errors as of `wb.load`."""
    listing = LISTINGS[name]
    if parts := local_files(name, root):
        columns = [[_read_parquet(f, listing) for f in parts[split]] for split in ("train", "test")]
    else:
        columns = [[_from_hub(name, listing, split, root)] for split in ("train", "test")]
    arrays = [array for split in columns for array in _decode(split, listing)]
    return Task.from_arrays(*arrays, name=name, augment=listing.augment, device=device)


def _read_parquet(file: Path, listing: Listing) -> Columns:
    pyarrow, parquet = lab("pyarrow"), lab("pyarrow.parquet")
    try:
        table = parquet.read_table(file, columns=[listing.image, listing.label])
    except (pyarrow.ArrowException, OSError) as error:
        rule = f"{file} cannot be read as a parquet file with columns {listing.image!r} and {listing.label!r}"
        raise ValueError(f"{rule}; got {error}. {AGAIN}") from error
    return table[listing.image].to_pylist(), table[listing.label].to_pylist()


def _from_hub(name: str, listing: Listing, split: str, root: Path | None) -> Columns:
    data = downloaded(name, listing.hub, listing.config, split, root, "the hub's parquet files")
    data = data.cast_column(listing.image, lab("datasets").Image(decode=False))
    return data[listing.image][:], data[listing.label][:]


def downloaded(name: str, hub: str, config: str | None, split: str, root: Path | None, files: str) -> Any:
    """A split from the hub, as the library's data set; FileNotFoundError with both ways out where that fails."""
    datasets = lab("datasets")
    offline = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = offline or not _reachable()  # else the library tries for half a minute
    try:
        return datasets.load_dataset(hub, config, split=split)
    except Exception as error:  # the library raises its own, requests', huggingface_hub's and OSError alike
        looked = f"{root / name}" if root else "WORKBENCH_DATA is not set"
        raise FileNotFoundError(
            f"{name!r} is read from a local copy or downloaded as {hub!r}; no copy was found ({looked}) and "
            f"the download failed ({type(error).__name__}). Either connect to the network, or put {files} "
            f"into <folder>/{name}/ and set WORKBENCH_DATA=<folder> (or pass root=<folder>). "
            "Embedded data needs neither: digits, moons, circles, spirals, text"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline


def _reachable() -> bool:
    """Whether the hub answers a single request; what was downloaded before loads without it."""
    hub = lab("huggingface_hub")
    try:
        hub.get_session().head(hub.constants.ENDPOINT, timeout=5)
    except Exception:  # the client library behind it has changed between releases, and so have its errors
        return False
    return True


def _decode(parts: list[Columns], listing: Listing) -> tuple[np.ndarray, list[int]]:
    """Images as uint8 `[n, c, h, w]` and labels `[n]`."""
    from PIL import Image

    mode, channels = ("RGB", 3) if listing.colour else ("L", 1)
    cells = [cell for images, _ in parts for cell in images]
    pixels = np.empty((len(cells), listing.side, listing.side, channels), dtype=np.uint8)
    for index, (row, cell) in enumerate(zip(pixels, cells, strict=True)):
        try:
            with Image.open(io.BytesIO(cell["bytes"])) as image:
                if image.size != (listing.side, listing.side):
                    raise ValueError(f"{image.width} x {image.height}")
                row[...] = np.asarray(image.convert(mode)).reshape(row.shape)
        except (TypeError, ValueError, OSError) as error:
            rule = f"image {index} of {listing.hub} cannot be read as {listing.side} x {listing.side} pixels"
            raise ValueError(f"{rule}; got {error}. {AGAIN}") from error
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), [label for _, labels in parts for label in labels]


for _name in LISTINGS:
    source(_name, copy=partial(has_copy, _name))(partial(load_listing, _name))
