"""Every criterion on every kind of model: finite scores, or an error that names the criterion and what to do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from zoo import ZOO, Conv1D

import workbench as wb

# Criteria that need what the kind of model has not.
REFUSED = {
    "weight": {
        **{kind: {"phew"} for kind in ("grouped", "depthwise, dilated", "transposed", "tied", "residual", "compiled")},
        **{
            kind: {"lrp", "phew"}
            for kind in ("vision transformer", "conv1d of transformers", "bilinear", "lstm", "gru", "rnn")
        },
        "llama": {"lrp", "ntk-sap", "phew", "synflow"},
    },
    "channel": {
        **{kind: {"bn-scale", "hrank"} for kind in ("linear", "conv1d", "float64", "bfloat16", "compiled")},
        **{kind: {"bn-scale"} for kind in ("grouped", "depthwise, dilated", "transposed")},
        "tied": {"bn-scale", "cp", "hrank", "thinet"},
        "residual": {"cp", "thinet"},
        "vision transformer": {"bn-scale", "lrp"},
        "bilinear": {"bn-scale", "cp", "hrank", "lrp", "thinet"},
        **{
            kind: {"apoz", "bn-scale", "cp", "hrank", "lrp", "thinet"}
            for kind in ("llama", "conv1d of transformers", "lstm", "gru", "rnn")
        },
    },
}


def outcome(model: torch.nn.Module, batch: wb.Batch, criterion: str, granularity: str) -> bool:
    """Whether the criterion scores the model, after leaving out the layers that it says to leave out."""
    exclude: list[str] = []
    while True:
        try:
            scores = wb.score(model, batch, criterion, granularity=granularity, exclude=exclude)
        except ValueError as error:
            message = str(error)
            left_out = [name for name in wb.prunable(model) if message.endswith(f"pass exclude=[{name!r}]")]
            if left_out and not set(left_out) & set(exclude):
                exclude += left_out
                continue
            assert criterion in message, message
            assert "Use " in message, message
            return False
        expected = {name: w.shape for name, w in wb.prunable(model, exclude).items()}
        assert list(scores) == list(expected)
        for name, score in scores.items():
            assert bool(torch.isfinite(score).all())
            assert score.shape == expected[name] if granularity == "weight" else score.ndim == 1
        return True


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of a bilinear layer mapped over samples
@pytest.mark.parametrize("granularity", ["channel", "weight"])
@pytest.mark.parametrize("kind", ZOO)
def test_it_scores_or_says_why_not(kind: str, granularity: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, batch = ZOO[kind]()
    refused = {name for name in wb.criteria(granularity) if not outcome(model, batch, name, granularity)}
    assert refused == REFUSED[granularity].get(kind, set())


def test_a_compiled_model_scores_as_it_was_written() -> None:
    model, batch = ZOO["linear"]()
    compiled = torch.compile(model, backend="eager")
    for criterion in ("snip", "lrp", "grasp"):
        plain, found = wb.score(model, batch, criterion), wb.score(compiled, batch, criterion)  # type: ignore[arg-type]
        assert [name.removeprefix("_orig_mod.") for name in found] == list(plain)
        assert all(torch.equal(a, b) for a, b in zip(found.values(), plain.values(), strict=True))


def twins() -> dict[str, tuple[nn.Module, nn.Module, wb.Batch, dict[str, str]]]:
    """Models with layers of unusual kinds beside the same functions made of linear layers; names of equal weights."""
    torch.manual_seed(0)
    turned = nn.Sequential(Conv1D(6, 5), nn.Tanh(), nn.Linear(6, 3))
    plain = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    plain.load_state_dict({n: v.t() if n == "0.weight" else v for n, v in turned.state_dict().items()})
    lstm = Last()
    steps = Steps(lstm)
    labels = torch.arange(6) % 3
    return {
        "conv1d": (turned, plain, wb.Batch(torch.randn(6, 5), labels), {n: n for n in wb.prunable(turned)}),
        "lstm": (lstm, steps, wb.Batch(torch.randn(6, 4, 3), labels), NAMES),
    }


NAMES = {"lstm.weight_ih_l0": "ih.weight", "lstm.weight_hh_l0": "hh.weight", "head.weight": "head.weight"}


class Last(nn.Module):
    """A layer of LSTM, read at its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Steps(nn.Module):
    """The same, step by step."""

    def __init__(self, like: Last) -> None:
        super().__init__()
        self.ih, self.hh, self.head = nn.Linear(3, 16), nn.Linear(4, 16), nn.Linear(4, 3)
        state = {n.replace("lstm.", "").replace("_l0", ""): v for n, v in like.state_dict().items()}
        state = {n.replace("weight_", "w:").replace("bias_", "b:"): v for n, v in state.items()}
        short = {"w": "weight", "b": "bias"}
        self.load_state_dict({f"{n[2:]}.{short[n[0]]}" if n[1] == ":" else n: v for n, v in state.items()})

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), 4)
        for t in range(x.shape[1]):
            i, f, g, o = (self.ih(x[:, t]) + self.hh(h)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.head(h)


DRAWN = {"ntk-sap", "phew", "random"}  # the numbers are drawn in the order of the weights' places


@pytest.mark.parametrize("kind", ["conv1d", "lstm"])
def test_scores_are_those_of_the_same_function_made_of_linear_layers(kind: str) -> None:
    with torch.random.fork_rng(devices=[]):
        model, twin, batch, names = twins()[kind]
    turned = {"0.weight"} if kind == "conv1d" else set()
    same = set(wb.criteria()) - DRAWN - {"lrp"}
    for granularity, criteria in (("weight", same), ("channel", same - set(wb.criteria("channel")))):
        assert "snip" in criteria
        for criterion in criteria:
            found = wb.score(model, batch, criterion, granularity=granularity)
            expected = wb.score(twin, batch, criterion, granularity=granularity)
            assert list(found) == list(names)
            for name, score in found.items():
                other = expected[names[name]]
                if granularity == "channel" and "lstm" in name:
                    other = other.view(4, 4).sum(0)  # a hidden unit has four gates
                other = other.t() if name in turned and granularity == "weight" else other
                torch.testing.assert_close(score, other, rtol=1e-4, atol=1e-8, msg=f"{criterion} {granularity} {name}")


def test_norms_of_a_turned_layer_s_channels() -> None:
    with torch.random.fork_rng(devices=[]):
        model, twin, batch, _ = twins()["conv1d"]
    for criterion in ("l1", "l2", "fpgm"):
        found, expected = (wb.score(m, batch, criterion, granularity="channel") for m in (model, twin))
        for name in expected:
            torch.testing.assert_close(found[name], expected[name])


def test_masks_of_recurrent_layers_act_when_measured_and_when_trained(digits: wb.Task) -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lstm(x[:, 0])[0][:, -1])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Rows()
    masks = wb.find_masks(model, digits.batch(32), "snip", 0.5, rounds=2)
    assert 0 < wb.sparsity({"hh": masks["lstm.weight_hh_l0"]}) < 1
    masked = copy.deepcopy(model)
    wb.apply_masks_(masked, masks)
    before = wb.evaluate(model, digits)
    assert wb.evaluate(model, digits, masks) == wb.evaluate(masked, digits) != before
    assert wb.evaluate(model, digits) == before
    start = masked.lstm.weight_hh_l0.detach().clone()
    for _ in wb.steps(masked, digits, masks=masks, epochs=1, seed=0):
        break
    trained = masked.lstm.weight_hh_l0.detach()
    assert not bool(trained[~masks["lstm.weight_hh_l0"]].any())
    assert bool((trained != start)[masks["lstm.weight_hh_l0"]].all())
