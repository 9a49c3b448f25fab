"""Criteria side by side: agreement, sanity checks and what they predict, each run one row of plain numbers."""

from __future__ import annotations

import functools
import itertools
import math

import torch
from torch import Tensor, nn

from workbench.criteria import score
from workbench.criteria.obs import remove_weights
from workbench.data import Task, load
from workbench.experiments.after import trained
from workbench.experiments.before import shuffled_labels
from workbench.masks import apply_masks_, find_masks, keep_top
from workbench.metrics import evaluate
from workbench.metrics.collapse import collapsed, critical
from workbench.models import make, prunable
from workbench.models.running import Loss
from workbench.seeds import generator, seeded
from workbench.train import train
from workbench.types import Batch, Masks, Scores, check_choice


def score_sizes(network: str, seed: int, data: str = "digits") -> dict[str, float]:
    """SynFlow's mean score of a layer against its size, at initialisation.

    `slope` is that of log mean score over log size (least squares over layers); `largest_first` says whether the layer
    that one-shot SynFlow empties first is the one with the most weights.

    >>> round(score_sizes("lenet-300-100", seed=0)["slope"], 6)
    -1.0
    """
    model = make(network, load(data, device="cpu"), seed)
    scores = score(model, None, "synflow")
    sizes = {name: s.numel() for name, s in scores.items()}
    x = torch.tensor([math.log(sizes[n]) for n in scores], dtype=torch.float64)
    y = torch.stack([s.double().mean().log() for s in scores.values()])
    x, y = x - x.mean(), y - y.mean()
    total = sum(sizes.values())
    kept = round(total / critical(scores)) - 1  # one weight fewer than the last mask that has all layers
    first = collapsed(keep_top(scores, 1 - kept / total))
    most = max(sizes.values())
    return {"slope": float((x * y).sum() / (x * x).sum()), "largest_first": float(any(sizes[n] == most for n in first))}


def snip_overlap(
    against: str, seed: int, sparsity: float = 0.95, data: str = "digits", network: str = "vgg", bn: str | None = None
) -> dict[str, float]:
    """Jaccard overlap of SNIP's mask (10 samples a class) with its mask from other data, at initialisation.

    `against` is "random labels" (the same inputs), "other samples" (another batch of the same size), "one a class" or
    "random masks" (no data at all). Jaccard: kept by both / kept by either.

    >>> 0 < snip_overlap("random labels", seed=0)["jaccard"] < 1
    True
    """
    check_choice("against", against, ("one a class", "other samples", "random labels", "random masks"))
    task = load(data, device="cpu")
    model = make(network, task, seed)
    batch = task.batch(per_class=10, seed=seed)
    other = {
        "one a class": lambda: task.batch(per_class=1, seed=seed + 1000),
        "other samples": lambda: task.batch(per_class=10, seed=seed + 1000),
        "random labels": lambda: shuffled_labels(batch, seed),
        "random masks": lambda: batch,
    }[against]()
    criterion = "random" if against == "random masks" else "snip"
    one = keep_top(score(model, batch, "snip", bn=bn), sparsity)
    two = keep_top(score(model, other, criterion, seed=seed, bn=bn), sparsity)
    both = sum(int((one[n] & two[n]).sum()) for n in one)
    either = sum(int((one[n] | two[n]).sum()) for n in one)
    return {"jaccard": both / either}


def layer_densities(
    criterion: str,
    seed: int,
    rounds: int = 1,
    sparsity: float = 0.95,
    data: str = "digits",
    network: str = "vgg",
    bn: str | None = None,
) -> dict[str, float]:
    """The density of every layer at initialisation, `layer 1` to `layer n` in the model's order.

    >>> sorted(layer_densities("magnitude", seed=0))[:2]
    ['layer 1', 'layer 2']
    """
    task = load(data, device="cpu")
    model = make(network, task, seed)
    batch = task.batch(per_class=10, seed=seed)
    masks = find_masks(model, batch, criterion, sparsity, rounds=rounds, seed=seed, bn=bn)
    return {f"layer {k}": float(m.float().mean()) for k, m in enumerate(masks.values(), 1)}


def filter_agreement(seed: int, data: str = "digits", network: str = "vgg") -> dict[str, float]:
    """How far channel criteria agree on a trained network; means over the convolutions.

    `l1-l2` and `fpgm-l2` are the shares of the better half of channels that both criteria name; `hrank` is the rank
    correlation (Spearman) of HRank's scores between batches of 50 images, mean over the pairs of five batches.

    >>> import inspect
    >>> list(inspect.signature(filter_agreement).parameters)
    ['seed', 'data', 'network']
    """
    from scipy.stats import spearmanr

    task, model = _trained_model(data, network, seed)
    last = list(prunable(model))[-1]
    halves = {}
    for criterion in ("l1", "l2", "fpgm"):
        scores = score(model, task.batch(50), criterion, granularity="channel", exclude=[last])
        halves[criterion] = keep_top(scores, 0.5, allocation="layer")
    found = {
        f"{a}-l2": _mean([float((m & halves["l2"][n]).sum() / m.sum()) for n, m in halves[a].items()])
        for a in ("l1", "fpgm")
    }
    ranks = [score(model, task.batch(50, seed=k), "hrank", granularity="channel", exclude=[last]) for k in range(5)]
    pairs = [(a, b) for i, a in enumerate(ranks) for b in ranks[:i]]
    alike = [float(spearmanr(a[n], b[n]).statistic) for a, b in pairs for n in a if len(a[n].unique()) > 1]
    return {**found, "hrank": _mean(alike)}


def prune_filters(
    criterion: str, seed: int, sparsity: float = 0.3, data: str = "digits", network: str = "vgg"
) -> dict[str, float]:
    """Test accuracy of a trained network without some of each convolution's channels, with no further training.

    A removed channel's weights, and the scale and shift of its norm, are set to 0. The criterion sees 10 samples a
    class. Source of the setting: Molchanov et al. 2017, arXiv:1611.06440.

    >>> import inspect
    >>> inspect.signature(prune_filters).parameters["sparsity"].default
    0.3
    """
    task, model = _trained_model(data, network, seed)
    last = list(prunable(model))[-1]
    batch = task.batch(per_class=10, seed=seed)
    scores = score(model, batch, criterion, granularity="channel", exclude=[last], seed=seed)
    masks = keep_top(scores, sparsity, allocation="layer", granularity="channel", model=model)
    dense = evaluate(model, task, split="test")["accuracy"]
    apply_masks_(model, masks)
    return {"accuracy": evaluate(model, task, split="test")["accuracy"], "dense": dense}


def loss_rise(criterion: str, seed: int, sparsity: float = 0.3) -> dict[str, float]:
    """Rise of the training loss of a tiny trained network when weights are removed at once; moons, 2-12-12-2.

    "obs" takes them out one by one with the correction of all others, in the curvature of the start; the other
    criteria cut once. All see the training set; curvature by Gauss-Newton, float64.

    >>> row = loss_rise("magnitude", seed=0)
    >>> row["rise"] > 0
    True
    """
    task, model = _tiny(seed)
    inputs, targets = task.take("train")
    batch = Batch(inputs.double(), targets)
    before = _loss(model, batch)
    count = math.floor(sparsity * sum(w.numel() for w in prunable(model).values()) + 0.5)
    if criterion == "obs":
        _, weights = remove_weights(model, batch, count, damp=1e-4)
        model.load_state_dict({**model.state_dict(), **weights})
    else:
        apply_masks_(model, keep_top(score(model, batch, criterion, seed=seed), sparsity))
    return {"rise": _loss(model, batch) - before, "dense": before}


def gradient(
    model: nn.Module, batch: Batch, *, masks: Masks | None = None, loss_fn: Loss, generator: torch.Generator
) -> Scores:
    """`s_u = |mean over samples of dL/dz_u|`, z_u a unit's sum before its ReLU: the slope that Yeom et al. 2021 compare
    with (arXiv:1912.08881, section 4.1). It is the derivative by the unit's bias.

    No registered criterion: it is Taylor's first term without the activation.
    Misleads wherever a large activation has a small slope: it calls that unit free.

    >>> model = nn.Linear(1, 2)
    >>> _ = model.weight.data.zero_(), model.bias.data.zero_()
    >>> gradient(model, Batch(torch.ones(1, 1), torch.tensor([0])), loss_fn=nn.functional.cross_entropy, generator=None)
    {'weight': tensor([0.5000, 0.5000])}
    """
    names = list(prunable(model))
    biases = [model.get_parameter(name.removesuffix("weight") + "bias") for name in names]
    slopes = torch.autograd.grad(loss_fn(model(batch.inputs), batch.targets), biases)
    return {name: slope.abs() for name, slope in zip(names, slopes, strict=True)}


def prune_units(
    criterion: str, data: str, seed: int, samples: int = 5, removed: int = 1000, width: int = 1000
) -> dict[str, float]:
    """Training accuracy of a 2-1000-1000-1000-k network without 1000 of its 3000 hidden units, not trained again.

    `samples` of each class are what the criterion sees; 200 of each class train the network. `criterion` is "lrp",
    "l1", "taylor" (|sum over samples of a dL/da|) or "gradient" (the function above); as in the published comparison,
    each layer of "l1" is divided by its sum, of the last two by its L2 norm. The setting of Yeom et al.
    2021, arXiv:1912.08881, section 4.1, with this workbench's own noise and training.

    >>> row = prune_units("l1", "moons", seed=0, width=50, removed=50)
    >>> row["accuracy"] <= 1
    True
    """
    weights, reference = _toy(data, seed, width)
    model = _toy_network(len(load(data, device="cpu").classes), seed, width)
    model.load_state_dict(weights)
    batch = _few(reference, samples, seed)
    last = list(prunable(model))[-1]
    asked = gradient if criterion == "gradient" else criterion
    scores = score(model, batch, asked, granularity="channel", exclude=[last], seed=seed)
    if criterion == "taylor":  # by gates it is the square
        scores = {name: s.sqrt() for name, s in scores.items()}
    if criterion != "lrp":  # whose layers sum alike by themselves
        power = 1 if criterion == "l1" else 2
        scores = {name: s / s.norm(power).clamp_min(1e-30) for name, s in scores.items()}
    units = sum(len(s) for s in scores.values())
    dense = _accuracy(model, reference)
    apply_masks_(model, keep_top(scores, removed / units, granularity="channel", model=model, example=batch.inputs))
    return {"accuracy": _accuracy(model, reference), "dense": dense}


def _trained_model(data: str, network: str, seed: int) -> tuple[Task, nn.Module]:
    task = load(data, device="cpu")
    model = make(network, task, seed)
    model.load_state_dict(trained(data, network, seed, None))
    return task, model


def _tiny(seed: int) -> tuple[Task, nn.Module]:
    task = load("moons", device="cpu")
    with seeded(seed):
        model = nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 2)).double()
    inputs, targets = task.take("train")
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs.double()), targets)
        loss = loss + 1e-4 * sum(w.square().sum() for w in prunable(model).values())
        loss.backward()
        return loss

    optimizer.step(closure)
    return task, model


@functools.lru_cache(maxsize=16)
def _toy(data: str, seed: int, width: int) -> tuple[dict[str, Tensor], Batch]:
    """The trained weights of the toy network, and the 200 samples of each class that trained it (or all there are)."""
    task = load(data, device="cpu")
    raw = task.splits["train"]
    chosen = torch.cat([(raw.targets == label).nonzero().reshape(-1)[:200] for label in raw.targets.unique()])
    few = Task.from_arrays(raw.inputs[chosen], raw.targets[chosen], *task.splits["test"], val=2, device="cpu")
    model = _toy_network(len(task.classes), seed, width)
    train(model, few, epochs=60, batch_size=32, lr=0.02, weight_decay=0.0, seed=seed, fast=False)
    return {name: value.clone() for name, value in model.state_dict().items()}, few.take("train")


def _toy_network(classes: int, seed: int, width: int) -> nn.Sequential:
    with seeded(seed):
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise([2, width, width, width, classes]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        return nn.Sequential(*layers[:-1])


def _few(batch: Batch, each: int, seed: int) -> Batch:
    order = torch.randperm(len(batch.targets), generator=generator(seed))
    chosen = torch.cat([order[batch.targets[order] == label][:each] for label in batch.targets.unique()])
    return Batch(batch.inputs[chosen], batch.targets[chosen])


@torch.no_grad()
def _accuracy(model: nn.Module, batch: Batch) -> float:
    return float((model.eval()(batch.inputs).argmax(1) == batch.targets).double().mean())


@torch.no_grad()
def _loss(model: nn.Module, batch: Batch) -> float:
    return float(nn.functional.cross_entropy(model.eval()(batch.inputs), batch.targets))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
