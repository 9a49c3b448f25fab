"""A task: inputs and targets in three fixed splits, in memory, and the functions that make a task of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from workbench.data.inputs import class_names, read_inputs, read_items
from workbench.data.labels import AMOUNTS, held_out, read_labels, read_names, read_values
from workbench.data.measures import Sums, accuracy
from workbench.data.pictures import count_shared, crop_and_flip, read_folder
from workbench.data.standardise import standardised
from workbench.seeds import generator, pick_device
from workbench.types import Batch, check_batch, check_choice, check_count, warn

SPLITS = ("test", "train", "val")


def unchanged(inputs: Tensor) -> Tensor:
    """The inputs themselves: tokens stay whole numbers."""
    return inputs


@dataclass(frozen=True, eq=False)
class Task:
    """Data in three fixed splits, and what it takes to train on them: `prepare`, `loss` and `measure`.

    `prepare(inputs)` turns raw inputs, which are stored as they came (bytes for images), into network inputs; tasks of
    `wb.load` and `Task.from_...` standardise. `loss(outputs, targets)` is the mean over a batch, for training and
    criteria; `measure(outputs, targets) -> {name: (sum, count)}` gives what `wb.evaluate` adds up over batches and
    divides once; choose models by the first name. The defaults, cross entropy and accuracy of the outputs' logits, take
    class numbers, int64 `[n]`, or `[n, ...]` with a class for each place (-100: none) and outputs `[n, classes, ...]`:
    tokens and maps, too. Your own functions get the model's outputs as they are, for amounts or several labels for each
    sample (float `[n, k]`). `classes` names the network's outputs, and may be empty. Raises ValueError for splits that
    are missing or differ.

    Misleads if targets have a large scale: the loss and its gradients grow with its square. Scale amounts first.

    >>> import workbench as wb
    >>> task = wb.load("digits", device="cpu")
    >>> task.shape, task.outputs, task.size("train"), task.size("val"), task.size("test")
    ((1, 8, 8), 10, 1197, 300, 300)
    >>> tokens = torch.arange(12).reshape(2, 6)
    >>> text = Task("text", splits=dict.fromkeys(SPLITS, Batch(tokens[:, :-1], tokens[:, 1:])))
    >>> text.batch(2).inputs.dtype
    torch.int64
    """

    name: str
    splits: dict[str, Batch]
    classes: tuple[str, ...] = ()
    prepare: Callable[[Tensor], Tensor] = unchanged
    loss: Callable[[Any, Tensor], Tensor] = functional.cross_entropy
    measure: Callable[[Any, Tensor], Sums] = accuracy
    augment: bool = False

    def __post_init__(self) -> None:
        found = sorted(map(str, self.splits)) if isinstance(self.splits, Mapping) else [type(self.splits).__name__]
        if found != list(SPLITS):
            told = f"splits are a dict of {', '.join(SPLITS)}; got {', '.join(found) or 'none'}"
            raise ValueError(
                f"{told}. Set samples of train aside for val (to choose models) and for test (to use once)"
            )
        for name in ("prepare", "loss", "measure"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name} is a function; got {getattr(self, name)!r}. Leave it out for the default")
        splits = {split: check_batch(batch) for split, batch in self.splits.items()}
        object.__setattr__(self, "splits", splits)
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))
        kinds = {split: f"inputs {_kind(x)}, targets {_kind(y)}" for split, (x, y) in splits.items()}
        if len(set(kinds.values())) > 1 or len({part.device for batch in splits.values() for part in batch}) > 1:
            told = "; ".join(f"{split}: {kind}" for split, kind in kinds.items())
            raise ValueError(f"the splits have inputs and targets of one shape and dtype, on one device; got {told}")
        targets = splits["train"].targets
        numbers = targets.dtype == torch.int64
        if not numbers and (self.loss is functional.cross_entropy or self.measure is accuracy):
            told = f"the cross entropy and the accuracy take class numbers (int64); got targets {_kind(targets)}"
            raise ValueError(f"{told}. {AMOUNTS}, or make class numbers by targets.long()")
        if self.classes and (self._width > len(self.classes) or (self._width < len(self.classes) and not numbers)):
            what = f"{self._width} {'class numbers' if numbers else 'columns of targets'}"
            raise ValueError(f"classes name the network's outputs; got {len(self.classes)} for {what}. Name each once")
        if self.augment and (len(self.shape) != 3 or targets.ndim > 2):
            rule = "augment crops and flips images [n, c, h, w], and leaves targets where they are"
            raise ValueError(f"{rule}; got inputs of shape {self.shape} and targets {_kind(targets)}. Leave it out")

    @property
    def _width(self) -> int:
        """How many columns the targets have, or how many class numbers up to the largest."""
        if self.splits["train"].targets.dtype == torch.int64:
            return 1 + max(int(batch.targets.max()) for batch in self.splits.values())
        return (*self.splits["train"].targets.shape, 1)[1]

    @property
    def outputs(self) -> int:
        """How many numbers a network gives for a sample or a place: one per class, or one per column of the targets."""
        targets = self.splits["train"].targets
        if not self.classes and targets.ndim > (1 if targets.dtype == torch.int64 else 2):
            raise ValueError(f"classes tell how many outputs targets {_kind(targets)} take; got none. Pass classes=")
        return len(self.classes) or self._width

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one network input, without the batch dimension."""
        prepared = self.take("train", slice(1)).inputs
        if not isinstance(prepared, Tensor) or len(prepared) != 1:
            raise TypeError(f"prepare returns a tensor with as many inputs as it gets; got {prepared!r} of one input")
        return tuple(prepared.shape[1:])

    @property
    def device(self) -> torch.device:
        """The device of the data and of its batches."""
        return self.splits["train"].targets.device

    def size(self, split: str) -> int:
        """Number of samples in a split ("train", "val" or "test")."""
        return len(self.splits[check_choice("split", split, SPLITS)].targets)

    def take(self, split: str, index: Tensor | slice = slice(None)) -> Batch:
        """The samples of a split at `index`, as network inputs."""
        raw = self.splits[check_choice("split", split, SPLITS)]
        if isinstance(index, Tensor):
            index = index.to(self.device)
            return Batch(self.prepare(raw.inputs.index_select(0, index)), raw.targets.index_select(0, index))
        return Batch(self.prepare(raw.inputs[index]), raw.targets[index])

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
                raise ValueError(f"a batch is drawn without replacement from the {size} samples of {split!r}; got {n=}")
            return self.take(split, order[:n])
        if n is not None:
            raise ValueError(f"a batch has n samples or per_class of each class; got {n=} and {per_class=}. Pass one")
        check_count("per_class", per_class)
        targets = self.splits[split].targets.cpu()[order]
        if targets.dtype != torch.int64 or targets.ndim != 1:
            raise ValueError(f"per_class needs one class per sample, int64 [n]; got targets {_kind(targets)}. Pass n")
        chosen = []
        for label, title in enumerate(self.classes or range(self.outputs)):
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
        parts = [slice(start, start + batch_size) for start in range(0, size, batch_size)]
        if seed is None:
            yield from (self.take(split, part) for part in parts)
            return
        draw = generator(seed * 100_003 + epoch)
        order = torch.randperm(size, generator=draw).to(self.device)
        for part in parts:
            batch = self.take(split, order[part])
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
        loss: Callable[[Any, Tensor], Tensor] = functional.cross_entropy,
        measure: Callable[[Any, Tensor], Sums] = accuracy,
    ) -> Task:
        """A task from arrays, tensors, data frames or lists of PIL images: inputs `[n, ...]`, targets `[n, ...]`.

        Targets are labels, indices into `classes` or their names: one for each sample `[n]`, or for each place `[n, h,
        w]` (-100: none). Every class has a training sample. With your own `loss` they are numbers: fractions, bools and
        whatever torch compares number by number (`functional.mse_loss`) become float32 `[n, k]`, other whole numbers
        int64. `val` is the share (or number) of training samples set aside for validation, as equal per class as
        possible, the same every time. Images `[n, h, w]` get a channel dimension, uint8 images `[n, h, w, c]` become
        `[n, c, h, w]`; for other numbers say it with `channels_last`. Inputs are standardised per channel (dimension 1)
        with the training split's statistics; for tokens use `Task(...)`. If something can be read in two ways, it is a
        ValueError or TypeError.

        Misleads if train and test were prepared in different ways: a difference of scale gives a warning from a factor
        of 1.8 on and an error from 50 on; a smaller one is not seen.

        >>> x, y = torch.arange(200.0).reshape(40, 5), torch.arange(40) % 2
        >>> Task.from_arrays(x, y, x, y, device="cpu").size("val")
        4
        """
        where = pick_device(device)
        inputs, test_inputs = read_inputs(train_x, test_x, channels_last)
        if loss is functional.cross_entropy:
            targets, test_targets, names = read_labels(train_y, test_y, classes)
        else:
            (targets, test_targets), names = read_values(train_y, test_y, loss), read_names(classes) or ()
        for split, x, y in (("train", inputs, targets), ("test", test_inputs, test_targets)):
            if len(x) != len(y):
                raise ValueError(f"{split} has one target per input; got {len(x)} inputs and {len(y)} targets")
        held = held_out(targets, val)
        parts = {"train": (inputs[~held], targets[~held]), "val": (inputs[held], targets[held])}
        parts["test"] = test_inputs, test_targets
        prepare, dtype = standardised(parts["train"][0], test_inputs, where)
        splits = {split: Batch(x.to(where, dtype), y.to(where)) for split, (x, y) in parts.items()}
        return Task(name, splits, names, prepare, loss, measure, augment)

    @staticmethod
    def from_dataset(train: Any, test: Any, **options: Any) -> Task:
        """A task from two torch datasets of (input, label) items, read once into memory.

        Inputs are tensors, arrays or PIL images (grey if all are, else RGB). Random transforms are applied only once,
        at this reading: use `augment=True`. Class names are the dataset's `classes`, if any. Options as for
        `from_arrays`.
        """
        arrays = *read_items("train", train), *read_items("test", test)
        return Task.from_arrays(*arrays, **{"classes": class_names(train, test), **options})

    @staticmethod
    def from_folder(
        path: str | Path, *, test: float | int | None = None, size: int | tuple[int, int] | None = None, **options: Any
    ) -> Task:
        """A task from a folder of images: `path/train/<class>/*` and `path/test/<class>/*`, or `path/<class>/*`.

        Without the folders train and test, `test` is the share (or number) of images set aside as test split, as equal
        per class as possible (default 0.2). Classes are the folders' names, sorted. Images are read once into memory,
        as grey if all are, else as RGB. They have one size, or are resized to `size` (pixels, or height and width; the
        ratio is not kept). Hidden files are ignored; other files are left out with a warning. Options as for
        `from_arrays`, except `classes`.

        Misleads if train and test hold nearly equal pictures: a warning counts only exact copies.

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
        images, labels, held, classes = read_folder(path, size)
        if held is not None and test is not None:
            raise ValueError(f"test is the share of a folder without splits; {path} has a folder test. Leave test= out")
        if held is None:
            held = held_out(torch.from_numpy(labels), 0.2 if test is None else test, "test").numpy()
        train, tested = images[~held], images[held]
        if shared := count_shared(train, tested):
            told = f"{shared} of {len(tested)} test images of {path} are also training images, bit for bit"
            warn(f"{told}: the accuracy will be too high. Remove the copies")
        options = {"name": Path(path).resolve().name, **options}
        return Task.from_arrays(train, labels[~held], tested, labels[held], classes=classes, **options)


def _kind(tensor: Tensor) -> str:
    return f"[{', '.join(map(str, ('n', *tensor.shape[1:])))}] of {str(tensor.dtype).removeprefix('torch.')}"
