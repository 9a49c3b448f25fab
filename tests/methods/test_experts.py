"""Experts that are stacked in one parameter, against the same experts as linear layers of their own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb
from workbench.methods.post_training.experts import stacks_of, watched_experts
from workbench.methods.post_training.outliers import outlier_shares

SHARED = dict(
    vocab_size=64,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    max_position_embeddings=32,
)
KINDS = {
    "Mixtral": dict(num_local_experts=3, num_experts_per_tok=2),
    "Qwen2Moe": dict(num_experts=3, num_experts_per_tok=2, moe_intermediate_size=8, shared_expert_intermediate_size=8),
    "GptOss": dict(num_local_experts=3, num_experts_per_tok=2, head_dim=8),
    "Llama4Text": dict(
        num_local_experts=3, num_experts_per_tok=1, head_dim=8, intermediate_size_mlp=24, interleave_moe_layer_step=1
    ),
}


def mixture(kind: str) -> nn.Module:
    """A tiny random mixture of experts of `transformers`."""
    import transformers

    torch.manual_seed(0)
    tokens = dict(bos_token_id=0, eos_token_id=0, pad_token_id=0)
    config = getattr(transformers, f"{kind}Config")(**SHARED, **KINDS[kind], **tokens)
    model: nn.Module = transformers.AutoModelForCausalLM.from_config(config).eval()
    for weight in model.parameters():
        if weight.ndim == 3:  # some are made of zeros
            nn.init.normal_(weight, std=0.2)
    return model


class Apart(nn.Module):
    """The experts of a mixture as linear layers, by a loop over tokens and experts that is our own."""

    def __init__(self, experts: Any, turned: bool) -> None:
        super().__init__()
        self.up, self.down = nn.ModuleList(), nn.ModuleList()
        for own, stack in ((self.up, experts.gate_up_proj), (self.down, experts.down_proj)):
            for weight in stack.detach():
                weight = weight.t() if turned else weight
                own.append(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
                own[-1].weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format))
        self.gate = getattr(experts, "_apply_gate", None)
        self.bias = getattr(experts, "gate_up_proj_bias", None), getattr(experts, "down_proj_bias", None)

    def forward(self, x: Tensor, index: Tensor, share: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        for e, (up, down) in enumerate(zip(self.up, self.down, strict=True)):
            at, place = (index == e).nonzero(as_tuple=True)
            inner, outer = (0 if bias is None else bias[e] for bias in self.bias)
            out[at] += (down(self.gate(up(x[at]) + inner)) + outer) * share[at, place, None]
        return out


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("kind", ["Mixtral", "Qwen2Moe", "GptOss"])
def test_stacked_experts_are_pruned_as_layers_of_their_own(kind: str, method: str) -> None:
    stacked, apart, turned = mixture(kind), mixture(kind), kind == "GptOss"
    for layer in apart.model.layers:
        layer.mlp.experts = Apart(layer.mlp.experts, turned)
    tokens = torch.randint(64, (4, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(stacked(tokens).logits, apart(tokens).logits, rtol=1e-3, atol=1e-4)
    implementation = stacked.config._experts_implementation
    only_routers = (
        r"stay whole: model.layers.0.mlp.(gate|router).weight [^,]*, model.layers.1.mlp.(gate|router).weight [^,]*\. "
    )
    with pytest.warns(UserWarning, match=only_routers):
        masks, weights = wb.prune_llm(stacked, tokens, method, 0.5, granularity="2:4", rows=3)
    with pytest.warns(UserWarning, match="routers?" if turned else "gate"):
        found, others = wb.prune_llm(apart, tokens, method, 0.5, granularity="2:4", rows=3)
    assert stacked.config._experts_implementation == implementation
    assert wb.sparsity(masks) == 0.5
    same = []
    for i in range(2):
        for name, part in (("gate_up_proj", "up"), ("down_proj", "down")):
            whole = f"model.layers.{i}.mlp.experts.{name}"
            assert masks[whole].shape == stacked.get_parameter(whole).shape
            for e in range(3):
                other = f"model.layers.{i}.mlp.experts.{part}.{e}.weight"
                mask, new = (given[whole][e].t() if turned else given[whole][e] for given in (masks, weights))
                same.append(float((mask == found[other]).float().mean()))
                if same[-1] == 1:
                    torch.testing.assert_close(new, others[other], rtol=1e-2, atol=1e-3)
                assert (mask.reshape(len(mask), -1, 4).sum(2) == 2).all()
    assert min(same) > 0.97, same  # sums in another order may change a rank
    assert max(same) == 1


def test_all_experts_at_once_are_seen_and_the_model_reads_what_was_pruned() -> None:
    model = mixture("Llama4Text")  # one product for the whole stack, with zeros where a token is another expert's
    tokens = torch.randint(64, (4, 24), generator=torch.Generator().manual_seed(0))
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    masks, weights = wb.prune_llm(model, tokens, "wanda", 0.5)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert {"model.layers.0.feed_forward.experts.gate_up_proj", "model.layers.1.feed_forward.experts.down_proj"} < {
        *masks
    }
    assert not any(weights[name][~mask].any() for name, mask in masks.items())
    model.load_state_dict(weights, strict=False)
    assert (model.model.layers[0].feed_forward.experts.gate_up_proj == 0).float().mean() == 0.5
    assert all(0 <= share < 0.2 for share in outlier_shares(model, tokens).values())


class Routed(nn.Module):
    """Blocks with a stack of three experts; every token goes to the experts of `to`, and one stack is never used."""

    def __init__(self, to: list[int]) -> None:
        super().__init__()
        self.layers, self.to = nn.ModuleList([nn.Module()]), to
        draw = torch.Generator().manual_seed(0)
        self.layers[0].forward = self.block
        self.layers[0].stack = nn.Parameter(torch.randn(3, 8, 8, generator=draw))
        self.layers[0].idle = nn.Parameter(torch.randn(3, 8, 8, generator=draw))
        self.layers[0].out = nn.Linear(8, 8)

    def block(self, x: Tensor) -> Tensor:
        return self.layers[0].out(sum(functional.linear(x, self.layers[0].stack[e]) for e in self.to))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[0](x)


def test_experts_without_tokens_and_stacks_without_products_are_named() -> None:
    model, x = Routed([0, 2]), torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(1))
    with pytest.warns(UserWarning, match="saw no|stay whole") as warned:
        masks, weights = wb.prune_llm(model, x, "wanda", 0.5)
    told = " ".join(str(one.message) for one in warned)
    assert "experts 1 of 'layers.0.stack' saw no calibration tokens" in told
    assert "stay whole: layers.0.idle" in told
    assert "layers.0.stack (" not in told
    own = model.layers[0].stack[1].detach().abs()
    assert torch.equal(masks["layers.0.stack"][1], own >= own.sort(1).values[:, 4:5])
    assert torch.equal(
        weights["layers.0.stack"][1], torch.where(masks["layers.0.stack"][1], model.layers[0].stack[1], 0)
    )
    with pytest.warns(UserWarning, match="layers.0.idle"):
        masks, _ = wb.prune_llm(model, x, "wanda", 0.5, exclude=["layers.0.stack"])
    assert list(masks) == ["layers.0.out.weight"]


def test_magnitude_needs_no_tokens_of_an_expert() -> None:
    model, x = Routed([0, 2]), torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(1))
    with pytest.warns(UserWarning, match="stay whole: layers.0.idle") as warned:
        masks, _ = wb.prune_llm(model, x, "magnitude", 0.5)
    assert len(warned) == 1
    for mask, weight in zip(masks["layers.0.stack"], model.layers[0].stack.detach().abs(), strict=True):
        assert torch.equal(mask, weight > weight.flatten().sort().values[31])


def test_groups_that_do_not_divide_the_rows_of_an_unseen_expert_are_refused() -> None:
    model, x = Routed([1]), torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(1))
    model.layers[0].stack, model.layers[0].out = nn.Parameter(torch.randn(3, 12, 8)), nn.Linear(12, 8)
    told = "'6:12' groups inputs; 'layers.0.stack' has 8, no multiple of 12. Pass exclude="
    with pytest.raises(ValueError, match=told):
        wb.prune_llm(model, x, "wanda", 0.5, granularity="6:12")


def test_views_of_a_stack_are_told_apart() -> None:
    block = nn.Linear(2, 2)
    block.stack = nn.Parameter(torch.randn(3, 2, 2))
    x = torch.ones(5, 2)
    products = {
        "linear": (lambda w: functional.linear(x, w[1]), False),
        "linear of a transposed one": (lambda w: functional.linear(x, w[1].t()), True),
        "product": (lambda w: x @ w[1], True),
        "product with a transposed one": (lambda w: torch.matmul(x, w[1].mT), False),
        "all": (lambda w: torch.bmm(torch.stack([0 * x, x, 0 * x]), w), True),
        "a part": (lambda w: x @ w[1, :, :1], None),
        "another matrix": (lambda w: x @ w[1].clone(), None),
    }
    for name, (product, turned) in products.items():
        with watched_experts(block, stacks_of("", block), "squares") as seen:
            product(block.stack)
        (stack,) = seen.values()
        assert stack.turned is turned, name
        assert [inputs.n for inputs in stack.inputs] == [0, 0 if turned is None else 5, 0], name


@pytest.mark.parametrize("kind", ["Mixtral", "GptOss"])
def test_experts_of_a_folder_are_those_of_the_model(kind: str, tmp_path: Path) -> None:
    """Mixtral's files hold each expert by itself, GPT-OSS's the stacks."""
    model = mixture(kind)
    model.save_pretrained(tmp_path / "dense")
    tokens = torch.randint(64, (4, 24), generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="gate|router"):
        masks, weights = wb.prune_llm(model, tokens, "wanda", 0.5, granularity="2:4")
    with pytest.warns(UserWarning, match="gate|router") as warned:
        table = wb.prune_llm(tmp_path / "dense", tokens, "wanda", 0.5, granularity="2:4", out=tmp_path / "sparse")
    assert "experts" not in str(warned[0].message)
    assert set(table["layer"]) == set(masks)
    assert (table["sparsity"] == 0.5).all()
    found = type(model).from_pretrained(tmp_path / "sparse")
    for name, weight in weights.items():
        torch.testing.assert_close(found.get_parameter(name).detach(), weight, rtol=1e-3, atol=1e-5, msg=name)
    with pytest.warns(UserWarning, match="gate|router") as warned:  # all is there already
        wb.prune_llm(tmp_path / "dense", tokens, "wanda", 0.5, granularity="2:4", out=tmp_path / "sparse")
    assert "experts" not in str(warned[0].message)
