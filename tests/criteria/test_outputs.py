"""Models whose outputs are no tensor, and models that cannot be mapped over samples: scores as of the plain model."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb
from workbench.models.running import logits


class ModelOutput(OrderedDict):  # type: ignore[type-arg]
    """As in transformers: a dict with attributes."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Wrapped(nn.Module):
    """A small network, and what its forward makes of its outputs."""

    def __init__(self, give: Callable[[Tensor], Any]) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.a, self.b = nn.Linear(5, 4), nn.Linear(4, 3)
        self.give = give

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return self.give(self.b(self.a(x).relu()))


Pair = namedtuple("Pair", ["hidden", "logits"])
GIVES: dict[str, Callable[[Tensor], Any]] = {
    "tuple": lambda y: (y, y.sum()),
    "list": lambda y: [y, None],
    "dict": lambda y: {"loss": y.sum(), "logits": y},
    "dict of one": lambda y: {"out": y, "aux": None},
    "ModelOutput": lambda y: ModelOutput(loss=None, logits=y, hidden=(y,)),
    "namedtuple": lambda y: Pair(y.sum(), y),
}
BATCH = wb.Batch(torch.linspace(-1, 1, 40).reshape(8, 5).cos(), torch.arange(8) % 3)
TASK = wb.Task.from_arrays(BATCH.inputs, BATCH.targets, *BATCH, val=2, device="cpu")
PLAIN = Wrapped(lambda y: y)


@pytest.mark.parametrize("kind", GIVES)
def test_the_logits_count(kind: str) -> None:
    model = Wrapped(GIVES[kind])
    assert torch.equal(logits(model(BATCH.inputs)), PLAIN(BATCH.inputs))
    for criterion in ("fisher", "grasp", "lrp", "obd", "obs", "snip"):
        expected = wb.score(PLAIN, BATCH, criterion)
        assert all(torch.equal(s, expected[n]) for n, s in wb.score(model, BATCH, criterion).items())
    wb.score(model, BATCH, "taylor", granularity="channel")
    masks, example = wb.dense(model), BATCH.inputs
    assert wb.effective_sparsity(model, masks, example) == 0
    assert wb.macs(model, example) == 32
    assert wb.latency(model, example, repeats=2)["batch"] == 8
    assert wb.evaluate(model, TASK) == wb.evaluate(PLAIN, TASK)
    twin = Wrapped(lambda y: y)
    rows = [[r["loss"] for r in wb.train(m, TASK, steps=3, batch_size=2)] for m in (model, twin)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("give", "got"),
    [
        (lambda y: {"out": y, "aux": y}, "dict of out, aux"),
        (lambda y: (None, y), "tuple that begins with NoneType"),
        (lambda y: None, "NoneType"),
        (lambda y: [], "list"),
        (lambda y: y.detach().numpy(), "ndarray"),
    ],
)
def test_outputs_that_are_not_plain_are_named(give: Callable[[Tensor], Any], got: str) -> None:
    model = Wrapped(give)
    words = f"a model returns one tensor, .*; got {got}. Wrap the model in a module"
    for run in (
        lambda: wb.score(model, BATCH, "snip"),
        lambda: wb.score(model, BATCH, "fisher"),
        lambda: wb.evaluate(model, TASK),
        lambda: wb.steps(model, TASK),
        lambda: wb.effective(model, wb.dense(model), BATCH.inputs),
    ):
        with pytest.raises(TypeError, match=words):
            run()


@pytest.mark.parametrize(
    ("give", "got"),
    [
        (lambda y: y[:, 0], r"the model returns \(\d,\) for labels of shape \(\d,\). Pass your own loss_fn, or wrap"),
        (lambda y: y[:, None].expand(-1, 4, -1), r"the model returns \(\d, 4, 3\)"),
        (lambda y: y.flatten()[:, None], r"the model returns \(\d+, 1\)"),
        (lambda y: y[:, :1], "a network of one logit needs a second"),
    ],
)
def test_outputs_that_the_cross_entropy_does_not_fit(give: Callable[[Tensor], Any], got: str) -> None:
    model = Wrapped(give)
    for run in (
        lambda: wb.score(model, BATCH, "snip"),
        lambda: wb.evaluate(model, TASK),
        lambda: wb.steps(model, TASK),
    ):
        with pytest.raises(ValueError, match=got):
            run()


def test_a_forward_of_keywords_alone_is_named() -> None:
    class Keywords(Wrapped):
        def forward(self, *, x: Tensor) -> Tensor:  # type: ignore[override]
            return self.b(self.a(x))

    with pytest.raises(TypeError, match=r"the model takes one tensor .* wrap a model that takes other arguments"):
        wb.evaluate(Keywords(lambda y: y), TASK)


# not to be mapped over samples


def branch(y: Tensor) -> Tensor:
    return y if float(y.detach().sum()) > -1e9 else -y


class Same(torch.autograd.Function):
    """A function of one's own in the old style, which torch.func does not take."""

    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        return y.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad


def in_place(y: Tensor) -> Tensor:
    full = torch.zeros(len(y), 3)
    full[:, :] = y
    return full


@pytest.mark.parametrize("give", [branch, in_place, lambda y: y + 0 * y.detach().sum().item(), Same.apply])
@pytest.mark.parametrize("criterion", ["fisher", "obd", "obs"])
def test_samples_are_taken_one_by_one_where_they_must(criterion: str, give: Callable[[Tensor], Tensor]) -> None:
    expected, found = wb.score(PLAIN, BATCH, criterion), wb.score(Wrapped(give), BATCH, criterion)
    for name, score in found.items():
        torch.testing.assert_close(score, expected[name], rtol=1e-4, atol=1e-7)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn, self.fc = kind(5, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x[:, None].expand(-1, 2, -1))[0][:, -1])


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_recurrent_layers(kind: type[nn.RNNBase]) -> None:
    model = Recurrent(kind)
    score = wb.score(model, BATCH, "fisher")["fc.weight"]
    expected = torch.zeros(3, 4)
    for x, y in zip(*BATCH, strict=True):
        loss = functional.cross_entropy(model(x[None]), y[None])
        expected += torch.autograd.grad(loss, model.fc.weight)[0].square() / 16
    torch.testing.assert_close(score, (model.fc.weight.detach().square() * expected).to(score.dtype))
    assert float(wb.score(model, BATCH, "obd")["fc.weight"].sum()) > 0


def test_exact_curvature_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match=r"curvature='exact' needs second derivatives .* Use curvature='gauss-newton'"):
        wb.score(Wrapped(Same.apply), BATCH, "obd", curvature="exact")
