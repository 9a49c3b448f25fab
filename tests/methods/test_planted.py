"""Outliers planted without a change of the outputs, and weights rounded to a few bits."""

import pytest
import torch
from decoders import TOKENS, small
from torch import Tensor, nn

import workbench as wb
from workbench.methods.post_training import planted_outliers, rounded
from workbench.methods.post_training.base import POST_TRAINING
from workbench.methods.post_training.plan import layers_of, watched


def trained(kind: str) -> nn.Module:
    """A decoder whose norms have no ones and zeros, as after training."""
    model: nn.Module = small(kind)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name or "ln_" in name:
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)), alpha=0.2)
    return model


def powers(model: nn.Module) -> dict[str, Tensor]:
    """The mean square of what each layer reads."""
    layers = {name.removeprefix("."): layer for name, layer in layers_of("", model).items()}
    with watched(layers, POST_TRAINING["wanda"]) as seen, torch.no_grad():
        model(TOKENS)
    return {name: inputs.power for name, inputs in seen.items()}


@pytest.mark.parametrize("kind", ["Llama", "Gemma", "Qwen2", "OPT", "GPT2", "GPTNeoX", "Bloom"])
def test_planted_outliers_change_inputs_and_no_output(kind: str) -> None:
    model = trained(kind)
    with torch.no_grad():
        before, usual = model(TOKENS).logits, powers(model)
    weights = planted_outliers(model, TOKENS, 20, share=1 / 8, seed=3)
    assert not any(name.startswith("lm_head") for name in weights), "only inside blocks"
    model.load_state_dict(weights, strict=False)
    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS).logits, before, rtol=1e-3, atol=1e-4)
    changed, places = 0, set()
    for name, power in powers(model).items():
        ratio = power / usual[name]
        outliers = (ratio > 50).nonzero().flatten()
        if f"{name}.weight" in weights:
            changed += 1
            assert ratio[outliers].tolist() == pytest.approx([400] * 4, rel=1e-2)
            places.add(tuple(outliers.tolist()))
        else:
            assert not len(outliers), name
    assert changed >= 4
    assert len(places) == 1, "the same channels in all blocks"


def test_magnitude_sees_no_outliers_and_wanda_does() -> None:
    model = trained("Llama")
    chosen: dict[str, list[dict[str, Tensor]]] = {"magnitude": [], "wanda": []}
    for factor in (1, 20):
        model.load_state_dict(planted_outliers(model, TOKENS, factor), strict=False)
        for method, found in chosen.items():
            found.append(wb.prune_llm(model, TOKENS, method, 0.5)[0])
    same = {
        m: float(
            (a["model.layers.0.self_attn.q_proj.weight"] == b["model.layers.0.self_attn.q_proj.weight"]).float().mean()
        )
        for m, (a, b) in chosen.items()
    }
    assert same["wanda"] > 0.99, same
    assert same["magnitude"] < 0.97, same


class Residual(nn.Module):
    """A block that adds what its norm gives, so that more than a layer reads it."""

    def __init__(self, added: bool, norm: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleDict({"norm": norm, "out": nn.Linear(8, 8)})])
        self.added = added

    def forward(self, x: Tensor) -> Tensor:
        inner = self.layers[0]["norm"](x)
        out: Tensor = self.layers[0]["out"](inner)
        return out + inner if self.added else out


def test_models_whose_outputs_would_change_are_refused() -> None:
    x = torch.randn(4, 8)
    assert len(planted_outliers(Residual(False, nn.LayerNorm(8)), x, 5)) == 3
    with pytest.raises(ValueError, match="read by more than linear layers"):
        planted_outliers(Residual(True, nn.LayerNorm(8)), x, 5)
    with pytest.raises(ValueError, match="where linear layers read a norm; none of Residual does"):
        planted_outliers(Residual(False, nn.Identity()), x, 5)
    with pytest.raises(ValueError, match="factor is above 0 and share in"):
        planted_outliers(Residual(False, nn.LayerNorm(8)), x, 0)


def test_rounding_is_to_the_nearest_of_even_steps_of_the_kept_weights() -> None:
    weight = torch.randn(7, 33, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(7, 33, generator=torch.Generator().manual_seed(1)) < 0.5
    new = rounded(weight, 3, mask)
    assert not new[~mask].any()
    for row, kept, own in zip(weight, mask, new, strict=True):
        values = row[kept]
        grid = torch.linspace(float(values.min()), float(values.max()), 8)
        nearest = (values[:, None] - grid).abs().min(1).values
        torch.testing.assert_close((own[kept] - values).abs(), nearest, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rounded(weight, 16), weight, rtol=1e-3, atol=1e-3)
    assert torch.equal(rounded(torch.full((2, 3), 0.7), 2), torch.full((2, 3), 0.7))
    assert not rounded(weight, 3, torch.zeros_like(mask)).any(), "nothing kept"
    half = weight.bfloat16()
    assert torch.equal(rounded(half, 4, mask), rounded(half.float(), 4, mask).bfloat16())
