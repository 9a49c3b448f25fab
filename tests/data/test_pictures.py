"""Pictures: PIL images of every mode, and folders of image files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import workbench as wb

SIZE = (6, 8)  # height, width


def array(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)


def picture(index: int, mode: str = "RGB") -> Image.Image:
    return Image.fromarray(array(index)).convert(mode)


# images in lists and data sets


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
@pytest.mark.parametrize("items", [True, False])
def test_images_of_every_mode(mode: str, items: bool) -> None:
    images, labels = [picture(i, mode) for i in range(8)], [i % 2 for i in range(8)]
    if items:
        pairs = list(zip(images, labels, strict=True))
        made = wb.Task.from_dataset(pairs, pairs, device="cpu")
    else:
        made = wb.Task.from_arrays(images, labels, images, labels, device="cpu")
    grey = mode in ("1", "L", "LA")
    assert made.shape == (1 if grey else 3, *SIZE)
    expected = np.stack([np.asarray(image.convert("L" if grey else "RGB")) for image in images])
    expected = expected[:, None] if grey else expected.transpose(0, 3, 1, 2)
    assert np.array_equal(made.splits["test"].inputs, expected)


def test_grey_images_among_coloured_ones_become_rgb() -> None:
    images = [picture(0), picture(1, "L"), picture(2), picture(3)]
    made = wb.Task.from_arrays(images, [0, 1, 0, 1], images, [0, 1, 0, 1], val=1, device="cpu")
    assert np.array_equal(made.splits["test"].inputs[1], np.stack([np.asarray(images[1])] * 3))


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (Image.new("RGBA", SIZE[::-1], (1, 2, 3, 100)), "images are opaque; test image 1 is transparent in parts"),
        (Image.new("LA", SIZE[::-1], (1, 100)), "images are opaque"),
        (Image.fromarray(np.full(SIZE, 4000, np.uint16)), "8 bits per channel; test image 1 has mode I;16. Convert"),
        (Image.new("F", SIZE[::-1]), "has mode F"),
        (Image.new("RGB", SIZE), "one size, here 6 x 8 .*; test image 1 has 8 x 6. Resize them first"),
    ],
)
def test_images_that_would_change_in_the_reading(odd: Image.Image, words: str) -> None:
    good = [(picture(i), i % 2) for i in range(4)]
    with pytest.raises(ValueError, match=words):
        wb.Task.from_dataset(good, [good[0], (odd, 1)])


# folders


def fill(folder: Path, n: int, first: int, mode: str = "RGB", suffix: str = "png") -> None:
    folder.mkdir(parents=True)
    for index in range(n):
        picture(first + index, mode).save(folder / f"{index:02d}.{suffix}")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """`train` and `test` with ten and four images of cats and dogs."""
    for first, (split, of_class, n) in enumerate(
        [("train", "dog", 10), ("train", "cat", 10), ("test", "dog", 4), ("test", "cat", 4)]
    ):
        fill(tmp_path / "pets" / split / of_class, n, 100 * first)
    return tmp_path / "pets"


def test_a_folder_with_splits(pets: Path) -> None:
    made = wb.Task.from_folder(pets, device="cpu", val=4)
    assert (made.name, made.classes, made.shape) == ("pets", ("cat", "dog"), (3, *SIZE))
    assert [made.size(split) for split in ("train", "val", "test")] == [16, 4, 8]
    assert made.splits["test"].targets.tolist() == [0] * 4 + [1] * 4
    expected = np.stack([array(i) for i in (*range(300, 304), *range(200, 204))]).transpose(0, 3, 1, 2)
    assert np.array_equal(made.splits["test"].inputs, expected)
    arrays = [np.stack([array(i) for i in numbers]) for numbers in ([*range(100, 110), *range(10)],)]
    same = wb.Task.from_arrays(*arrays, [0] * 10 + [1] * 10, expected, [0] * 4 + [1] * 4, val=4, device="cpu")
    assert np.array_equal(made.take("train").inputs, same.take("train").inputs)
    options = {"name": "mine", "augment": True, "size": (12, 10)}
    other = wb.Task.from_folder(str(pets), device="cpu", **options)
    assert (other.name, other.augment, other.shape) == ("mine", True, (3, 12, 10))
    small = np.asarray(picture(300).resize((10, 12), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.array_equal(other.splits["test"].inputs[0], small)


@pytest.mark.parametrize(("test", "held"), [(None, 2), (0.4, 4), (6, 3)])
def test_a_folder_without_splits(pets: Path, test: Any, held: int) -> None:
    made, again = (wb.Task.from_folder(pets / "train", test=test, device="cpu") for _ in range(2))
    assert made.splits["test"].targets.bincount().tolist() == [held, held]
    assert sum(made.size(split) for split in ("train", "val", "test")) == 20
    found = {split: {x.numpy().tobytes() for x in made.splits[split].inputs} for split in ("train", "val", "test")}
    assert len(set.union(*found.values())) == 20
    assert all(np.array_equal(a, b) for a, b in zip(made.splits["test"], again.splits["test"], strict=True))


@pytest.mark.parametrize("kind", [("L", "png"), ("1", "bmp"), ("L", "JPG"), ("P", "png"), ("RGB", "jpeg")])
def test_modes_and_files(tmp_path: Path, kind: tuple[str, str]) -> None:
    mode, suffix = kind
    for of_class in ("10", "9"):
        fill(tmp_path / of_class, 5, 0 if of_class == "9" else 50, mode, suffix)
    made = wb.Task.from_folder(tmp_path, device="cpu")
    assert made.classes == ("10", "9")
    assert made.shape == (1 if mode in "L1" else 3, *SIZE)


def test_what_is_no_image_is_told_but_for_hidden_files(pets: Path) -> None:
    for hidden in (".DS_Store", "train/.x.png", "test/cat/Thumbs.db"):
        (pets / hidden).write_bytes(b"")
    (pets / "train" / ".ipynb_checkpoints").mkdir()
    before = wb.Task.from_folder(pets, device="cpu")
    for stray in ("labels.csv", "train/1.png", "test/cat/notes.txt"):
        (pets / stray).write_bytes(b"")
    with pytest.warns(
        UserWarning, match=r"left out of .*pets: 3 that are not images in .* class, such as .*labels.csv"
    ):
        made = wb.Task.from_folder(pets, device="cpu")
    assert np.array_equal(made.splits["train"].inputs, before.splits["train"].inputs)


def test_copies_between_the_splits_are_counted(pets: Path) -> None:
    shutil.copy(pets / "train/dog/00.png", pets / "test/dog/90.png")
    picture(101).save(pets / "test/dog/91.bmp")
    with pytest.warns(UserWarning, match="2 of 10 test images of .* are also training images, bit for bit"):
        wb.Task.from_folder(pets, device="cpu")


def two_pages(path: Path) -> None:
    Image.new("L", SIZE[::-1]).save(path, save_all=True, append_images=[Image.new("L", SIZE[::-1], 9)])


WRONG_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty class": (lambda d: (d / "train/eel").mkdir(), r"at least one image \(.bmp, .*\); .*eel has none"),
    "a class in train alone": (
        lambda d: shutil.copytree(d / "train/cat", d / "train/eel"),
        "'eel' is in only one of them",
    ),
    "a class in test alone": (
        lambda d: shutil.rmtree(d / "train/cat"),
        "hold the same classes; 'cat' is in only one of",
    ),
    "a third split": (
        lambda d: shutil.copytree(d / "test", d / "val"),
        "holds only the folders train and test, .*; got test, train, val. Ren",
    ),
    "no test": (lambda d: (d / "test").rename(d / "val"), "holds only the folders train and test, .*; got train, val"),
    "train alone": (lambda d: shutil.rmtree(d / "test"), "holds only the folders train and test, .*; got train"),
    "other case": (lambda d: (d / "train").rename(d / "Train"), "got Train, test"),
    "other names": (
        lambda d: [(d / "train").rename(d / "training"), (d / "test").rename(d / "testing")],
        "in the folder of their class, and splits are named train and test; got .*testing.cat, a folder",
    ),
    "deeper": (lambda d: shutil.copytree(d / "test/cat", d / "train/cat/a"), "got .*cat.a, a folder. Move its images"),
    "no class": (
        lambda d: [shutil.rmtree(f) for f in d.glob("*/*")],
        "one folder for each class; .*train holds no folder",
    ),
    "one class": (lambda d: [shutil.rmtree(f) for f in d.glob("*/cat")], "at least two classes; got one"),
    "another size": (
        lambda d: Image.new("RGB", (9, 9)).save(d / "train/cat/05.png"),
        r"one size, here 6 x 8 \(height x width\); .*05.png has 9 x 9. Resize them .*size=",
    ),
    "transparent": (lambda d: Image.new("RGBA", (8, 6)).save(d / "test/cat/01.png"), "opaque; .*01.png is transparent"),
    "cut off": (
        lambda d: (d / "test/dog/01.png").write_bytes((d / "test/dog/01.png").read_bytes()[:60]),
        "01.png cannot be read as an image; got .*. Copy it again or remove it",
    ),
    "no image": (lambda d: (d / "test/dog/01.png").write_bytes(b"x"), "01.png cannot be read as an image"),
    "two pages": (lambda d: two_pages(d / "test/dog/7.tif"), "a file holds one image; .*7.tif holds 2"),
}


@pytest.mark.parametrize(("change", "words"), WRONG_FOLDERS.values(), ids=WRONG_FOLDERS)
def test_folders_that_make_no_task(change: Callable[[Path], object], words: str, pets: Path) -> None:
    change(pets)
    with pytest.raises(ValueError, match=words):
        wb.Task.from_folder(pets, device="cpu")


def test_options_that_fit_no_folder(pets: Path) -> None:
    for size in (0, True, (4, 4, 4), 3.5, "8"):
        with pytest.raises(ValueError, match=r"size is a number of pixels or \(height, width\); got"):
            wb.Task.from_folder(pets, size=size)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"test is the share of a folder without splits; .* Leave test= out"):
        wb.Task.from_folder(pets, test=0.5)
    with pytest.raises(ValueError, match=r"test is a share in \(0, 1\) or a number of samples below 20; got 1.5"):
        wb.Task.from_folder(pets / "train", test=1.5)
    for path in (pets / "nowhere", pets / "test/cat/00.png"):
        with pytest.raises(FileNotFoundError, match="a folder of images for each class; there is no folder"):
            wb.Task.from_folder(path)
