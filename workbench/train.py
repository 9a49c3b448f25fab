"""Training as a generator: a record a step, masks kept exact, open to any loss and update, resumable bit for bit."""

import contextlib
import inspect
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.data.task import Task
from workbench.masks import clear_grads_, clear_weights_, dense, kept_bits, reset_state_
from workbench.metrics.accuracy import evaluate
from workbench.models import fast_layout, work
from workbench.models.running import (
    check_labels,
    evaluating,
    fitted,
    loss_of,
    measured,
    one_number,
    outputs,
    own_dtype,
    taken,
)
from workbench.recipes import LARGE, MakeOptimizer, Recipe, has_fast_bfloat16, make_optimizer, recipe, settings
from workbench.seeds import seeded, threads
from workbench.states import Progress, Record, State, copied
from workbench.types import Batch, Masks, check_choice, check_count, check_masks

BatchLoss = Callable[..., Tensor]
"""`loss(model, batch)`, or `loss(model, batch, memory)`."""
Update = Callable[[Progress], Masks | None]


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's state_dict, for `model.load_state_dict`: rewinding is no more than this.

    >>> model = nn.Linear(2, 1)
    >>> before = snapshot(model)
    >>> _ = model.weight.data.zero_()
    >>> bool(before["weight"].any())
    True
    """
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@dataclass(frozen=True)
class Plan:
    """A run, decided before its first step."""

    model: nn.Module
    task: Task
    recipe: Recipe
    optimizer: torch.optim.Optimizer
    loss: BatchLoss
    update: Update | None
    masks: Masks
    straight_through: bool
    state: State | None
    facts: dict[str, Any]
    seed: int
    per_epoch: int
    total: int
    start: int
    end: int


def steps(
    model: nn.Module,
    task: Task,
    *,
    masks: Masks | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    start: int = 0,
    stop: int | None = None,
    optimizer: str | MakeOptimizer | None = None,
    loss: BatchLoss | None = None,
    update: Update | None = None,
    straight_through: bool = False,
    state: State | None = None,
    seed: int = 0,
    fast: bool | None = None,
    **changes: Any,
) -> Iterator[Record]:
    """Train `model` in place and yield a record after every step.

    A record holds step (steps done), total (steps of the schedule), epoch, samples (of the batch), loss, lr, seconds;
    the last of each epoch also what the task measures first, on the validation split (val_accuracy). The schedule is
    `epochs` epochs or `steps` steps long (default: the recipe of the pair). `start` begins with rate and data order at
    that step and a fresh optimizer, `stop` ends there: rewinding to step k is loading the snapshot after `stop=k`, then
    `start=k`. `optimizer` is "sgd", "adam", "adamw" or a function of the parameters; its rates are the schedule's
    highest. `seed` orders the data and draws all that is random in a step; the global random state stays as it was.
    `fast=False` keeps to float32. Other keywords change the recipe (`lr=`, `batch_size=`, `weight_decay=`, ...).

    Removed weights are exactly 0 from before the first step to after the last: gradients are masked after `backward`,
    weights after `step`; later changes to the masks passed have no effect. A generator left early leaves a valid model.
    Raises ValueError before the first step if the data does not fit the model, and after a loss that is not finite.

    `loss(model, batch)` is a scalar tensor to minimise, instead of the task's loss of the model's outputs: a penalty,
    distillation, a target of another kind. If it has a third parameter `memory`, it gets the dict `progress.memory`, in
    which it may keep tensors to learn; then the update steps them. `update(progress)` is called after each `backward`,
    while `.grad` holds the whole gradients; masks that it returns (None: no change) apply from this step's change of
    the weights on. Weights that are removed or come back lose their moments in the optimizer; those that come back
    start at 0. See `Progress`.

    `straight_through=True` goes on training removed weights behind the masks: the forward pass sees them as 0, the
    gradient of the masked network moves all weights that have a mask (without `masks`: all prunable ones), and what
    comes back has the value that it reached. They lie in `progress.behind`; the model itself holds them as 0.

    `state`, a record's `state()` or `State.load(path)`, continues from that record, bit for bit. Pass all other
    arguments except `stop` as in that run (a ValueError says what differs); step, weights, masks and the optimizer's
    state come from the state. The same bits need the same machine, and functions that keep nothing elsewhere; on GPUs
    also `torch.use_deterministic_algorithms`.

    Inputs come in the model's own floating dtype, whole numbers as they are. A last batch of one sample is left out, as
    BatchNorm cannot train on it. The model comes back in evaluation mode; parts of a model in training mode that are in
    evaluation mode at the first step stay so (a frozen BatchNorm: `model.train()`, `norm.eval()` before each run).

    Misleads when accuracies of short schedules are compared: the rate falls to zero at each schedule's own end.

    >>> import workbench as wb
    >>> task = wb.load("moons", device="cpu")
    >>> model = wb.make("lenet-300-100", task)
    >>> [row["step"] for row in wb.steps(model, task, steps=2)]
    [1, 2]
    """
    used = _recipe(task, model, fast, changes)
    per_epoch, total = length(task, used, epochs, steps)
    end = total if stop is None else check_count("stop", stop, least=0)
    seed = check_count("seed", seed, least=0)
    made = make_optimizer(model, optimizer, used)
    facts = {
        "data": task.name,
        "training samples": task.size("train"),
        "input shape": task.shape,
        "steps": total,
        "seed": seed,
    }
    facts |= {"a loss of its own": loss is not None, "an update": update is not None, **settings(model, used, made)}
    facts["torch"] = torch.__version__
    facts |= {"straight through": True} if straight_through else {}
    if state is not None:
        if not isinstance(state, State):
            raise TypeError(f"state is a record's state() or wb.State.load(path); got {type(state).__name__}")
        state.check(model, facts)
        start, masks = state.step, state.masks
    if not 0 <= check_count("start", start, least=0) <= end <= total:
        raise ValueError(f"start <= stop <= the schedule's {total} steps; got start={start} and stop={end}")
    masks = (dense(model) if straight_through else {}) if masks is None else check_masks(model, masks)
    for name, function, given in (("loss", loss, "model, batch"), ("update", update, "progress")):
        if function is not None and not callable(function):
            raise TypeError(f"{name} is a function {name}({given}); got {function!r}. Leave it out for the default")
    check_data(model, task, loss)
    descend = partial(_task_loss, task) if loss is None else partial(_own_loss, loss)
    counts = dict(seed=seed, per_epoch=per_epoch, total=total, start=start, end=end)
    return _run(Plan(model, task, used, made, descend, update, masks, straight_through, state, facts, **counts))


def train(model: nn.Module, task: Task, **arguments: Any) -> list[Record]:
    """Run `steps` to the end and return all records.

    >>> import workbench as wb
    >>> task = wb.load("moons", device="cpu")
    >>> len(train(wb.make("lenet-300-100", task), task, steps=3))
    3
    """
    return list(steps(model, task, **arguments))


def _recipe(task: Task, model: nn.Module, fast: bool | None, changes: dict[str, Any]) -> Recipe:
    own = {p.name for p in inspect.signature(steps).parameters.values() if p.kind is p.KEYWORD_ONLY}
    for name in changes:
        check_choice("training option", name, {*Recipe.__dataclass_fields__, *own})
    used = replace(recipe(task, model), **changes)
    used = used if fast is None else replace(used, fast=fast)
    return replace(used, batch_size=check_count("batch_size", used.batch_size))


def schedule(model: nn.Module, task: Task, epochs: int | None = None, steps: int | None = None, **changes: Any) -> int:
    """How many steps `wb.steps` makes with these arguments.

    >>> import workbench as wb
    >>> task = wb.load("moons", device="cpu")
    >>> schedule(wb.make("lenet-300-100", task), task, epochs=3)
    48
    """
    return length(task, _recipe(task, model, None, changes), epochs, steps)[1]


def length(task: Task, used: Recipe, epochs: int | None, steps: int | None) -> tuple[int, int]:
    """Steps of an epoch, and of the schedule."""
    size = task.size("train")
    per_epoch = math.ceil(size / used.batch_size) - (used.batch_size > 1 and size > 1 and size % used.batch_size == 1)
    if epochs is not None and steps is not None:
        raise ValueError(f"a schedule is given in epochs or in steps; got epochs={epochs} and steps={steps}. Pass one")
    if steps is not None:
        return per_epoch, check_count("steps", steps)
    return per_epoch, per_epoch * check_count("epochs", used.epochs if epochs is None else epochs)


def check_data(model: nn.Module, task: Task, loss: BatchLoss | None) -> None:
    """Raise ValueError or TypeError where the model cannot be measured on a sample, or a label is no class of it."""
    targets, sample = task.splits["train"].targets, task.take("train", slice(1))
    with torch.no_grad(), evaluating(model), threads():
        given = outputs(model, fitted(model, sample.inputs))
        measured(task.measure, given, sample.targets)
        if loss is None:
            loss_of(task.loss, given, sample.targets)
    if loss is None and task.loss is functional.cross_entropy:
        given = taken(task.loss, given)
        check_labels(given.expand(len(targets), *given.shape[1:]), targets)


def _task_loss(task: Task, model: nn.Module, batch: Batch, memory: dict[str, Any]) -> Tensor:
    return task.loss(taken(task.loss, model(batch.inputs)), batch.targets)  # checked once, before the first step


def _own_loss(loss: BatchLoss, model: nn.Module, batch: Batch, memory: dict[str, Any]) -> Tensor:
    more = {"memory": memory} if _takes_memory(loss) else {}
    value = one_number(loss(model, batch, **more), "loss(model, batch)")
    if value.requires_grad:
        return value
    told = "loss(model, batch) is computed from the model's weights; got a tensor without a gradient"
    raise TypeError(f"{told}. Remove no_grad and detach")


def _takes_memory(loss: BatchLoss) -> bool:
    try:
        return "memory" in inspect.signature(loss).parameters
    except ValueError:  # a function of C code may have no signature
        return False


def _run(plan: Plan) -> Iterator[Record]:
    model, task, optimizer, state = plan.model, plan.task, plan.optimizer, plan.state
    rates = [group["lr"] for group in optimizer.param_groups]
    amount = 3 * work(model, task.splits["train"].inputs[: plan.recipe.batch_size])
    pays = plan.recipe.fast and len(task.shape) == 3 and amount >= LARGE and has_fast_bfloat16(task.device)
    half = torch.autocast(task.device.type, torch.bfloat16) if pays else contextlib.nullcontext()
    frozen, memory = frozen_parts(model), {}
    if state is not None:
        frozen, memory = state.frozen, copied(state.memory, "memory", task.device)
        state.restore_(model, optimizer)
    # The optimizer may lack some of the model's parameters, and have others.
    learning = [*model.parameters(), *(p for group in optimizer.param_groups for p in group["params"])]
    masks = own_masks(model, plan.masks)
    held, dtype = kept_bits(model, masks), own_dtype(model, task.take("train", slice(1)).inputs.dtype)
    if plan.straight_through:
        _keep_behind(model, memory, masks)
    clear_weights_(held)
    train_mode(model, frozen)
    row = Record()
    try:
        for epoch in range(plan.start // plan.per_epoch, math.ceil(plan.end / plan.per_epoch)):
            batches = task.batches("train", plan.recipe.batch_size, plan.seed, epoch)
            for index, batch in enumerate(islice(batches, min(plan.per_epoch, plan.end - epoch * plan.per_epoch))):
                step = epoch * plan.per_epoch + index
                if step < plan.start:
                    continue
                began, row._take, passed = time.perf_counter(), None, masks
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * plan.recipe.share(step, plan.total)
                inputs = batch.inputs.to(dtype) if batch.inputs.is_floating_point() else batch.inputs
                batch = Batch(fast_layout(model, inputs) if plan.recipe.fast else inputs, batch.targets)
                with threads(amount), seeded(plan.seed * 1_000_003 + step):
                    with half:
                        loss = plan.loss(model, batch, memory)
                    for parameter in learning:
                        parameter.grad = None
                    loss.backward()
                    if plan.update is not None:
                        now = loss.detach()
                        progress = Progress(step, plan.total, model, optimizer, batch, now, memory, plan.seed, masks)
                        if (changed := plan.update(progress)) is not None:
                            masks, held = _replaced(plan, memory, masks, changed)
                    behind = memory["behind"] if plan.straight_through else {}
                    for name, value in behind.items():
                        model.get_parameter(name).detach().copy_(value)
                    clear_grads_(() if plan.straight_through else held)
                    optimizer.step()
                    for name, value in behind.items():
                        value.copy_(model.get_parameter(name).detach())
                    clear_weights_(held)
                lr = optimizer.param_groups[0]["lr"]
                counts = dict(step=step + 1, total=plan.total, epoch=epoch, samples=len(batch.inputs))
                row = Record(**counts, loss=loss.item(), lr=lr)
                if not math.isfinite(row["loss"]):
                    raise ValueError(not_finite(step + 1, row["loss"], lr))
                row["seconds"] = time.perf_counter() - began
                if index == plan.per_epoch - 1 or step == plan.end - 1:
                    first, value = next(iter(evaluate(model, task).items()))
                    row[f"val_{first}"] = value
                rest = dict(step=step + 1, masks=masks, memory=memory, frozen=frozen, run=plan.facts)
                row._take, row._optimizer = partial(State.of, model, optimizer, **rest), optimizer
                row._masks, row._passed = masks, passed
                yield row
                if not model.training:
                    train_mode(model, frozen)
    finally:
        clear_weights_(held)
        model.eval()


def _replaced(
    plan: Plan, memory: dict[str, Any], masks: Masks, new: Masks
) -> tuple[Masks, list[tuple[nn.Parameter, Tensor]]]:
    """The new masks in force and their bits; what was dead or is dead has no moments, and is 0 before a step decays."""
    new = own_masks(plan.model, new)
    if plan.straight_through:
        _keep_behind(plan.model, memory, new)
    else:
        for either in (masks, new):
            reset_state_(plan.optimizer, plan.model, either)
    held = kept_bits(plan.model, new)
    clear_weights_(held)
    return new, held


def _keep_behind(model: nn.Module, memory: dict[str, Any], masks: Masks) -> None:
    """Keep the whole weights that these masks act on, where they are not kept yet."""
    behind = memory.setdefault("behind", {})
    behind |= {name: model.get_parameter(name).detach().clone() for name in masks if name not in behind}


def own_masks(model: nn.Module, masks: Masks) -> Masks:
    """Checked masks, as copies that nobody else changes, each where its weights are."""
    return {n: m.to(model.get_parameter(n).device, copy=True) for n, m in check_masks(model, masks).items()}


def not_finite(step: int, loss: float, rate: float) -> str:
    """What is said of a run whose loss is not finite."""
    told = f"a run needs a finite loss; that of step {step} is {loss}, at a rate of {rate:.3g}"
    return f"{told}. Lower lr, or check the inputs; load a snapshot, because the weights may be lost"


def frozen_parts(model: nn.Module) -> list[str]:
    """The parts in evaluation mode of a model in training mode: they stay so."""
    return [name for name, module in model.named_modules() if model.training and not module.training]


def train_mode(model: nn.Module, frozen: list[str]) -> None:
    """Training mode, but for the frozen parts."""
    model.train()
    for name in frozen:
        model.get_submodule(name).training = False
