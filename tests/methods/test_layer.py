"""One layer by itself: as in its model, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import workbench as wb

NAME = "model.layers.0.self_attn.q_proj"
X, W = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)), torch.arange(32.0).reshape(4, 8)


@pytest.mark.parametrize("method", wb.one_shot_methods())
@pytest.mark.parametrize("granularity", ["weight", "2:4"])
def test_a_layer_by_itself_is_pruned_as_in_its_model(method: str, granularity: str, tasks: dict[str, wb.Task]) -> None:
    """The first layers of the first block read what the dense model gives them."""
    model, tokens = wb.make("llama", tasks["text"], width=0.25), tasks["text"].batch(2).inputs
    masks, weights = wb.prune_llm(model, tokens, method, 0.5, granularity=granularity)
    read = wb.layer_inputs(model, tokens, NAME)
    mask, new = wb.prune_layer(
        model.get_submodule(NAME).get_parameter("weight"), read, method, 0.5, granularity=granularity
    )
    assert read.shape == (2 * 256, 32)
    assert torch.equal(mask, masks[f"{NAME}.weight"])
    torch.testing.assert_close(new, weights[f"{NAME}.weight"])


def test_inputs_of_a_layer_that_runs_twice_come_one_after_the_other() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2, bias=False)
            nn.init.eye_(self.layer.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(2 * self.layer(x))

    model = Twice().train()
    assert wb.layer_inputs(model, torch.ones(1, 2), "layer").tolist() == [[1, 1], [2, 2]]
    assert model.training
    assert not model.layer._forward_pre_hooks


@pytest.mark.parametrize(
    ("weight", "inputs", "how", "words"),
    [
        (W, X[:, :7], {}, r"weight is \[out, in\] and inputs \[tokens, in\]; got \(4, 8\) and \(20, 7\)"),
        (W, X[:0], {}, r"got \(4, 8\) and \(0, 8\)"),
        (W[0], X, {}, r"got \(8,\)"),
        (W, X, {"granularity": "2:6", "sparsity": 4 / 6}, "groups inputs; got 8, no multiple of 6"),
        (W, X, {"sparsity": 1}, "sparsity is the fraction removed"),
        (W, X / 0, {}, "inputs has 160 that are NaN or infinite"),
        (W.masked_fill(W == 3, torch.nan), X, {}, "weight has 1 that are NaN"),
        (W, X, {"method": "wandas"}, "wanda"),
    ],
)
def test_what_is_no_layer_is_refused(weight: Tensor, inputs: Tensor, how: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wb.prune_layer(weight, inputs, **{"method": "wanda", "sparsity": 0.5} | how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weight", "inputs", "words"),
    [
        (nn.Linear(8, 4), X, "weight is Linear. Pass layer.weight"),
        (None, X, "weight is NoneType. Make it one"),
        (W, X.numpy(), "inputs is ndarray. Make it one with torch.as_tensor"),
        (W.long(), X, "weight is torch.int64"),
    ],
)
def test_what_is_no_tensor_of_numbers_is_refused(weight: Any, inputs: Any, words: str) -> None:
    with pytest.raises(TypeError, match=f"are floating-point tensors; {words}"):
        wb.prune_layer(weight, inputs, "wanda", 0.5)


def test_a_layer_that_does_not_run_is_refused() -> None:
    class Idle(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.other = nn.Linear(2, 2)

    with pytest.raises(ValueError, match="'other' does not run"):
        wb.layer_inputs(Idle(), torch.ones(1, 2), "other")


def test_what_other_threads_run_is_not_among_a_layers_inputs(tasks: dict[str, wb.Task]) -> None:
    """Explorers share a model, each in a thread of its own; pruning takes a copy."""
    model, tokens = wb.make("llama", tasks["text"], width=0.25), tasks["text"].batch(4).inputs
    alone, read = wb.prune_llm(model, tokens, "wanda", 0.5)[1], wb.layer_inputs(model, tokens, NAME)
    with torch.no_grad():
        logits = model(tokens).logits

    def pruned() -> bool:
        found = wb.prune_llm(deepcopy(model), tokens, "wanda", 0.5)[1]
        return all(torch.equal(alone[name], weight) for name, weight in found.items())

    def ran() -> bool:
        with torch.no_grad():
            return torch.equal(model(tokens).logits, logits)

    def seen() -> bool:
        return torch.equal(wb.layer_inputs(model, tokens, NAME), read)

    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(work) for work in (pruned, ran, seen, pruned) * 5]
    assert all(one.result() for one in found)
