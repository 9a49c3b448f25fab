"""Data: fixed splits, batches, augmentation, local copies first, clear errors where nothing can be read."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

import workbench as wb
from workbench.data import available, hub, sources, wikitext
from workbench.data.pictures import crop_and_flip
from workbench.data.standardise import Standardise
from workbench.data.text import from_bytes

EMBEDDED = ("circles", "digits", "moons", "spirals")
SPLITS = ("train", "val", "test")


def test_the_registry() -> None:
    assert {"cifar10", "cifar100", "circles", "digits", "fashion-mnist", "mnist", "moons", "spirals", "svhn"} <= set(
        sources()
    )
    assert set(available()) >= {*EMBEDDED, "text"}


def test_text_is_split_without_a_shared_window(tasks: dict[str, wb.Task]) -> None:
    text = tasks["text"]
    assert (text.shape, text.outputs) == ((256,), 256)
    rows = {split: text.splits[split].inputs for split in SPLITS}
    assert torch.equal(rows["val"][:, 1:], text.splits["val"].targets[:, :-1])
    train = bytes(rows["train"].to(torch.uint8).flatten().tolist())
    for split in ("val", "test"):
        assert all(bytes(row.to(torch.uint8).tolist()) not in train for row in rows[split])


ARTICLE = "Pruning removes weights; what is left still answers. "


@pytest.fixture
def articles(tmp_path: Path) -> Path:
    folder = tmp_path / "wikitext2"
    folder.mkdir()
    for name, times in {"train": 300, "valid": 200, "test": 100}.items():
        (folder / f"{name}.txt").write_text(ARTICLE * times)
    return tmp_path


def test_wikitext2_is_read_from_a_local_copy(articles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wikitext, "downloaded", None)  # a download would fail
    assert "wikitext2" in available(articles)
    task = wb.load("wikitext2", root=articles, device="cpu")
    length = len(ARTICLE)
    assert (task.shape, task.outputs) == ((256,), 256)
    assert task.size("train") == (300 * length - 257) // 128 + 1
    assert [task.size(split) for split in ("val", "test")] == [(n * length - 257) // 256 + 1 for n in (200, 100)]
    assert bytes(task.splits["test"].inputs[0].tolist()).decode().startswith(ARTICLE)
    assert torch.equal(task.splits["val"].inputs[:, 1:], task.splits["val"].targets[:, :-1])


def test_wikitext2_without_its_training_text_trains_on_most_of_the_validation_text(
    articles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wikitext, "downloaded", None)
    (articles / "wikitext2" / "train.txt").unlink()
    task, length = wb.load("wikitext2", root=articles, device="cpu"), 200 * len(ARTICLE)
    assert task.size("train") == (length * 9 // 10 - 257) // 128 + 1
    assert task.size("val") == (length - length * 9 // 10 - 257) // 256 + 1


@pytest.mark.usefixtures("no_network")
def test_wikitext2_without_a_copy_and_a_network_names_both_ways_out(articles: Path) -> None:
    (articles / "wikitext2" / "test.txt").unlink()
    assert "wikitext2" not in available(articles)
    with pytest.raises(FileNotFoundError, match=r"'Salesforce/wikitext'.*put valid.txt and test.txt"):
        wb.load("wikitext2", root=articles)


def test_a_copy_of_wikitext2_that_was_cut_is_refused(articles: Path) -> None:
    (articles / "wikitext2" / "valid.txt").write_text("cut")
    with pytest.raises(ValueError, match=r"'val' of wikitext2 has at least 2,570 bytes; got 3. Copy valid.txt again"):
        wb.load("wikitext2", root=articles)


@pytest.mark.skipif("WORKBENCH_DATA" not in os.environ, reason="WORKBENCH_DATA names no folder of local copies")
def test_the_real_wikitext2_from_a_local_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wikitext, "downloaded", None)
    task = wb.load("wikitext2", device="cpu")
    assert task.size("test") == 4908  # 1,256,449 bytes
    assert b"English film , television" in bytes(task.splits["test"].inputs[0].tolist())


def test_a_text_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="160 pieces of at least 257 bytes; got 5 bytes"):
        from_bytes(b"short", "short", torch.device("cpu"))


LABELS = {
    "digits": ("2825b2d2f66d273e", "a1a8fe33e7ac6326", "a9794a01d417c254"),
    "moons": ("3d3530f947cda8e7", "87a68b4003c03c4b", "23799d4ba9a36be4"),
    "circles": ("3d3530f947cda8e7", "87a68b4003c03c4b", "23799d4ba9a36be4"),
    "spirals": ("7fccbefd1f77edaf", "099bb18e807239a3", "0cddc0e6eee2eebe"),
}
SUMS = {
    "digits": (23367.5, 5833.125, 5906.75),
    "moons": (772.2832, 343.0452, 377.0977),
    "circles": (-8.959, -3.8049, 8.977),
    "spirals": (-8.4167, -7.7542, 2.6716),
}


@pytest.mark.parametrize("name", EMBEDDED)
def test_splits_stay_what_they_are(name: str, tasks: dict[str, wb.Task]) -> None:
    """Golden: with other splits no recorded number could be compared."""
    for split, labels, total in zip(SPLITS, LABELS[name], SUMS[name], strict=True):
        raw = tasks[name].splits[split]
        assert hashlib.sha256(raw.targets.numpy().tobytes()).hexdigest()[:16] == labels
        assert float(raw.inputs.double().sum()) == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize("name", EMBEDDED)
def test_inputs_are_standardised_by_the_training_split(name: str, tasks: dict[str, wb.Task]) -> None:
    inputs = tasks[name].take("train").inputs
    axes = [d for d in range(inputs.ndim) if d != 1]
    torch.testing.assert_close(inputs.mean(axes), torch.zeros(inputs.shape[1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std(axes, correction=0), torch.ones(inputs.shape[1]), atol=1e-4, rtol=0)
    assert inputs.dtype == torch.float32


@pytest.mark.parametrize("name", EMBEDDED)
def test_statistics_are_those_of_the_stored_inputs(name: str, tasks: dict[str, wb.Task]) -> None:
    """To the last bit, in float32: recorded rows rest on it."""
    task = tasks[name]
    raw = task.splits["train"].inputs
    axes = [d for d in range(raw.ndim) if d != 1]
    assert isinstance(task.prepare, Standardise)
    mean, std = task.prepare.mean, task.prepare.std
    assert raw.dtype == mean.dtype == std.dtype == torch.float32
    assert torch.equal(mean.flatten(), raw.double().mean(axes).float())
    assert torch.equal(std.flatten(), raw.double().std(axes, correction=0).float())
    assert torch.equal(task.take("train").inputs, torch.addcmul(-mean / std, 1 / std, raw))


def numbered(n: int = 100, test: int = 20, **options: Any) -> wb.Task:
    """Samples whose first feature is their number."""
    x = np.stack([np.arange(n + test), np.zeros(n + test)], 1)
    y = np.arange(n + test) % 5
    return wb.Task.from_arrays(x[:n], y[:n], x[n:], y[n:], device="cpu", **options)


@pytest.mark.parametrize("val", [0.1, 0.33, 7, 50])
def test_splits_share_no_sample_and_lose_none(val: float) -> None:
    task = numbered(val=val)
    found = {split: {int(v) for v in task.splits[split].inputs[:, 0]} for split in SPLITS}
    assert found["train"] | found["val"] == set(range(100))
    assert not found["train"] & found["val"]
    assert found["test"] == set(range(100, 120))
    assert task.size("val") == (val if isinstance(val, int) else round(100 * val))


def test_validation_is_spread_over_the_classes() -> None:
    y = np.repeat([0, 1, 2], [70, 20, 10])
    task = wb.Task.from_arrays(np.zeros((100, 2)), y, np.zeros((3, 2)), [0, 1, 2], val=0.2, device="cpu")
    assert task.splits["val"].targets.bincount().tolist() == [14, 4, 2]
    again = wb.Task.from_arrays(np.zeros((100, 2)), y, np.zeros((3, 2)), [0, 1, 2], val=0.2, device="cpu")
    assert torch.equal(task.splits["val"].targets, again.splits["val"].targets)


def test_batches_cover_a_split_once() -> None:
    task = numbered()
    for seed in (None, 0, 3):
        batches = list(task.batches("train", 32, seed))
        assert [len(b.targets) for b in batches] == [32, 32, 26]
        inputs = torch.cat([b.inputs for b in batches])
        assert torch.equal(inputs[:, 0].sort().values, task.take("train").inputs[:, 0].sort().values)
    plain = torch.cat([b.inputs for b in task.batches("train", 7)])
    assert torch.equal(plain, task.take("train").inputs)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    task = numbered()

    def order(seed: int, epoch: int, size: int = 90) -> list[float]:
        return torch.cat([b.inputs[:, 0] for b in task.batches("train", size, seed, epoch)]).tolist()

    torch.manual_seed(0)
    first = order(0, 0)
    torch.manual_seed(1)
    assert first == order(0, 0) == order(0, 0, size=7)
    assert len({tuple(order(s, e)) for s in range(3) for e in range(3)}) == 9


def test_a_batch_is_drawn_without_replacement(digits: wb.Task) -> None:
    task = numbered()
    batch = task.batch(90, seed=2)
    assert len(batch.inputs[:, 0].unique()) == 90
    assert torch.equal(batch.inputs, task.batch(90, seed=2).inputs)
    assert not torch.equal(batch.inputs, task.batch(90, seed=3).inputs)
    assert digits.batch().targets.shape == (256,)
    assert digits.batch(per_class=3, split="val").targets.bincount().tolist() == [3] * 10


def test_a_task_keeps_its_own_copy() -> None:
    x, y = np.ones((10, 2), dtype=np.float32), np.arange(10) % 2
    mine = torch.ones(10, 2)
    arrays, tensors = (wb.Task.from_arrays(v, y, v, y, device="cpu") for v in (x, mine))
    x[:] = 5
    mine[:] = 5
    for task in (arrays, tensors):
        for split in SPLITS:
            assert bool((task.splits[split].inputs == 1).all())


def test_bytes_stay_bytes_and_count_as_fractions() -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 6, 6), dtype=np.uint8)
    task = wb.Task.from_arrays(x, np.arange(40) % 4, x, np.arange(40) % 4, device="cpu", classes="abcd")
    assert task.shape == (1, 6, 6)
    assert task.classes == ("a", "b", "c", "d")
    raw = task.splits["train"].inputs
    assert raw.dtype == torch.uint8
    scaled = raw.double() / 255
    expected = (scaled - scaled.mean()) / scaled.std(correction=0)
    torch.testing.assert_close(task.take("train").inputs, expected.float(), atol=1e-5, rtol=1e-5)


def test_constant_features_do_not_divide_by_zero() -> None:
    task = wb.Task.from_arrays(np.ones((10, 2)), np.arange(10) % 2, np.ones((4, 2)), [0, 1, 0, 1], device="cpu")
    assert bool(torch.isfinite(task.take("test").inputs).all())


def test_from_a_torch_dataset() -> None:
    x, y = torch.arange(40.0).reshape(20, 2), torch.arange(20) % 2
    task = wb.Task.from_dataset(TensorDataset(x, y), TensorDataset(x[:4], y[:4]), name="mine", val=4, device="cpu")
    direct = wb.Task.from_arrays(x, y, x[:4], y[:4], val=4, device="cpu")
    assert task.name == "mine"
    for split in SPLITS:
        assert all(torch.equal(a, b) for a, b in zip(task.splits[split], direct.splits[split], strict=True))


def variants(image: Tensor, pad: int) -> list[Tensor]:
    """Every shift by up to `pad`, zero padded, of an image and its mirror image."""
    _, height, width = image.shape
    padded = torch.nn.functional.pad(image, (pad,) * 4)
    cuts = [padded[:, a : a + height, b : b + width] for a in range(2 * pad + 1) for b in range(2 * pad + 1)]
    return cuts + [cut.flip(2) for cut in cuts]


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 8, 12)])
def test_augmented_images_are_shifted_and_mirrored_ones(shape: tuple[int, ...]) -> None:
    inputs = torch.randn(40, *shape, generator=torch.Generator().manual_seed(0))
    batch = wb.Batch(inputs, torch.arange(40))
    found = crop_and_flip(batch, torch.Generator().manual_seed(1))
    assert torch.equal(found.targets, batch.targets)
    chosen = []
    for image, out in zip(inputs, found.inputs, strict=True):
        hits = [i for i, v in enumerate(variants(image, shape[1] // 8)) if torch.equal(v, out)]
        assert len(hits) == 1
        chosen.append(hits[0])
    half = len(variants(inputs[0], shape[1] // 8)) // 2
    assert len(set(chosen)) > 8
    assert 8 < sum(c >= half for c in chosen) < 32


def test_augmentation_touches_seeded_batches_alone() -> None:
    x = np.random.default_rng(0).normal(size=(30, 1, 8, 8))
    task = wb.Task.from_arrays(x, np.arange(30) % 3, x, np.arange(30) % 3, augment=True, device="cpu")
    plain = torch.cat([b.inputs for b in task.batches("train", 10)])
    assert torch.equal(plain, task.take("train").inputs)
    first, again, later = (torch.cat([b.inputs for b in task.batches("train", 10, seed=0, epoch=e)]) for e in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first.sum((1, 2, 3)).sort().values, plain.sum((1, 2, 3)).sort().values)
    assert not torch.equal(first, later)


# data by hub name


def png(pixels: np.ndarray) -> dict[str, Any]:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return {"bytes": out.getvalue(), "path": None}


def write(folder: Path, name: str, split: str, images: list[dict[str, Any]], labels: list[Any]) -> Path:
    import pyarrow
    import pyarrow.parquet

    listing = hub.LISTINGS[name]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{split}-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.table({listing.image: images, listing.label: labels}), file)
    return file


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.delenv("WORKBENCH_DATA", raising=False)
    monkeypatch.setattr(hub, "_reachable", lambda: False)
    monkeypatch.setattr(datasets, "load_dataset", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", sorted(hub.LISTINGS))
def test_local_copies_come_first(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = hub.LISTINGS[name]
    folder = tmp_path / name / (listing.config or "")
    size = (listing.side, listing.side, 3) if listing.colour else (listing.side, listing.side)
    pixels = np.random.default_rng(0).integers(0, 256, (12, *size), dtype=np.uint8)
    write(folder, name, "train", [png(p) for p in pixels], [i % 4 for i in range(12)])
    write(folder, name, "test", [png(p) for p in pixels[:4]], [0, 1, 2, 3])
    task = wb.load(name, root=tmp_path, device="cpu")
    channels = 3 if listing.colour else 1
    assert task.shape == (channels, listing.side, listing.side)
    assert task.augment == listing.augment
    expected = pixels[:4].reshape(4, listing.side, listing.side, channels).transpose(0, 3, 1, 2)
    assert np.array_equal(task.splits["test"].inputs.numpy(), expected)
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    assert name in available()
    assert torch.equal(wb.load(name, device="cpu").splits["train"].targets, task.splits["train"].targets)


@pytest.mark.usefixtures("no_network")
def test_no_copy_and_no_network_names_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as found:
        wb.load("cifar10", root=tmp_path)
    for words in (
        "'cifar10'",
        "'uoft-cs/cifar10'",
        str(tmp_path / "cifar10"),
        "ConnectionError",
        "connect to the network",
    ):
        assert words in str(found.value)
    with pytest.raises(FileNotFoundError, match=r"WORKBENCH_DATA is not set.*set WORKBENCH_DATA=<folder>"):
        wb.load("mnist")


def test_without_a_network_the_error_comes_soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The `datasets` library alone would try for half a minute; an address that refuses stands for no network."""
    import datasets
    from huggingface_hub import constants

    monkeypatch.delenv("WORKBENCH_DATA", raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    before, began = datasets.config.HF_HUB_OFFLINE, time.perf_counter()
    with pytest.raises(FileNotFoundError, match="the download failed"):
        wb.load("mnist", root=tmp_path)
    assert time.perf_counter() - began < 10
    assert before == datasets.config.HF_HUB_OFFLINE


def test_what_the_hub_gives_is_read_like_a_local_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    pixels = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    data = {"image": [png(p) for p in pixels], "label": [i % 4 for i in range(12)]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    asked = []

    def give(hub_name: str, config: str | None, split: str) -> datasets.Dataset:
        asked.append((hub_name, config, split))
        return datasets.Dataset.from_dict(data, features=features)

    monkeypatch.delenv("WORKBENCH_DATA", raising=False)
    monkeypatch.setattr(hub, "_reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", give)
    task = wb.load("mnist", device="cpu")
    assert asked == [("ylecun/mnist", None, "train"), ("ylecun/mnist", None, "test")]
    assert np.array_equal(task.splits["test"].inputs[:, 0].numpy(), pixels)


def test_damaged_copies_are_named(tmp_path: Path) -> None:
    pixels = np.zeros((8, 28, 28), dtype=np.uint8)
    labels = [0, 1] * 4
    file = write(tmp_path / "mnist", "mnist", "train", [png(p) for p in pixels], labels)
    write(tmp_path / "mnist", "mnist", "test", [png(p) for p in pixels], labels)
    whole = file.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", whole[:-4]):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match=r"train-00000-of-00001.parquet cannot be read .* Copy the file again"):
            wb.load("mnist", root=tmp_path)
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"img": [1]}), file)
    with pytest.raises(ValueError, match=r"cannot be read as a parquet file with columns 'image' and 'label'"):
        wb.load("mnist", root=tmp_path)
    sizes = [png(np.zeros(size, dtype=np.uint8)) for size in ((5, 5), (1, 1), (14, 56))]
    for cell in ({"bytes": b"not an image", "path": None}, {"bytes": None}, *sizes):
        write(tmp_path / "mnist", "mnist", "train", [png(pixels[0]), cell], [0, 1])
        with pytest.raises(ValueError, match=r"image 1 of ylecun/mnist cannot be read as 28 x 28 pixels; got"):
            wb.load("mnist", root=tmp_path)
    for label, error in ((None, TypeError), (-1, ValueError), (7, ValueError)):
        write(tmp_path / "mnist", "mnist", "train", [png(p) for p in pixels], [*labels[:-1], label])
        with pytest.raises(error, match=r"train labels are whole numbers|train labels count from 0|have none: '2'"):
            wb.load("mnist", root=tmp_path)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """MNIST in four training files and a test file, as the hub names them."""
    pixels = np.arange(28 * 28 * 20, dtype=np.uint8).reshape(20, 28, 28) + np.arange(20, dtype=np.uint8)[:, None, None]
    for index in range(4):
        rows = slice(index * 4, index * 4 + 4)
        file = write(tmp_path / "mnist", "mnist", "train", [png(p) for p in pixels[rows]], [0, 1, 2, 3])
        file.rename(file.with_name(f"train-{index:05d}-of-00004-0a1b2c.parquet"))
    write(tmp_path / "mnist", "mnist", "test", [png(p) for p in pixels[16:]], [3, 2, 1, 0])
    return tmp_path / "mnist"


@pytest.mark.usefixtures("no_network")
def test_a_copy_in_parts_is_read_whole(shards: Path) -> None:
    whole = wb.load("mnist", root=shards.parent, device="cpu")
    assert whole.size("train") + whole.size("val") == 16
    (shards / ".cache").mkdir()  # what the hub's client keeps for itself
    (shards / ".cache" / "train-00000-of-00001.parquet").write_bytes(b"")
    (shards / "validation-00000-of-00009.parquet").write_bytes(b"")
    (shards / "mnist").mkdir()
    for file in shards.glob("t*.parquet"):
        file.rename(shards / "mnist" / file.name)
    below = wb.load("mnist", root=shards.parent, device="cpu")
    assert torch.equal(below.splits["train"].inputs, whole.splits["train"].inputs)
    assert "mnist" in available(shards.parent)


PART = "train-00002-of-00004-0a1b2c.parquet"
WRONG_COPIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "two missing": (
        lambda d: [(d / f"train-0000{i}-of-00004-0a1b2c.parquet").unlink() for i in (1, 2)],
        "holds part of the data; missing: train-00001-of-00004.parquet, train-00002-of-00004.parquet. Copy all",
    ),
    "no test": (lambda d: (d / "test-00000-of-00001.parquet").unlink(), "missing: test-00000-of-00001.parquet"),
    "no train": (lambda d: [f.unlink() for f in d.glob("train-*")], "missing: train-00000-of-00001.parquet"),
    "again below": (lambda d: shutil.copytree(d, d / "mnist"), "lie in one folder; got .*mnist and .*mnist. Keep one"),
    "train below": (
        lambda d: [(d / "more").mkdir(), (d / PART).rename(d / "more" / PART)],
        "lie in one folder; got .*mnist and .*more",
    ),
    "a part twice": (
        lambda d: shutil.copy(d / PART, d / PART.replace("0a1b2c", "ff")),
        "each file holds different rows; .* is a copy of",
    ),
    "train as test": (lambda d: shutil.copy(d / PART, d / "test-00000-of-00001.parquet"), "is a copy of"),
    "two versions": (
        lambda d: (d / "train-00000-of-00001.parquet").write_bytes(b"old"),
        "holds each file of 'train' once; got train-00000-of-00001.parquet, train-00000-of-00004",
    ),
    "a part too many": (lambda d: (d / "train-00004-of-00004.parquet").write_bytes(b"old"), "holds each file of"),
    "downloaded again": (
        lambda d: (d / "test-00000-of-00001 (1).parquet").write_bytes(b"new"),
        r"files are named as on the hub, such as test-00000-of-00001.parquet; got .*\(1\).parquet",
    ),
}


@pytest.mark.parametrize(("change", "words"), WRONG_COPIES.values(), ids=WRONG_COPIES)
def test_a_copy_that_is_not_whole_is_refused(
    change: Callable[[Path], object], words: str, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_from_hub", None)  # a download in its place would hide it
    change(shards)
    with pytest.raises(ValueError, match=words):
        wb.load("mnist", root=shards.parent, device="cpu")
    assert "mnist" not in available(shards.parent)


@pytest.mark.skipif("WORKBENCH_DATA" not in os.environ, reason="WORKBENCH_DATA names no folder of local copies")
def test_the_real_cifar10_from_a_local_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_from_hub", None)  # a download would fail
    task = wb.load("cifar10", device="cpu")
    assert [task.size(s) for s in SPLITS] == [45_000, 5_000, 10_000]
    assert task.shape == (3, 32, 32)
    assert task.splits["val"].targets.bincount().tolist() == [500] * 10
    assert task.splits["test"].targets.bincount().tolist() == [1000] * 10
    assert isinstance(task.prepare, Standardise)
    torch.testing.assert_close(task.prepare.mean.flatten(), torch.tensor([0.4914, 0.4822, 0.4465]), atol=2e-3, rtol=0)
    torch.testing.assert_close(task.prepare.std.flatten(), torch.tensor([0.2470, 0.2435, 0.2616]), atol=4e-3, rtol=0)
    assert len(task.classes) == 10
    import pyarrow.parquet
    from PIL import Image

    file = next(Path(os.environ["WORKBENCH_DATA"]).rglob("cifar10/**/test-*.parquet"))
    last = pyarrow.parquet.read_table(file)["img"][-1].as_py()["bytes"]
    pixels = np.asarray(Image.open(io.BytesIO(last)).convert("RGB"))
    assert np.array_equal(task.splits["test"].inputs[-1].permute(1, 2, 0).numpy(), pixels)


# errors of one's own data

X, Y = np.zeros((10, 2)), np.arange(10) % 2


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((X, Y[:9], X, Y), {}, ValueError, "train has one target per input; got 10 inputs and 9 targets"),
        ((X, Y, X[:, :1], Y), {}, ValueError, r"train and test inputs have one shape; got \(2,\) and \(1,\)"),
        ((X[:0], Y[:0], X, Y), {}, ValueError, "train inputs hold at least one sample; got 0"),
        ((X[:, 0], Y, X, Y), {}, ValueError, r"train inputs are \[n, ...\] with at least one feature dimension"),
        ((3, Y, X, Y), {}, ValueError, r"with at least one feature dimension; got shape \(\)"),
        ((X, Y, X, Y - 1), {}, ValueError, "test labels count from 0; got -1"),
        ((X + np.nan, Y, X, Y), {}, ValueError, "train inputs are finite numbers; 20 are NaN or infinite"),
        ((X, Y, X, Y), {"classes": ["one"]}, ValueError, "labels are indices into classes, 0 to 0; got label 1"),
        ((X, Y, X, Y), {"val": 0}, ValueError, r"val is a share in \(0, 1\) or a number of samples below 10; got 0"),
        ((X, Y, X, Y), {"val": 1.0}, ValueError, "got 1.0"),
        ((X, Y, X, Y), {"val": 10}, ValueError, "got 10"),
        ((X, Y, X, Y), {"val": 1.5}, ValueError, "got 1.5"),
        ((X, Y, X, Y), {"val": float("nan")}, ValueError, "got nan"),
        ((X, Y, X, Y), {"val": True}, TypeError, r"got True \(bool\)"),
        ((X, Y, X, Y), {"val": ".1"}, TypeError, r"got '.1' \(str\)"),
        ((X, Y, X, Y), {"val": 9}, ValueError, "val=9 leaves no training sample of class [01]. Pass a smaller one"),
        ((X, Y, X, Y), {"augment": True}, ValueError, r"flips images \[n, c, h, w\].*; got inputs of shape \(2,\)"),
        ((X, Y, X, Y), {"device": "tpu9"}, ValueError, "device is a torch device"),
        (([["a", "b"]], [0], X, Y), {}, TypeError, "train inputs are numbers in one array or tensor; got text"),
        (([[1.0], [1.0, 2.0]], [0, 1], X, Y), {}, TypeError, "train inputs are numbers in one array or tensor"),
    ],
)
def test_arrays_that_make_no_task(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        wb.Task.from_arrays(*arguments, **options)


class Uneven:
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.zeros(index + 1), 0


@pytest.mark.parametrize("data", [Uneven(), iter([]), [1, 2], []])
def test_datasets_that_make_no_task(data: Any) -> None:
    good = TensorDataset(torch.zeros(4, 2), torch.zeros(4, dtype=torch.long))
    with pytest.raises(TypeError, match=r"the test dataset has a length and gives \(input, target\) items"):
        wb.Task.from_dataset(good, data)


def test_batches_that_cannot_be_drawn(digits: wb.Task) -> None:
    with pytest.raises(ValueError, match="without replacement from the 300 samples of 'val'; got n=301"):
        digits.batch(301, split="val")
    with pytest.raises(ValueError, match=r"n samples or per_class of each class; got n=5 and per_class=5. Pass one"):
        digits.batch(5, per_class=5)
    with pytest.raises(ValueError, match=r"class '\d' has \d+ samples in 'val'; got per_class=40"):
        digits.batch(per_class=40, split="val")
    with pytest.raises(ValueError, match="n is a whole number of at least 1; got 0"):
        digits.batch(0)
    with pytest.raises(ValueError, match=r"split is one of test, train, val; got 'valid'. Did you mean 'val'"):
        digits.batch(5, split="valid")
    with pytest.raises(ValueError, match="batch_size is a whole number of at least 1; got 0"):
        next(digits.batches("train", 0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_batches_are_those_of_the_cpu() -> None:
    here, there = wb.load("digits", device="cpu"), wb.load("digits", device="cuda")
    for a, b in zip(here.batches("train", 100, seed=1), there.batches("train", 100, seed=1), strict=True):
        torch.testing.assert_close(a.inputs, b.inputs.cpu())
        assert torch.equal(a.targets, b.targets.cpu())
