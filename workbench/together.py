"""Many small networks of one architecture, trained in one computation."""

import contextlib
import copy
import inspect
import itertools
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from workbench.data.task import Task
from workbench.masks import clear_weights_, kept_bits
from workbench.metrics.accuracy import evaluate
from workbench.models import work
from workbench.models.kernels import plain_kernels
from workbench.models.running import evaluating, fitted, own_dtype, taken
from workbench.recipes import Recipe, make_optimizer, recipe
from workbench.seeds import threads
from workbench.states import Record
from workbench.train import check_data, frozen_parts, length, not_finite, own_masks, train_mode
from workbench.types import Batch, Masks, check_choice, check_count, warn

T = TypeVar("T")


def train_together(
    models: Sequence[nn.Module],
    task: Task,
    *,
    masks: Sequence[Masks | None] | None = None,
    seeds: int | Sequence[int] = 0,
    lr: float | Sequence[float] | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    **changes: Any,
) -> list[Record]:
    """Train models of one architecture in place, all in one computation; return the last record of each.

    Each model is trained as `wb.train(model, task, masks=, seed=, lr=, fast=False)` trains it: recipe, schedule, order
    and augmentation of its own seed, its own BatchNorm statistics, removed weights exactly 0 after every step. Rounding
    differs, and training amplifies it. `masks` is a list (None: dense), `seeds` and `lr` are one number for all or a
    list. Other keywords change the recipe (`optimizer="adam"`, `batch_size=`, ...). Nothing random is left to a step,
    and the global random state stays as it was. A record's `seconds` are the model's share of the mean step.

    Parameters, buffers and masks are stacked, `[models, ...]`, and `torch.vmap` maps the loss over them. The optimizer
    makes a step of rate 1, which is scaled by each model's rate: steps of SGD, Adam and AdamW are proportional to it.
    Memory grows with the number of models: each needs 6 copies of its weights (Adam: 7) and its batch's activations.

    A model whose loss is not finite changes no other: its record is that of the step and tells it under "error", and a
    warning names the models. Raises ValueError where the models differ, and where torch cannot map a model over its
    weights: dropout and other random functions, recurrent layers, `item()`. Train such models one by one.

    Misleads as a way to save time on a CPU: there it gains little or nothing, and many models of much work lose
    (`python -m benchmarks together`).

    >>> import workbench as wb
    >>> task = wb.load("moons", device="cpu")
    >>> models = [wb.make("lenet-300-100", task, seed=seed) for seed in (0, 1)]
    >>> [row["step"] for row in train_together(models, task, seeds=[0, 1], lr=[0.1, 0.2], steps=3)]
    [3, 3]
    """
    models = _checked(models, task)
    for name in changes:
        check_choice("option of training together", name, {*Recipe.__dataclass_fields__, *_KEYWORDS} - {"fast"})
    used = replace(recipe(task, models[0]), **changes)
    used = replace(used, batch_size=check_count("batch_size", used.batch_size))
    plan = length(task, used, epochs, steps)
    seeds = [check_count("seed", seed, least=0) for seed in _each("seeds", seeds, len(models))]
    highest = _each("lr", used.lr if lr is None else lr, len(models))
    made = [make_optimizer(m, None, replace(used, lr=rate)) for m, rate in zip(models, highest, strict=True)]
    if masks is not None and (isinstance(masks, Mapping) or len(masks) != len(models)):
        got = "one dict" if isinstance(masks, Mapping) else f"{len(masks)} masks"
        raise ValueError(f"masks are a list with a dict or None for each of the {len(models)} models; got {got}")
    own = [own_masks(model, given or {}) for model, given in zip(models, masks or [None] * len(models), strict=True)]
    stack = _stacked(models)
    _check_mapped(stack, models, task, used.batch_size)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in made]
    amount = 3 * len(models) * work(models[0], task.splits["train"].inputs[: used.batch_size])
    try:
        with threads(amount):
            history, seconds = _run(stack, task, used, plan, own, seeds, rates)
    finally:
        _unstack(stack, models)
    rows = [
        _last_record(task, used, plan, losses, rate) for losses, rate in zip(history.T.tolist(), rates, strict=True)
    ]
    for model, row, mask in zip(models, rows, own, strict=True):
        row["seconds"], row._masks, row._passed = seconds / (plan[1] * len(models)), mask, mask
        if "error" not in row:
            first, value = next(iter(evaluate(model, task).items()))
            row[f"val_{first}"] = value
    if lost := [str(index) for index, row in enumerate(rows) if "error" in row]:
        told = f"of {len(models)} models trained together, those whose loss is not finite: {', '.join(lost)}"
        warn(f"{told}. Their records say more under 'error'; the others are as if trained alone")
    return rows


_KEYWORDS = [p.name for p in inspect.signature(train_together).parameters.values() if p.kind is p.KEYWORD_ONLY]


def _run(
    stack: nn.Module,
    task: Task,
    used: Recipe,
    plan: tuple[int, int],
    masks: list[Masks],
    seeds: list[int],
    rates: list[float],
) -> tuple[Tensor, float]:
    """The losses `[steps, models]`, and the seconds that the steps took."""
    per_epoch, total = plan
    optimizer = make_optimizer(stack, None, used)
    for group in optimizer.param_groups:
        group["lr"] = 1.0
    learning = [p for p in stack.parameters() if p.requires_grad]
    scale = torch.tensor(rates, dtype=own_dtype(stack), device=learning[0].device)
    held, history = kept_bits(stack, _stacked_masks(stack, masks)), []
    start = time.perf_counter()
    clear_weights_(held)
    train_mode(stack, frozen_parts(stack))
    try:
        with _mapping(stack):
            for step, batch in enumerate(itertools.islice(_batches(task, used.batch_size, seeds, per_epoch), total)):
                losses = _losses(stack, task, batch)
                optimizer.zero_grad()
                losses.sum().backward()
                _step(optimizer, learning, scale * used.share(step, total))
                clear_weights_(held)
                history.append(losses.detach())
        found = torch.stack(history).cpu()  # waits for a GPU
    finally:
        clear_weights_(held)
    return found, time.perf_counter() - start


@contextlib.contextmanager
def _mapping(stack: nn.Module) -> Iterator[None]:
    """Run a block with kernels that can be mapped over models; that some are mapped slowly is no news."""
    with plain_kernels(stack), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        yield


def _losses(stack: nn.Module, task: Task, batch: Batch, tensors: dict[str, Tensor] | None = None) -> Tensor:
    """The loss of each model on its own batch, `[models]`; with other `tensors` in place of all that the stack has."""

    def loss(own: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        given = taken(task.loss, functional_call(stack, own, (inputs,)))
        return task.loss(given, targets).reshape(())

    found: Tensor = vmap(loss)(tensors or _tensors(stack), fitted(stack, batch.inputs), batch.targets)
    return found


def _own_loss(model: nn.Module, task: Task, batch: Batch) -> Tensor:
    with evaluating(model):
        return task.loss(taken(task.loss, model(fitted(model, batch.inputs))), batch.targets).reshape(())


@torch.no_grad()
def _step(optimizer: torch.optim.Optimizer, learning: list[nn.Parameter], rates: Tensor) -> None:
    """A step of each model at its own rate: the optimizer's step of rate 1, times the rate."""
    before = [parameter.detach().clone() for parameter in learning]
    optimizer.step()
    for parameter, old in zip(learning, before, strict=True):
        share = rates.to(old.dtype).view(-1, *[1] * (old.ndim - 1))
        parameter.data = old.lerp_(parameter.detach(), share)


def _batches(task: Task, size: int, seeds: list[int], per_epoch: int) -> Iterator[Batch]:
    """The batches of all models, `[models, n, ...]`, without end; models of one seed share theirs."""
    different = list(dict.fromkeys(seeds))
    place = torch.tensor([different.index(seed) for seed in seeds], device=task.device)
    for epoch in itertools.count():
        orders = [itertools.islice(task.batches("train", size, seed, epoch), per_epoch) for seed in different]
        for several in zip(*orders, strict=True):
            yield Batch(*(torch.stack(parts).index_select(0, place) for parts in zip(*several, strict=True)))


def _last_record(task: Task, used: Recipe, plan: tuple[int, int], losses: list[float], rate: float) -> Record:
    """The record of the last step, or of the first one whose loss is not finite."""
    per_epoch, total = plan
    step = next((k for k, loss in enumerate(losses) if not math.isfinite(loss)), total - 1)
    epoch, index = divmod(step, per_epoch)
    samples = min(used.batch_size, task.size("train") - index * used.batch_size)
    lr = rate * used.share(step, total)
    row = Record(step=step + 1, total=total, epoch=epoch, samples=samples, loss=losses[step], lr=lr)
    return row if math.isfinite(row["loss"]) else Record(row, error=not_finite(step + 1, row["loss"], lr))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@torch.no_grad()
def _stacked(models: list[nn.Module]) -> nn.Module:
    """A copy of the first model, whose parameters and buffers are those of all models: `[models, ...]`."""
    stack, own = copy.deepcopy(models[0]), [_tensors(model) for model in models]
    for name, tensor in _tensors(stack).items():
        tensor.grad = None
        tensor.data = torch.stack([tensors[name].detach() for tensors in own])
    return stack


@torch.no_grad()
def _unstack(stack: nn.Module, models: list[nn.Module]) -> None:
    whole = _tensors(stack)
    for index, model in enumerate(models):
        for name, tensor in _tensors(model).items():
            tensor.copy_(whole[name][index])
        model.eval()


def _stacked_masks(stack: nn.Module, masks: list[Masks]) -> Masks:
    """The masks of all models, `[models, ...]`; all True where a model has none."""
    dense = {n: torch.ones_like(stack.get_parameter(n)[0], dtype=torch.bool) for own in masks for n in own}
    return {name: torch.stack([own.get(name, whole) for own in masks]) for name, whole in dense.items()}


def _each(what: str, given: T | Sequence[T], number: int) -> list[T]:
    """One number for each model, from one or from a list."""
    if isinstance(given, Real):
        return [given] * number
    values = list(given)  # type: ignore[arg-type]
    if len(values) != number:
        raise ValueError(f"{what} is one number, or a list with one for each of the {number} models; got {len(values)}")
    return values


def _facts(model: nn.Module) -> dict[str, Any]:
    """What models that are trained together share."""
    kinds = {
        name: (tuple(t.shape), t.dtype, str(t.device), "learns" if t.requires_grad else "does not learn")
        for name, t in _tensors(model).items()
    }
    return {"its layers": repr(model), "its frozen parts": frozen_parts(model), **kinds}


def _checked(models: Sequence[nn.Module], task: Task) -> list[nn.Module]:
    """Raise ValueError unless these are models of one architecture that share no tensor, and that take the data."""
    models = list(models)
    if not models:
        raise ValueError("models are a list of at least one model; got none")
    for model in models:
        check_data(model, task, None)
    first = _facts(models[0])
    for index, model in enumerate(models):
        facts = _facts(model)
        if different := [name for name in {**first, **facts} if facts.get(name) != first.get(name)]:
            rule = "models trained together are of one architecture, on one device"
            told = f"model {index} differs from model 0 in {', '.join(different[:5])}"
            raise ValueError(f"{rule}; {told}. Train each kind by itself")
    if len({id(t) for model in models for t in _tensors(model).values()}) < len(models) * len(_tensors(models[0])):
        raise ValueError("models trained together share no tensor; some of these do. Make copies: copy.deepcopy(model)")
    return models


def _check_mapped(stack: nn.Module, models: list[nn.Module], task: Task, batch_size: int) -> None:
    """Raise ValueError where torch cannot map the model over its weights, or maps it to other losses than its own.

    Other losses mean that models differ in what neither their layers nor their tensors show.
    """
    sample = task.take("train", slice(min(8, batch_size)))
    batch = Batch(*(part.expand(len(models), *part.shape) for part in sample))
    remedy = "Train such models one by one: [wb.train(model, task) for model in models]"
    flags = [(module, module.training) for module in stack.modules()]
    spare = {**_tensors(stack), **{name: buffer.clone() for name, buffer in stack.named_buffers()}}
    try:
        with threads(), _mapping(stack):
            train_mode(stack, frozen_parts(stack))
            _losses(stack, task, batch, spare).sum().backward()
            stack.eval()
            found = _losses(stack, task, batch).detach()
    except Exception as error:
        told = f"torch.vmap trains models together, and cannot take {type(stack).__name__}: {str(error).rstrip('.')}"
        raise ValueError(f"{told}. {remedy}") from error
    finally:
        stack.zero_grad()
        for module, training in flags:
            module.training = training
    with torch.no_grad(), threads(), _mapping(stack):
        alone = torch.stack([_own_loss(model, task, sample) for model in models])
    near = math.sqrt(torch.finfo(found.dtype).eps)
    if wrong := (~torch.isclose(found, alone, rtol=near, atol=near, equal_nan=True)).nonzero().flatten().tolist():
        told = f"together, model {wrong[0]} has the loss {found[wrong[0]]:.6g}, alone {alone[wrong[0]]:.6g}"
        raise ValueError(f"models trained together compute what each computes alone; {told}. {remedy}")
