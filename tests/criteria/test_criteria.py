"""The criteria against closed forms, plain autograd, numpy and enumeration; and a criterion of one's own."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb
from workbench.criteria.registry import own_criteria, unregister_criterion
from workbench.criteria.second_derivatives import CheapSecondDerivatives

BOTH = ("batch", "running")


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs[:, 0] - targets).square().mean()


@pytest.fixture
def linear() -> tuple[nn.Module, wb.Batch]:
    """y = w x with two weights and two samples: g = 2/n X'(Xw - t), H = 2/n X'X."""
    model = nn.Linear(2, 1, bias=False).double()
    model.weight.data = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    x = torch.tensor([[1.0, 2.0], [3.0, 1.0]], dtype=torch.float64)
    return model, wb.Batch(x, torch.tensor([1.0, 0.0], dtype=torch.float64))


def test_snip_in_closed_form(linear: tuple[nn.Module, wb.Batch]) -> None:
    # Xw - t = (-4, 1); g = X'(-4, 1) = (-1, -7); |w g| = (1, 14)
    assert wb.score(*linear, "snip", loss_fn=squared)["weight"].tolist() == [[1.0, 14.0]]


def test_grasp_in_closed_form(linear: tuple[nn.Module, wb.Batch]) -> None:
    # H = X'X = [[10, 5], [5, 5]]; H g = (-45, -40); w (H g) = (-45, 80)
    assert wb.score(*linear, "grasp", loss_fn=squared, temperature=1.0)["weight"].tolist() == [[-45.0, 80.0]]


def test_grasp_of_a_linear_loss_is_zero() -> None:
    scores = wb.score(
        nn.Linear(2, 1, bias=False),
        wb.Batch(torch.ones(3, 2), torch.zeros(3)),
        "grasp",
        loss_fn=lambda out, _: out.sum(),
    )
    assert scores["weight"].tolist() == [[0.0, 0.0]]


def test_magnitude_and_random_by_hand() -> None:
    model = nn.Linear(2, 2)
    model.weight.data = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    assert wb.score(model, None, "magnitude")["weight"].tolist() == [[1.0, 2.0], [0.0, 3.0]]
    first = wb.score(model, None, "random", seed=1)["weight"]
    assert torch.equal(first, wb.score(model, None, "random", seed=1)["weight"])
    assert not torch.equal(first, wb.score(model, None, "random", seed=2)["weight"])
    assert bool(((first >= 0) & (first < 1)).all())


@pytest.mark.parametrize("seed", range(5))
def test_random_scores_know_nothing_of_weights_drawn_under_their_seed(seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Linear(100, 100)
    pair = torch.stack(
        [wb.score(model, None, "random", seed=seed)["weight"].flatten(), model.weight.detach().flatten()]
    )
    assert abs(float(torch.corrcoef(pair)[0, 1])) < 0.05  # five standard deviations


def test_a_lower_grasp_score_hinders_the_gradient_flow(moons: wb.Task) -> None:
    """The sign: shrinking a weight by a little changes the squared gradient norm by -2 w (H g) times that little."""
    model, batch = wb.make("lenet-300-100", moons).double(), moons.batch(64)
    batch = wb.Batch(batch.inputs.double(), batch.targets)

    def flow() -> float:
        model.zero_grad()
        functional.cross_entropy(model(batch.inputs), batch.targets).backward()
        return sum(float(w.grad.square().sum()) for w in wb.prunable(model).values())

    scores = wb.score(model, batch, "grasp", temperature=1.0)["fc2.weight"]
    weight = model.get_parameter("fc2.weight")
    for index in (int(scores.argmin()), int(scores.argmax())):
        before, little = flow(), 1e-6
        with torch.no_grad():
            old = weight.view(-1)[index].item()
            weight.view(-1)[index] *= 1 - little
        change = (flow() - before) / little
        with torch.no_grad():
            weight.view(-1)[index] = old
        assert change == pytest.approx(-2 * float(scores.view(-1)[index]), rel=1e-3)
        assert (change > 0) == (float(scores.view(-1)[index]) < 0)


def small_network() -> tuple[nn.Module, wb.Batch]:
    """Convolution, BatchNorm, dropout, pooling and linear layers in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(2, 3, 3, bias=False),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(12, 4),
        ).double()
        model[1].running_mean.uniform_(-0.5, 0.5)
        model[1].running_var.uniform_(0.5, 2)
        inputs = torch.randn(8, 2, 6, 6, dtype=torch.float64)
    return model, wb.Batch(inputs, torch.arange(8) % 4)


def as_function(
    model: nn.Module, batch: wb.Batch, bn: str, temperature: float
) -> Callable[[dict[str, Tensor]], Tensor]:
    """Loss as a function of the prunable weights, written with torch.func on a copy of the model."""
    model = copy.deepcopy(model).eval()
    if bn == "batch":  # a norm without running statistics takes those of the batch
        model[1] = nn.BatchNorm2d(3, track_running_stats=False).double()
    names = list(wb.prunable(model))
    rest = {n: p.detach() for n, p in [*model.named_parameters(), *model.named_buffers()] if n not in names}
    return lambda weights: functional.cross_entropy(
        torch.func.functional_call(model, {**rest, **weights}, (batch.inputs,)) / temperature, batch.targets
    )


@pytest.mark.parametrize("bn", ["batch", "running"])
def test_snip_equals_plain_autograd(bn: str) -> None:
    model, batch = small_network()
    loss = as_function(model, batch, bn, 1.0)
    weights = {n: w.detach() for n, w in wb.prunable(model).items()}
    expected = torch.func.grad(loss)(weights)
    for name, score in wb.score(model, batch, "snip", bn=bn).items():
        torch.testing.assert_close(score, (weights[name] * expected[name]).abs(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("bn", ["batch", "running"])
@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_grasp_equals_the_full_hessian(bn: str, temperature: float) -> None:
    model, batch = small_network()
    loss = as_function(model, batch, bn, temperature)
    weights = {n: w.detach() for n, w in wb.prunable(model).items()}
    gradient, hessian = torch.func.grad(loss)(weights), torch.func.jacrev(torch.func.grad(loss))(weights)
    for name, score in wb.score(model, batch, "grasp", bn=bn, temperature=temperature).items():
        product = sum(
            torch.tensordot(hessian[name][other], gradient[other], dims=gradient[other].ndim) for other in weights
        )
        expected = weights[name] * product
        torch.testing.assert_close(score, expected, rtol=1e-8, atol=1e-12 * float(expected.abs().max()))


def test_grasp_sums_to_the_gradient_before_a_norm(digits: wb.Task) -> None:
    """A layer before BatchNorm does not feel its own scale: w . g = 0, whatever the weights.

    Differentiated in the direction g of all layers: g . g + w . H g = 0 in that layer.
    """
    model = wb.make("vgg", digits).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.track_running_stats = 1e-13, False
            module.running_mean = module.running_var = None
    batch = digits.batch(per_class=5)
    batch = wb.Batch(batch.inputs.double(), batch.targets)
    functional.cross_entropy(model(batch.inputs), batch.targets).backward()
    scores = wb.score(model, batch, "grasp", temperature=1.0)
    for name in list(scores)[:-1]:  # no norm follows the last layer
        gradient = model.get_parameter(name).grad
        torch.testing.assert_close(scores[name].sum(), -gradient.square().sum(), rtol=1e-8, atol=0)


def test_grasp_on_a_residual_network_equals_double_backward(tasks: dict[str, wb.Task]) -> None:
    """As in the authors' code: keep the graph of the first backward pass and differentiate g . stop(g)."""
    task = tasks["digits"]
    model, batch = wb.make("resnet-20", task).double(), task.batch(16)
    batch = wb.Batch(batch.inputs.double(), batch.targets)
    found = wb.score(model, batch, "grasp")
    model.train()
    weights = list(wb.prunable(model).values())
    loss = functional.cross_entropy(model(batch.inputs) / 200, batch.targets)
    first = torch.autograd.grad(loss, weights, create_graph=True)
    second = torch.autograd.grad(sum((g * g.detach()).sum() for g in first), weights)
    for (name, score), w, product in zip(found.items(), weights, second, strict=True):
        expected = w.detach() * product
        torch.testing.assert_close(score, expected, rtol=1e-7, atol=1e-10 * float(expected.abs().max()), msg=name)


CALLS: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "conv1d": (lambda x, w, b: functional.conv1d(x, w, b, stride=2, padding=1), [(3, 2, 7), (4, 2, 3), (4,)]),
    "conv2d": (lambda x, w: functional.conv2d(x, w, dilation=2, groups=2), [(2, 4, 6, 6), (2, 2, 3, 3)]),
    "conv2d by name": (lambda x, w: functional.conv2d(x, w, padding="same"), [(2, 2, 4, 4), (3, 2, 3, 3)]),
    "one image": (lambda x, w: functional.conv2d(x, w), [(2, 4, 4), (3, 2, 3, 3)]),
    "conv3d": (lambda x, w, b: functional.conv3d(x, w, b, (1, 2, 1)), [(2, 1, 3, 4, 3), (2, 1, 2, 2, 2), (2,)]),
    "transposed": (lambda x, w: functional.conv_transpose2d(x, w, stride=2), [(2, 2, 3, 3), (2, 3, 2, 2)]),
    "norm": (lambda x, w, b: functional.batch_norm(x, None, None, w, b, training=True), [(5, 3), (3,), (3,)]),
    "norm of maps": (
        lambda x, w, b: functional.batch_norm(x, None, None, w, b, training=True),
        [(3, 2, 4, 4), (2,), (2,)],
    ),
    "norm without shift": (
        lambda x, w: functional.batch_norm(x, None, None, w, training=True),
        [(3, 2, 4), (2,)],
    ),
    "plain norm": (lambda x: functional.batch_norm(x, None, None, training=True), [(3, 2, 4)]),
    "running norm": (
        lambda x, w: functional.batch_norm(x, torch.zeros(2).double(), torch.ones(2).double(), w),
        [(3, 2, 4), (2,)],
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_cheap_second_derivatives_are_the_true_ones(name: str) -> None:
    """First and second derivatives by every argument, against PyTorch's own."""
    call, shapes = CALLS[name]
    draw = torch.Generator().manual_seed(0)
    arguments = [torch.randn(s, generator=draw, dtype=torch.float64, requires_grad=True) for s in shapes]

    def derivatives() -> list[Tensor]:
        first = torch.autograd.grad(call(*arguments).pow(3).sum(), arguments, create_graph=True)
        flow = sum((g * torch.arange(g.numel()).reshape(g.shape).sin()).sum() for g in first)
        second = torch.autograd.grad(flow, arguments, allow_unused=True, materialize_grads=True)
        return [*(g.detach() for g in first), *second]

    expected = derivatives()
    with CheapSecondDerivatives():
        found = derivatives()
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("criterion", ["snip", "grasp"])
def test_masked_scores_are_those_of_the_masked_network(criterion: str) -> None:
    model, batch = small_network()
    masks = wb.keep_top(wb.score(model, None, "random"), 0.5)
    found = wb.score(model, batch, criterion, masks=masks)
    pruned = copy.deepcopy(model)
    wb.apply_masks_(pruned, masks)
    expected = wb.score(pruned, batch, criterion)
    for name, mask in masks.items():
        if criterion == "snip":
            torch.testing.assert_close(found[name][mask], expected[name][mask], rtol=1e-10, atol=0)
            assert bool((found[name][~mask] > 0).any()), "removed weights keep a score"
    if criterion == "grasp":  # gradients by removed weights do not count as flow
        loss = as_function(model, batch, "batch", 200.0)
        weights = {n: w.detach() * masks[n] for n, w in wb.prunable(model).items()}

        def flow(at: dict[str, Tensor]) -> Tensor:
            return sum((g * g0 * masks[n]).sum() for (n, g), g0 in zip(grad(at).items(), still, strict=True))

        grad = torch.func.grad(loss)
        still = [g.detach() for g in grad(weights).values()]
        for name, product in torch.func.grad(flow)(weights).items():
            expected_score = model.get_parameter(name).detach() * product
            torch.testing.assert_close(found[name], expected_score, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("criterion", ["prospr", "snip", "grasp", "force"])
def test_a_removed_input_is_as_if_it_were_not_there(criterion: str) -> None:
    """Also in the training steps that ProsPr looks through."""
    inputs = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    wide, narrow = nn.Linear(2, 3).double(), nn.Linear(1, 3).double()
    narrow.load_state_dict({"weight": wide.weight.detach()[:, :1], "bias": wide.bias.detach()})
    masks = {"weight": torch.tensor([[True, False]]).expand(3, 2)}
    whole = wb.score(wide, wb.Batch(inputs, labels), criterion, masks=masks)["weight"][:, :1]
    torch.testing.assert_close(whole, wb.score(narrow, wb.Batch(inputs[:, :1], labels), criterion)["weight"])


def test_layers_outside_the_masks_are_whole() -> None:
    """`exclude` changes which layers are scored and not how: round two sees the flow that round one saw."""
    model, batch = small_network()
    for criterion in wb.criteria():
        everything = wb.score(model, batch, criterion)
        rest = wb.score(model, batch, criterion, exclude=["0"], masks={"6.weight": torch.ones(4, 12, dtype=torch.bool)})
        assert list(rest) == ["6.weight"]
        torch.testing.assert_close(rest["6.weight"], everything["6.weight"])


def layers_of(model: nn.Module) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (m.weight.detach().double().numpy(), m.bias.detach().double().numpy()) for m in model if hasattr(m, "weight")
    ]


def test_synflow_equals_numpy(moons: wb.Task) -> None:
    """R of a multilayer perceptron with biases: forward sums of absolute weights times backward sums."""
    model = wb.make("lenet-300-100", moons)
    with torch.no_grad():
        for module in model:
            if isinstance(module, nn.Linear):
                module.bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    layers = [(np.abs(w), np.abs(b)) for w, b in layers_of(model)]
    forward = [np.ones(2)]
    for w, b in layers:
        forward.append(w @ forward[-1] + b)
    backward = np.ones(2)
    expected = []
    for (w, _), x in zip(reversed(layers), reversed(forward[:-1]), strict=True):
        expected.append(w * np.outer(backward, x))
        backward = backward @ w
    for score, numbers in zip(wb.score(model, None, "synflow").values(), reversed(expected), strict=True):
        np.testing.assert_allclose(score.numpy(), numbers, rtol=1e-12)


def test_synflow_by_enumerating_paths() -> None:
    """Without biases a score is the sum, over the paths through a weight, of the products of absolute weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = nn.Sequential(*[nn.Linear(a, b, bias=False) for a, b in ((3, 4), (4, 2), (2, 3))])
    weights = [m.weight.detach().abs().double() for m in model]
    expected = [torch.zeros_like(w) for w in weights]
    for path in itertools.product(range(3), range(4), range(2), range(3)):
        edges = [(path[k + 1], path[k]) for k in range(3)]
        product = float(np.prod([float(w[e]) for w, e in zip(weights, edges, strict=True)]))
        for score, edge in zip(expected, edges, strict=True):
            score[edge] += product
    batch = wb.Batch(torch.zeros(1, 3), torch.zeros(1, dtype=torch.long))
    for score, numbers in zip(wb.score(model, batch, "synflow").values(), expected, strict=True):
        torch.testing.assert_close(score, numbers, rtol=1e-12, atol=0)


def layer_sums(model: nn.Module, masks: wb.Masks | None = None) -> Tensor:
    return torch.stack([s.sum() for s in wb.score(model, None, "synflow", masks=masks).values()])


def test_synflow_layer_sums_are_equal_without_biases(digits: wb.Task, moons: wb.Task) -> None:
    """The conservation law, on `vgg` and `lenet-300-100` as made: biases and running means are zero there."""
    for model in (wb.make("vgg", digits), wb.make("lenet-300-100", moons)):
        sums = layer_sums(model)
        torch.testing.assert_close(sums, sums[:1].expand_as(sums), rtol=1e-11, atol=0)
        masks = wb.find_masks(model, None, "synflow", 0.9, rounds=3)
        sums = torch.stack([(s * masks[n]).sum() for n, s in wb.score(model, None, "synflow", masks=masks).items()])
        torch.testing.assert_close(sums, sums[:1].expand_as(sums), rtol=1e-11, atol=0)


def test_synflow_layer_sums_with_biases_grow_to_the_output(moons: wb.Task) -> None:
    """What enters by a bias flows through the later layers only."""
    model = wb.make("lenet-300-100", moons)
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.bias, -0.1)
    sums = layer_sums(model)
    assert bool((sums.diff() > 0.001 * sums[0]).all())


def test_synflow_layer_sums_with_trained_statistics_differ(digits: wb.Task) -> None:
    model = wb.make("vgg", digits)
    wb.train(model, digits, steps=5)
    sums = layer_sums(model)
    assert bool((sums > 0).all())
    assert float(sums.max() / sums.min()) > 1.001


def test_synflow_sees_no_batch_and_no_data(digits: wb.Task) -> None:
    model = wb.make("vgg", digits)
    one, other = wb.score(model, None, "synflow"), wb.score(model, digits.batch(7), "synflow")
    assert all(torch.equal(one[n], other[n]) and one[n].dtype == torch.float64 for n in one)


def test_synflow_does_not_overflow_where_float32_would(digits: wb.Task) -> None:
    model = wb.make("resnet-56", digits)
    largest = max(float(s.max()) for s in wb.score(model, None, "synflow").values())
    assert 3.4e38 < largest < float("inf")


def test_bn_chooses_the_statistics(digits: wb.Task) -> None:
    model, batch = wb.make("vgg", digits), digits.batch(32)
    for module in model:
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.running_var, 9.0)
    for criterion in ("snip", "grasp"):
        seen = [wb.score(model, batch, criterion, bn=bn)["conv1.weight"] for bn in ("batch", "running")]
        assert not torch.allclose(*seen)
    assert bool((model[1].running_var == 9).all())


def test_the_statistics_are_those_of_the_authors_code(digits: wb.Task) -> None:
    """SNIP's prune step feeds is_train False, SynFlow's loop calls eval(); GraSP, FORCE and ProsPr take the batch's."""
    model, batch = wb.make("vgg", digits, width=0.25), digits.batch(16)
    for criterion, own in {"snip": "running", "grasp": "batch", "force": "batch", "prospr": "batch"}.items():
        default = wb.score(model, batch, criterion)["conv2.weight"]
        same = {bn: torch.equal(default, wb.score(model, batch, criterion, bn=bn)["conv2.weight"]) for bn in BOTH}
        assert same[own]
        assert same[next(bn for bn in BOTH if bn != own)] == (criterion == "prospr")
        assert wb.criterion_table().loc[criterion].bn == own


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("criterion", ["snip", "grasp", "taylor", "fisher", "synflow"])
def test_half_precision_is_scored_in_float32(criterion: str, dtype: torch.dtype, digits: wb.Task) -> None:
    model, batch = wb.make("vgg", digits, width=0.25).to(dtype), digits.batch(16)
    batch = wb.Batch(batch.inputs.to(dtype), batch.targets)
    found = wb.score(model, batch, criterion)
    assert all(w.dtype == dtype for w in model.parameters())
    wide = wb.score(model.float(), wb.Batch(batch.inputs.float(), batch.targets), criterion)
    assert all(torch.equal(found[name], score) for name, score in wide.items())
    zero = sum(int((score == 0).sum()) for score in found.values())
    assert zero < 0.5 * sum(score.numel() for score in found.values())


@pytest.mark.parametrize("criterion", ["taylor", "fisher", "obd"])
def test_squares_of_small_gradients_do_not_vanish(criterion: str) -> None:
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False))
    small = 1e-26 if criterion != "obd" else 1e-22  # OBD squares the weights, not the gradients
    model[0].weight.data = torch.full((3, 4), 1e-2)
    model[1].weight.data = torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]) * small
    batch = wb.Batch(torch.ones(2, 4), torch.tensor([0, 0]))
    scores = wb.score(model, batch, criterion)["0.weight"]
    assert bool((scores > 0).all())


@pytest.mark.parametrize("head", [nn.Softmax(1), nn.LayerNorm(3, elementwise_affine=False), nn.Hardtanh(5, 6)])
def test_synflow_says_where_its_scores_would_be_rounding(head: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), head)
    with pytest.raises(ValueError, match=r"'synflow' scores by .* Let the model return its logits"):
        wb.score(model, wb.Batch(torch.ones(2, 4), torch.tensor([0, 1])), "synflow")


def test_a_mask_that_the_index_decides_is_told() -> None:
    """A dead layer gives SNIP nothing: the first weights would be kept, and look like a choice."""
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    nn.init.constant_(model[0].bias, -1e3)
    batch = wb.Batch(torch.ones(8, 16), torch.arange(8) % 4)
    with pytest.warns(UserWarning, match=r"do not decide about 128 of the 128 kept \(100%\): .* the index decided"):
        wb.find_masks(model, batch, "snip", 0.8)
    with pytest.warns(UserWarning, match=r"do not decide about 500 of the 600 kept \(83%\)"):
        wb.keep_top({"a": torch.cat([torch.arange(1.0, 101), torch.zeros(900)])}, 0.4)
    wb.keep_top({"a": torch.zeros(150)}, 0.4)  # 90 kept weights are a small matter
    wb.find_masks(model, batch, "magnitude", 0.8)


def test_frozen_and_tied_weights_are_scored() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)).requires_grad_(False)
    model[2].weight = model[0].weight
    batch = wb.Batch(torch.eye(3), torch.arange(3))
    for criterion in wb.criteria():
        masks = wb.find_masks(model, batch, criterion, 0.5, rounds=2)
        assert list(masks) == ["0.weight"]
        assert int(masks["0.weight"].sum()) == 4
    twin = copy.deepcopy(model)
    assert twin[2].weight is twin[0].weight
    free = twin[0].weight.requires_grad_()
    functional.cross_entropy(twin(batch.inputs), batch.targets).backward()
    torch.testing.assert_close(wb.score(model, batch, "snip")["0.weight"], (free * free.grad).abs().detach())


ASKED: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ("snip", "force", "taylor", "prospr", "fisher")),
    ("grasp", {"temperature": 1.0}),
    ("obd", {"curvature": "exact"}),
    ("obs", {"curvature": "exact"}),
]


def test_a_loss_of_ones_own_sees_the_model_s_outputs_as_they_are() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, str]:
            return self.fc(x), "extra"

    model, batch = Two(), wb.Batch(torch.eye(3)[:, :2], torch.ones(3, 2))
    for criterion, knobs in ASKED:
        found = wb.score(model, batch, criterion, loss_fn=lambda out, t: functional.mse_loss(out[0], t), **knobs)
        plain = wb.score(nn.Sequential(model.fc), batch, criterion, loss_fn=functional.mse_loss, **knobs)
        assert torch.equal(found["fc.weight"], plain["0.weight"]), criterion
    with pytest.raises(ValueError, match=r"outputs of one tensor; the model returns tuple. Wrap the model, or pass"):
        wb.score(model, batch, "obd", loss_fn=lambda out, t: functional.mse_loss(out[0], t))
    with pytest.raises(TypeError, match=r"outputs of one tensor; the model returns tuple. Pass temperature=1"):
        wb.score(model, batch, "grasp", loss_fn=lambda out, t: functional.mse_loss(out[0], t), temperature=2.0)


# a criterion of one's own


@pytest.fixture
def clean() -> Iterator[None]:
    before = set(own_criteria())
    yield
    for name in {name for name, _ in set(own_criteria()) - before}:
        unregister_criterion(name)


def constant(value: float) -> Callable[..., wb.Scores]:
    def mine(model: nn.Module, batch: Any, *, masks: Any = None, loss_fn: Any, generator: Any) -> wb.Scores:
        return {n: torch.full_like(w, value).detach() for n, w in wb.prunable(model).items()}

    return mine


@pytest.mark.usefixtures("clean")
def test_running_the_cell_again_replaces() -> None:
    model = nn.Linear(2, 1)
    wb.register_criterion("mine", needs="nothing")(constant(1.0))
    assert "mine" in wb.criteria()
    assert wb.score(model, None, "mine")["weight"].tolist() == [[1.0, 1.0]]
    wb.register_criterion("mine", needs="nothing")(constant(2.0))
    assert wb.criteria().count("mine") == 1
    assert wb.score(model, None, "mine")["weight"].tolist() == [[2.0, 2.0]]


@pytest.mark.usefixtures("clean")
def test_the_workbench_s_own_are_protected() -> None:
    with pytest.raises(ValueError, match=r"'snip' is the workbench's own criterion .* Choose another name"):
        wb.register_criterion("snip")(constant(1.0))
    with pytest.raises(ValueError, match=r"criterion is one of"):
        unregister_criterion("snip")
    with pytest.raises(TypeError, match=r"a criterion is a function; got int"):
        wb.register_criterion("mine")(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"the criterion's name is a non-empty string; got ''"):
        wb.register_criterion("")
    with pytest.raises(TypeError, match=r"the criterion's name is a non-empty string; got <function"):
        wb.register_criterion(constant(1.0))  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"one of inputs, nothing, shape, targets; got 'target'. Did you mean 'targets'"
    ):
        wb.register_criterion("mine", needs="target")(constant(1.0))


@pytest.mark.usefixtures("clean")
def test_a_function_is_as_good_as_a_name(digits: wb.Task) -> None:
    def squares(model: nn.Module, batch: Any, *, masks: Any, loss_fn: Any, generator: Any, power: int = 2) -> wb.Scores:
        return {n: w.detach().abs() ** power for n, w in wb.prunable(model).items()}

    model = wb.make("lenet-300-100", digits)
    expected = wb.find_masks(model, None, "magnitude", 0.9)
    for found in (
        wb.find_masks(model, None, squares, 0.9),
        wb.find_masks(model, None, squares, 0.9, rounds=4, power=3),
        wb.find_masks(model, None, wb.register_criterion("squares", needs="nothing")(squares), 0.9),
    ):
        assert all(torch.equal(found[n], expected[n]) for n in expected)


def test_the_generator_of_a_criterion_follows_the_seed(digits: wb.Task) -> None:
    def noisy(model: nn.Module, batch: Any, *, masks: Any, loss_fn: Any, generator: torch.Generator) -> wb.Scores:
        return {n: torch.rand(w.shape, generator=generator) for n, w in wb.prunable(model).items()}

    model = wb.make("lenet-300-100", digits)
    found = wb.score(model, None, noisy, seed=4)
    assert torch.equal(found["fc1.weight"], wb.score(model, None, "random", seed=4)["fc1.weight"])


def give(value: Any) -> Callable[..., Any]:
    return lambda model, batch, *, masks, loss_fn, generator: value


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (3, TypeError, "a criterion returns a dict of parameter name -> tensor; '<lambda>' gave int"),
        ({}, ValueError, r"scores every prunable weight, 'weight' with shape \(1, 2\); '<lambda>' gave nothing"),
        ({"weight": torch.ones(2)}, ValueError, r"'weight' with shape \(1, 2\); '<lambda>' gave \(2,\)"),
        ({"weight": torch.ones(1, 2), "w": torch.ones(1)}, ValueError, "also gave 'w'. Prunable here: weight"),
        ({"weight": torch.ones(1, 2, dtype=torch.int64)}, TypeError, "gave torch.int64 for 'weight'. Use .float()"),
        ({"weight": torch.tensor([[1.0, float("nan")]])}, ValueError, "gave 1 NaN or infinite ones in 'weight'"),
        ({"weight": torch.tensor([[1.0, float("-inf")]])}, ValueError, "gave 1 NaN or infinite ones in 'weight'"),
    ],
)
def test_what_a_criterion_returns_is_checked(value: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        wb.score(nn.Linear(2, 1), None, give(value))


def test_unknown_knobs_are_named_before_anything_runs(digits: wb.Task) -> None:
    model, batch = wb.make("lenet-300-100", digits), digits.batch(8)
    with pytest.raises(
        TypeError, match=r"unexpected keyword argument 'temprature'. Its knobs: temperature; all criteria"
    ):
        wb.score(model, batch, "grasp", temprature=3)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'temperature'. Its knobs: none"):
        wb.find_masks(model, batch, "snip", 0.5, temperature=3)
    with pytest.raises(TypeError, match=r"criterion 'snip' .* multiple values|unexpected keyword argument 'generator'"):
        wb.score(model, batch, "snip", generator=torch.Generator())


def test_a_type_error_inside_a_criterion_stays_itself() -> None:
    def broken(model: nn.Module, batch: Any, *, masks: Any, loss_fn: Any, generator: Any) -> wb.Scores:
        raise TypeError("inner")

    with pytest.raises(TypeError, match=r"^inner$"):
        wb.score(nn.Linear(2, 1), None, broken)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_scores_are_those_of_the_cpu(digits: wb.Task) -> None:
    model, batch = wb.make("vgg", digits).double(), digits.batch(32)
    batch = wb.Batch(batch.inputs.double(), batch.targets)
    there = wb.Batch(batch.inputs.cuda(), batch.targets.cuda())
    for criterion in set(wb.criteria()) - {"obs"}:  # which takes small models only
        here = wb.score(model, batch, criterion)
        found = wb.score(copy.deepcopy(model).cuda(), there, criterion)
        for name in here:
            torch.testing.assert_close(found[name].cpu(), here[name], rtol=1e-7, atol=1e-10)


def test_grasp_knows_the_cross_entropy_as_a_module(digits: wb.Task) -> None:
    model, batch = wb.make("vgg", digits), digits.batch(16)
    one, two = (wb.score(model, batch, "grasp", loss_fn=fn) for fn in (None, nn.CrossEntropyLoss()))
    assert all(torch.equal(one[name], two[name]) for name in one)
