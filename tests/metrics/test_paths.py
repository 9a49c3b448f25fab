"""Effective sparsity against walking every path, on the workbench's networks and on kinds of others' models."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb


def reachable(shapes: list[tuple[int, int]], masks: list[np.ndarray]) -> list[np.ndarray]:
    """Effective masks of a multilayer perceptron by walking every path."""
    found = [np.zeros_like(m) for m in masks]
    units = [shapes[0][0], *[b for _, b in shapes]]
    for path in itertools.product(*map(range, units)):
        edges = [(path[k + 1], path[k]) for k in range(len(masks))]
        if all(m[e] for m, e in zip(masks, edges, strict=True)):
            for f, e in zip(found, edges, strict=True):
                f[e] = True
    return found


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.floats(0.1, 0.9))
def test_effective_by_walking_every_path(seed: int, density: float) -> None:
    shapes = [(3, 4), (4, 2), (2, 3)]
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 3))
    draw = np.random.default_rng(seed)
    arrays = [draw.random((b, a)) < density for a, b in shapes]
    masks = {name: torch.from_numpy(m) for name, m in zip(wb.prunable(model), arrays, strict=True)}
    found = wb.effective(model, masks, torch.zeros(1, 3))
    for mask, expected in zip(found.values(), reachable(shapes, arrays), strict=True):
        assert mask.tolist() == expected.tolist()


def connections(
    mask: np.ndarray, side: int, pad: int
) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """(weight, input unit, output unit) of a convolution with stride 1, for every kept weight."""
    out_side = side + 2 * pad - mask.shape[-1] + 1
    found = []
    for o, i, a, b in zip(*np.nonzero(mask), strict=True):
        for y, x in itertools.product(range(out_side), repeat=2):
            v, u = y + a - pad, x + b - pad
            if 0 <= v < side and 0 <= u < side:
                found.append(((o, i, a, b), (i, v, u), (o, y, x)))
    return found


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveMaxPool2d(2)])
@pytest.mark.parametrize("seed", range(4))
def test_effective_of_convolutions_by_walking_every_connection(seed: int, pool: nn.Module) -> None:
    """Two convolutions with a pooling between them, every position of every channel a node of the graph."""
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU6(), pool, nn.Conv2d(2, 3, 3, padding=1), nn.Flatten()
    ).append(nn.Linear(12, 2))
    draw = np.random.default_rng(seed)
    arrays = [draw.random(tuple(w.shape)) < 0.3 for w in wb.prunable(model).values()]
    masks = {name: torch.from_numpy(m) for name, m in zip(wb.prunable(model), arrays, strict=True)}
    first, second = connections(arrays[0], 4, 1), connections(arrays[1], 2, 1)
    forward = {out for _, _, out in first}
    forward = {(c, y // 2, x // 2) for c, y, x in forward}
    live = {(o * 4 + y * 2 + x) for _, i, (o, y, x) in second if i in forward}
    ends = {int(u) for u in np.nonzero(arrays[2].any(0))[0]}
    expected_second = np.zeros_like(arrays[1])
    backward = set()
    for w, i, (o, y, x) in second:
        if o * 4 + y * 2 + x in ends:
            backward.add(i)
            expected_second[w] |= i in forward
    expected_first = np.zeros_like(arrays[0])
    for w, _, (o, y, x) in first:
        expected_first[w] |= (o, y // 2, x // 2) in backward
    expected_last = arrays[2] & np.isin(np.arange(12), list(live))
    found = wb.effective(model, masks, torch.zeros(1, 1, 4, 4))
    for mask, expected in zip(found.values(), (expected_first, expected_second, expected_last), strict=True):
        assert mask.tolist() == expected.tolist()


def test_effective_on_residual_networks(digits: wb.Task) -> None:
    """A block that is empty is bridged by its shortcut; one convolution of a block alone leads nowhere."""
    model, example = wb.make("resnet-20", digits), digits.batch(1).inputs
    masks = wb.dense(model)
    assert wb.effective_sparsity(model, masks, example) == 0
    masks["blocks.0.conv1.weight"] = torch.zeros_like(masks["blocks.0.conv1.weight"])
    found = wb.effective(model, masks, example)
    assert not bool(found["blocks.0.conv2.weight"].any())
    assert all(bool(m.all()) for n, m in found.items() if not n.startswith("blocks.0."))


def test_taps_that_only_meet_padding_are_on_no_path() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten())
    found = wb.effective(model, wb.dense(model), torch.zeros(1, 1, 1, 1))["0.weight"]
    assert found[0, 0].int().tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_effective_masks_are_within_the_masks_and_stable(digits: wb.Task) -> None:
    model, example = wb.make("vgg", digits), digits.batch(1).inputs
    masks = wb.keep_top(wb.score(model, None, "random"), 0.98)
    once = wb.effective(model, masks, example)
    again = wb.effective(model, once, example)
    assert wb.effective_sparsity(model, masks, example) > wb.sparsity(masks)
    for name, mask in masks.items():
        assert not bool((once[name] & ~mask).any())
        assert torch.equal(once[name], again[name])


def test_removing_ineffective_weights_changes_no_output_of_a_bias_free_net(digits: wb.Task) -> None:
    model = nn.Sequential(nn.Flatten(), *[nn.Linear(a, b, bias=False) for a, b in ((64, 20), (20, 10))])
    masks = wb.keep_top(wb.score(model, None, "random"), 0.95)
    inputs = digits.batch(20).inputs
    wb.apply_masks_(model, masks)
    with torch.no_grad():
        before = model(inputs)
        wb.apply_masks_(model, wb.effective(model, masks, inputs))
        assert torch.equal(model(inputs), before)


def test_scalars_among_the_parameters() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))
            self.fc = nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x) * self.scale

    assert wb.effective_sparsity(Scaled(), {"fc.weight": torch.tensor([[True, False]])}, torch.ones(1, 2)) == 0.5


# other people's models


class Net(nn.Module):
    """A module of the given parts whose forward is the given function."""

    def __init__(self, run: Callable[[Any, Tensor], Any], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


L = nn.Linear


def attention(s: Any, x: Tensor) -> Tensor:
    return s.o((s.q(x) @ s.k(x).transpose(1, 2)).softmax(-1) @ s.v(x)).mean(1)


def unet(s: Any, x: Tensor) -> Tensor:
    a = s.a(x).relu()
    return s.h(torch.cat([a, s.up(s.b(functional.max_pool2d(a, 2)).relu())], 1)).mean((2, 3))


def squeeze_excite(s: Any, x: Tensor) -> Tensor:
    y = s.c(x).relu()
    return s.fc((y * s.w2(s.w1(y.mean((2, 3))).relu()).sigmoid()[:, :, None, None]).mean((2, 3)))


def llama(s: Any, tokens: Tensor) -> Tensor:
    x = s.embed(tokens)
    y = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6)
    q, k, v = (f(y).unflatten(-1, (2, 4)).transpose(1, 2) for f in (s.q, s.k, s.v))
    turn = torch.arange(tokens.shape[1], dtype=torch.float32)[:, None] / torch.tensor([1.0, 10.0, 1.0, 10.0])
    q, k = (t * turn.cos() + torch.cat([-t[..., 2:], t[..., :2]], -1) * turn.sin() for t in (q, k))
    y = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
    x = x + s.o(y)
    return s.head(x + s.down(functional.silu(s.gate(x)) * s.up(x)))[:, -1]


def mixer(s: Any, x: Tensor) -> Tensor:
    x = x + s.t2(functional.gelu(s.t1(s.norm(x).transpose(1, 2)))).transpose(1, 2)
    return s.head((x + s.c2(functional.gelu(s.c1(s.norm(x))))).mean(1))


def encoder(**options: Any) -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, **options), 1, enable_nested_tensor=False)


def between(run: Callable[[Tensor], Tensor], left: int = 8) -> Callable[[], nn.Module]:
    """Two linear layers with a function between them."""
    return lambda: Net(lambda s, x: s.b(run(s.a(x))), a=L(6, 8), b=L(left, 3))


ROW, WORDS = torch.ones(2, 6), torch.arange(10).reshape(2, 5)
ALIVE: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "attention": (lambda: Net(attention, q=L(8, 8), k=L(8, 8), v=L(8, 8), o=L(8, 3)), torch.ones(2, 5, 8)),
    "encoder": (lambda: nn.Sequential(encoder(batch_first=True), nn.Flatten(), L(40, 3)), torch.ones(2, 5, 8)),
    "encoder, norm first": (
        lambda: Net(lambda s, x: s.e(x.transpose(0, 1)).mean(0), e=encoder(norm_first=True)),
        torch.ones(2, 5, 8),
    ),
    "softmax": (between(lambda y: y.softmax(1)), ROW),
    "softmax head": (lambda: nn.Sequential(L(6, 5), nn.Softmax(1)), ROW),
    "norm by hand": (between(lambda y: (y - y.mean(1, keepdim=True)) / y.std(1, keepdim=True)), ROW),
    "normalize": (between(lambda y: functional.normalize(y)), ROW),
    "maxout": (between(lambda y: y.unflatten(1, (4, 2)).max(-1).values, 4), ROW),
    "maxout by amax": (between(lambda y: y.unflatten(1, (4, 2)).amax(-1), 4), ROW),
    "largest of two": (between(lambda y: torch.maximum(*y.chunk(2, 1)), 4), ROW),
    "dropout that is on": (between(lambda y: functional.dropout(y, 0.5)), ROW),
    "glu": (between(lambda y: functional.glu(y), 4), ROW),
    "dtype fixed": (between(lambda y: y.double().relu().float()), ROW),
    "bytes": (lambda: Net(lambda s, x: s.a(x.float() / 255), a=L(6, 3)), ROW.byte()),
    "bfloat16": (lambda: between(torch.relu)().bfloat16(), ROW.bfloat16()),
    "float64": (lambda: between(torch.relu)().double(), ROW.double()),
    "weights standardised": (
        lambda: Net(
            lambda s, x: s.b(functional.linear(x, s.a.weight - s.a.weight.mean(1, keepdim=True))), a=L(6, 8), b=L(8, 3)
        ),
        ROW,
    ),
    "einsum": (lambda: Net(lambda s, x: s.b(torch.einsum("ni,oi->no", x, s.a.weight)), a=L(6, 8), b=L(8, 3)), ROW),
    "recurrent": (
        lambda: Net(lambda s, x: s.b(s.r(x)[0][:, -1]), r=nn.LSTM(6, 8, batch_first=True), b=L(8, 3)),
        torch.ones(2, 4, 6),
    ),
    "logits": (lambda: Net(lambda s, x: {"logits": s.a(x), "loss": None}, a=L(6, 3)), ROW),
    "u-net": (
        lambda: Net(
            unet,
            a=nn.Conv2d(1, 4, 3, padding=1),
            b=nn.Conv2d(4, 8, 3, padding=1),
            up=nn.ConvTranspose2d(8, 4, 2, 2),
            h=nn.Conv2d(8, 3, 1),
        ),
        torch.ones(2, 1, 8, 8),
    ),
    "squeeze and excite": (
        lambda: Net(squeeze_excite, c=nn.Conv2d(1, 4, 3), w1=L(4, 2), w2=L(2, 4), fc=L(4, 3)),
        torch.ones(2, 1, 8, 8),
    ),
    "mixer": (
        lambda: Net(mixer, norm=nn.LayerNorm(8), t1=L(4, 6), t2=L(6, 4), c1=L(8, 12), c2=L(12, 8), head=L(8, 3)),
        torch.ones(2, 4, 8),
    ),
    "llama": (
        lambda: Net(
            llama,
            embed=nn.Embedding(11, 8),
            **{name: L(8, 8, bias=False) for name in "qkvo"},
            gate=L(8, 12, bias=False),
            up=L(8, 12, bias=False),
            down=L(12, 8, bias=False),
            head=L(8, 11),
        ),
        WORDS,
    ),
}


@pytest.mark.parametrize("kind", ALIVE)
def test_a_dense_network_is_alive(kind: str) -> None:
    make_one, example = ALIVE[kind]
    model = make_one()
    masks = wb.dense(model)
    assert wb.effective_sparsity(model, masks, example) == 0
    name = next(reversed(masks))  # nothing leads through an output unit without weights, and nothing else changes
    masks[name] = masks[name] & (torch.arange(len(masks[name])) > 0).reshape(-1, *[1] * (masks[name].ndim - 1))
    found = wb.effective(model, masks, example)
    assert not bool(found[name][0].any())
    assert not any(bool((found[n] & ~mask).any()) for n, mask in masks.items())


HIDDEN = {
    "argmax": between(lambda y: functional.one_hot(y.argmax(1), 8).float()),
    "top-k": between(lambda y: y.topk(3).values, 3),
    "detach": between(lambda y: y.detach()),
    "rounding": between(torch.round),
    "softmax of one value": between(lambda y: y[:, None].softmax(1)[:, 0]),
    "an output left out": lambda: Net(lambda s, x: (s.b(x), s.a(x)), a=L(6, 3), b=L(6, 3)),
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_no_number_where_a_dense_network_looks_dead(kind: str) -> None:
    model = HIDDEN[kind]()
    with pytest.raises(ValueError, match=r"paths are not seen through the forward of Net for 'a.weight' \(.* Pass an"):
        wb.effective_sparsity(model, wb.dense(model), ROW)
    table = wb.layers(model, wb.dense(model), ROW)
    assert table["effective"].isna().all()
    assert (table["macs"] > 0).all()
    assert "paths are not seen" in table.attrs["effective"]


def test_a_forward_that_has_no_derivative_says_so() -> None:
    model = between(lambda y: torch.from_numpy(y.detach().numpy()) + torch.special.zeta(y + 2, y + 2))()
    with pytest.raises(ValueError, match=r"numbers that carry a derivative; the forward of Net, which takes the exam"):
        wb.effective(model, wb.dense(model), ROW)
    with pytest.raises(ValueError, match=r"inputs of shape \(1, 5\) .* do not pass through it"):
        wb.effective(model, wb.dense(model), torch.ones(2, 5))


def test_a_layer_that_is_not_called_is_on_no_path() -> None:
    model = Net(lambda s, x: s.a(x), a=L(6, 3), b=L(6, 3))
    assert wb.effective_sparsity(model, wb.dense(model), ROW) == 0.5


@pytest.mark.parametrize(("bridge", "dead"), [("q", {"k"}), ("v", {"q", "k", "o"})])
def test_attention_without_queries_still_leads_through_the_values(bridge: str, dead: set[str]) -> None:
    """Without queries every token counts alike; without values nothing is passed on."""
    model = Net(attention, **{name: L(8, 8, bias=False) for name in "qkvo"})
    masks = wb.dense(model)
    masks[f"{bridge}.weight"] = torch.zeros(8, 8, dtype=torch.bool)
    found = wb.effective(model, masks, torch.ones(1, 5, 8))
    assert {name[0] for name, mask in found.items() if not bool(mask.any())} == {bridge, *dead}
    assert all(bool(mask.all()) for name, mask in found.items() if name[0] not in {bridge, *dead})


@pytest.mark.parametrize(("gate", "alive"), [(torch.sigmoid, True), (torch.tanh, False)])
def test_a_gate_without_weights_is_open_or_shut(gate: Callable[[Tensor], Tensor], alive: bool) -> None:
    """sigmoid(0) = 1/2 lets the rest through, tanh(0) = 0 does not."""
    model = Net(lambda s, x: s.b(gate(s.g(x)) * s.a(x)), a=L(6, 8), g=L(6, 8, bias=False), b=L(8, 3))
    masks = wb.dense(model) | {"g.weight": torch.zeros(8, 6, dtype=torch.bool)}
    found = wb.effective(model, masks, ROW)
    assert [bool(found[name].all()) for name in ("a.weight", "b.weight")] == [alive, alive]


@pytest.mark.parametrize("seed", range(3))
def test_paths_through_many_layers_are_not_lost(seed: int) -> None:
    """300 layers of density 0.15: shares of paths are far below the smallest float64."""
    width, depth, draw = 20, 300, np.random.default_rng(seed)
    model = nn.Sequential(*[part for _ in range(depth) for part in (L(width, width), nn.Sigmoid())])
    arrays = [draw.random((width, width)) < 0.15 for _ in range(depth)]
    forward, backward = [np.ones(width, bool)], [np.ones(width, bool)]
    for mask in arrays:
        forward.append(mask @ forward[-1])
    for mask in reversed(arrays):
        backward.append(mask.T @ backward[-1])
    ends = backward[::-1]
    masks = {n: torch.from_numpy(m) for n, m in zip(wb.prunable(model), arrays, strict=True)}
    found = wb.effective(model, masks, torch.zeros(1, width))
    assert any(bool(mask.any()) for mask in found.values())
    for k, mask in enumerate(found.values()):
        assert np.array_equal(mask.numpy(), arrays[k] & ends[k + 1][:, None] & forward[k][None])


def test_threads_take_turns() -> None:
    """Forward mode has one level for all threads."""
    models = [between(torch.relu)() for _ in range(16)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda model: wb.effective_sparsity(model, wb.dense(model), ROW), models))
    assert found == [0.0] * 16
