"""Layer-wise relevance: numbers by hand, conservation, every layer kind against its products, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb
from workbench.criteria.lrp import lrp, lrp_channels  # noqa: F401  (importing registers the criterion)
from workbench.criteria.relevance import Relevances


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomly(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for k, parameter in enumerate(model.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=k))
    return model.double().eval()


def by_hand() -> tuple[nn.Module, wb.Batch]:
    """x = (1, 2), hidden (4, 3) and (dead) by weights (2, 1), (-1, 2), (-1, -1); logits 4 - 9 + 0 = -5 and 4 + 3."""
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False)).double()
    model[0].weight.data = torch.tensor([[2.0, 1.0], [-1.0, 2.0], [-1.0, -1.0]], dtype=torch.float64)
    model[2].weight.data = torch.tensor([[1.0, -3.0, 5.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    inputs = torch.tensor([[1.0, 2.0], [1.0, 2.0]], dtype=torch.float64)
    return model, wb.Batch(inputs, torch.tensor([0, 1]))


def test_weights_by_hand() -> None:
    # Sample 0: R = -5 for logit 0, all from the hidden unit 0 (4 * 1 > 0, 3 * -3 < 0): half each from 1 * 2 and 2 * 1.
    # Sample 1: R = 7 for logit 1: 4 from unit 0 (2 and 2), 3 from unit 1 (all from 2 * 2, as 1 * -1 < 0).
    scores = wb.score(*by_hand(), "lrp")
    expected = [[[2.5 + 2, 2.5 + 2], [0, 3], [0, 0]], [[5, 0, 0], [4, 3, 0]]]
    for score, numbers in zip(scores.values(), expected, strict=True):
        torch.testing.assert_close(score, torch.tensor(numbers, dtype=torch.float64))


def test_channels_by_hand() -> None:
    scores = wb.score(*by_hand(), "lrp", granularity="channel", normalise=False)
    assert [s.tolist() for s in scores.values()] == [[9, 3, 0], [5, 7]]
    shared = wb.score(*by_hand(), "lrp", granularity="channel")
    assert [s.tolist() for s in shared.values()] == [[0.75, 0.25, 0], [5 / 12, 7 / 12]]


def test_negative_inputs_contribute_through_negative_weights() -> None:
    model = nn.Linear(3, 1, bias=False).double()
    model.weight.data = torch.tensor([[-2.0, 1.0, -5.0]], dtype=torch.float64)
    batch = wb.Batch(torch.tensor([[-1.0, 4.0, 0.2]], dtype=torch.float64), torch.tensor([0]))
    # logit 2 + 4 - 1 = 5; positive products 2 and 4
    torch.testing.assert_close(
        wb.score(model, batch, "lrp")["weight"], torch.tensor([[5 / 3, 10 / 3, 0]], dtype=torch.float64)
    )


def test_biases_get_no_share_and_zero_is_zero() -> None:
    """A logit that is all bias hands on nothing; no 0 / 0."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(-1.0)
        model[2].bias.fill_(3.0)
    batch = wb.Batch(torch.ones(4, 2, dtype=torch.float64), torch.zeros(4, dtype=torch.int64))
    for granularity, last in (("weight", 0.0), ("channel", 1.0)):  # the logit itself is the last channel's relevance
        scores = wb.score(model, batch, "lrp", granularity=granularity)
        assert not bool(scores["0.weight"].any())
        assert float(scores["2.weight"].sum()) == last
    nn.init.ones_(model[0].weight)
    nn.init.ones_(model[2].weight)  # hidden 1 + 1 - 1 = 1; logit 1 + 1 + 3 = 5, all handed to the two hidden units
    scores = wb.score(model, batch, "lrp")
    assert scores["2.weight"].tolist() == [[10, 10], [0, 0]]
    assert scores["0.weight"].tolist() == [[5, 5], [5, 5]]


class Residual(nn.Module):
    """Two branches of different sign, a shortcut by stride and padding, and two poolings."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.left = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
        self.right = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.fc = nn.Linear(6, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(functional.max_pool2d(self.stem(x), 2))
        out = self.right(functional.relu(self.left(x)))
        x = functional.relu(out + functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 2)))
        return self.fc(functional.dropout(functional.adaptive_avg_pool2d(x, 1).flatten(1), 0.5, self.training))


def test_relevance_is_conserved_without_biases() -> None:
    """Behind a ReLU a unit above 0 has a positive contribution, so that it hands on all it got."""
    chain = nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1, bias=False),
        nn.LeakyReLU(0.0),
        nn.AvgPool1d(2),
        nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2, bias=False),
        nn.ReLU(),
        nn.BatchNorm1d(6, affine=False),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(6, 6, 3, dilation=2, groups=3, padding="same", bias=False),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(24, 3, bias=False),
    )
    for model, shape in ((chain, (16, 2, 8)), (Residual(), (16, 2, 8, 8))):
        batch = wb.Batch(drawn(*shape, seed=9).abs(), torch.arange(16) % 3)
        randomly(model)
        last = list(model.modules())[-1].weight  # type: ignore[union-attr]
        last.data[:, 0] = last.data[:, 0].abs()  # a logit has some positive contribution too
        logits = model(batch.inputs).detach().gather(1, batch.targets[:, None])
        assert bool((logits < 0).any())
        total = float(logits.abs().sum())
        for granularity, knobs in (("weight", {}), ("channel", {"normalise": False})):
            scores = wb.score(model, batch, "lrp", granularity=granularity, **knobs)
            sums = {name: float(score.sum()) for name, score in scores.items()}
            if model is chain:
                assert list(sums.values()) == pytest.approx([total] * 4, rel=1e-10)
            else:  # the branch gets what the shortcut leaves
                assert [sums["fc.weight"], sums["stem.weight"]] == pytest.approx([total] * 2, rel=1e-10)
                assert sums["left.weight"] == pytest.approx(sums["right.weight"], rel=1e-10)
                assert 0 < sums["left.weight"] < 0.95 * total


def test_biases_lose_relevance() -> None:
    model = randomly(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)))
    nn.init.constant_(model[0].weight, -1.0)
    nn.init.constant_(model[0].bias[:4], 9.0)  # alive by their biases alone
    batch = wb.Batch(drawn(32, 4, seed=7).abs(), torch.arange(32) % 3)
    sums = [float(s.sum()) for s in wb.score(model, batch, "lrp").values()]
    total = float(model(batch.inputs).detach().gather(1, batch.targets[:, None]).abs().sum())
    assert sums[0] == 0
    assert 0 < sums[1] <= sums[2] * (1 + 1e-12)
    assert sums[2] <= total * (1 + 1e-12)


CALLS: dict[str, tuple[Callable[..., Tensor], tuple[int, ...], tuple[int, ...]]] = {
    "linear": (functional.linear, (2, 3, 4), (2, 4)),
    "conv1d": (lambda x, w: functional.conv1d(x, w, padding=1, dilation=2), (2, 2, 5), (2, 2, 3)),
    "conv2d": (lambda x, w: functional.conv2d(x, w, stride=2, padding=1, groups=2), (1, 4, 4, 3), (4, 2, 2, 2)),
    "conv2d same": (lambda x, w: functional.conv2d(x, w, padding="same"), (2, 1, 3, 3), (2, 1, 1, 3)),
    "conv2d alone": (functional.conv2d, (2, 3, 3), (3, 2, 2, 2)),
    "conv3d": (functional.conv3d, (1, 1, 2, 3, 2), (2, 1, 2, 2, 1)),
    "turned": (lambda x, w: functional.conv_transpose1d(x, w, stride=2, groups=2), (2, 2, 3), (2, 2, 3)),
    "turned2d": (
        lambda x, w: functional.conv_transpose2d(x, w, stride=2, output_padding=1),
        (1, 2, 2, 2),
        (2, 2, 2, 2),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_layer_kind_shares_by_its_products(name: str) -> None:
    """Every product x_i w_k of an output j is enumerated by differentiating twice; the positive ones share R_j."""
    call, *shapes = CALLS[name]
    x, w = (drawn(*shape, seed=k).requires_grad_() for k, shape in enumerate(shapes))
    with Relevances():
        y = call(x, w)
    relevance = drawn(*y.shape, seed=5)
    found = torch.autograd.grad(y, (x, w), relevance)
    meets = torch.func.jacrev(torch.func.jacrev(call, 0), 1)(x.detach(), w.detach())
    meets = meets.reshape(y.numel(), x.numel(), w.numel())
    products = (meets * x.detach().reshape(-1, 1) * w.detach().reshape(-1)).clamp(min=0)
    total = products.sum((1, 2), keepdim=True)
    assert bool((total > 0).any())
    shares = torch.where(total > 0, products / total, 0) * relevance.reshape(-1, 1, 1)
    torch.testing.assert_close(found[0], shares.sum((0, 2)).reshape(x.shape))
    torch.testing.assert_close(found[1], shares.sum((0, 1)).reshape(w.shape))


def passed(run: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """Relevances of the inputs when every output has relevance 1."""
    leaves = [x.double().requires_grad_() for x in inputs]
    with Relevances():
        y = run(*(leaf.clone() for leaf in leaves))
    return list(torch.autograd.grad(y, leaves, torch.ones_like(y)))


def test_a_sum_is_shared_by_the_positive_parts() -> None:
    a, b = torch.tensor([3.0, -1.0, 2.0, 0.0]), torch.tensor([1.0, 5.0, -2.0, -1.0])
    into = [lambda x, y: x + y, torch.add, lambda x, y: x.add_(y), lambda x, y: functional.relu(x + y, inplace=True)]
    for run in into:
        found = passed(run, a, b)
        assert [f.tolist() for f in found] == [[0.75, 0, 1, 0], [0.25, 1, 0, 0]]


def test_pooling_and_activations_by_hand() -> None:
    x = torch.tensor([[1.0, 3.0, -2.0, 0.0]])[None]
    assert passed(lambda t: functional.avg_pool1d(t, 2), x)[0].tolist() == [[[0.25, 0.75, 0, 0]]]
    assert passed(lambda t: functional.adaptive_avg_pool1d(t, 1), x)[0].tolist() == [[[0.25, 0.75, 0, 0]]]
    assert passed(lambda t: t.mean(2), x)[0].tolist() == [[[0.25, 0.75, 0, 0]]]
    assert passed(lambda t: functional.max_pool1d(t, 2), x)[0].tolist() == [[[0, 1, 0, 1]]]
    assert passed(lambda t: nn.MaxPool1d(2, return_indices=True)(t)[0], x)[0].tolist() == [[[0, 1, 0, 1]]]
    ones = [[[1, 1, 1, 1]]]
    for run in (
        functional.relu,
        functional.gelu,
        functional.silu,
        nn.ReLU(inplace=True),
        nn.Hardtanh(),
        lambda t: t.relu_(),
        lambda t: functional.batch_norm(t.view(1, 4, 1), torch.zeros(4).double(), 9 * torch.ones(4).double()),
        lambda t: t.flatten(1).reshape(2, 2).transpose(0, 1).unsqueeze(0)[:, [1, 0]],
        lambda t: 2 * t / 3 - 1 + torch.ones(4),
        lambda t: torch.cat(tensors=[t[..., :2], t[..., 2:]], dim=-1).chunk(1)[0],
        lambda t: functional.dropout(t, 0.5, training=False),
    ):
        assert passed(run, x)[0].tolist() == ones


class Uses(nn.Module):
    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.two, self.between = nn.Linear(4, 4), nn.Linear(4, 2), between

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.between(self.one(x)))


attention = nn.MultiheadAttention(4, 2, batch_first=True)


@pytest.mark.parametrize(
    ("between", "name"),
    [
        (lambda x: x.softmax(1), "softmax"),
        (lambda x: functional.layer_norm(x, (4,)), "layer_norm"),
        (lambda x: functional.group_norm(x, 2), "group_norm"),
        (lambda x: x * x.sigmoid(), "mul"),
        (lambda x: x - x.relu(), "sub"),
        (lambda x: -x, "neg"),
        (lambda x: 1 - x, "rsub"),
        (lambda x: x @ torch.ones(4, 4), "matmul"),
        (lambda x: torch.add(x, x.relu(), alpha=-1), "add"),
        (lambda x: attention(x[:, None], x[:, None], x[:, None])[0][:, 0], "multi_head_attention_forward"),
        (
            lambda x: functional.scaled_dot_product_attention(x[None], x[None], x[None])[0],
            "scaled_dot_product_attention",
        ),
        (lambda x: functional.linear(x, x[:4].relu()), "linear with a computed weight or bias"),
        (
            lambda x: functional.linear(torch.ones(8, 4), torch.ones(4, 4), x[0]),
            "linear with a computed weight or bias",
        ),
        (lambda x: (x[:1] * 2.0).expand(8, 4) + torch.ones(3, 8, 4), "add"),
    ],
)
@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_what_has_no_rule_is_named(between: Callable[[Tensor], Tensor], name: str, granularity: str) -> None:
    batch = wb.Batch(torch.ones(8, 4), torch.zeros(8, dtype=torch.int64))
    with pytest.raises(ValueError, match=rf"passes relevance through .*; got '_*r?{name}_*', .* Use another criterion"):
        wb.score(Uses(between), batch, "lrp", granularity=granularity)


def test_attention_in_front_is_named_too() -> None:
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.fc = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.mix(x, x, x)[0].mean(1))

    batch = wb.Batch(torch.ones(8, 3, 4), torch.zeros(8, dtype=torch.int64))
    for granularity in ("channel", "weight"):
        with pytest.raises(ValueError, match="got 'multi_head_attention_forward'"):
            wb.score(First(), batch, "lrp", granularity=granularity)


def test_no_rule_is_needed_where_no_relevance_passes() -> None:
    """Preparing the inputs, constants and shapes; and a layer norm on the inputs."""

    class Prepares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.fc = nn.LayerNorm(4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm((x - x.mean()) / x.std())
            return self.fc(x.view(x.shape[0], -1)) * torch.ones(2).softmax(0)

    scores = wb.score(Prepares(), wb.Batch(drawn(6, 4).float(), torch.arange(6) % 2), "lrp")
    assert bool(scores["fc.weight"].any())


def test_outputs_and_labels_are_checked() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 1))
    with pytest.raises(ValueError, match=r"starts from outputs \[n, classes\]; the model returns \(4, 3, 5\)"):
        wb.score(model, wb.Batch(torch.ones(4, 2, 5), torch.zeros(4, dtype=torch.int64)), "lrp")
    with pytest.raises(ValueError, match=r"labels are class numbers from 0 to 1"):
        wb.score(nn.Linear(2, 2), wb.Batch(torch.ones(4, 2), torch.arange(4)), "lrp")


@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_masked_scores_are_those_of_the_masked_network(granularity: str, digits: wb.Task) -> None:
    model, batch = wb.make("resnet-20", digits).double(), digits.batch(8)
    batch = wb.Batch(batch.inputs.double(), batch.targets)
    masks = wb.keep_top(wb.score(model, None, "random"), 0.5)
    found = wb.score(model, batch, "lrp", masks=masks, granularity=granularity)
    wb.apply_masks_(model, masks)
    expected = wb.score(model, batch, "lrp", granularity=granularity)
    for name, mask in masks.items():
        torch.testing.assert_close(found[name], expected[name])
        assert bool(found[name].any())
        if granularity == "weight":
            assert not bool(found[name][~mask].any())


def test_a_layer_used_twice_collects_both_shares() -> None:
    layer = nn.Linear(3, 3, bias=False)
    twice = randomly(nn.Sequential(layer, nn.ReLU(), layer))
    first, second = (nn.Linear(3, 3, bias=False).double() for _ in range(2))
    first.weight.data, second.weight.data = layer.weight.data, layer.weight.data
    apart = nn.Sequential(first, nn.ReLU(), second)
    batch = wb.Batch(drawn(9, 3, seed=4), torch.arange(9) % 3)
    for granularity, knobs in (("weight", {}), ("channel", {"normalise": False})):
        both = wb.score(apart, batch, "lrp", granularity=granularity, **knobs)
        found = wb.score(twice, batch, "lrp", granularity=granularity, **knobs)
        torch.testing.assert_close(found["0.weight"], both["0.weight"] + both["2.weight"])


def test_the_running_statistics_are_the_only_ones(digits: wb.Task) -> None:
    model, batch = wb.make("vgg", digits), digits.batch(8)
    seen = [wb.score(model, batch, "lrp", bn=bn)["conv3.weight"] for bn in ("batch", "running")]
    assert torch.equal(*seen)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_number_formats(dtype: torch.dtype, digits: wb.Task) -> None:
    model, batch = wb.make("vgg", digits), digits.batch(16)
    exact = wb.score(model.double(), wb.Batch(batch.inputs.double(), batch.targets), "lrp")
    found = wb.score(model.to(dtype), wb.Batch(batch.inputs.to(dtype), batch.targets), "lrp")
    for name, score in found.items():
        assert score.dtype == (torch.float32 if dtype == torch.bfloat16 else dtype)
        off = float((score.double() - exact[name]).abs().max() / exact[name].max())
        assert off < {torch.float32: 1e-4, torch.float64: 1e-12, torch.bfloat16: 0.2}[dtype]


def test_all_zero_inputs_give_zero(digits: wb.Task) -> None:
    model = wb.make("lenet-300-100", digits)
    batch = wb.Batch(torch.zeros(4, 1, 8, 8), torch.arange(4))
    for granularity in ("channel", "weight"):
        assert not any(bool(s.any()) for s in wb.score(model, batch, "lrp", granularity=granularity).values())
