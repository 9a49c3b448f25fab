"""Perplexity by windows, and what a model writes."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb


class Counts(nn.Module):
    """The logits of a token are a function of it and of how many tokens were seen: context counts."""

    def __init__(self, tokens: int = 7) -> None:
        super().__init__()
        self.table = nn.Embedding(tokens, tokens)
        with torch.no_grad():
            self.table.weight.copy_(torch.arange(tokens * tokens).view(tokens, tokens).sin())

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1])
        return self.table(tokens) * (1 + places.sqrt())[None, :, None]


@torch.no_grad()
def slow(model: nn.Module, tokens: Tensor, context: int, stride: int) -> tuple[float, int]:
    """Each token once, from the first window that holds it and a token before it; one pass for each token."""
    total, count, done = 0.0, 0, set[int]()
    for start in range(0, len(tokens), stride):
        for at in range(start + 1, min(start + context, len(tokens))):
            if at not in done:
                logits = model(tokens[None, start:at])[0, -1]
                total += float(functional.cross_entropy(logits, tokens[at]))
                count += 1
                done.add(at)
    return math.exp(total / count), count


@given(st.integers(2, 40), st.integers(2, 12), st.integers(1, 12))
def test_perplexity_is_that_of_each_token_in_its_first_window(n: int, context: int, stride: int) -> None:
    stride = min(stride, context)
    tokens = torch.randint(7, (n,), generator=torch.Generator().manual_seed(n))
    found = wb.perplexity(Counts(), tokens, context, stride)
    wanted, count = slow(Counts(), tokens, context, stride)
    assert found["tokens"] == count
    assert found["perplexity"] == pytest.approx(wanted, rel=1e-4)
    assert 2 ** found["bits_per_token"] == pytest.approx(wanted, rel=1e-4)


def test_without_overlap_the_first_token_of_a_window_is_not_predicted() -> None:
    even = nn.Embedding(4, 8)
    nn.init.zeros_(even.weight)  # all of 8 tokens are as likely
    found = wb.perplexity(even, torch.zeros(12, dtype=torch.int64), 4, text_bytes=24)
    assert found["tokens"] == 9
    assert found["perplexity"] == pytest.approx(8)
    assert found["bits_per_byte"] == pytest.approx(9 * 3 / 24)
    assert wb.perplexity(even, torch.zeros(12, dtype=torch.int64), 4, 3)["tokens"] == 11


def test_bits_of_full_windows_are_those_of_evaluate(tasks: dict[str, wb.Task]) -> None:
    """Where each window is one row of the task, both measure the same but for the first byte's successor."""
    task = tasks["text"]
    model = wb.make("llama", task, width=0.25)
    inputs, targets = task.splits["val"].inputs[:3], task.splits["val"].targets[:3]
    with torch.no_grad():
        sums = task.measure(model(inputs).logits, targets)["bits_per_byte"]
    rows = torch.cat([inputs, targets[:, -1:]], 1)
    apart = [wb.perplexity(model, row, 257) for row in rows]
    assert sum(one["bits_per_token"] for one in apart) / 3 == pytest.approx(sums[0] / sums[1], rel=1e-4)


@pytest.mark.parametrize(
    ("tokens", "context", "stride", "words"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), 4, None, r"tokens of one text, int64 \[n\].*got torch.int64 \(2, 3\)"),
        (torch.zeros(9), 4, None, r"got torch.float32 \(9,\)"),
        (torch.zeros(1, dtype=torch.int64), 4, None, "at least 2"),
        (torch.zeros(9, dtype=torch.int64), 4, 5, "stride is at most context.*got 5 and 4. Pass stride=4"),
        (torch.zeros(9, dtype=torch.int64), 1, None, "context is at least 2.*got 1. Pass more"),
        (torch.full((9,), 7), 4, None, "do not pass through"),
    ],
)
def test_what_is_no_text_is_refused(tokens: Tensor, context: int, stride: int | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wb.perplexity(nn.Embedding(7, 7), tokens, context, stride)


def test_a_model_that_is_lost_has_an_infinite_perplexity() -> None:
    lost = nn.Embedding(2, 2)
    with torch.no_grad():
        lost.weight.copy_(torch.tensor([[0.0, 2000.0], [2000.0, 0.0]]))
    found = wb.perplexity(lost, torch.zeros(4, dtype=torch.int64), 4)
    assert found["perplexity"] == math.inf
    assert found["bits_per_token"] == pytest.approx(2000 / math.log(2))


def test_a_context_longer_than_the_models_is_refused(tasks: dict[str, wb.Task]) -> None:
    model = wb.make("llama", tasks["text"], width=0.25)
    with pytest.raises(ValueError, match=r"reads at most 512 tokens; got context=1024\. Pass a smaller one"):
        wb.perplexity(model, torch.zeros(2000, dtype=torch.int64), 1024)


def test_a_model_writes_the_same_from_one_seed_and_stays_as_it_was(tasks: dict[str, wb.Task]) -> None:
    model = wb.make("llama", tasks["text"], width=0.25).train()
    before, state = wb.snapshot(model), torch.get_rng_state()
    texts = [wb.generate(model, "for", 12, seed=seed) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert all(torch.equal(value, wb.snapshot(model)[name]) for name, value in before.items())
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert not model.config.use_cache


def test_a_low_temperature_draws_the_likeliest_tokens(tasks: dict[str, wb.Task]) -> None:
    model = wb.trained("llama", tasks["text"])
    assert wb.generate(model, "The while stat", 8, seed=0, temperature=1e-3) == wb.generate(model, "The while stat", 8)
    with pytest.raises(ValueError, match="a number above 0; got 0"):
        wb.generate(model, "a", seed=0, temperature=0)


def test_greedy_text_is_the_likeliest_token_each_time(tasks: dict[str, wb.Task]) -> None:
    model = wb.trained("llama", tasks["text"])
    tokens = list(b"The while stat")
    for _ in range(10):
        tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
    assert wb.generate(model, "The while stat", 10) == bytes(tokens[14:]).decode()


def test_what_a_model_asks_for_does_not_change_what_it_writes(tasks: dict[str, wb.Task]) -> None:
    """Models of the hub come with a temperature, a penalty, marks that end a text; and transformers draws from 50."""
    model = wb.make("llama", tasks["text"], width=0.25)
    texts = [wb.generate(model, "for", 300, seed=seed) for seed in (None, 0)]
    own = model.generation_config
    own.update(repetition_penalty=1.3, temperature=0.1, top_p=0.5, num_beams=2, eos_token_id=list(range(200)))
    assert [wb.generate(model, "for", 300, seed=seed) for seed in (None, 0)] == texts
    assert model.generation_config is own
    even = wb.make("llama", tasks["text"], width=0.25)
    nn.init.zeros_(even.lm_head.weight)  # all of 256 bytes are as likely
    drawn = wb.generate(even, "for", 300, tokenizer=Letters(), seed=0)
    assert len(drawn) == 300
    assert len(set(drawn)) > 100


class Letters:
    """A tokenizer by the numbers of letters."""

    def __call__(self, text: str) -> Any:
        return SimpleNamespace(input_ids=[ord(letter) for letter in text])

    def decode(self, tokens: list[int]) -> str:
        return "".join(map(chr, tokens))


def test_a_tokenizer_of_ones_own_reads_and_writes(tasks: dict[str, wb.Task]) -> None:
    model = wb.trained("llama", tasks["text"])
    assert wb.generate(model, "The while stat", 5, tokenizer=Letters()) == wb.generate(model, "The while stat", 5)


def test_who_cannot_write_is_told() -> None:
    with pytest.raises(TypeError, match=r"got Linear. Load it with transformers.AutoModelForCausalLM"):
        wb.generate(nn.Linear(2, 2), "a")


def test_an_empty_prompt_is_refused(tasks: dict[str, wb.Task]) -> None:
    with pytest.raises(ValueError, match="got an empty prompt"):
        wb.generate(wb.make("llama", tasks["text"], width=0.25), "")


@pytest.mark.parametrize(
    ("model", "tokens", "words"),
    [
        (nn.Embedding(7, 7), "text", r"int64 \[n\]; got str. Make them with the model's tokenizer"),
        ("folder", torch.zeros(9, dtype=torch.int64), "model is an nn.Module; got str. Load a folder with"),
    ],
)
def test_a_text_and_a_folder_are_not_measured_as_they_are(model: Any, tokens: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        wb.perplexity(model, tokens, 4)


def test_what_cannot_be_written_is_told(tasks: dict[str, wb.Task]) -> None:
    import transformers

    model = wb.make("llama", tasks["text"], width=0.25)
    with pytest.raises(TypeError, match=r"a prompt is a text; got 3 \(int\). Pass a str"):
        wb.generate(model, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"reads at most 512 tokens; got a prompt of 3 and length=510. Pass a shorter"):
        wb.generate(model, "for", 510)
    with torch.device("meta"):
        large = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=1, n_embd=12))
    with pytest.raises(ValueError, match=r"is one of 256 bytes; this model knows 50257. Pass tokenizer="):
        wb.generate(large, "for")
