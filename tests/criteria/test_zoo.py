"""Every criterion on every kind of model: finite scores, or an error that names the criterion and what to do."""

from __future__ import annotations

import pytest
import torch
from zoo import ZOO

import workbench as wb

# Criteria that need what the kind of model has not.
REFUSED = {
    "weight": {
        **{kind: {"phew"} for kind in ("grouped", "depthwise, dilated", "transposed", "tied", "residual", "compiled")},
        **{kind: {"lrp", "phew"} for kind in ("vision transformer", "conv1d of transformers", "bilinear")},
        **{kind: {"fisher", "lrp", "obd", "obs", "phew"} for kind in ("lstm", "gru", "rnn")},
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
