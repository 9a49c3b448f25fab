"""Training as a generator: a record a step, masks kept exact, open to any loss and update, resumable bit for bit."""

from __future__ import annotations

import contextlib
import inspect
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.data.task import Task
from workbench.masks import clear_grads_, clear_weights_, kept_bits, reset_state_
from workbench.metrics.accuracy import evaluate
from workbench.models import fast_layout, work
from workbench.models.running import check_labels, evaluating, fitted, loss_of, own_dtype, run_model
from workbench.recipes import MakeOptimizer, Recipe, has_fast_bfloat16, make_optimizer, recipe, settings
from workbench.seeds import seeded, threads
from workbench.states import Progress, Record, State, copied
from workbench.types import Batch, Masks, check_choice, check_count, check_masks

MakeLoss = Callable[[nn.Module, Batch], Tensor]


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's state_dict, for `model.load_state_dict`: rewinding is that and no more.

    >>> model = nn.Linear(2, 1)
    >>> before = snapshot(model)
    >>> _ = model.weight.data.zero_()
    >>> bool(before["weight"].any())
    True
    """
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


Update = Callable[[Progress], Masks | None]


@dataclass(frozen=True)
class Plan:
    """A run, decided before its first step."""

    model: nn.Module
    task: Task
    recipe: Recipe
    optimizer: torch.optim.Optimizer
    loss: MakeLoss
    update: Update | None
    masks: Masks
    state: State | None
    seed: int
    per_epoch: int
    total: int
    start: int
    end: int
    facts: dict[str, Any]


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
    loss: MakeLoss | None = None,
    update: Update | None = None,
    state: State | None = None,
    seed: int = 0,
    fast: bool | None = None,
    **changes: Any,
) -> Iterator[Record]:
    """Train `model` in place and yield a record after every step.

    A record holds step (steps done), total (steps of the schedule), epoch, loss, lr and seconds; the last of each epoch
    also what the task measures first, on the validation split (val_accuracy). The schedule is `epochs` epochs or
    `steps` steps long (default: the recipe of the pair). `start` begins with rate and data order at that step, with a
    fresh optimizer, and `stop` ends there: the first k steps are `stop=k`, and rewinding to them is loading their
    snapshot and training with `start=k`. `optimizer` is "sgd", "adam", "adamw" or a function of the parameters; the
    rates it comes with are the schedule's highest. `seed` orders the data and draws all that is random in a step; the
    global random state stays as it was. `fast=False` keeps to float32. Other keywords change the recipe (`lr=`,
    `batch_size=`, `weight_decay=`, ...).

    Removed weights are exactly 0 from before the first step to after the last: gradients are masked after `backward`,
    weights after `step`; the masks are read at the first step, and later changes to them have no effect. A generator
    left early leaves a valid model. Raises ValueError before the first step where the data does not fit the model, and
    after a step whose loss is not finite.

    `loss(model, batch)` is a scalar tensor to descend, in place of the task's loss of the model's outputs: for a
    penalty, distillation, a target of another kind. `update(progress)` is called after each `backward`, while `.grad`
    holds the whole gradients; the masks that it returns (None: no change) are in force from this step's own update of
    the weights on. The optimizer's moments of weights that are dead, or that were dead and grow, are cleared; weights
    grow from 0. See `Progress` for what an update may read, keep and draw.

    `state`, a record's `state()` or `State.load(path)`, goes on where that record was, bit for bit: all else is passed
    as to the run that it is of, but for `stop`; weights, masks, the step and the optimizer's state come from the state.
    Raises ValueError, before the first step, with what differs, if anything. The same bits need the same machine, and
    updates, losses and optimizers that keep nothing elsewhere; on GPUs also kernels that repeat
    (`torch.use_deterministic_algorithms`).

    Inputs come in the model's own floating dtype, whole numbers as they are. The cross entropy takes the logits: of
    outputs that are no tensor, what is called "logits" or a tuple's first item. A last batch of one sample is left out:
    BatchNorm cannot train on it. The model trains in training mode and comes back in evaluation mode. Modules that are
    in evaluation mode at the first step, while the model itself is in training mode, stay so (a frozen BatchNorm:
    `model.train()`, then `norm.eval()`, before each run).

    Misleads when accuracies of short schedules are compared: the rate falls to zero at each schedule's own end.

    >>> import workbench as wb
    >>> task = wb.load("moons", device="cpu")
    >>> model = wb.make("lenet-300-100", task)
    >>> [row["step"] for row in wb.steps(model, task, steps=2)]
    [1, 2]
    """
    used = _recipe(task, model, fast, changes)
    size = task.size("train")
    per_epoch = math.ceil(size / used.batch_size) - (used.batch_size > 1 and size > 1 and size % used.batch_size == 1)
    if epochs is not None and steps is not None:
        raise ValueError(f"a schedule is given in epochs or in steps; got epochs={epochs} and steps={steps}. Pass one")
    total = per_epoch * check_count("epochs", used.epochs if epochs is None else epochs)
    total = total if steps is None else check_count("steps", steps)
    end = total if stop is None else check_count("stop", stop, least=0)
    made = make_optimizer(model, optimizer, used)
    facts = {
        "data": task.name,
        "training samples": size,
        "input shape": task.shape,
        "steps": total,
        "seed": seed,
        **{name: value for name, value in vars(used).items() if name != "epochs"},
        "a loss of its own": loss is not None,
        "an update": update is not None,
        "optimizer": type(made).__name__,
        **settings(model, made),
    }
    if state is not None:
        if not isinstance(state, State):
            raise TypeError(f"state is a record's state() or wb.State.load(path); got {type(state).__name__}")
        state.check(model, facts)
        start, masks = state.step, state.masks
    if not 0 <= check_count("start", start, least=0) <= end <= total:
        raise ValueError(f"start <= stop <= the schedule's {total} steps; got start={start} and stop={end}")
    masks = {} if masks is None else check_masks(model, masks)
    _check_data(model, task, loss)
    return _run(
        Plan(
            model=model,
            task=task,
            recipe=used,
            optimizer=made,
            loss=partial(_task_loss, task) if loss is None else partial(_own_loss, loss),
            update=update,
            masks=masks,
            state=state,
            seed=seed,
            per_epoch=per_epoch,
            total=total,
            start=start,
            end=end,
            facts=facts,
        )
    )


def train(model: nn.Module, task: Task, **arguments: Any) -> list[Record]:
    """Drain `steps`: train to the end and return all records.

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
    used = replace(recipe(task, model), **changes, **({} if fast is None else {"fast": fast}))
    check_count("batch_size", used.batch_size)
    return used


def _check_data(model: nn.Module, task: Task, loss: MakeLoss | None) -> None:
    """Raise ValueError or TypeError where the model cannot be measured on a sample, or a label is no class of it."""
    train = task.splits["train"]
    evaluate(model, replace(task, splits={**task.splits, "train": Batch(*(part[:1] for part in train))}), split="train")
    if loss is None and task.loss is functional.cross_entropy:
        with torch.no_grad(), evaluating(model), threads():
            logits = run_model(model, fitted(model, task.take("train", slice(1)).inputs))
        check_labels(logits.expand(len(train.targets), *logits.shape[1:]), train.targets)


def _task_loss(task: Task, model: nn.Module, batch: Batch) -> Tensor:
    return loss_of(task.loss, model(batch.inputs), batch.targets)


def _own_loss(loss: MakeLoss, model: nn.Module, batch: Batch) -> Tensor:
    value = loss(model, batch)
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(
            f"loss(model, batch) is a tensor of one number, computed from the model's weights; got {got}"
            + (" without a gradient" if isinstance(value, Tensor) and not value.requires_grad else "")
            + ". Take a mean, and leave no_grad, detach and item out"
        )
    return value


def _run(plan: Plan) -> Iterator[Record]:
    model, task, optimizer, state = plan.model, plan.task, plan.optimizer, plan.state
    rates = [group["lr"] for group in optimizer.param_groups]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    pays = plan.recipe.fast and len(task.shape) == 3 and has_fast_bfloat16(task.device)
    half = torch.autocast(task.device.type, torch.bfloat16) if pays else contextlib.nullcontext()
    amount = 3 * work(model, task.splits["train"].inputs[: plan.recipe.batch_size])
    frozen = [name for name, module in model.named_modules() if model.training and not module.training]
    memory: dict[str, Any] = {}
    if state is not None:
        frozen, memory = state.frozen, copied(state.memory, "memory", task.device)
        state.restore_(model, optimizer)
    masks = _own(model, plan.masks)
    held, dtype = kept_bits(model, masks), own_dtype(model)
    clear_weights_(held)
    _train_mode(model, frozen)
    try:
        for epoch in range(plan.start // plan.per_epoch, math.ceil(plan.end / plan.per_epoch)):
            for index, batch in enumerate(task.batches("train", plan.recipe.batch_size, plan.seed, epoch)):
                step = epoch * plan.per_epoch + index
                if index == plan.per_epoch:
                    break
                if step < plan.start:
                    continue
                if step >= plan.end:
                    return
                began = time.perf_counter()
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * plan.recipe.share(step, plan.total)
                inputs = batch.inputs.to(dtype) if batch.inputs.is_floating_point() else batch.inputs
                if plan.recipe.fast:
                    inputs = fast_layout(model, inputs)
                batch = Batch(inputs, batch.targets)
                with threads(amount), seeded(plan.seed * 1_000_003 + step):
                    with half:
                        loss = plan.loss(model, batch)
                    for parameter in parameters:
                        parameter.grad = None
                    loss.backward()
                    if plan.update is not None:
                        now = loss.detach()
                        progress = Progress(step, plan.total, model, optimizer, batch, now, memory, plan.seed, masks)
                        changed = plan.update(progress)
                        if changed is not None:
                            changed = _own(model, changed)
                            for either in (masks, changed):  # what grows was dead in the one, what goes in the other
                                reset_state_(optimizer, model, either)
                            masks, held = changed, kept_bits(model, changed)
                    clear_grads_(held)
                    optimizer.step()
                    clear_weights_(held)
                row = Record(step=step + 1, total=plan.total, epoch=epoch, loss=loss.item())
                row["lr"] = optimizer.param_groups[0]["lr"]
                if not math.isfinite(row["loss"]):
                    raise ValueError(
                        f"training needs a finite loss; that of step {step + 1} is {row['loss']}, at a rate of "
                        f"{row['lr']:.3g}. Lower lr, or check the inputs; the weights may be lost: load a snapshot"
                    )
                row["seconds"] = time.perf_counter() - began
                if index == plan.per_epoch - 1 or step == plan.end - 1:
                    measured = evaluate(model, task)
                    first = next(iter(measured))
                    row[f"val_{first}"] = measured[first]
                row._take = partial(State.of, model, optimizer, step + 1, masks, memory, frozen, plan.facts)
                yield row
                row._take = None
                if not model.training:
                    _train_mode(model, frozen)
    finally:
        clear_weights_(held)
        model.eval()


def _own(model: nn.Module, masks: Masks) -> Masks:
    """Masks that were checked, as copies that nobody else changes, each where its weights are."""
    found = check_masks(model, masks)
    return {name: mask.to(model.get_parameter(name).device, copy=True) for name, mask in found.items()}


def _train_mode(model: nn.Module, frozen: list[str]) -> None:
    model.train()
    for name in frozen:
        model.get_submodule(name).training = False
