"""What every criterion must do, tried on a small network: `check_criterion`."""

import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from workbench.criteria.arguments import called
from workbench.criteria.registry import Criterion
from workbench.criteria.scorer import BATCH_NORMS, Scorer
from workbench.models import prunable
from workbench.models.channels import channels
from workbench.models.untouched import untouched
from workbench.seeds import generator
from workbench.types import Batch, Masks, Scores


def check_criterion(criterion: str | Criterion, *, granularity: str = "weight", **knobs: Any) -> Scores:
    """Try a criterion on a small network with convolutions and BatchNorm; return its scores if it breaks no rule.

    The rules: it takes what it needs of `model, batch, masks, loss_fn, generator`, and its knobs have defaults; it
    gives a finite float score for every prunable weight (or output channel) in its shape, also if half of them are
    masked; weights, gradients, buffers, train flags and the random state are left as they are (`wb.score` puts them
    back, but what was computed on a changed model stays wrong); the same arguments give the same scores again. Unless
    it draws from `generator`: the order of the samples does not matter, and channels have no names: with a layer's
    outputs in another order the scores come in that order. Raises ValueError or TypeError that says which rule is
    broken.
    Misleads as a proof: a criterion that passes is a function of the network, but perhaps not a good criterion.

    >>> def largest(model):
    ...     return {name: w.detach().abs() for name, w in prunable(model).items()}
    >>> sorted(check_criterion(largest))
    ['conv1.weight', 'conv2.weight', 'fc.weight']
    """
    model, draw = _network(), generator(2)
    batch = Batch(torch.randn(12, 2, 5, 5, generator=draw, dtype=torch.float64), torch.arange(12) % 5)

    def run(model: nn.Module, batch: Batch, masks: Masks | None = None) -> tuple[Scores, bool]:
        scorer = Scorer(model, batch, criterion, granularity=granularity, bn="running", **knobs)
        with untouched(model):
            scorer.prepare()
            draws, before = scorer.draw.get_state(), _facts(model)
            scores = scorer(masks)
            _compare(scorer.name, before, _facts(model))
            return scores, not torch.equal(draws, scorer.draw.get_state())

    (scores, random), (again, _) = run(model, batch), run(model, batch)
    name = criterion if isinstance(criterion, str) else called(criterion)
    if not all(torch.equal(score, again[layer]) for layer, score in scores.items()):
        raise ValueError(
            f"a criterion gives the same scores for the same arguments; {name!r} gave different scores the second "
            "time. Draw from the generator it is passed"
        )
    draw = generator(4)
    run(model, batch, {layer: torch.rand(w.shape, generator=draw) < 0.5 for layer, w in prunable(model).items()})
    if random:
        return scores
    order = torch.randperm(len(batch.inputs), generator=generator(1))
    shuffled, _ = run(model, Batch(batch.inputs[order], batch.targets[order]))
    _same(
        scores,
        shuffled,
        f"a batch is a set: scores do not depend on the order of its samples; {name!r} gave different ones",
    )
    permuted, rows = _permuted(model)
    expected = {layer: rows(layer, score) for layer, score in scores.items()}
    rule = "channels have no names: with a layer's channels in another order the scores come in that order"
    _same(expected, run(permuted, batch)[0], f"{rule}; {name!r} gave different scores")
    return scores


def _network() -> nn.Module:
    """A network in the middle of training: statistics, gradients and flags are not those of a fresh one."""
    draw = generator(0)
    first, second = (nn.Conv2d(n, m, 3, padding=1, bias=False) for n, m in ((2, 4), (4, 6)))
    layers = OrderedDict[str, nn.Module](conv1=first, bn1=nn.BatchNorm2d(4), relu1=nn.ReLU())
    layers |= dict(conv2=second, bn2=nn.BatchNorm2d(6), relu2=nn.ReLU())
    layers |= dict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(6, 5))
    model = nn.Sequential(layers).double().train()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=draw, dtype=torch.float64) - 0.4)
        for name in ("bn1.running_var", "bn2.running_var", "bn1.weight", "bn2.weight"):
            model.state_dict()[name].abs_().add_(0.2)
    for parameter in model.parameters():
        parameter.grad = torch.rand(parameter.shape, generator=draw, dtype=torch.float64)
    layers["relu1"].eval()
    model.input_shape = (2, 5, 5)  # type: ignore[assignment]
    return model


def _permuted(model: nn.Module) -> tuple[nn.Module, Callable[[str, Tensor], Tensor]]:
    """The same function with the channels of both convolutions in another order, and how scores follow it."""
    draw = generator(3)
    orders = {n: torch.randperm(c, generator=draw) for n, c in channels(model).items() if n != "fc.weight"}
    before = {"conv2.weight": "conv1.weight", "fc.weight": "conv2.weight"}

    def rows(layer: str, values: Tensor) -> Tensor:
        values = values[orders[layer]] if layer in orders else values
        return values[:, orders[before[layer]]] if layer in before and values.ndim > 1 else values

    twin = _network()
    with torch.no_grad():
        for name, weight in prunable(twin).items():
            weight.copy_(rows(name, model.get_parameter(name)))
        for number, own in itertools.product("12", ("weight", "bias", "running_mean", "running_var")):
            values = model.state_dict()[f"bn{number}.{own}"][orders[f"conv{number}.weight"]]
            twin.state_dict()[f"bn{number}.{own}"].copy_(values)
    return twin, rows


def _facts(model: nn.Module) -> dict[str, object]:
    """All that a criterion leaves alone, in plain values."""
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    # any forward pass moves the statistics of a norm that sees the batch's
    learning = [name for name, module in modules.items() if isinstance(module, BATCH_NORMS) and module.training]
    still = {n: b for n, b in model.named_buffers() if n.rpartition(".")[0] not in learning}
    values = {n: (t.dtype, t.detach().numpy().tobytes()) for n, t in (parameters | still).items()}
    gradients = {n: None if p.grad is None else p.grad.numpy().tobytes() for n, p in parameters.items()}
    facts: dict[str, dict[str, Any]] = {
        "the values": values,
        "the gradient": gradients,
        "requires_grad": {name: parameter.requires_grad for name, parameter in parameters.items()},
        "the train flag": {name: module.training for name, module in modules.items()},
        "the hooks": {name: len(m._forward_hooks) + len(m._forward_pre_hooks) for name, m in modules.items()},
    }
    found: dict[str, object] = {f"{what} of {n!r}": own for what, held in facts.items() for n, own in held.items()}
    return found | {"torch's random state": torch.get_rng_state().numpy().tobytes()}


def _compare(name: str, before: dict[str, object], after: dict[str, object]) -> None:
    if before != after:
        changed = (what for what, value in before.items() if after.get(what) != value)
        what = next(changed, "the names of the model's tensors")
        raise ValueError(
            f"a criterion leaves the model and the random state as they are; {name!r} gave a model in which {what} "
            "changed. Work on copies, or with torch.func.functional_call"
        )


def _same(expected: Scores, found: Scores, message: str) -> None:
    for layer, score in expected.items():
        apart = float((score.double() - found[layer].double()).abs().max())
        if apart > 1e-9 * max(1.0, float(score.double().abs().max())):
            raise ValueError(f"{message}, different by up to {apart:.3g} in {layer!r}")
