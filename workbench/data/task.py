"""A task: inputs and labels in three fixed splits, in memory, served as batches by indexing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.seeds import generator, pick_device
from workbench.types import Batch, check_choice, check_count

SPLITS = ("test", "train", "val")


@dataclass(frozen=True)
class Task:
    """Data to classify: three splits, the classes, and how raw inputs become network inputs.

    Raw inputs stay as they came (uint8 for images, which keeps CIFAR-10 at 184 MB); `take` turns them into
    `(x * scale - mean) / std` in float32, with the training split's mean and std per channel. Build one with
    `wb.load`, `Task.from_arrays` or `Task.from_dataset`.

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
        return Batch(torch.addcmul(*self._affine, inputs.float()), targets)

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
        device: str | torch.device | None = None,
    ) -> Task:
        """A task from arrays or tensors: inputs `[n, ...]`, integer labels `[n]`.

        `val` is the share (or number) of training samples set aside for validation, equal per class as far as it
        goes, the same ones every time. Images without a channel dimension `[n, h, w]` get one. Inputs are
        standardised per channel (dimension 1) with the training split's statistics.

        >>> x, y = np.random.default_rng(0).normal(size=(40, 5)), np.arange(40) % 2
        >>> Task.from_arrays(x, y, x, y, device="cpu").size("val")
        4
        """
        where = pick_device(device)
        inputs, targets = _check_arrays("train", train_x, train_y)
        test_inputs, test_targets = _check_arrays("test", test_x, test_y)
        if inputs.shape[1:] != test_inputs.shape[1:]:
            raise ValueError(
                "train and test inputs have one shape; "
                f"got {tuple(inputs.shape[1:])} and {tuple(test_inputs.shape[1:])}"
            )
        labels = int(max(targets.max(), test_targets.max())) + 1
        names = tuple(str(c) for c in (range(labels) if classes is None else classes))
        if len(names) < labels:
            raise ValueError(f"labels are indices into classes, 0 to {len(names) - 1}; got label {labels - 1}")
        held = _held_out(targets, val)
        scale = 1 / 255 if inputs.dtype == torch.uint8 else 1.0
        mean, std = _moments(inputs[~held])
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
            scale=scale,
            mean=mean.float().reshape(stat).to(where),
            std=std.float().clamp_min(1e-6).reshape(stat).to(where),
            augment=augment,
        )

    @staticmethod
    def from_dataset(train: Any, test: Any, **options: Any) -> Task:
        """A task from two torch datasets of (input, label) items, read once into memory.

        Random transforms of the dataset are frozen at that one reading; use `augment=True` instead. Options as
        for `from_arrays`.
        """
        return Task.from_arrays(*_stack("train", train), *_stack("test", test), **options)


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


def _check_arrays(split: str, inputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    x, y = _copy(f"{split} inputs", inputs), _copy(f"{split} labels", targets)
    if x.ndim and len(x) == 0:
        raise ValueError(f"{split} inputs hold at least one sample; got 0")
    if x.ndim < 2:
        raise ValueError(f"{split} inputs are [n, ...] with at least one feature dimension; got shape {tuple(x.shape)}")
    if y.ndim != 1 or y.is_floating_point() or y.dtype == torch.bool:
        raise TypeError(f"{split} labels are whole numbers of shape [n]; got {y.dtype} of shape {tuple(y.shape)}")
    if len(x) != len(y):
        raise ValueError(f"{split} has one label an input; got {len(x)} inputs and {len(y)} labels")
    if int(y.min()) < 0:
        raise ValueError(f"{split} labels count from 0; got {int(y.min())}")
    if x.dtype != torch.uint8:
        x = x.float()
        if not bool(torch.isfinite(x).all()):
            raise ValueError(
                f"{split} inputs are finite numbers; {int((~torch.isfinite(x)).sum())} are NaN or infinite"
            )
    return (x[:, None] if x.ndim == 3 else x), y.long()


def _copy(what: str, values: Any) -> Tensor:
    """A tensor of one's own: what the caller does to theirs later changes no task."""
    if isinstance(values, Tensor):
        return values.detach().cpu().clone()
    try:
        return torch.from_numpy(np.array(values))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} are numbers in one array or tensor; got {type(values).__name__}: {error}") from error


def _held_out(targets: Tensor, val: float | int) -> Tensor:
    """Bool `[n]`: the validation samples, spread evenly over the classes; the same for the same labels."""
    n = len(targets)
    count = round(n * val) if isinstance(val, float) else val
    if not 1 <= count < n:
        raise ValueError(f"val is a share in (0, 1) or a number of samples below {n}; got {val}")
    order = torch.randperm(n, generator=generator(0))
    turn = torch.empty(n, dtype=torch.long)
    for label in targets.unique():
        members = order[targets[order] == label]
        turn[members] = torch.arange(len(members)) * n // len(members)
    held = torch.zeros(n, dtype=torch.bool)
    held[order[torch.argsort(turn[order], stable=True)[:count]]] = True
    return held


def _moments(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel; bytes count as [0, 1] and are summed as exact integer counts."""
    if inputs.dtype != torch.uint8:
        axes = [d for d in range(inputs.ndim) if d != 1]
        return inputs.double().mean(axes), inputs.double().std(axes, correction=0)
    counts = torch.stack([torch.bincount(channel.reshape(-1), minlength=256) for channel in inputs.transpose(0, 1)])
    share = counts.double() / counts.sum(1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ levels
    return mean, (share @ levels.square() - mean.square()).clamp_min(0).sqrt()


def _stack(split: str, dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        items = [dataset[i] for i in range(len(dataset))]
        inputs, targets = zip(*items, strict=True)
        return np.stack([np.asarray(x) for x in inputs]), np.asarray([int(y) for y in targets])
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the {split} dataset has a length and gives (input, label) items whose inputs share one shape; "
            f"got {type(dataset).__name__}: {error}"
        ) from error
