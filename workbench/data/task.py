"""A task: inputs and labels in three fixed splits, in memory, served as batches by indexing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workbench.data.inputs import check_scales, moments, needs_double, read_inputs
from workbench.data.labels import held_out, read_labels
from workbench.data.measures import Sums, accuracy
from workbench.data.pictures import count_shared, read_folder
from workbench.seeds import generator, pick_device
from workbench.types import Batch, check_choice, check_count, warn

SPLITS = ("test", "train", "val")


@dataclass(frozen=True)
class Task:
    """Data to classify: three splits, the classes, and how raw inputs become network inputs.

    Raw inputs stay as they came (uint8 for images, which keeps CIFAR-10 at 184 MB); `take` turns them into
    `(x * scale - mean) / std` as float32, with the training split's mean and std per channel; where float32 would lose
    the differences (a time stamp), inputs and sums are float64. A channel without differences has std 1. Build one
    with `wb.load`, `Task.from_arrays`, `Task.from_dataset` or `Task.from_folder`.

    >>> import workbench as wb
    >>> task = wb.load("digits", device="cpu")
    >>> task.shape, len(task.classes), task.size("train"), task.size("val"), task.size("test")
    ((1, 8, 8), 10, 1197, 300, 300)
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Batch]
    scale: float
    mean: Tensor
    std: Tensor
    augment: bool = False
    loss: Callable[[Any, Tensor], Tensor] = functional.cross_entropy
    measure: Callable[[Any, Tensor], Sums] = accuracy

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch dimension."""
        return tuple(self.splits["train"].inputs.shape[1:])

    @property
    def device(self) -> torch.device:
        """Where the data lies and its batches appear."""
        return self.mean.device

    @cached_property
    def _affine(self) -> tuple[Tensor, Tensor]:
        """What standardising adds and multiplies by, worked out once."""
        return -self.mean / self.std, self.scale / self.std

    def size(self, split: str) -> int:
        """Number of samples in a split ("train", "val" or "test")."""
        return len(self.splits[check_choice("split", split, SPLITS)].targets)

    def take(self, split: str, index: Tensor | slice = slice(None)) -> Batch:
        """The samples of a split at `index`, as network inputs (float32, standardised per channel)."""
        raw = self.splits[check_choice("split", split, SPLITS)]
        if isinstance(index, Tensor):
            index = index.to(self.device)
            inputs, targets = raw.inputs.index_select(0, index), raw.targets.index_select(0, index)
        else:
            inputs, targets = raw.inputs[index], raw.targets[index]
        return Batch(torch.addcmul(*self._affine, inputs.to(self.mean.dtype)).float(), targets)

    def batch(self, n: int | None = None, seed: int = 0, per_class: int | None = None, split: str = "train") -> Batch:
        """A random batch without replacement: `n` samples, or `per_class` of each class.

        Misleads if a class has fewer than `per_class` samples: that is an error rather than a smaller batch.

        >>> import workbench as wb
        >>> wb.load("digits", device="cpu").batch(per_class=10).targets.bincount().tolist()
        [10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
        """
        size = self.size(split)
        order = torch.randperm(size, generator=generator(seed))
        if per_class is None:
            n = check_count("n", 256 if n is None else n)
            if n > size:
                raise ValueError(
                    f"a batch is drawn without replacement from the {size} samples of {split!r}; got n={n}"
                )
            return self.take(split, order[:n])
        if n is not None:
            raise ValueError(
                f"a batch has n samples or per_class of each class; got n={n} and per_class={per_class}. Pass one"
            )
        check_count("per_class", per_class)
        targets = self.splits[split].targets.cpu()[order]
        chosen = []
        for label, title in enumerate(self.classes):
            of_class = order[targets == label][:per_class]
            if len(of_class) < per_class:
                raise ValueError(f"class {title!r} has {len(of_class)} samples in {split!r}; got per_class={per_class}")
            chosen.append(of_class)
        return self.take(split, torch.cat(chosen))

    def batches(self, split: str, batch_size: int, seed: int | None = None, epoch: int = 0) -> Iterator[Batch]:
        """All samples of a split once, in batches; with `seed` in the random order of that seed and epoch.

        The order depends on (seed, epoch) alone, so that training can resume anywhere. With a seed, tasks with
        `augment` crop (after padding by an eighth) and flip each image, drawn per sample on the batch as a whole.
        """
        check_count("batch_size", batch_size)
        size = self.size(split)
        if seed is None:
            for start in range(0, size, batch_size):
                yield self.take(split, slice(start, start + batch_size))
            return
        draw = generator(seed * 100_003 + epoch)
        order = torch.randperm(size, generator=draw).to(self.device)
        for start in range(0, size, batch_size):
            batch = self.take(split, order[start : start + batch_size])
            yield crop_and_flip(batch, draw) if self.augment else batch

    @staticmethod
    def from_arrays(
        train_x: Any,
        train_y: Any,
        test_x: Any,
        test_y: Any,
        *,
        classes: Sequence[str] | None = None,
        name: str = "custom",
        val: float | int = 0.1,
        augment: bool = False,
        channels_last: bool | None = None,
        device: str | torch.device | None = None,
    ) -> Task:
        """A task from arrays, tensors, data frames or lists of PIL images: inputs `[n, ...]`, labels `[n]`.

        Labels are indices into `classes`, or names of classes; every class has a training sample. `val` is the share
        (or number) of training samples set aside for validation, equal per class as far as it goes, the same ones
        every time. Images without a channel dimension `[n, h, w]` get one. uint8 images `[n, h, w, c]` become
        `[n, c, h, w]`; for other numbers `channels_last` has to say it. Inputs are standardised per channel
        (dimension 1) with the training split's statistics. What can be read in two ways is a ValueError or TypeError.

        Misleads where train and test were prepared in different ways: a difference of scale is told from a factor of
        1.8 on, as a warning, and refused from 50 on; a smaller one is not seen.

        >>> x, y = np.random.default_rng(0).normal(size=(40, 5)), np.arange(40) % 2
        >>> Task.from_arrays(x, y, x, y, device="cpu").size("val")
        4
        """
        where = pick_device(device)
        inputs, test_inputs = read_inputs(train_x, test_x, channels_last)
        targets, test_targets, names = read_labels(train_y, test_y, classes)
        for split, x, y in (("train", inputs, targets), ("test", test_inputs, test_targets)):
            if len(x) != len(y):
                raise ValueError(f"{split} has one label an input; got {len(x)} inputs and {len(y)} labels")
        if augment and inputs.ndim != 4:
            raise ValueError(f"augment crops and flips images [n, c, h, w]; got inputs of shape {tuple(inputs.shape)}")
        held = held_out(targets, val)
        mean, std = moments(inputs[~held])
        if inputs.dtype == torch.float64 and not needs_double(mean, std):
            inputs, test_inputs = inputs.float(), test_inputs.float()
            mean, std = moments(inputs[~held])
        values = min(int((~held).sum()), len(test_inputs)) * inputs[0, 0].numel()
        check_scales((mean, std), moments(test_inputs), values)
        kind = torch.float64 if needs_double(mean, std) else torch.float32
        stat = (-1, *[1] * (inputs.ndim - 2))
        splits = {
            "train": Batch(inputs[~held], targets[~held]),
            "val": Batch(inputs[held], targets[held]),
            "test": Batch(test_inputs, test_targets),
        }
        return Task(
            name=name,
            classes=names,
            splits={split: Batch(b.inputs.to(where), b.targets.to(where)) for split, b in splits.items()},
            scale=1 / 255 if inputs.dtype == torch.uint8 else 1.0,
            mean=mean.to(kind).reshape(stat).to(where),
            std=torch.where(std > 0, std, 1.0).to(kind).reshape(stat).to(where),
            augment=augment,
        )

    @staticmethod
    def from_dataset(train: Any, test: Any, **options: Any) -> Task:
        """A task from two torch datasets of (input, label) items, read once into memory.

        Inputs are tensors, arrays or PIL images (grey if all of them are, else RGB). Random transforms of the dataset
        are frozen at that one reading; use `augment=True` instead. Class names are the dataset's `classes`, if it has
        them. Options as for `from_arrays`.
        """
        arrays = *_items("train", train), *_items("test", test)
        names, test_names = _names(train), _names(test)
        if names and test_names and names != test_names:
            raise ValueError(
                f"train and test have the same classes in the same order; got {', '.join(names)} and "
                f"{', '.join(test_names)}"
            )
        return Task.from_arrays(*arrays, **{"classes": names or test_names or None, **options})

    @staticmethod
    def from_folder(
        path: str | Path,
        *,
        test: float | int | None = None,
        size: int | tuple[int, int] | None = None,
        **options: Any,
    ) -> Task:
        """A task from a folder of images: `path/train/<class>/*` and `path/test/<class>/*`, or `path/<class>/*`.

        Without the two folders of splits, `test` is the share (or number) of images set aside as test split, equal
        per class as far as it goes (default 0.2). Classes are the folders' names, sorted. Images are read once into
        memory: as grey if all of them are, else as RGB. They have one size, or are resized to `size` (a number of
        pixels, or height and width; the ratio of the sides is not kept). Hidden files are passed over; other files
        are left out with a warning. Options as for `from_arrays`, but for `classes`.

        Misleads where near copies of one picture lie in train and test: only copies bit for bit are counted, in a
        warning.

        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i in range(20):
        ...         file = Path(folder, "dark" if i < 10 else "light", f"{i}.png")
        ...         file.parent.mkdir(exist_ok=True)
        ...         Image.new("RGB", (8, 8), (10 * i, i, 0)).save(file)
        ...     task = Task.from_folder(folder, device="cpu")
        >>> task.classes, task.shape, task.size("train"), task.size("test")
        (('dark', 'light'), (3, 8, 8), 14, 4)
        """
        found = read_folder(path, size)
        if found.test is not None and test is not None:
            raise ValueError(f"test is the share of a folder without splits; {path} has a folder test. Leave test= out")
        held = found.test
        if held is None:
            held = held_out(torch.from_numpy(found.labels), 0.2 if test is None else test, "test").numpy()
        arrays = found.images[~held], found.labels[~held], found.images[held], found.labels[held]
        if shared := count_shared(found.images[~held], found.images[held]):
            warn(
                f"{shared} of {int(held.sum())} test images of {path} are also training images, bit for bit: the "
                "accuracy will be too high. Remove the copies"
            )
        options = {"name": Path(path).resolve().name, **options}
        return Task.from_arrays(*arrays, classes=found.classes, **options)


def crop_and_flip(batch: Batch, draw: torch.Generator) -> Batch:
    """Shift each image by up to an eighth of its side (zero padded) and mirror half of them.

    One gather on the whole batch; offsets and flips are drawn per sample on the CPU from `draw`.
    """
    n, _, height, width = batch.inputs.shape
    pad = max(height // 8, 1)
    device = batch.inputs.device
    padded = torch.nn.functional.pad(batch.inputs, (pad, pad, pad, pad))
    down, right = torch.randint(0, 2 * pad + 1, (2, n), generator=draw).to(device)
    flip = (torch.rand(n, generator=draw) < 0.5).to(device)
    rows = down[:, None] + torch.arange(height, device=device)
    columns = torch.arange(width, device=device).expand(n, width)
    columns = right[:, None] + torch.where(flip[:, None], width - 1 - columns, columns)
    picked = padded[torch.arange(n, device=device)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return Batch(picked.permute(0, 3, 1, 2).contiguous(), batch.targets)


def _items(split: str, dataset: Any) -> tuple[list[Any], list[Any]]:
    """Inputs and labels of a dataset, one by one."""
    try:
        items = [dataset[i] for i in range(len(dataset))]
        if strange := [item for item in items if not isinstance(item, tuple | list)]:
            raise TypeError(
                f"an item is {type(strange[0]).__name__}. Make pairs, such as [(x['image'], x['label']) for x in data]"
            )
        inputs, labels = zip(*items, strict=True)
        if len({np.shape(x) for x in inputs if isinstance(x, np.ndarray | Tensor)}) > 1:
            raise ValueError("the shapes differ")
    except (TypeError, ValueError, KeyError) as error:
        raise TypeError(
            f"the {split} dataset has a length and gives (input, label) items whose inputs share one shape; "
            f"got {type(dataset).__name__}: {error}"
        ) from error
    return list(inputs), list(labels)


def _names(dataset: Any) -> list[str]:
    """The names of a dataset's classes, also where it is a subset of another; empty if it tells none."""
    while not hasattr(dataset, "classes") and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    return [str(name) for name in names] if isinstance(names, list | tuple) else []
