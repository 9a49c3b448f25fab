"""Units and whole blocks of decoders: scores by hand and in a slow form, decoders of others, and shorter models."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb
from workbench.methods.post_training.blocks import blocks

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    hub = pytest.importorskip("transformers")

SIZES = dict(hidden_size=32, intermediate_size=24, num_hidden_layers=4, num_attention_heads=4)
ENDS = dict(bos_token_id=1, eos_token_id=2, pad_token_id=0)
GROUPED = dict(**SIZES, num_key_value_heads=2, vocab_size=40, max_position_embeddings=64, **ENDS)
SHORT = dict(vocab_size=40, max_position_embeddings=64, **ENDS)
DECODERS: dict[str, Callable[[], nn.Module]] = {
    "Llama": lambda: hub.LlamaForCausalLM(hub.LlamaConfig(**GROUPED)),
    "GPT-2": lambda: hub.GPT2LMHeadModel(
        hub.GPT2Config(n_embd=32, n_layer=4, n_head=4, vocab_size=40, n_positions=64, **ENDS)
    ),
    "OPT": lambda: hub.OPTForCausalLM(
        hub.OPTConfig(
            hidden_size=32, ffn_dim=24, num_hidden_layers=4, num_attention_heads=4, word_embed_proj_dim=32, **SHORT
        )
    ),
    "Qwen2": lambda: hub.Qwen2ForCausalLM(
        hub.Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=4, max_window_layers=2)
    ),
    "Mistral": lambda: hub.MistralForCausalLM(hub.MistralConfig(**GROUPED, sliding_window=4)),
    "Gemma": lambda: hub.GemmaForCausalLM(hub.GemmaConfig(**GROUPED, head_dim=8)),
    "Phi-3": lambda: hub.Phi3ForCausalLM(hub.Phi3Config(**GROUPED)),
    "GPT-NeoX": lambda: hub.GPTNeoXForCausalLM(hub.GPTNeoXConfig(**SIZES, **SHORT)),
}  # fmt: skip
TOKENS = torch.arange(36).reshape(3, 12) % 37 + 3


def decoder(name: str) -> nn.Module:
    torch.manual_seed(0)
    return DECODERS[name]().eval()


def batch_of(tokens: Tensor) -> wb.Batch:
    return wb.Batch(tokens[:, :-1], tokens[:, 1:])


def text_loss(outputs: object, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs.logits.flatten(0, 1), targets.flatten())


# Scores of units


def test_changes_of_the_loss_are_those_of_single_samples() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(), nn.Linear(4, 2))
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])
    grads = []
    for at in range(5):
        model.zero_grad()
        functional.cross_entropy(model.eval()(x[at : at + 1]), y[at : at + 1]).backward()
        grads.append({name: w.grad.double().clone() for name, w in wb.prunable(model).items()})
    model.zero_grad(set_to_none=True)
    model.train()
    for name, weight in wb.prunable(model).items():
        w, each = weight.detach().double(), torch.stack([own[name] for own in grads])
        first, second = -w * each.mean(0), w**2 * each.square().mean(0) / 2
        for order, rise in ((1, first), (2, first + second)):
            found = {s: wb.loss_changes(model, wb.Batch(x, y), order=order, signed=s)[name] for s in (True, False)}
            torch.testing.assert_close(found[True], rise, atol=1e-7, rtol=1e-5)
            torch.testing.assert_close(found[False], rise.abs(), atol=1e-7, rtol=1e-5)
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_the_two_orders_are_snip_and_what_fisher_adds() -> None:
    model, batch = decoder("Llama"), batch_of(TOKENS)
    snip, fisher = (wb.score(model, batch, name, loss_fn=text_loss) for name in ("snip", "fisher"))
    first = wb.loss_changes(model, batch, text_loss, order=1)
    rises = {order: wb.loss_changes(model, batch, text_loss, order=order, signed=True) for order in (1, 2)}
    for name in snip:
        torch.testing.assert_close(first[name], snip[name].double(), rtol=1e-3, atol=1e-9)
        torch.testing.assert_close(rises[2][name] - rises[1][name], fisher[name], rtol=1e-3, atol=1e-12)


def test_orders_other_than_the_first_two_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3"):
        wb.loss_changes(nn.Linear(2, 2), wb.Batch(torch.ones(1, 2), torch.zeros(1).long()), order=3)


def test_a_vector_is_summed_before_its_size_is_taken() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    signed = {"0.weight": torch.tensor([[1.0, -2.0], [3.0, 4.0]]), "2.weight": torch.tensor([[-10.0, 20.0]])}
    found = {rule: wb.group_scores(model, signed, torch.ones(1, 2), reduce=rule) for rule in ("vectors", "sum")}
    assert found["vectors"]["0.weight"].tolist() == [11, 27]  # |1 - 2| + |-10|
    assert found["sum"]["0.weight"].tolist() == [-11, 27]


@pytest.mark.parametrize("name", ["Llama", "GPT-2"])
def test_vectors_of_a_decoder_are_rows_and_columns(name: str) -> None:
    """Against a loop over members and units; heads have many rows each, fused queries, keys and values too."""
    model = decoder(name)
    rises = wb.loss_changes(model, batch_of(TOKENS), text_loss, signed=True)
    found = wb.groups(model, TOKENS)
    scores = wb.group_scores(model, rises, found, reduce="vectors")
    for group in found:
        for unit in range(group.units) if group.name in scores else ():
            parts = [
                rises[m.parameter].index_select(m.dim, torch.tensor(m.at[unit])).sum().abs()
                for m in group.members
                if m.parameter in rises and m.at[unit]
            ]
            torch.testing.assert_close(scores[group.name][unit], sum(parts))


@pytest.mark.parametrize("name", ["Llama", "GPT-2"])
def test_activation_scores_are_norms_of_what_the_dense_model_reads(name: str) -> None:
    model, read = decoder(name), {}
    found = wb.groups(model, TOKENS)
    scores = wb.activation_scores(model, TOKENS, found, rows=2)
    assert len(scores) == 8  # two layers of each block read units that can go
    for weight in scores:
        layer = model.get_submodule(weight.rpartition(".")[0])
        layer.register_forward_pre_hook(lambda layer, args, weight=weight: read.setdefault(weight, args[0]))
    with torch.no_grad():
        model(TOKENS)
    for weight, values in scores.items():
        norms = read[weight].flatten(0, 1).square().mean(0).sqrt()
        size = model.get_parameter(weight).detach().abs()
        torch.testing.assert_close(values, size * (norms[:, None] if name == "GPT-2" else norms))


@pytest.mark.parametrize("name", DECODERS)
def test_units_of_decoders_of_others_are_scored_and_removed(name: str) -> None:
    """A unit that nothing reads has no score; all others have one, and what goes is proven."""
    model = decoder(name)
    layer = list(wb.activation_scores(model, TOKENS, wb.groups(model, TOKENS)))[1]
    with torch.no_grad():
        weight = model.get_parameter(layer)
        weight[(3,) if name == "GPT-2" else (slice(None), 3)] = 0  # what reads unit 3 of the first block
    found = wb.groups(model, TOKENS)
    scores = wb.group_scores(model, wb.activation_scores(model, TOKENS, found), found)
    changes = wb.loss_changes(model, batch_of(TOKENS), text_loss, order=1)
    assert scores.keys() == wb.group_scores(model, changes, found).keys()
    assert len(scores) == 8
    (dead,) = [group for group, values in scores.items() if (values == 0).any()]
    assert scores[dead].nonzero().numel() == len(scores[dead]) - 1
    if name == "Phi-3":  # its code takes the width of the queries from the config
        scores = {group: values for group, values in scores.items() if "qkv_proj" not in group}
    masks = wb.group_masks(model, wb.keep_top(scores, 0.25, allocation="layer"), found)
    small = wb.remove(model, masks, found)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())


# Blocks


class Turn(nn.Module):
    """Turns each row of pairs by an angle, in quarters, and scales it."""

    def __init__(self, quarters: int, scale: float = 1.0) -> None:
        super().__init__()
        turn = torch.linalg.matrix_power(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), quarters)
        self.turn = nn.Linear(2, 2, bias=False)
        self.turn.weight.data.copy_(scale * turn)

    def forward(self, x: Tensor) -> Tensor:
        return self.turn(x)


class Turns(nn.Module):
    def __init__(self, *turns: Turn) -> None:
        super().__init__()
        self.parts = nn.ModuleList(turns)
        for at, part in enumerate(self.parts):
            part.place = at

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x


def test_influence_is_one_minus_the_cosine() -> None:
    model = Turns(Turn(0, 3.0), Turn(1), Turn(1, 0.5), Turn(2))
    x = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    one, two = wb.block_influence(model, x), wb.block_influence(model, x, span=2)
    assert list(one.values()) == pytest.approx([0, 1, 1, 2], abs=1e-6)
    assert two == pytest.approx({"parts.0": 1, "parts.1": 2, "parts.2": 1}, abs=1e-6)
    assert wb.block_influence(model, x, span=4) == pytest.approx({"parts.0": 0}, abs=1e-6)
    with pytest.raises(ValueError, match="from 1 to 4; got 5"):
        wb.block_influence(model, x, span=5)


def test_any_model_with_blocks_gets_shorter_and_keeps_its_own() -> None:
    model = Turns(Turn(0, 3.0), Turn(1), Turn(1, 0.5), Turn(2))
    x = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    small = wb.drop_blocks(model, ["parts.1", "parts.2"])
    torch.testing.assert_close(small(x), -3 * x)
    assert [part.place for part in small.parts] == [0, 1]
    assert [part.place for part in model.parts] == [0, 1, 2, 3]
    assert not {id(p) for p in small.parameters()} & {id(p) for p in model.parameters()}


@pytest.mark.parametrize(
    ("names", "words"),
    [([], "got 0 that go"), ([f"parts.{at}" for at in range(2)], "got 2 that go"), (["parts.7"], "got 'parts.7'")],
)
def test_some_blocks_go_and_some_stay(names: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wb.drop_blocks(Turns(Turn(0), Turn(1)), names)


def passed_by(model: nn.Module, name: str) -> Callable[[], None]:
    """Let a block give what it reads; a function that ends this."""

    def back(block: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor], given: object) -> object:
        x = args[0] if args else named["hidden_states"]
        return (x, *given[1:]) if isinstance(given, tuple) else x

    return model.get_submodule(name).register_forward_hook(back, with_kwargs=True).remove


@pytest.mark.parametrize("name", DECODERS)
def test_a_shorter_decoder_computes_generates_and_is_loaded(name: str, tmp_path: Path) -> None:
    model = decoder(name)
    influence = wb.block_influence(model, TOKENS)
    assert list(influence) == list(blocks(model))
    gone = list(influence)[1]
    before = copy.deepcopy(model.config.to_dict())
    small = wb.drop_blocks(model, [gone])
    end = passed_by(model, gone)
    with torch.no_grad():
        assert torch.equal(small(TOKENS).logits, model(TOKENS, use_cache=False).logits)
    end()
    assert model.config.to_dict() == before
    assert (model.config.num_hidden_layers, small.config.num_hidden_layers) == (4, 3)
    small.save_pretrained(tmp_path)
    again = type(small).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(small(TOKENS).logits, again(TOKENS).logits)
    told = dict(max_new_tokens=5, do_sample=False, attention_mask=torch.ones_like(TOKENS))
    assert torch.equal(again.generate(TOKENS, use_cache=True, **told), again.generate(TOKENS, use_cache=False, **told))


def test_ties_stay_and_removed_models_get_shorter() -> None:
    small = wb.drop_blocks(decoder("GPT-2"), ["transformer.h.0", "transformer.h.3"])
    assert small.lm_head.weight is small.transformer.wte.weight
    model = decoder("Llama")
    found = wb.groups(model, TOKENS)
    scores = wb.group_scores(model, wb.activation_scores(model, TOKENS, found), found)
    narrow = wb.remove(model, wb.group_masks(model, wb.keep_top(scores, 0.5, allocation="layer"), found), found)
    both = wb.drop_blocks(narrow, ["model.layers.2"])
    end = passed_by(narrow, "model.layers.2")
    with torch.no_grad():
        assert torch.equal(both(TOKENS).logits, narrow(TOKENS, use_cache=False).logits)
    end()


def test_a_config_that_counts_in_another_way_is_refused() -> None:
    told = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, mlp_only_layers=[1])
    model = hub.Qwen3MoeForCausalLM(hub.Qwen3MoeConfig(**GROUPED, **told))
    with pytest.raises(ValueError, match=r"differs in \d+ tensors, such as 'model\.layers\..*Its config counts"):
        wb.drop_blocks(model, ["model.layers.0"])
    assert len(wb.drop_blocks(model, ["model.layers.3"]).model.layers) == 3


def test_the_program_of_the_document_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "language.md").read_text(encoding="utf-8")
    exec(page.split("## Whole units and blocks")[1].split("```python\n")[1].split("```")[0], {})
    assert 1 < float(capsys.readouterr().out) < 4
