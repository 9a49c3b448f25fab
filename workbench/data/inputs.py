"""Inputs as users have them, made into tensors: right as they are, or an error that says what to change."""

from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.data.pictures import are_pictures, pixels

LARGEST = 1e30  # float32 ends at 3.4e38, and a standardised value may be larger than the raw one


def to_array(rule: str, values: Any) -> np.ndarray:
    """Numbers, bools or text as a new array: if the caller changes theirs later, no task changes.

    `rule` begins the error, such as "train inputs are numbers in one array or tensor".
    """
    if are_pictures(values):
        return pixels((f"{rule.split()[0]} image {i}", value) for i, value in enumerate(values))
    try:
        if isinstance(values, list | tuple) and values and all(isinstance(value, Tensor) for value in values):
            array = _from_tensor(torch.stack([value.detach().cpu() for value in values]))
        elif isinstance(values, Tensor):
            array = _from_tensor(values)
        elif hasattr(values, "toarray"):
            raise TypeError("it is sparse. Pass .toarray()")
        elif np.ma.is_masked(values):
            raise TypeError("some are masked. Fill them in or drop them")
        else:
            array = np.array(values, order="C")
        if array.dtype.kind == "U" and not isinstance(values, np.ndarray):
            array = np.array(values, dtype=object)  # else numpy writes numbers among text as text, NaN too
        if array.dtype == object:
            array = _unboxed(array)
        if array.dtype.kind not in "biufU":
            raise TypeError(f"they are {array.dtype}. Convert them first")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{rule}; got {type(values).__name__}: {error}") from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _from_tensor(values: Tensor) -> np.ndarray:
    if values.layout != torch.strided or values.is_quantized or values.is_nested:
        raise TypeError("it is sparse, nested or quantised. Pass .to_dense(), a padded tensor or .dequantize()")
    values = values.detach().cpu().resolve_conj().resolve_neg()
    small = values.is_floating_point() and values.element_size() < 4  # numpy knows no bfloat16
    return np.array((values.float() if small else values).numpy(), order="C")


def _unboxed(array: np.ndarray) -> np.ndarray:
    """An array of Python objects, as pandas gives for mixed columns, as numbers or as text."""
    kinds = {type(value) for value in array.flat}
    if kinds and all(issubclass(kind, str) for kind in kinds):
        return array.astype(str)
    if not all(issubclass(kind, Real | np.bool_) for kind in kinds):
        raise TypeError(
            f"it holds Python objects ({', '.join(sorted(kind.__name__ for kind in kinds))}). Fill in or drop what is "
            "missing, turn text among numbers into numbers (pandas.get_dummies), and pass one column of a dataset"
        )
    return array.astype(np.float64)


def read_inputs(train: Any, test: Any, channels_last: bool | None) -> tuple[Tensor, Tensor]:
    """Both splits' inputs `[n, c, ...]`: uint8 as it came, float64 where float32 may not hold the values, else float32.

    Raises TypeError for what are no numbers and ValueError where the two splits cannot be of one kind.
    """
    if (columns := _columns(train)) and (others := _columns(test)) and columns != others:
        differ = (f"{a!r} and {b!r} as column {i}" for i, (a, b) in enumerate(zip(columns, others)) if a != b)  # noqa: B905
        got = next(differ) if len(columns) == len(others) else f"{len(columns)} and {len(others)} columns"
        told = f"train and test have the same columns in the same order; got {got}"
        raise ValueError(f"{told}. Pass test[train.columns]")
    rule = "{} inputs are numbers in one array or tensor"
    arrays = {s: to_array(rule.format(s), values) for s, values in (("train", train), ("test", test))}
    if text := [split for split, array in arrays.items() if array.dtype.kind == "U"]:
        raise TypeError(f"{rule.format(text[0])}; got text. Encode it as numbers first")
    _check_kinds(arrays)
    x, test_x = (_as_tensor(split, array, channels_last) for split, array in arrays.items())
    if (shape := tuple(x.shape[1:])) != (test_shape := tuple(test_x.shape[1:])):
        raise ValueError(f"train and test inputs have one shape; got {shape} and {test_shape}")
    return (x, test_x) if x.dtype == test_x.dtype else (x.double(), test_x.double())


def _columns(frame: Any) -> list[str]:
    return [str(c) for c in frame.columns] if type(frame).__name__ == "DataFrame" else []


def _check_kinds(arrays: dict[str, np.ndarray]) -> None:
    """Bytes count as fractions of 255 and nothing else does; whole numbers are not mixed with fractions."""
    bytes_alone = len({array.dtype == np.uint8 for array in arrays.values()}) > 1
    floats = [array for array in arrays.values() if array.dtype.kind == "f"]
    if bytes_alone or (len(floats) == 1 and bool((floats[0] != np.floor(floats[0])).any())):
        got = " and ".join(str(array.dtype) for array in arrays.values())
        told = f"train and test inputs are numbers of one kind and on one scale; got {got}"
        raise ValueError(f"{told}. Convert both in the same way (uint8 counts as value / 255)")


def _as_tensor(split: str, array: np.ndarray, channels_last: bool | None) -> Tensor:
    if array.ndim and len(array) == 0:
        raise ValueError(f"{split} inputs hold at least one sample; got 0")
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"{split} inputs are [n, ...] with at least one feature dimension; got shape {array.shape}")
    if array.dtype != np.uint8:
        check_sizes(f"{split} inputs", array)
        exact = array.dtype.itemsize < 4 or array.dtype == np.float32
        array = array.astype(np.float32 if exact else np.float64)
    return torch.from_numpy(np.ascontiguousarray(_channels_first(split, array, channels_last)))


def check_sizes(what: str, array: np.ndarray) -> None:
    """Raise ValueError unless all numbers are finite and have room in float32."""
    largest = max(float(array.max()), -float(array.min()))
    if not np.isfinite(largest) and (bad := int((~np.isfinite(array)).sum())):
        raise ValueError(f"{what} are finite numbers; {bad} are NaN or infinite. Fill them in or drop them")
    if largest > LARGEST:
        raise ValueError(f"{what} are at most {LARGEST:g} in size; got {largest:g}. Scale them first")


def _channels_first(split: str, array: np.ndarray, channels_last: bool | None) -> np.ndarray:
    """Images as `[n, c, h, w]`; pixels tell by their shape where the channels are, other numbers do not."""
    if array.ndim == 3 and not channels_last:
        return array[:, None]
    if channels_last and array.ndim != 4:
        rule = "channels_last is for images [n, h, w, c]"
        raise ValueError(f"{rule}; got {split} inputs of shape {array.shape}. Leave it out")
    if channels_last is None and array.ndim == 4 and array.shape[3] <= 4 < min(array.shape[1:3]):
        if array.dtype != np.uint8:
            raise ValueError(
                f"{split} inputs are [n, c, h, w], channels first; {array.shape} looks like channels last. "
                "Pass channels_last=True to move them, or channels_last=False if the shape is right"
            )
        channels_last = True
    return np.moveaxis(array, 3, 1) if channels_last else array


def read_items(split: str, dataset: Any) -> tuple[list[Any], list[Any]]:
    """Inputs and targets of a dataset, one by one."""
    try:
        items = [dataset[i] for i in range(len(dataset))]
        if strange := [item for item in items if not isinstance(item, tuple | list)]:
            remedy = "Make pairs, such as [(x['image'], x['label']) for x in data]"
            raise TypeError(f"an item is {type(strange[0]).__name__}. {remedy}")
        inputs, targets = zip(*items, strict=True)
        if len({np.shape(x) for x in inputs if isinstance(x, np.ndarray | Tensor)}) > 1:
            raise ValueError("the shapes differ")
    except (TypeError, ValueError, KeyError) as error:
        rule = f"the {split} dataset has a length and gives (input, target) items whose inputs share one shape"
        raise TypeError(f"{rule}; got {type(dataset).__name__}: {error}") from error
    return list(inputs), list(targets)


def class_names(train: Any, test: Any) -> list[str] | None:
    """The names of two datasets' classes, None if neither tells; ValueError if they differ."""
    names, test_names = _names(train), _names(test)
    if names and test_names and names != test_names:
        got = f"{', '.join(names)} and {', '.join(test_names)}"
        raise ValueError(f"train and test have the same classes in the same order; got {got}")
    return names or test_names or None


def _names(dataset: Any) -> list[str]:
    while not hasattr(dataset, "classes") and hasattr(dataset, "dataset"):  # a subset of another
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    return [str(name) for name in names] if isinstance(names, list | tuple) else []
