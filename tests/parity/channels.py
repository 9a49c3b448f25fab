"""Criteria that score channels."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

import workbench as wb
from parity import parity
from parity.nets import apart, draw, relative, small

CHANNEL = "channel"


def score(model: nn.Module, batch: wb.Batch | None, criterion: str, **knobs: object) -> wb.Scores:
    return wb.score(model, batch, criterion, granularity=CHANNEL, **knobs)


def chain() -> tuple[nn.Module, wb.Batch]:
    """Three layers, two of them with BatchNorm and ReLU, in float64; 4 and 5 channels before 3 outputs."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, stride=2),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20, 3),
    ).double()
    with torch.no_grad():
        for k, tensor in enumerate([*model.parameters(), *model.buffers()]):
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=draw(k), dtype=torch.float64) / 2)
        for norm in (model[1], model[4]):
            norm.running_var.abs_().add_(0.5)
            norm.bias.div_(4)  # no channel is always zero, or never
            norm.running_mean.div_(4)
    inputs = torch.randn(6, 2, 5, 5, generator=draw(99), dtype=torch.float64)
    return model.eval(), wb.Batch(inputs, torch.arange(6) % 3)


def layers() -> dict[str, nn.Module]:
    made = {
        "linear": nn.Linear(7, 5),
        "conv": nn.Conv2d(3, 6, 3),
        "grouped": nn.Conv2d(4, 6, 3, groups=2),
        "transposed": nn.ConvTranspose2d(3, 6, 3),
    }
    for k, layer in enumerate(made.values()):
        layer.weight.data = torch.randn(layer.weight.shape, generator=draw(k), dtype=torch.float64)
    return made


def by_structure(criterion: str, power: int) -> float:
    """How many channels `ln_structured` keeps that we would remove, at every number of removed channels."""
    wrong = 0
    for name, layer in layers().items():
        order = score(layer, None, criterion)["weight"].argsort(stable=True)
        for removed in range(1, len(order)):
            dim = 1 if name == "transposed" else 0
            mask = prune.LnStructured(removed, power, dim).compute_mask(
                layer.weight.data, torch.ones_like(layer.weight)
            )
            there = mask.transpose(0, dim).flatten(1).any(1)
            wrong += int(there[order[:removed]].sum()) + int((~there[order[removed:]]).sum())
    return float(wrong)


@parity("l1", "torch.nn.utils.prune.LnStructured(n=1): which channels stay, at every number", granularity=CHANNEL)
def l1_masks() -> float:
    return by_structure("l1", 1)


@parity("l2", "torch.nn.utils.prune.LnStructured(n=2): which channels stay, at every number", granularity=CHANNEL)
def l2_masks() -> float:
    return by_structure("l2", 2)


def torch_pruning(model: nn.Module, example: Tensor, importance: object) -> dict[str, Tensor]:
    """Torch-Pruning's importance of the outputs of every layer but the last."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch_pruning as tp

        graph = tp.DependencyGraph().build_dependency(model, example)
    found = {}
    for name in list(wb.prunable(model))[:-1]:
        layer = model.get_submodule(name.rpartition(".")[0])
        cut = tp.prune_linear_out_channels if isinstance(layer, nn.Linear) else tp.prune_conv_out_channels
        group = graph.get_pruning_group(layer, cut, list(range(len(score(model, None, "l1")[name]))))
        found[name] = importance(group)  # type: ignore[operator]
    return found


def by_group(criterion: str, power: int) -> float:
    from torch_pruning.pruner.importance import GroupMagnitudeImportance

    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 5, 3), nn.Flatten(), nn.Linear(180, 6), nn.Linear(6, 2)
    )
    for k, weight in enumerate(wb.prunable(model).values()):
        weight.data = torch.randn(weight.shape, generator=draw(k))
    theirs = torch_pruning(
        model, torch.zeros(1, 2, 6, 6), GroupMagnitudeImportance(p=power, group_reduction="first", normalizer=None)
    )
    ours = score(model, None, criterion, exclude=["5"])
    return apart(ours, {name: values ** (1 / power) for name, values in theirs.items()})


SINGLE = (
    "computes in float32; reduces over the coupled layers, so group_reduction='first' and normalizer=None are given"
)


@parity("l1", "Torch-Pruning GroupMagnitudeImportance(p=1)", granularity=CHANNEL, deviation=SINGLE)
def l1_group() -> float:
    return by_group("l1", 1)


@parity(
    "l2",
    "Torch-Pruning GroupMagnitudeImportance(p=2)",
    granularity=CHANNEL,
    deviation=f"gives the square of the norm, of which the root is taken; {SINGLE}",
)
def l2_group() -> float:
    return by_group("l2", 2)


@parity(
    "fpgm",
    "scipy.spatial.distance.cdist of the filters",
    granularity=CHANNEL,
    deviation="Torch-Pruning's FPGMImportance measures distances between |w|², not filters, and is not compared",
)
def fpgm() -> float:
    worst = 0.0
    for name, layer in layers().items():
        weight = layer.weight.data.numpy()
        rows = (
            np.stack([weight[:, c].ravel() for c in range(6)])
            if name == "transposed"
            else weight.reshape(len(weight), -1)
        )
        expected = torch.from_numpy(cdist(rows, rows).sum(1))
        worst = max(worst, relative(score(layer, None, "fpgm")["weight"], expected))
    return worst


@parity(
    "bn-scale",
    "Torch-Pruning BNScaleImportance of a chain",
    granularity=CHANNEL,
    deviation="averages over all norms of a residual group, so a chain is compared; normalizer=None is given",
)
def bn_scale() -> float:
    from torch_pruning.pruner.importance import BNScaleImportance

    model, batch = chain()
    model = model.float()
    batch = batch._replace(inputs=batch.inputs.float())
    theirs = torch_pruning(model, batch.inputs, BNScaleImportance(normalizer=None))
    return apart(score(model, batch, "bn-scale", exclude=["7"]), theirs)


def maps() -> tuple[nn.Module, wb.Batch, dict[str, np.ndarray]]:
    """The model, its batch, and the maps behind each ReLU, module by module."""
    model, batch = chain()
    found, x = {}, batch.inputs
    for k, module in enumerate(model):
        x = module(x).detach()
        if isinstance(module, nn.ReLU):
            found[f"{k - 2}.weight"] = x.numpy()
    return model, batch, found


@parity("apoz", "numpy: the share of zeros, value by value", granularity=CHANNEL)
def apoz() -> float:
    model, batch, found = maps()
    expected = {}
    for name, values in found.items():
        zeros = [sum(v == 0.0 for v in values[:, c].ravel()) / values[:, c].size for c in range(values.shape[1])]
        expected[name] = 1 - torch.tensor(zeros, dtype=torch.float64)
    return apart(score(model, batch, "apoz", bn="running", exclude=["7"]), expected)


@parity("hrank", "numpy.linalg.matrix_rank of every map", granularity=CHANNEL)
def hrank() -> float:
    model, batch, found = maps()
    expected = {
        name: torch.tensor(np.mean([[np.linalg.matrix_rank(m) for m in sample] for sample in values], 0))
        for name, values in found.items()
    }
    return apart(score(model, batch, "hrank", bn="running", exclude=["7"]), expected)


def gated(model: nn.Module, inputs: Tensor, gates: dict[str, Tensor]) -> Tensor:
    """The chain's output with a gate for each sample and channel behind both ReLU and the last layer."""
    x = inputs
    for k, module in enumerate(model):
        x = module(x)
        name = f"{k - 2}.weight" if isinstance(module, nn.ReLU) else f"{k}.weight" if k == 7 else ""
        if name:
            x = x * gates[name].reshape(*gates[name].shape, *[1] * (x.ndim - 2))
    return x


def slopes(per_sample: bool) -> tuple[nn.Module, wb.Batch, dict[str, Tensor]]:
    """Derivatives of each sample's loss, or of the mean loss, by the gates."""
    model, batch = chain()
    sizes = {"0.weight": 4, "3.weight": 5, "7.weight": 3}
    found: dict[str, list[Tensor]] = {name: [] for name in sizes}
    parts = [(x[None], y[None]) for x, y in zip(*batch, strict=True)] if per_sample else [tuple(batch)]
    for x, y in parts:
        gates = {name: torch.ones(1, c, dtype=torch.float64, requires_grad=True) for name, c in sizes.items()}
        loss = functional.cross_entropy(gated(model, x, gates), y)
        for name, slope in zip(gates, torch.autograd.grad(loss, list(gates.values())), strict=True):
            found[name].append(slope[0])
    return model, batch, {name: torch.stack(values) for name, values in found.items()}


@parity("taylor", "kind='gates': autograd on gates that multiply the outputs, one a channel", granularity=CHANNEL)
def taylor_gates() -> float:
    model, batch, found = slopes(per_sample=False)
    expected = {name: values[0].square() for name, values in found.items()}
    return apart(score(model, batch, "taylor", kind="gates", bn="running"), expected)


@parity(
    "taylor",
    "kind='activations': autograd on gates, a pass for each sample, mean of absolute values",
    granularity=CHANNEL,
    deviation="some implementations take the absolute value after the mean over samples; the paper before it",
)
def taylor_activations() -> float:
    model, batch, found = slopes(per_sample=True)
    sizes = {"0.weight": 25, "3.weight": 4, "7.weight": 1}
    raw = {name: (values / sizes[name]).abs().mean(0) for name, values in found.items()}
    expected = {name: values / np.sqrt(sum(v**2 for v in values.tolist())) for name, values in raw.items()}
    return apart(score(model, batch, "taylor", kind="activations", bn="running"), expected)


@parity("taylor", "kind='weights': central differences of the loss, weight by weight, in float64", granularity=CHANNEL)
def taylor_weights() -> float:
    model, batch = small()
    little, expected = 1e-5, {}

    def loss() -> float:
        with torch.no_grad():
            return functional.cross_entropy(model(batch.inputs), batch.targets).item()

    for name, weight in wb.prunable(model).items():
        flat = weight.data.view(-1)
        products = torch.zeros_like(flat)
        for k, w in enumerate(flat.tolist()):
            ends = []
            for step in (little, -little):
                flat[k] = w + step
                ends.append(loss())
            flat[k] = w
            products[k] = w * (ends[0] - ends[1]) / (2 * little)
        expected[name] = products.square().reshape(len(weight), -1).sum(1)
    return apart(score(model, batch, "taylor", kind="weights", bn="running"), expected)


def inputs_of_readers() -> tuple[nn.Module, wb.Batch, dict[str, tuple[nn.Module, Tensor, list[list[int]]]]]:
    """Per layer: its next layer without bias, what that layer gets, and the features of each channel in it."""
    model, batch = chain()
    model.requires_grad_(False)
    for reader in (model[3], model[7]):
        reader.bias.zero_()
    second = model[:6](batch.inputs).flatten(1)
    return (
        model,
        batch,
        {
            "0.weight": (model[3], model[:3](batch.inputs), [[c] for c in range(4)]),
            "3.weight": (model[7], second, [list(range(4 * c, 4 * c + 4)) for c in range(5)]),
        },
    )


def part(reader: nn.Module, inputs: Tensor, features: list[int]) -> np.ndarray:
    """The next layer's outputs when it gets these features only."""
    only = torch.zeros_like(inputs)
    only[:, features] = inputs[:, features]
    return reader(only).flatten().numpy()


@parity("thinet", "all subsets by brute force: each next removal errs least of those possible", granularity=CHANNEL)
def thinet() -> float:
    model, batch, readers = inputs_of_readers()
    expected = {}
    for name, (reader, inputs, features) in readers.items():
        count = len(features)
        errors = {
            gone: float((part(reader, inputs, [f for c in gone for f in features[c]]) ** 2).sum())
            for size in range(1, count + 1)
            for gone in itertools.combinations(range(count), size)
        }
        steps, gone = torch.zeros(count, dtype=torch.float64), ()
        for step in range(1, count + 1):
            gone_next = min((s for s in errors if len(s) == step and set(gone) < set(s)), key=errors.__getitem__)
            steps[next(iter(set(gone_next) - set(gone)))] = step
            gone = gone_next
        expected[name] = steps
    return apart(score(model, batch, "thinet", samples=None, bn="running", exclude=["7"]), expected)


def lasso(columns: np.ndarray, target: np.ndarray, penalty: float) -> tuple[int, ...]:
    """Signs of the LASSO solution, by trying all and keeping those that meet the optimality conditions."""
    n, count = columns.shape
    for signs in itertools.product((-1, 0, 1), repeat=count):
        s = np.array(signs)
        on = s != 0
        beta = np.zeros(count)
        if on.any():
            a = columns[:, on]
            beta[on] = np.linalg.solve(a.T @ a, a.T @ target - n * penalty * s[on])
        slope = columns.T @ (target - columns @ beta) / n
        if (np.sign(beta) == s).all() and (np.abs(slope[~on]) <= penalty * (1 + 1e-12)).all():
            return signs
    raise ArithmeticError("no signs meet the conditions")


@parity("cp", "numpy: the LASSO by enumerating all signs, its penalties by bisection", granularity=CHANNEL)
def cp() -> float:
    model, batch, readers = inputs_of_readers()
    expected = {}
    for name, (reader, inputs, features) in readers.items():
        norms = [np.linalg.norm(reader.weight[:, f].numpy()) for f in features]
        parts = np.stack([part(reader, inputs, f) for f in features], 1)
        live = [c for c in range(len(features)) if parts[:, c].any()]
        columns, target = (parts / norms)[:, live], parts.sum(1)
        top = float(np.abs(columns.T @ target).max()) / len(target)
        grid = np.geomspace(top * (1 + 1e-9), top * 1e-6, 80)
        chosen = [lasso(columns, target, float(p)) for p in grid]
        found = torch.zeros(len(features), dtype=torch.float64)
        for channel in range(len(live)):
            first = next(k for k, signs in enumerate(chosen) if signs[channel])
            out, inside = float(grid[first - 1]), float(grid[first])
            for _ in range(40):
                middle = (out + inside) / 2
                out, inside = (out, middle) if lasso(columns, target, middle)[channel] else (middle, inside)
            found[live[channel]] = inside
        expected[name] = found
    return apart(score(model, batch, "cp", samples=None, bn="running", exclude=["7"]), expected)


@parity("fisher", "autograd on gates, a pass for each sample, mean of squares", granularity=CHANNEL)
def fisher_gates() -> float:
    model, batch, found = slopes(per_sample=True)
    expected = {name: values.square().mean(0) / 2 for name, values in found.items()}
    return apart(score(model, batch, "fisher", bn="running"), expected)
