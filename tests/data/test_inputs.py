"""Inputs and labels in the forms that users have them: the right values, or an error with the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from torch.utils.data import Dataset, Subset, TensorDataset

import workbench as wb

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(120, 4))
Y = np.arange(120) % 3
PIXELS = DRAW.integers(0, 256, (60, 8, 6, 3), dtype=np.uint8)
TEXT = np.array(["b", "a", "c"])[Y]
FRAME = pd.DataFrame(X, columns=list("abcd")).assign(e=X[:, 0] > 0)


def task(x: Any, y: Any = Y, test_x: Any = None, test_y: Any = None, **options: Any) -> wb.Task:
    y = Y[:60] if y is Y and getattr(x, "shape", (0,))[0] == 60 else y
    test_x, test_y = x if test_x is None else test_x, y if test_y is None else test_y
    return wb.Task.from_arrays(x, y, test_x, test_y, device="cpu", **options)


def standard(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    return (x - train.mean(0)) / train.std(0)


# values


SMALL_DIFFERENCES = {
    "a time stamp": 1.7e9 + DRAW.integers(0, 100, 120),
    "int64 nanoseconds": 1_700_000_000_000_000_000 + DRAW.integers(0, 100, 120) * 1_000_000_000,
    "float32 at its end": (16e6 + DRAW.integers(0, 2, 120)).astype(np.float32),
    "near a constant": 1 + 1e-9 * DRAW.normal(size=120),
    "large": 1e25 * DRAW.normal(size=120),
    "small": 1e-12 * DRAW.normal(size=120),
    "tiny": 1e-50 * DRAW.normal(size=120),
    "int32": DRAW.integers(2**30, 2**30 + 9, 120, dtype=np.int32),
    "float16": DRAW.normal(size=120).astype(np.float16),
    "uint16": DRAW.integers(0, 2**16, 120, dtype=np.uint16),
    "big-endian": DRAW.normal(size=120).astype(">f8"),
}


@pytest.mark.parametrize("feature", SMALL_DIFFERENCES.values(), ids=SMALL_DIFFERENCES)
def test_a_feature_keeps_its_differences(feature: np.ndarray) -> None:
    x = np.stack([feature, feature[::-1]], 1)
    made = task(x)
    train = made.splits["train"].inputs.double().numpy()
    assert made.take("test").inputs.dtype == torch.float32
    np.testing.assert_allclose(made.take("test").inputs, standard(x.astype(np.float64), train), atol=1e-3)


def test_a_constant_feature_has_the_unit_scale() -> None:
    """One that never changed in training says nothing about a scale: what test has is told as it is."""
    for constant in (0.0, 0.1, 1.7e9 + 1):
        x, test = X.copy(), X.copy()
        x[:, 1], test[:, 1] = constant, constant + 1
        assert task(x, Y, test, Y).take("test").inputs[:, 1].tolist() == pytest.approx([1] * 120)
    x[:, 1], test[:, 1] = 0.3, 1
    x[::2, 1] = 0.1 + 0.2  # differs by rounding
    assert task(x, Y, test, Y).take("test").inputs[:, 1].tolist() == pytest.approx([0.7] * 120)
    dark = np.zeros((60, 1, 6, 6), dtype=np.uint8)
    assert task(dark, Y, dark + 255).take("test").inputs.unique().tolist() == [1]


SAME: dict[str, Any] = {
    "tensor": torch.tensor(X),
    "gradient": torch.tensor(X, requires_grad=True),
    "list of lists": X.tolist(),
    "list of tensors": [torch.tensor(row, requires_grad=True) for row in X],
    "list of tensors and arrays": [torch.tensor(X[0]), *X[1:]],
    "objects": X.astype(object),
    "data frame": pd.DataFrame(X),
    "negative strides": X[::-1, ::-1][::-1, ::-1],
    "columns first": np.asfortranarray(X),
    "big-endian": X.astype(">f8"),
    "long double": X.astype(np.longdouble),
}


@pytest.mark.parametrize("x", SAME.values(), ids=SAME)
def test_the_same_inputs_in_other_forms(x: Any) -> None:
    assert torch.equal(task(x).take("train").inputs, task(X).take("train").inputs)


def test_forms_with_fewer_digits_and_bools() -> None:
    half = torch.tensor(X).bfloat16()
    assert torch.equal(task(half).take("test").inputs, task(half.double().numpy()).take("test").inputs)
    assert torch.equal(task(X > 0).take("test").inputs, task((X > 0) * 1.0).take("test").inputs)
    mixed = task(FRAME, pd.Series(TEXT).astype("category"))
    assert mixed.classes == ("a", "b", "c")
    assert torch.equal(mixed.splits["test"].inputs[:, 4], torch.tensor(X[:, 0] > 0).float())


BAD_INPUTS: dict[str, tuple[Any, type[Exception], str]] = {
    "text": (X.astype(str), TypeError, "got text. Encode it as numbers first"),
    "complex": (X + 0j, TypeError, "got ndarray: they are complex128. Convert them first"),
    "complex tensor": (torch.tensor(X) + 0j, TypeError, "they are complex128"),
    "dates": (pd.DataFrame({"a": pd.date_range("2024", periods=120)}), TypeError, "they are datetime64"),
    "text column": (FRAME.assign(city="x"), TypeError, r"Python objects \(bool, float, str\).*pandas.get_dummies"),
    "missing": (FRAME.assign(k=pd.array([1, None] * 60, dtype="Int64")), TypeError, "NAType.*Fill in or drop"),
    "ragged": (np.array([np.zeros(2), np.zeros(3)], dtype=object), TypeError, r"Python objects \(ndarray\)"),
    "ragged tensors": ([torch.zeros(2), torch.zeros(3)], TypeError, r"equal size, but got \[2\] .* and \[3\]"),
    "scipy sparse": (scipy.sparse.csr_array(X), TypeError, r"it is sparse. Pass .toarray\(\)"),
    "torch sparse": (torch.tensor(X).to_sparse(), TypeError, r"Pass .to_dense\(\)"),
    "masked": (np.ma.masked_greater(X, 1), TypeError, "some are masked. Fill them in or drop them"),
    "no data": (torch.zeros(120, 4, device="meta"), TypeError, "got Tensor: Cannot copy"),
    "generator": ((row for row in X), TypeError, "got generator"),
    "infinite": (np.where(X > 2, np.inf, X), ValueError, "finite numbers; [0-9]+ are NaN or infinite. Fill them in"),
    "too large": (X * 1e35, ValueError, r"at most 1e\+30 in size; got .*e\+35. Scale them first"),
    "no features": (X[:, :0], ValueError, r"at least one feature dimension; got shape \(120, 0\)"),
    "channels at the end?": (PIXELS / 255, ValueError, r"\(60, 8, 6, 3\) looks like channels last. Pass channels_last"),
}


@pytest.mark.parametrize(("x", "error", "words"), BAD_INPUTS.values(), ids=BAD_INPUTS)
def test_inputs_that_are_no_numbers(x: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"^train inputs are .*{words}"):
        task(x)


# two splits


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        (PIXELS, PIXELS / 255, "of one kind and on one scale; got uint8 and float64. Convert both in the same way"),
        (PIXELS / 255, PIXELS, "got float64 and uint8"),
        (PIXELS, PIXELS.astype(np.int64), "got uint8 and int64"),
        (PIXELS, PIXELS > 127, "got uint8 and bool"),
        (PIXELS.astype(int), PIXELS / 255, "got int64 and float64"),
        (PIXELS.astype(float), PIXELS / 255, r"on one scale; train inputs have .* std 7.*, test .* 0.2.*. Scale both"),
        (PIXELS / 255, PIXELS.astype(float), "on one scale"),
        (PIXELS, PIXELS // 255, "on one scale"),
        (FRAME, FRAME[list("bacde")], "same columns in the same order; got 'a' and 'b' as column 0. Pass test"),
        (FRAME, FRAME[list("abcd")], "got 5 and 4 columns"),
        (X, X[:, :3], r"one shape; got \(4,\) and \(3,\)"),
    ],
)
def test_splits_that_were_prepared_in_two_ways(train: Any, test: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^train and test .*{words}"):
        task(train, Y, test, Y[: len(test)], channels_last=True if np.ndim(train) == 4 else None)


@pytest.mark.parametrize(
    "test",
    [PIXELS / 255 * 2 - 1, PIXELS / 255 / 2, PIXELS / 255 + 1, 1 - (PIXELS / 255) ** 0.1],
    ids=["-1 to 1", "half", "shifted", "inverted"],
)
def test_splits_that_may_have_been_prepared_in_two_ways(test: np.ndarray) -> None:
    with pytest.warns(
        UserWarning, match=r"^train inputs have mean 0\.5.* and std 0\.2.*, test .*: were both scaled in the same way\?"
    ):
        task(PIXELS / 255, Y, test, Y[:60], channels_last=True)


def test_splits_that_differ_by_chance_or_in_a_feature_are_no_mistake() -> None:
    task(X, Y, X * [1, 1, 1, 100] + [0, 0, 0, 50], Y)
    task(X, Y, X[:9] / 1000, Y[:9])
    task(X.astype(int), Y, X.round(), Y)
    task(X, Y, X.astype(np.float32), Y)


# channels


def test_channels_go_first() -> None:
    first = np.moveaxis(PIXELS, 3, 1)
    for x, options in (
        (PIXELS, {}),
        (first, {}),
        (torch.tensor(PIXELS), {}),
        (PIXELS, {"channels_last": True}),
        (first, {"channels_last": False}),
    ):
        assert np.array_equal(task(x, **options).splits["test"].inputs, first)
    for channels in (1, 2, 3, 4):
        x = np.repeat(PIXELS[..., :1], channels, 3)
        assert task(x).shape == (channels, 8, 6)
    assert np.array_equal(task(PIXELS / 255, channels_last=True).splits["test"].inputs, np.float32(first / 255))
    assert task(PIXELS, channels_last=False).shape == (8, 6, 3)
    assert task(PIXELS[..., 0]).shape == (1, 8, 6)
    assert task(X.reshape(120, 1, 2, 2)).shape == (1, 2, 2)
    assert task(np.repeat(X, 16, 1).reshape(120, 64, 1, 1)).shape == (64, 1, 1)
    with pytest.raises(ValueError, match=r"channels_last is for images \[n, h, w, c\]; got train inputs of shape"):
        task(PIXELS[..., 0], channels_last=True)


# labels


LABELS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "int8": (Y.astype(np.int8), ("0", "1", "2")),
    "uint64": (Y.astype(np.uint64), ("0", "1", "2")),
    "big-endian": (Y.astype(">i4"), ("0", "1", "2")),
    "whole floats": (Y.astype(np.float32), ("0", "1", "2")),
    "a column": (Y[:, None], ("0", "1", "2")),
    "a frame": (pd.DataFrame({"y": Y}), ("0", "1", "2")),
    "list of tensors": ([torch.tensor(label) for label in Y], ("0", "1", "2")),
    "text": (np.array(["x", "y", "z"])[Y], ("x", "y", "z")),
    "list of text": (np.array(["x", "y", "z"])[Y].tolist(), ("x", "y", "z")),
    "series": (pd.Series(np.array(["x", "y", "z"])[Y]), ("x", "y", "z")),
    "categories": (pd.Series(np.array(["x", "y", "z"])[Y]).astype("category"), ("x", "y", "z")),
}


@pytest.mark.parametrize(("labels", "classes"), LABELS.values(), ids=LABELS)
def test_labels_with_one_reading(labels: Any, classes: tuple[str, ...]) -> None:
    made = task(X, labels)
    assert made.classes == classes
    assert made.splits["test"].targets.tolist() == Y.tolist()
    assert made.splits["test"].targets.dtype == torch.int64


def test_labels_by_name_follow_the_classes() -> None:
    assert task(X, TEXT, classes=["c", "b", "a"]).splits["test"].targets.tolist() == [(1, 2, 0)[label] for label in Y]
    assert task(X, TEXT).splits["test"].targets.tolist() == [(1, 0, 2)[label] for label in Y]
    assert task(X, Y == 0).splits["test"].targets.tolist() == [int(label == 0) for label in Y]


BAD_LABELS: dict[str, tuple[Any, type[Exception], str]] = {
    "fractions": (
        Y + 0.5,
        ValueError,
        r"got 0.5. For amounts .* pass loss=.*, or turn .*digitize",
    ),
    "not a number": (np.where(Y == 0, np.nan, Y), ValueError, "whole numbers; 40 are NaN or infinite. Drop these"),
    "one-hot": (
        np.eye(3)[Y],
        TypeError,
        r"got shape \(120, 3\). For one column per class \(one-hot\) pass labels.argmax",
    ),
    "scalar": (3, TypeError, r"of shape \[n\]; got shape \(\)"),
    "none": ([None, *Y[1:]], TypeError, r"Python objects \(NoneType, int64\). Fill in or drop what is missing"),
    "text, one missing": (["a", float("nan"), *TEXT[2:]], TypeError, r"Python objects \(float, str"),
    "text and numbers": (["a", 1, *TEXT[2:]], TypeError, r"Python objects \(int, str"),
    "bytes": (TEXT.astype(bytes), TypeError, "got ndarray: they are |S1. Convert them first"),
    "complex": (Y + 0j, TypeError, "they are complex128"),
    "from 1": (Y + 1, ValueError, "1 of 4 classes, numbered from 0, have none: '0'. Number the classes"),
    "gaps": (Y * 10**12, ValueError, r"999999999998 of .* have none: '1', '2', '3', .... Number"),
    "beyond int64": (
        np.where(Y == 0, np.uint64(2**63 + 5), Y.astype(np.uint64)),
        ValueError,
        "indices of classes; got 9.2",
    ),
    "amounts": (np.round(np.abs(X[:, 0]) * 100), ValueError, "classes, numbered from 0, have none"),
    "one class": (Y * 0, ValueError, "at least two classes; got one. Add samples of another class"),
}


@pytest.mark.parametrize(("labels", "error", "words"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_labels_that_name_no_class(labels: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        task(X, labels)


@pytest.mark.parametrize(
    ("labels", "test", "classes", "error", "words"),
    [
        (Y, Y + 1, None, ValueError, "every class has training samples; 1 of 4 classes, .* have none: '3'"),
        (Y, Y, "abcd", ValueError, "have none: 'd'"),
        (Y, Y, "ab", ValueError, "indices into classes, 0 to 1; got label 2"),
        (Y, Y, "aab", ValueError, "classes have different names; got a, a, b"),
        (Y, Y, 3, TypeError, "classes are names, one for each class; got 3. Leave it out"),
        (TEXT, Y, None, TypeError, "both numbers or both text; got <U1 and int64"),
        (TEXT, np.where(TEXT == "a", "z", TEXT), None, ValueError, "test labels are names in .* a, b, c; got 'z'"),
        (TEXT, TEXT, "ab", ValueError, "train labels are names in classes, a, b; got 'c'"),
        (Y, Y - 1, None, ValueError, "test labels count from 0; got -1"),
    ],
)
def test_labels_that_do_not_fit_together(
    labels: Any, test: Any, classes: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        task(X, labels, X, test, classes=classes)


def test_the_only_sample_of_a_class_is_trained_on() -> None:
    labels = np.where(np.arange(120) == 5, 1, np.arange(120) % 2 * 2)
    assert task(X, labels).splits["train"].targets.bincount().tolist()[1] == 1
    with pytest.raises(ValueError, match=r"val=110 leaves no training sample of class 2. Pass a smaller one"):
        task(X, np.repeat([0, 1, 2], [60, 58, 2]), val=110)


# data sets


class Items(Dataset[Any]):
    def __init__(self, inputs: Any, labels: Any, classes: list[str] | None = None) -> None:
        self.items = list(zip(inputs, labels, strict=True))
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


@pytest.mark.parametrize(
    "labels", [Y, Y.tolist(), torch.tensor(Y), torch.tensor(Y)[:, None], Y.astype(float), np.array(["a", "b", "c"])[Y]]
)
def test_items_with_labels_of_many_kinds(labels: Any) -> None:
    made = wb.Task.from_dataset(Items(X, labels), Items(X, labels), device="cpu")
    assert made.splits["test"].targets.tolist() == Y.tolist()
    assert torch.equal(made.take("train").inputs, task(X).take("train").inputs)


def test_the_classes_of_a_data_set_stay() -> None:
    named, plain = Items(X, Y, ["a", "b", "c"]), Items(X, Y)
    parts = Subset(named, range(90)), Subset(Subset(named, range(60, 120)), range(30, 60))
    for train, test, options, classes in (
        (named, named, {}, ("a", "b", "c")),
        (plain, named, {}, ("a", "b", "c")),
        (*parts, {}, ("a", "b", "c")),
        (named, named, {"classes": "xyz"}, ("x", "y", "z")),
        (plain, plain, {}, ("0", "1", "2")),
    ):
        assert wb.Task.from_dataset(train, test, device="cpu", **options).classes == classes
    with pytest.raises(ValueError, match="the same classes in the same order; got a, b, c and c, b, a"):
        wb.Task.from_dataset(named, Items(X, Y, ["c", "b", "a"]))


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (Items(X, Y + 0.5), ValueError, "whole numbers, the indices of classes; got 0.5"),
        ([{"image": x, "label": 0} for x in X], TypeError, r"an item is dict. Make pairs, such as \[\(x\['image'\]"),
        ([(x, 0, 0) for x in X], TypeError, "has a length and gives"),
        ([X, Y], TypeError, "an item is ndarray"),
        (TensorDataset(torch.tensor(X)), TypeError, "has a length and gives"),
    ],
)
def test_items_that_are_no_pairs(data: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        wb.Task.from_dataset(data, data)


def test_a_table_with_scales_of_many_sizes() -> None:
    """scikit-learn's wine data as it comes: frames and series whose rows are not in order."""
    from sklearn.datasets import load_wine

    wine = load_wine(as_frame=True)
    order = np.random.default_rng(0).permutation(len(wine.target))
    (x, test_x), (y, test_y) = ((v.iloc[order[:120]], v.iloc[order[120:]]) for v in (wine.data, wine.target))
    made = wb.Task.from_arrays(x, y, test_x, test_y, classes=wine.target_names, device="cpu")
    assert (made.shape, made.classes) == ((13,), ("class_0", "class_1", "class_2"))
    assert made.splits["test"].targets.tolist() == test_y.tolist()
    train = made.splits["train"].inputs.double().numpy()
    np.testing.assert_allclose(made.take("test").inputs, standard(test_x.to_numpy(), train), atol=1e-4)
