"""Tasks of every kind: tokens, amounts, maps, several labels and classes go one way, with numbers known by hand."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset, random_split

import workbench as wb
from workbench.data import squared_error
from workbench.data.measures import Sums, accuracy
from workbench.models.running import fitted, loss_of, measured, taken

SPLITS = ("train", "val", "test")
DRAW = torch.Generator().manual_seed(0)


def three(inputs: Tensor, targets: Tensor) -> dict[str, wb.Batch]:
    """The last fifth to test on, the fifth before it to choose by."""
    fifth = len(inputs) // 5
    cuts = {"train": slice(0, -2 * fifth), "val": slice(-2 * fifth, -fifth), "test": slice(-fifth, None)}
    return {split: wb.Batch(inputs[cut], targets[cut]) for split, cut in cuts.items()}


def right_labels(outputs: Tensor, targets: Tensor) -> Sums:
    return {"accuracy": (float(((outputs > 0) == targets.bool()).sum()), targets.numel())}


class Bigram(nn.Module):
    """The logits of the next token `[n, tokens, t]`: a column of the table for each token."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens, self.table = tokens, nn.Linear(tokens, tokens, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.table(functional.one_hot(x, self.tokens).to(self.table.weight.dtype)).movedim(-1, 1)


class Kind(NamedTuple):
    task: wb.Task
    model: nn.Module
    rows: Callable[[np.ndarray], np.ndarray]
    """The inputs of each place `[places, features]`, as the one linear layer of the model sees them."""


def softmax_error(outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """The mean cross entropy's derivative by the outputs, and what is measured; places of -100 left out."""
    known = targets != -100
    shares = np.exp(outputs - outputs.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    hot = np.eye(outputs.shape[1])[np.where(known, targets, 0)]
    losses = -np.log((shares * hot).sum(1))[known]
    return (shares - hot) * known[:, None] / known.sum(), {
        "accuracy": float((outputs.argmax(1) == targets)[known].mean()),
        "loss": float(losses.mean()),
    }


def difference(outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    return 2 * (outputs - targets) / outputs.size, {"mse": float(np.square(outputs - targets).mean())}


def sigmoid_error(outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    hits = (outputs > 0) == (targets > 0)
    return (1 / (1 + np.exp(-outputs)) - targets) / outputs.size, {"accuracy": float(hits.mean())}


X = torch.randn(100, 5, generator=DRAW)
TOKENS = (torch.randint(0, 7, (100, 1), generator=DRAW) + 3 * torch.arange(9)) % 7
IMAGES = torch.randn(100, 2, 4, 6, generator=DRAW)
MAPS = (IMAGES[:, 0] > 0).long() + (IMAGES[:, 1] > 0.5).long()
MAPS[:, 0, ::2] = -100
FLAGS = (X[:, :3] + 0.5 * torch.randn(100, 3, generator=DRAW) > 0).float()


def kinds() -> dict[str, Kind]:
    torch.manual_seed(0)
    return {
        "tokens": Kind(
            wb.Task("tokens", three(TOKENS[:, :-1], TOKENS[:, 1:]), classes=tuple("abcdefg")),
            Bigram(7),
            lambda x: np.eye(7)[x.reshape(-1)],
        ),
        "amounts": Kind(
            wb.Task("amounts", three(X, X[:, :2] * 3), loss=functional.mse_loss, measure=squared_error),
            nn.Linear(5, 2, bias=False),
            lambda x: x,
        ),
        "maps": Kind(
            wb.Task("maps", three(IMAGES, MAPS), classes=("sky", "road", "tree")),
            nn.Conv2d(2, 3, 1, bias=False),
            lambda x: np.moveaxis(x, 1, -1).reshape(-1, 2),
        ),
        "labels": Kind(
            wb.Task("labels", three(X, FLAGS), loss=functional.binary_cross_entropy_with_logits, measure=right_labels),
            nn.Linear(5, 3, bias=False),
            lambda x: x,
        ),
        "classes": Kind(wb.Task("classes", three(X, FLAGS[:, 0].long())), nn.Linear(5, 2, bias=False), lambda x: x),
    }


ERRORS = {"tokens": softmax_error, "amounts": difference, "maps": softmax_error, "labels": sigmoid_error}
KINDS = tuple(kinds())


@pytest.fixture(params=KINDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kind(name: str) -> Kind:
    return kinds()[name]


def by_hand(name: str, kind: Kind, batch: wb.Batch) -> tuple[np.ndarray, dict[str, float]]:
    """The loss's gradient by the layer's weights `[out, in]`, and what is measured, in NumPy."""
    rows = kind.rows(batch.inputs.numpy().astype(np.int64 if name == "tokens" else np.float64))
    weight = next(kind.model.parameters()).detach().double().numpy().reshape(-1, rows.shape[1])
    targets = batch.targets.numpy()
    outputs = rows @ weight.T
    slopes, found = ERRORS.get(name, softmax_error)(
        outputs, targets if targets.shape == outputs.shape else targets.reshape(-1)
    )
    return slopes.T @ rows, found


def test_what_is_measured(name: str, kind: Kind) -> None:
    """Sums over batches of any size, divided once."""
    for split in SPLITS:
        _, expected = by_hand(name, kind, kind.task.take(split))
        for size in (3, 1000):
            found = wb.evaluate(kind.model, kind.task, split=split, batch_size=size)
            assert found == pytest.approx({**expected, "n": kind.task.size(split)}, rel=1e-5)
            assert list(found) == [*expected, "n"]


def test_masked_networks_are_measured(name: str, kind: Kind) -> None:
    masks = wb.keep_top(wb.score(kind.model, None, "magnitude"), 0.5)
    found = wb.evaluate(kind.model, kind.task, masks)
    wb.apply_masks_(kind.model, masks)
    assert found == wb.evaluate(kind.model, kind.task)


def test_snip_is_the_derivative_by_hand(name: str, kind: Kind) -> None:
    batch = kind.task.batch(40)
    slopes, _ = by_hand(name, kind, batch)
    ((_, score),) = wb.score(kind.model, batch, "snip", loss_fn=kind.task.loss).items()
    weight = next(kind.model.parameters()).detach()
    torch.testing.assert_close(
        score.double(), (weight.double() * torch.tensor(slopes).reshape(weight.shape)).abs(), rtol=1e-4, atol=1e-6
    )


REFUSED = {
    **{(kind, "lrp"): "relevance starts from outputs|class numbers" for kind in KINDS if kind != "classes"},
    **{("tokens", name): "sends its own real numbers" for name in ("ntk-sap", "synflow")},
    **{(kind, "phew"): "walks through an nn.Sequential" for kind in ("tokens", "maps")},
}


@pytest.mark.parametrize("criterion", wb.criteria())
def test_every_criterion_scores_every_kind_or_says_why_not(criterion: str, name: str, kind: Kind) -> None:
    if (words := REFUSED.get((name, criterion))) is not None:
        with pytest.raises(ValueError, match=words):
            wb.score(kind.model, kind.task.batch(30), criterion, loss_fn=kind.task.loss)
        return
    scores = wb.score(kind.model, kind.task.batch(30), criterion, loss_fn=kind.task.loss)
    assert all(bool(torch.isfinite(score).all()) for score in scores.values())


def test_masks_are_found_for_every_kind(kind: Kind) -> None:
    masks = wb.find_masks(kind.model, kind.task.batch(30), "snip", 0.7, rounds=2, loss_fn=kind.task.loss)
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == total - math.floor(0.7 * total + 0.5)


def test_every_kind_is_learned(kind: Kind) -> None:
    task, model = kind.task, kind.model

    def loss() -> float:
        inputs, targets = task.take("test")
        return loss_of(task.loss, model(inputs), targets).item()

    before = loss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for epoch in range(20):
        for inputs, targets in task.batches("train", 20, seed=0, epoch=epoch):
            optimizer.zero_grad()
            loss_of(task.loss, model(fitted(model, inputs)), targets).backward()
            optimizer.step()
    assert loss() < 0.9 * before


# batches

DTYPES = {
    "inputs": (torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool),
    "targets": (torch.float32, torch.float64, torch.int64, torch.bool),
}
shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)


def total(outputs: Tensor, targets: Tensor) -> Sums:
    return {"sum": (float(targets.double().sum()), targets.numel())}


@hypothesis.given(
    n=st.integers(1, 30),
    size=st.integers(1, 9),
    x=st.tuples(st.integers(1, 3), shapes).map(lambda t: (t[0], *t[1])),
    y=shapes,
    dtypes=st.tuples(st.sampled_from(DTYPES["inputs"]), st.sampled_from(DTYPES["targets"])),
    seed=st.none() | st.integers(0, 9),
)
def test_batches_of_any_shape_and_dtype(
    n: int, size: int, x: tuple[int, ...], y: tuple[int, ...], dtypes: tuple[torch.dtype, torch.dtype], seed: int | None
) -> None:
    """Each sample once, inputs beside their targets, dtypes as they came, and sums that hang on no batch size."""
    inputs, targets = (
        torch.arange(n).reshape(-1, *[1] * len(shape)).expand(n, *shape).to(dtype)
        for shape, dtype in zip((x, y), dtypes, strict=True)
    )
    task = wb.Task("any", dict.fromkeys(SPLITS, wb.Batch(inputs, targets)), loss=functional.l1_loss, measure=total)
    assert task.shape == x
    for batches in (list(task.batches("train", size, seed)), [task.batch(n, seed=3)]):
        found = [torch.cat(parts) for parts in zip(*batches, strict=True)]
        for got, all_of_them in zip(found, (inputs, targets), strict=True):
            assert got.dtype == all_of_them.dtype
            assert torch.equal(got.sort(0).values, all_of_them.sort(0).values)
        if dtypes == (torch.int64, torch.int64):
            assert torch.equal(found[0].reshape(n, -1)[:, 0], found[1].reshape(n, -1)[:, 0])
    mean = wb.evaluate(nn.Identity(), task, batch_size=size)["sum"]
    assert mean == pytest.approx(float(targets.double().mean()))


def test_functions_of_ones_own_get_what_the_model_gives() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"mean": self.layer(x), "logits": x}

    plain = wb.Task("plain", three(X, X[:, :1]), loss=functional.mse_loss, measure=squared_error)
    task = dataclasses.replace(
        plain,
        loss=lambda given, y: functional.mse_loss(given["mean"], y),
        measure=lambda given, y: squared_error(given["mean"], y),
    )
    model, batch = Pair(), task.batch(20)
    assert wb.evaluate(model, task) == wb.evaluate(model.layer, plain)
    for criterion in ("snip", "grasp", "fisher", "taylor", "prospr", "force"):
        found = wb.score(model, batch, criterion, loss_fn=task.loss)["layer.weight"]
        expected = wb.score(model.layer, batch, criterion, loss_fn=plain.loss)["weight"]
        torch.testing.assert_close(found, expected)
    assert taken(task.loss, "all") == "all"
    assert taken(functional.cross_entropy, ("first", X)[1:]) is X


def test_a_measure_with_nothing_to_count_is_not_a_number() -> None:
    task = wb.Task("empty", three(X, X), loss=functional.mse_loss, measure=lambda outputs, targets: {"recall": (0, 0)})
    assert math.isnan(wb.evaluate(nn.Identity(), task)["recall"])


def test_places_without_a_class_do_not_count() -> None:
    outputs, targets = torch.zeros(1, 2, 3), torch.tensor([[0, 1, -100]])
    assert measured(accuracy, outputs, targets) == {"accuracy": (1, 2), "loss": (pytest.approx(2 * math.log(2)), 2)}
    assert measured(accuracy, outputs, targets * 0 - 100) == {"accuracy": (0, 0), "loss": (0, 0)}


def test_numbers_that_a_network_gives() -> None:
    found = {name: kind.task.outputs for name, kind in kinds().items()}
    assert found == {"tokens": 7, "amounts": 2, "maps": 3, "labels": 3, "classes": 2}
    row = wb.Task("row", three(X, X[:, 0]), loss=functional.l1_loss, measure=total)
    assert row.outputs == 1
    assert wb.make("lenet-300-100", dataclasses.replace(row))(X).shape == (100, 1)


def test_prepare_gives_the_network_inputs() -> None:
    task = wb.Task("twice", three(X, FLAGS[:, 0].long()), prepare=lambda x: torch.cat([x, x], 1))
    assert task.shape == (10,)
    assert torch.equal(task.take("test").inputs, torch.cat([X, X], 1)[80:])


# errors

Y = FLAGS[:, 0].long()
MSE: dict[str, Any] = {"loss": functional.mse_loss, "measure": squared_error}


@pytest.mark.parametrize(
    ("splits", "options", "error", "words"),
    [
        ({"train": (X, Y)}, {}, ValueError, "a dict of test, train, val; got train. Set samples of train aside"),
        ({**three(X, Y), "valid": (X, Y)}, {}, ValueError, "got test, train, val, valid"),
        ([X, Y], {}, ValueError, "got list"),
        (
            {**three(X, Y), "val": (X[:, :4], Y)},
            {},
            ValueError,
            r"one shape.*; got .* \[n, 5\] .*val: .* \[n, 4\]",
        ),
        ({**three(X, Y), "val": (X, Y.float())}, {}, ValueError, r"targets \[n\] of float32"),
        ({**three(X, Y), "val": (X.numpy(), Y.numpy())}, {}, TypeError, "two tensors; got tuple of ndarray, ndarray"),
        ({**three(X, Y), "val": (X[:0], Y[:0])}, {}, ValueError, "a batch holds at least one sample"),
        (three(X, FLAGS), {}, ValueError, r"take class numbers \(int64\); got targets \[n, 3\] of float32. For"),
        (three(X, FLAGS), {"loss": functional.mse_loss}, ValueError, "mse_loss and workbench.data.squared_error, or"),
        (three(X, FLAGS), {**MSE, "classes": "ab"}, ValueError, "got 2 for 3 columns of targets"),
        (three(X, Y), {"classes": "a"}, ValueError, "got 1 for 2 class numbers"),
        (three(X, Y), {"augment": True}, ValueError, r"flips images .*; got inputs of shape \(5,\)"),
        (
            three(IMAGES, MAPS),
            {"augment": True},
            ValueError,
            r"leaves targets .*\[n, 4, 6\] of int64",
        ),
    ],
)
def test_splits_that_make_no_task(splits: Any, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        wb.Task("wrong", splits, **options)


def test_what_does_not_fit_a_kind() -> None:
    amounts, maps, tokens = (kinds()[name].task for name in ("amounts", "maps", "tokens"))
    for task in (amounts, maps):
        with pytest.raises(ValueError, match=r"per_class needs one class per sample, int64 \[n\]; got targets"):
            task.batch(per_class=2)
    with pytest.raises(ValueError, match=r"targets \[n, 8\] of int64 take; got none. Pass classes="):
        dataclasses.replace(tokens, classes=()).outputs  # noqa: B018
    with pytest.raises(TypeError, match="prepare returns a tensor with as many inputs"):
        dataclasses.replace(amounts, prepare=lambda x: x.numpy()).shape  # noqa: B018
    with pytest.raises(TypeError, match=r"a measure returns sums .*\(sum, count\)}, under .*; got tensor"):
        wb.evaluate(nn.Linear(5, 2), dataclasses.replace(amounts, measure=functional.mse_loss))
    for loss in (functional.mse_loss, nn.MSELoss(), functional.l1_loss):
        with pytest.raises(ValueError, match=r"its own target; got outputs .*\(100, 1\) and .*\(100,\). Give both one"):
            loss_of(loss, X[:, :1], X[:, 0])
    with pytest.raises(ValueError, match=r"of one shape; got \(100, 1\) and \(100,\)"):
        squared_error(X[:, :1], X[:, 0])
    with pytest.raises(ValueError, match=r"as the model has 2 outputs; got labels from 0 to 2"):
        loss_of(functional.cross_entropy, torch.zeros(1, 2, 3), torch.tensor([[0, -100, 2]]))
    with pytest.raises(ValueError, match="got labels from -100 to 1"):
        loss_of(functional.cross_entropy, torch.zeros(2, 2), torch.tensor([1, -100]))


# data as others have it


def test_amounts_from_a_data_frame() -> None:
    """scikit-learn's diabetes data; the targets are whole numbers, kept as floats."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(as_frame=True)
    x, y = data.data, data.target
    arrays = x[:350], y[:350], x[350:], y[350:]
    with pytest.raises(ValueError, match=r"have none: '0', '1', '2', .*For amounts .* pass loss= and measure="):
        wb.Task.from_arrays(*arrays)
    task = wb.Task.from_arrays(*arrays, **MSE, device="cpu")
    assert task.splits["test"].targets.flatten().tolist() == y[350:].tolist()
    assert torch.equal(
        wb.Task.from_arrays(x[:350], y[:350].astype(int), x[350:], y[350:].astype(int), **MSE)
        .take("val")
        .targets.cpu(),
        task.take("val").targets,
    )
    model = wb.make("lenet-300-100", task)
    outputs = model(task.take("test").inputs).detach().double().numpy()[:, 0]
    expected = float(np.square(outputs - y[350:].to_numpy()).mean())
    assert wb.evaluate(model, task, split="test")["mse"] == pytest.approx(expected, rel=1e-6)


def test_amounts_from_a_torch_dataset() -> None:
    data = TensorDataset(X, X[:, 0])
    train, test = random_split(data, [70, 30], generator=DRAW)
    with pytest.raises(ValueError, match=r"indices of classes; got .* pass loss= and measure="):
        wb.Task.from_dataset(train, test)
    task = wb.Task.from_dataset(train, test, **MSE, device="cpu")
    assert torch.equal(task.splits["test"].targets[:, 0], X[test.indices, 0])


def test_several_labels_a_sample() -> None:
    from sklearn.datasets import make_multilabel_classification

    x, y = make_multilabel_classification(200, n_classes=4, random_state=0)
    options: dict[str, Any] = {"measure": right_labels, "device": "cpu"}
    arrays = x[:150], y[:150], x[150:], y[150:]
    with pytest.raises(
        TypeError, match=r"one-hot\) pass labels.argmax\(1\).* several labels for each sample pass loss="
    ):
        wb.Task.from_arrays(*arrays)
    for targets, loss in (
        (y, functional.binary_cross_entropy_with_logits),
        (y.astype(bool), lambda outputs, y: functional.binary_cross_entropy_with_logits(outputs, y)),
        (y.astype(float), nn.BCEWithLogitsLoss()),
    ):
        task = wb.Task.from_arrays(x[:150], targets[:150], x[150:], targets[150:], loss=loss, classes="abcd", **options)
        assert (task.outputs, task.classes) == (4, tuple("abcd"))
        assert torch.equal(task.splits["test"].targets, torch.tensor(y[150:]).float())


def test_a_dataset_of_the_hub() -> None:
    """Of the `datasets` library, made offline: pairs or columns, not the rows as dicts."""
    import datasets
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = (pixels[:60].reshape(-1, 8, 8) * 15).astype(np.uint8)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    data = datasets.Dataset.from_dict({"image": list(images), "label": labels[:60].tolist()}, features=features)
    with pytest.raises(TypeError, match=r"an item is dict. Make pairs, such as \[\(x\['image'\], x\['label'\]\)"):
        wb.Task.from_dataset(data, data)
    with pytest.raises(TypeError, match=r"Python objects \(dict\).* pass one column of a dataset"):
        wb.Task.from_arrays(data, data["label"], data, data["label"])
    pairs = [(row["image"], row["label"]) for row in data]
    columns = data["image"][:], data["label"][:]
    for task in (
        wb.Task.from_dataset(pairs, pairs, device="cpu"),
        wb.Task.from_arrays(*columns, *columns, device="cpu"),
    ):
        assert np.array_equal(task.splits["test"].inputs[:, 0], images)
        assert task.splits["test"].targets.tolist() == labels[:60].tolist()


def test_maps_from_arrays() -> None:
    x, y = IMAGES.numpy(), MAPS.numpy()
    for targets in (y, y[:, None]):
        task = wb.Task.from_arrays(x, targets, x, targets, classes=("sky", "road", "tree"), device="cpu")
        assert np.array_equal(task.splits["test"].targets, y)
    assert wb.Task.from_arrays(x, y, x, y, device="cpu").classes == ("0", "1", "2")
    with pytest.raises(ValueError, match=r"have none: '3', '4', '5', .* places without a class are -100"):
        wb.Task.from_arrays(x, np.where(y < 0, 255, y), x, y)
    with pytest.raises(TypeError, match=r"got shape \(100, 9\).* for tokens use Task\(name, splits\)"):
        wb.Task.from_arrays(TOKENS, TOKENS, TOKENS, TOKENS)


@pytest.mark.parametrize(
    ("y", "error", "words"),
    [
        (np.where(Y == 0, np.nan, 1.5), ValueError, "train targets are finite numbers; [0-9]+ are NaN"),
        (np.full(100, 1e300), ValueError, r"at most 1e\+30 in size; got 1e\+300. Scale"),
        (np.array(["a", "b"])[Y], TypeError, r"got text. numpy.unique\(targets, return_inverse=True\)\[1\] numbers it"),
        (3.0, ValueError, r"\[n, ...\], one for each input; got shape \(\)"),
        (X[:9], ValueError, "train has one target per input; got 100 inputs and 9 targets"),
    ],
)
def test_amounts_that_are_none(y: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        wb.Task.from_arrays(X, y, X, y, **MSE)


def test_whole_numbers_stay_class_numbers_for_another_loss() -> None:
    smooth = nn.CrossEntropyLoss(label_smoothing=0.1)
    task = wb.Task.from_arrays(X, Y, X, Y, loss=smooth, device="cpu")
    assert torch.equal(task.splits["test"].targets, Y)
    model = wb.make("lenet-300-100", task)
    assert set(wb.evaluate(model, task)) == {"accuracy", "loss", "n"}
    score = wb.score(model, task.batch(per_class=5), "snip", loss_fn=task.loss)
    assert all(bool(value.any()) for value in score.values())
