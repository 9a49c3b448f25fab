"""The laws of the house over the whole registry, and each law's checker on a planted violation."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb
from workbench.criteria.registry import find_criterion
from workbench.criteria.scorer import Scorer
from workbench.models.running import logits

BUILTIN = tuple(wb.criteria())
Network = Callable[[str], tuple[nn.Module, wb.Task]]
violation = pytest.raises(AssertionError)


# law 1: scoring leaves everything bit-equal


def bits(model: nn.Module) -> dict[str, Any]:
    """Everything that scoring must leave alone, as bytes and plain values."""
    found: dict[str, Any] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        found[name] = id(tensor), tensor.dtype, tensor.requires_grad, tensor.detach().numpy().tobytes()
        grad = tensor.grad
        found[f"{name}.grad"] = None if grad is None else (id(grad), grad.numpy().tobytes())
    found["train flags"] = [m.training for m in model.modules()]
    found["hooks"] = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    found["torch"] = torch.get_rng_state().numpy().tobytes()
    found["numpy"] = repr(np.random.get_state())
    found["python"] = random.getstate()
    found["threads"] = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    return found


def check_pure(model: nn.Module, run: Callable[[], object]) -> None:
    before = bits(model)
    run()
    after = bits(model)
    assert list(before) == list(after), "names have changed"
    for what, value in before.items():
        assert after[what] == value, f"{what} has changed"


def awkward(model: nn.Module, batch: wb.Batch) -> nn.Module:
    """The model in the middle of things: gradients there, some layers in evaluation mode, one frozen."""
    model.train()
    logits(model(batch.inputs)).square().mean().backward()
    layers = [m for m in model.modules() if not list(m.children())]
    layers[0].eval()
    list(model.parameters())[-1].requires_grad_(False)
    next(iter(model.parameters())).grad = None
    return model


@pytest.mark.parametrize("name", wb.networks())
def test_scoring_is_pure(name: str, network: Network) -> None:
    model, task = network(name)
    batch = task.batch(2)
    if name == "llama":
        batch = wb.Batch(batch.inputs[:, :16], batch.targets[:, :16])
    awkward(model, batch)
    small = sum(w.numel() for w in wb.prunable(model).values()) < 1_000_000
    loss: Any = {"loss_fn": task.loss}
    names = ("grasp", "magnitude", "snip") if name == "llama" else BUILTIN  # 256 outputs for each of 16 places
    for criterion, bn in itertools.product(names, ("batch", "running")):
        if criterion in wb.criteria(model=model) and (small or criterion != "obd"):  # one of 4,000 weights comes below
            check_pure(model, lambda c=criterion, b=bn: wb.score(model, batch, c, bn=b, **loss))  # type: ignore[misc]
    for criterion in ("snip",) if name == "llama" else ("snip", "synflow"):
        check_pure(model, lambda c=criterion: wb.find_masks(model, batch, c, 0.9, rounds=2, **loss))  # type: ignore[misc]


@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_scoring_a_tiny_network_is_pure(granularity: str, tiny: nn.Module, digits: wb.Task) -> None:
    batch = digits.batch(8)
    awkward(tiny, batch)
    for criterion, bn in itertools.product(wb.criteria(granularity), ("batch", "running")):
        check_pure(
            tiny,
            lambda c=criterion, b=bn: wb.score(  # type: ignore[misc]
                tiny, batch, c, bn=b, granularity=granularity, exclude=["9"] if granularity == "channel" else ()
            ),
        )


def test_scoring_that_fails_is_pure(digits: wb.Task) -> None:
    model, batch = wb.make("vgg", digits), digits.batch(8)
    awkward(model, batch)

    def broken(model: nn.Module, batch: wb.Batch, *, masks: Any, loss_fn: Any, generator: Any) -> wb.Scores:
        ruin(model)
        raise KeyboardInterrupt

    def run() -> None:
        with pytest.raises(KeyboardInterrupt):
            wb.score(model, batch, broken)
        with pytest.raises(ValueError, match="labels are class numbers"):
            wb.score(model, wb.Batch(batch.inputs, batch.targets + 100), "snip")

    check_pure(model, run)


def ruin(model: nn.Module) -> None:
    """What careless criteria do."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    model.train()
    model(torch.zeros(4, *model.input_shape)).sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
            parameter.requires_grad_(not parameter.requires_grad)
    for module in model.modules():
        for name in list(module._buffers):
            module._buffers[name] = torch.zeros(3)
    model.double()
    model.new_buffer = nn.Parameter(torch.zeros(1))  # type: ignore[assignment]


def test_whatever_a_criterion_does_is_undone(digits: wb.Task) -> None:
    model, batch = wb.make("vgg", digits), digits.batch(8)
    awkward(model, batch)

    def careless(model: nn.Module, batch: wb.Batch, *, masks: Any, loss_fn: Any, generator: Any) -> wb.Scores:
        scores = {n: w.detach().clone() for n, w in wb.prunable(model).items()}
        ruin(model)
        return scores

    check_pure(model, lambda: wb.score(model, batch, careless))
    before = wb.score(model, batch, "snip")
    assert all(torch.equal(v, before[n]) for n, v in wb.score(model, batch, "snip").items())


@pytest.mark.parametrize(
    "harm",
    [
        lambda m: m[1].running_mean.add_(1),
        lambda m: m[1].num_batches_tracked.add_(1),
        lambda m: m[0].weight.data[0, 0, 0].mul_(-1),
        lambda m: m[0].weight.data.mul_(1 + 1e-7),
        lambda m: m.zero_grad(),
        lambda m: m[0].weight.requires_grad_(False),
        lambda m: m[3].eval(),
        lambda m: m.double(),
        lambda m: m[0].register_forward_hook(lambda *_: None),
        lambda m: setattr(m[0], "weight", nn.Parameter(m[0].weight.detach().clone())),
        lambda m: torch.rand(1),
        lambda m: np.random.rand(),
        lambda m: random.random(),
        lambda m: Scorer(m, wb.Batch(torch.rand(4, 1, 8, 8), torch.arange(4)), "snip")(None),  # not under untouched
    ],
)
def test_a_planted_impurity_is_seen(harm: Callable[[nn.Module], object], digits: wb.Task) -> None:
    model = wb.make("vgg", digits)
    model(digits.batch(4).inputs).sum().backward()
    with violation, torch.random.fork_rng(devices=[]):
        check_pure(model, lambda: harm(model))


# law 2: exact counts, by rank, ties by index


def check_exact(keep: Callable[[wb.Scores, float], wb.Masks], scores: wb.Scores, sparsity: float) -> None:
    masks = keep(scores, sparsity)
    assert list(masks) == list(scores)
    n = sum(s.numel() for s in scores.values())
    kept = torch.cat([m.reshape(-1) for m in masks.values()])
    assert n - int(kept.sum()) == math.floor(n * sparsity + 0.5), "the count is not exact"
    values = torch.cat([s.reshape(-1) for s in scores.values()]).tolist()
    order = sorted(range(n), key=lambda i: -values[i])
    assert sorted(order[: int(kept.sum())]) == kept.nonzero().squeeze(1).tolist(), "not by rank, or ties not by index"


def cases() -> Iterator[tuple[wb.Scores, float]]:
    draw = torch.Generator().manual_seed(0)
    for n in (1, 2, 3, 5, 16, 63, 100, 4096):
        for sparsity in (0.0, 0.05, 0.5, 1 / 3, 0.995):
            yield {"a": torch.rand(n, generator=draw)}, sparsity
            yield {"a": torch.ones(n), "b": torch.ones(2, n)}, sparsity
            yield {"a": torch.randint(0, 3, (n,), generator=draw).float(), "b": torch.zeros(3)}, sparsity


@pytest.mark.filterwarnings("ignore:the scores do not decide")
def test_keep_top_is_exact() -> None:
    for scores, sparsity in cases():
        check_exact(wb.keep_top, scores, sparsity)
        check_exact(lambda s, x: wb.rank(s).masks(x), scores, sparsity)


def by_threshold(scores: wb.Scores, sparsity: float, above: Callable[[Tensor, Tensor], Tensor]) -> wb.Masks:
    flat = torch.cat([s.reshape(-1) for s in scores.values()])
    n = len(flat)
    removed = min(max(math.floor(n * sparsity + 0.5), 1), n)
    threshold = flat.sort().values[removed - 1]
    return {name: above(s, threshold) for name, s in scores.items()}


def by_truncation(scores: wb.Scores, sparsity: float) -> wb.Masks:
    n = sum(s.numel() for s in scores.values())
    return wb.keep_top(scores, int(n * sparsity) / n)


def by_last_index(scores: wb.Scores, sparsity: float) -> wb.Masks:
    turned = {name: s.flip(*range(s.ndim)) for name, s in reversed(list(scores.items()))}
    masks = wb.keep_top(turned, sparsity)
    return {name: masks[name].flip(*range(masks[name].ndim)) for name in scores}


@pytest.mark.parametrize(
    "keep",
    [
        lambda s, x: by_threshold(s, x, torch.gt),
        lambda s, x: by_threshold(s, x, torch.ge),
        by_truncation,
        by_last_index,
        lambda s, x: wb.keep_top({n: -v for n, v in s.items()}, x),
        lambda s, x: wb.keep_top(s, x, allocation="layer"),
    ],
)
def test_a_planted_threshold_is_seen(keep: Callable[[wb.Scores, float], wb.Masks]) -> None:
    with violation:
        for scores, sparsity in cases():
            check_exact(keep, scores, sparsity)


# law 3: dead weights are exactly 0 after every step


def check_dead(model: nn.Module, masks: wb.Masks, run: Iterator[object], least: int = 1) -> None:
    names = list(model.state_dict())
    steps = 0
    for _ in run:
        steps += 1
        for name, mask in masks.items():
            weight = model.get_parameter(name).detach()
            assert not bool(weight[~mask].any()), f"removed weights of {name} are not 0 after step {steps}"
            assert bool(weight[mask].any()) or not bool(mask.any())
    assert steps >= least
    assert list(model.state_dict()) == names, "the state_dict is no longer the plain model's"
    assert not any(hasattr(m, "parametrizations") for m in model.modules())


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("name", wb.networks())
def test_dead_weights_stay_dead_in_training(name: str, network: Network) -> None:
    model, task = network(name)
    masks = wb.keep_top(wb.score(model, None, "random"), 0.7)
    for optimizer in ("sgd", "adam", "adamw"):
        check_dead(model, masks, wb.steps(model, task, masks=masks, steps=2, batch_size=4, optimizer=optimizer), 2)


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_dead_weights_stay_dead_under_optimizers_of_ones_own(optimizer: str, digits: wb.Task) -> None:
    model = wb.make("vgg", digits)
    masks = wb.keep_top(wb.score(model, None, "random"), 0.9)
    check_dead(model, masks, wb.steps(model, digits, masks=masks, steps=5, optimizer=OPTIMIZERS[optimizer]), 5)


def by_hand(
    model: nn.Module,
    task: wb.Task,
    masks: wb.Masks,
    optimizer: torch.optim.Optimizer,
    clip: float | None = None,
    leave_out: str = "",
    norms: list[float] | None = None,
) -> Iterator[int]:
    """The loop of a notebook; `leave_out` names the line it forgets."""
    if leave_out != "first":
        wb.apply_masks_(model, masks)
    model.train()
    for step, (inputs, targets) in enumerate(itertools.islice(task.batches("train", 64, seed=0), 6)):
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), targets).backward()
        if leave_out != "gradients":
            wb.mask_grads_(model, masks)
        if clip is not None:
            norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
            if norms is not None:
                norms.append(float(norm))
        optimizer.step()
        if leave_out not in ("weights", "first"):
            wb.apply_masks_(model, masks)
        yield step


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("clip", [None, 0.1])
def test_dead_weights_stay_dead_in_a_loop_of_ones_own(optimizer: str, clip: float | None, digits: wb.Task) -> None:
    model = wb.make("lenet-300-100", digits)
    masks = wb.keep_top(wb.score(model, None, "random"), 0.9)
    check_dead(model, masks, by_hand(model, digits, masks, OPTIMIZERS[optimizer](model.parameters()), clip))


def check_clipping(digits: wb.Task, leave_out: str = "") -> None:
    """Masked before clipping, the norm is that of the living weights; afterwards it would count dead ones."""
    model = wb.make("lenet-300-100", digits)
    masks = wb.keep_top(wb.score(model, None, "random"), 0.9)
    norms: list[float] = []
    for _ in by_hand(model, digits, masks, OPTIMIZERS["sgd"](model.parameters()), 1e9, leave_out, norms):
        living = [p.grad[masks[n]] if n in masks else p.grad for n, p in model.named_parameters()]
        assert norms[-1] == pytest.approx(float(torch.cat([g.reshape(-1) for g in living]).norm()), rel=1e-5)


def test_clipping_counts_living_weights_alone(digits: wb.Task) -> None:
    check_clipping(digits)
    with violation:
        check_clipping(digits, leave_out="gradients")


@pytest.mark.parametrize(
    ("optimizer", "leave_out"), [("sgd", "weights-and-gradients"), ("adam", "first"), ("sgd", "first")]
)
def test_a_planted_living_dead_weight_is_seen(optimizer: str, leave_out: str, digits: wb.Task) -> None:
    model = wb.make("lenet-300-100", digits)
    masks = wb.keep_top(wb.score(model, None, "random"), 0.9)
    none = wb.dense(model) if leave_out == "weights-and-gradients" else masks
    with violation:
        check_dead(
            model, masks, by_hand(model, digits, none, OPTIMIZERS[optimizer](model.parameters()), None, leave_out)
        )


def test_torch_prune_breaks_the_law_of_the_plain_state_dict(digits: wb.Task) -> None:
    from torch.nn.utils import prune

    model = wb.make("lenet-300-100", digits)

    def run() -> Iterator[int]:
        prune.random_unstructured(model[1], "weight", 0.5)
        yield 0

    with violation:
        check_dead(model, {}, run())


def moved_by_old_momentum(digits: wb.Task, reset: bool) -> Tensor:
    """Train dense, prune, train on, let the weights grow back with no gradient: what moves them?"""
    model = wb.make("lenet-300-100", digits)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    list(by_hand(model, digits, wb.dense(model), optimizer))
    masks = wb.keep_top(wb.score(model, None, "random"), 0.9)
    wb.apply_masks_(model, masks)
    if reset:
        wb.reset_state_(optimizer, model, masks)
    optimizer.zero_grad(set_to_none=False)
    optimizer.step()
    return torch.cat([model.get_parameter(n).detach()[~m] for n, m in masks.items()])


def test_moments_of_another_time_move_nothing(digits: wb.Task) -> None:
    assert not bool(moved_by_old_momentum(digits, reset=True).any())
    assert bool(moved_by_old_momentum(digits, reset=False).any())


# law 4: masks of iterative pruning nest


def check_nested(rounds: list[wb.Masks]) -> None:
    assert len(rounds) > 1
    for before, after in itertools.pairwise(rounds):
        assert list(before) == list(after)
        for name, mask in after.items():
            assert not bool((mask & ~before[name]).any()), f"weights of {name} have come back"


@pytest.mark.parametrize("criterion", BUILTIN)
@pytest.mark.parametrize("allocation", ["global", "layer"])
def test_rounds_nest(criterion: str, allocation: str, tiny: nn.Module, digits: wb.Task) -> None:
    run = wb.rounds(tiny, digits.batch(16), criterion, 0.9, rounds=4, allocation=allocation)
    seen = [found.masks for found in run]
    assert len(seen) == 4
    if find_criterion(criterion)[1].returns:
        with violation:
            check_nested(seen)
    else:
        check_nested(seen)


def test_planted_revival_is_seen(digits: wb.Task) -> None:
    """Random scores drawn anew each round, without `within`; and SNIP, whose removed weights keep a score."""
    model, batch = wb.make("vgg", digits), digits.batch(16)
    fresh = [wb.keep_top(wb.score(model, None, "random", seed=k), s) for k, s in enumerate((0.5, 0.9))]
    with violation:
        check_nested(fresh)
    first = wb.find_masks(model, batch, "snip", 0.5)
    with violation:
        check_nested([first, wb.keep_top(wb.score(model, batch, "snip", masks=first), 0.75)])
    check_nested([first, wb.keep_top(wb.score(model, batch, "snip", masks=first), 0.75, within=first)])


# law 5: sums first, one division


def check_sums(evaluate: Callable[..., dict[str, float]], model: nn.Module, task: wb.Task) -> None:
    n = task.size("val")
    found = [evaluate(model, task, batch_size=size) for size in (1, 7, 64, n - 1, n, 10 * n)]
    assert {f["accuracy"] for f in found} == {found[0]["accuracy"]}
    assert all(f["n"] == n for f in found)
    losses = [f["loss"] for f in found]
    assert max(losses) - min(losses) < 1e-4 * max(losses)
    with torch.no_grad():
        inputs, targets = task.take("val")
        assert found[0]["accuracy"] == int((model.eval()(inputs).argmax(1) == targets).sum()) / n


def test_the_batch_size_changes_no_accuracy(digits: wb.Task, trained: dict[str, Tensor]) -> None:
    model = wb.make("lenet-300-100", digits)
    model.load_state_dict(trained)
    check_sums(wb.evaluate, model, digits)
    net = wb.make("vgg", digits)
    wb.train(net, digits, steps=10)
    check_sums(wb.evaluate, net, digits)


def mean_of_means(model: nn.Module, task: wb.Task, batch_size: int) -> dict[str, float]:
    found = []
    with torch.no_grad():
        for inputs, targets in task.batches("val", batch_size):
            outputs = model.eval()(inputs)
            right = float((outputs.argmax(1) == targets).float().mean())
            found.append((right, float(functional.cross_entropy(outputs, targets))))
    accuracy, loss = np.mean(found, axis=0).tolist()
    return {"accuracy": accuracy, "loss": loss, "n": task.size("val")}


def test_a_planted_mean_of_means_is_seen(digits: wb.Task, trained: dict[str, Tensor]) -> None:
    model = wb.make("lenet-300-100", digits)
    model.load_state_dict(trained)
    with violation:
        check_sums(mean_of_means, model, digits)


# law 6: same arguments, same bits


def as_bytes(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().numpy().tobytes()
    if isinstance(value, dict):
        return {k: as_bytes(v) for k, v in value.items() if k != "seconds"}
    return [as_bytes(v) for v in value] if isinstance(value, list | tuple) else value


def check_repeats(run: Callable[[], object]) -> None:
    torch.manual_seed(1)
    first = as_bytes(run())
    torch.manual_seed(2)
    torch.rand(10)
    assert as_bytes(run()) == first


class WithDropout(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.ReLU(), nn.Linear(32, 10))


def trained_bits(model: nn.Module, task: wb.Task, **options: Any) -> tuple[object, object]:
    return wb.train(model, task, **options), wb.snapshot(model)


@pytest.mark.parametrize("name", wb.networks())
def test_training_repeats(name: str, network: Network) -> None:
    def run() -> object:
        model, task = network(name)
        return trained_bits(model, task, steps=2, batch_size=8, seed=3)

    check_repeats(run)


def test_training_with_dropout_and_augmentation_repeats(digits: wb.Task) -> None:
    raw = [digits.splits[s] for s in ("train", "test")]
    task = wb.Task.from_arrays(*raw[0], *raw[1], augment=True, device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        start = wb.snapshot(WithDropout())

    def run() -> object:
        model = WithDropout()
        model.load_state_dict(start)
        return trained_bits(model, task, steps=4)

    check_repeats(run)


def test_training_leaves_the_global_random_state_alone(digits: wb.Task) -> None:
    model = WithDropout()
    before = torch.get_rng_state()
    wb.train(model, digits, steps=3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("criterion", BUILTIN)
def test_masks_repeat(criterion: str, tiny: nn.Module, digits: wb.Task) -> None:
    def run() -> object:
        return wb.find_masks(tiny, digits.batch(32, seed=1), criterion, 0.9, rounds=2)

    check_repeats(run)


def test_a_planted_draw_from_the_global_state_is_seen(digits: wb.Task) -> None:
    def draws(model: nn.Module, batch: Any, *, masks: Any, loss_fn: Any, generator: Any) -> wb.Scores:
        return {n: torch.rand(w.shape) for n, w in wb.prunable(model).items()}

    model = wb.make("vgg", digits)
    with violation:
        check_repeats(lambda: wb.find_masks(model, None, draws, 0.9))
    with violation:
        check_repeats(lambda: nn.Linear(3, 3).state_dict())


# law 7: errors say what, allowed, got, remedy


def check_error(error: BaseException, *words: str) -> None:
    assert type(error) in (ValueError, TypeError, FileNotFoundError), f"{type(error).__name__} is no user's error"
    message = str(error)
    assert "got" in message or "gave" in message or "match none" in message, f"does not say what it got: {message}"
    assert len(message) > 40
    for word in words:
        assert word in message, f"does not say {word!r}: {message}"


def raised(run: Callable[[], object]) -> BaseException:
    try:
        run()
    except Exception as error:
        return error
    raise AssertionError("no error")


def test_the_form_of_errors(digits: wb.Task) -> None:
    scores = {"a": torch.ones(3)}
    check_error(raised(lambda: wb.keep_top(scores, 10)), "[0, 1)", "got 10", "For 10x compression pass sparsity=0.9")
    check_error(raised(lambda: wb.make("vg", digits)), "'vg'", "Did you mean 'vgg'", "resnet-20")


def planted_assert() -> None:
    assert 1 > 2, "sparsity is the fraction removed, in [0, 1); got 10. For 10x compression pass sparsity=0.9"


@pytest.mark.parametrize(
    "run",
    [
        planted_assert,
        lambda: wb.score,  # no error at all
        lambda: {}["a"],
        lambda: float("x"),  # says nothing of what is allowed
        lambda: torch.ones(2) @ torch.ones(3),
    ],
)
def test_a_planted_poor_error_is_seen(run: Callable[[], object]) -> None:
    with violation:
        check_error(raised(run), "[0, 1)", "got 10", "sparsity=0.9")
