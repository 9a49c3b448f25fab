"""Labels as users have them, made into indices of classes: right as they are, or an error that says what to change."""

from collections.abc import Callable, Iterable
from itertools import islice
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.data.inputs import check_sizes, to_array
from workbench.data.measures import IGNORED, by_number
from workbench.seeds import generator

AMOUNTS = (
    "For amounts or several labels for each sample pass loss= and measure=, such as torch.nn.functional.mse_loss and "
    "workbench.data.squared_error"
)


def read_names(classes: Iterable[Any] | None) -> tuple[str, ...] | None:
    """The classes' names, no two alike; None where there are none."""
    if classes is None:
        return None
    if not isinstance(classes, Iterable):
        raise TypeError(f"classes are names, one for each class; got {classes!r}. Leave it out to number them")
    names = tuple(map(str, classes))
    if len(set(names)) < len(names):
        raise ValueError(f"classes have different names; got {', '.join(names)}")
    return names


def read_labels(train: Any, test: Any, classes: Iterable[Any] | None) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Both splits' labels as int64 `[n]` or `[n, h, w]`, and the classes' names; every class has a training sample.

    Whole numbers and bools are indices into the classes; text is the classes' names (sorted, if `classes` does not
    order them). Raises TypeError or ValueError for all else.
    """
    y, test_y = _whole("train", train), _whole("test", test)
    names = read_names(classes)
    if y.dtype.kind != test_y.dtype.kind:
        raise TypeError(f"train and test labels are both numbers or both text; got {y.dtype} and {test_y.dtype}")
    if y.dtype.kind == "U":
        names = names or tuple(map(str, np.unique(y)))
        y, test_y = _indices("train", y, names), _indices("test", test_y, names)
    for split, labels in (("train", y), ("test", test_y)):
        if len(wrong := labels[(labels < 0) & ((labels != IGNORED) | (labels.ndim == 1))]):
            raise ValueError(f"{split} labels count from 0; got {wrong.min()}")
    count = int(max(y.max(initial=0), test_y.max(initial=0))) + 1
    if names is not None and len(names) < count:
        raise ValueError(f"labels are indices into classes, 0 to {len(names) - 1}; got label {count - 1}")
    count = count if names is None else len(names)
    if y.size:
        _check_present(np.unique(y[y != IGNORED]), count, names)
    return torch.from_numpy(y), torch.from_numpy(test_y), names or tuple(map(str, range(count)))


def read_values(train: Any, test: Any, loss: Callable[..., Any]) -> tuple[Tensor, Tensor]:
    """Both splits' targets for a user's own loss: amounts as float32 `[n, k]`, other whole numbers as int64.

    Amounts are fractions and bools, and all that `loss` compares number by number.
    """
    arrays = {}
    for split, values in (("train", train), ("test", test)):
        arrays[split] = to_array(rule := f"with your own loss, {split} targets are numbers in one array", values)
        if arrays[split].dtype.kind == "U":
            raise TypeError(f"{rule}; got text. numpy.unique(targets, return_inverse=True)[1] numbers it")
        if not arrays[split].shape or not arrays[split].size:
            raise ValueError(f"{split} targets are [n, ...], one for each input; got shape {arrays[split].shape}")
        check_sizes(f"{split} targets", arrays[split])
    amounts = by_number(loss) or any(array.dtype.kind in "fb" for array in arrays.values())
    for split, array in arrays.items():
        array = array.astype(np.float32 if amounts else np.int64)
        arrays[split] = array[:, None] if amounts and array.ndim == 1 else array
    return torch.from_numpy(arrays["train"]), torch.from_numpy(arrays["test"])


def _whole(split: str, values: Any) -> np.ndarray:
    """Labels, one a sample or one a place of an image: int64, or text."""
    y = to_array(f"{split} labels are whole numbers, or names of classes, in one array or tensor", values)
    if y.ndim in (2, 4) and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim in (0, 2):
        one_hot = ". For one column per class (one-hot) pass labels.argmax(1), for tokens use Task(name, splits)"
        remedy = f"{one_hot}. {AMOUNTS}" if y.ndim == 2 else ""
        raise TypeError(f"{split} labels are one per sample, of shape [n]; got shape {y.shape}{remedy}")
    if y.dtype.kind in "fu" and y.size:
        if bad := int((~np.isfinite(y)).sum()):
            raise ValueError(f"{split} labels are whole numbers; {bad} are NaN or infinite. Drop these samples")
        if len(broken := y[(y != np.floor(y)) | (np.abs(y) >= 2**53)]):
            told = f"{split} labels are whole numbers, the indices of classes; got {broken[0]:g}"
            raise ValueError(f"{told}. {AMOUNTS}, or turn amounts into classes, e.g. by numpy.digitize")
    return y if y.dtype.kind == "U" else y.astype(np.int64)


def _indices(split: str, labels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    if unknown := sorted(set(labels.ravel().tolist()) - set(names)):
        where = "classes" if split == "train" else "the classes of train"
        raise ValueError(f"{split} labels are names in {where}, {', '.join(names)}; got {unknown[0]!r}")
    place = {name: index for index, name in enumerate(names)}
    return np.asarray([place[label] for label in labels.ravel().tolist()], dtype=np.int64).reshape(labels.shape)


def _check_present(present: np.ndarray, count: int, names: tuple[str, ...] | None) -> None:
    if absent := count - len(present):
        there = set(present.tolist())
        missing = [names[k] if names else k for k in islice((k for k in range(count) if k not in there), 3)]
        listed = ", ".join(repr(str(m)) for m in missing) + (", ..." if absent > 3 else "")
        raise ValueError(
            f"every class has training samples; {absent} of {count} classes, numbered from 0, have none: {listed}. "
            "Number the classes that are there from 0 (numpy.unique(labels, return_inverse=True)[1]), name no others "
            "in classes, and leave samples of others out of test"
            + (f". {AMOUNTS}; places without a class are -100" if absent > 3 else "")
        )
    if count < 2:
        raise ValueError("a task has at least two classes; got one. Add samples of another class")


def held_out(targets: Tensor, share: float | int, what: str = "val") -> Tensor:
    """Bool `[n]`: a share or number of samples, spread evenly over the classes `[n]`; the same for the same labels.

    The only sample of a class stays. Targets of other shapes name no classes to spread over. Raises ValueError where
    a class would lose all of its samples.
    """
    n = len(targets)
    rule = f"{what} is a share in (0, 1) or a number of samples below {n}; got {share!r}"
    if isinstance(share, bool) or not isinstance(share, Real):
        raise TypeError(f"{rule} ({type(share).__name__})")
    targets = targets if targets.ndim == 1 else torch.zeros(n, dtype=torch.long)
    count = int(share) if isinstance(share, Integral) else round(n * float(share)) if 0 < share < 1 else 0
    if not 1 <= count < n:
        raise ValueError(rule)
    order = torch.randperm(n, generator=generator(0))
    turn = torch.empty(n, dtype=torch.long)
    for label in targets.unique():
        members = order[targets[order] == label]
        turn[members] = torch.arange(len(members)) * n // len(members) if len(members) > 1 else n
    held = torch.zeros(n, dtype=torch.bool)
    held[order[torch.argsort(turn[order], stable=True)[:count]]] = True
    if len(lost := np.setdiff1d(targets.numpy(), targets[~held].numpy())):
        raise ValueError(f"{what}={share} leaves no training sample of class {lost[0]}. Pass a smaller one")
    return held
