"""Training as a generator: a record a step, masks kept exact, resumable at any step."""

from __future__ import annotations

import contextlib
import inspect
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.data.task import Task
from workbench.masks import clear_grads_, clear_weights_, kept_bits
from workbench.metrics.accuracy import evaluate
from workbench.models import fast_layout, work
from workbench.models.running import check_labels, evaluating, logits, own_dtype, run_model
from workbench.seeds import seeded, threads
from workbench.types import Masks, check_choice, check_count, check_masks

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Recipe:
    """What trains a network well on a task: SGD with Nesterov momentum, linear warm-up, then a cosine to zero.

    `fast` allows the memory layout of `fast_layout`, and bfloat16 autocast where the processor has it in hardware.
    Measured without such hardware, ResNet-20 at batch size 128: the layout saves a fifth to a third of a step,
    autocast nearly doubles it.
    """

    epochs: int = 20
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.1
    fast: bool = True

    def share(self, step: int, total: int) -> float:
        """Learning rate of step `step` (from 0) of `total`, as a share of the highest."""
        rise = max(self.warmup * total, 1)
        if step < rise:
            return (step + 1) / math.ceil(rise)
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(total - rise, 1)))


# Test accuracy in % and CPU seconds on one busy core, mean of seeds 0 to 2: digits with vgg 99.1 (4.6 s), lenet-300-100
# 98.6 (1.0 s), resnet-20 98.9 (5.7 s), resnet-32 98.7 (10.0 s); lenet-300-100 with moons 95.7 (0.7 s), circles 99.1
# (0.8 s), spirals 100 (1.4 s).
RECIPES: dict[tuple[str, str], Recipe] = {
    ("digits", "lenet-300-100"): Recipe(epochs=30, batch_size=64, lr=0.1),
    ("digits", "vgg"): Recipe(epochs=12, batch_size=64, lr=0.1),
    ("digits", "resnet-20"): Recipe(epochs=8, batch_size=64, lr=0.1),
    ("digits", "resnet-32"): Recipe(epochs=8, batch_size=64, lr=0.1),
    ("moons", "lenet-300-100"): Recipe(epochs=30, batch_size=64, lr=0.1),
    ("circles", "lenet-300-100"): Recipe(epochs=30, batch_size=64, lr=0.1),
    ("spirals", "lenet-300-100"): Recipe(epochs=60, batch_size=64, lr=0.1),
    # Large batches, which cost a third less a sample than 128 at lr 0.05; on CIFAR-10, two seeds, 53.0 against 53.3 %.
    ("mnist", "lenet-300-100"): Recipe(epochs=12, batch_size=512, lr=0.1),
    ("fashion-mnist", "lenet-300-100"): Recipe(epochs=12, batch_size=512, lr=0.1),
}
NETWORK_RECIPES: dict[str, Recipe] = {
    "lenet-300-100": Recipe(epochs=12, lr=0.05),
    "lenet-5": Recipe(epochs=12, lr=0.05),
    "vgg": Recipe(epochs=20, lr=0.1),
    "vgg-16": Recipe(epochs=60, lr=0.05),
    "resnet-20": Recipe(epochs=60, lr=0.2),
    "resnet-32": Recipe(epochs=60, lr=0.2),
    "resnet-56": Recipe(epochs=60, lr=0.1),
}


def recipe(task: Task, model: nn.Module) -> Recipe:
    """The default recipe for a pair of data and network; a cautious one for networks of the user's own.

    >>> import workbench as wb
    >>> task = wb.load("digits", device="cpu")
    >>> recipe(task, wb.make("vgg", task)).epochs
    12
    """
    name = getattr(model, "network", "")
    return RECIPES.get((task.name, name)) or NETWORK_RECIPES.get(name) or Recipe(epochs=20, batch_size=64, lr=0.02)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's state_dict, for `model.load_state_dict`: rewinding is that and no more.

    >>> model = nn.Linear(2, 1)
    >>> before = snapshot(model)
    >>> _ = model.weight.data.zero_()
    >>> bool(before["weight"].any())
    True
    """
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


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
    seed: int = 0,
    fast: bool | None = None,
    **changes: Any,
) -> Iterator[dict[str, float]]:
    """Train `model` in place and yield a record after every step.

    A record holds step (steps done), epoch, loss, lr and seconds; the last of each epoch also val_accuracy. The
    schedule is `epochs` epochs or `steps` steps long (default: the recipe of the pair). `start` resumes rate and data
    order at that step, with a fresh optimizer, and `stop` ends there: the first k steps are `stop=k`, and rewinding to
    them is loading their snapshot and training with `start=k`. `optimizer` is "sgd", "adam", "adamw" or a function of
    the parameters; the rates it comes with are the schedule's highest, so that one with a state saved on the way, whose
    rates are scaled already, needs its first rates back. `seed` orders the data and draws dropout; the global random
    state stays as it was. `fast=False` keeps to float32. Other keywords change the recipe (`lr=`, `batch_size=`,
    `weight_decay=`, ...).

    Removed weights are exactly 0 from before the first step to after the last: gradients are masked after `backward`,
    weights after `step`; the masks are read at the first step, and later changes to them have no effect. A generator
    left early leaves a valid model. Raises ValueError before the first step where the data does not fit the model, and
    after a step whose loss is not finite.

    The loss is the cross entropy of the logits: of outputs that are no tensor, what is called "logits" or a tuple's
    first item. Inputs come in the model's own floating dtype. A last batch of one sample is left out: BatchNorm cannot
    train on it. The model trains in training mode and comes back in evaluation mode. Modules that are in evaluation
    mode at the first step, while the model itself is in training mode, stay so (a frozen BatchNorm: `model.train()`,
    then `norm.eval()`, before each run).

    Misleads when accuracies of short schedules are compared: the rate falls to zero at each schedule's own end.

    >>> import workbench as wb
    >>> task = wb.load("moons", device="cpu")
    >>> model = wb.make("lenet-300-100", task)
    >>> [row["step"] for row in wb.steps(model, task, steps=2)]
    [1, 2]
    """
    plan = _plan(task, model, fast, changes)
    size = task.size("train")
    per_epoch = math.ceil(size / plan.batch_size) - (plan.batch_size > 1 and size > 1 and size % plan.batch_size == 1)
    if epochs is not None and steps is not None:
        raise ValueError(f"a schedule is given in epochs or in steps; got epochs={epochs} and steps={steps}. Pass one")
    total = per_epoch * check_count("epochs", plan.epochs if epochs is None else epochs)
    total = total if steps is None else check_count("steps", steps)
    end = total if stop is None else check_count("stop", stop, least=0)
    if not 0 <= check_count("start", start, least=0) <= end <= total:
        raise ValueError(f"start <= stop <= the schedule's {total} steps; got start={start} and stop={end}")
    masks = {} if masks is None else check_masks(model, masks)
    inputs, target = task.take("train", slice(1))
    with torch.no_grad(), evaluating(model), threads():
        outputs = run_model(model, inputs.to(own_dtype(model)))
    check_labels(outputs, target)
    check_labels(outputs.expand(size, -1), task.splits["train"].targets)
    return _run(model, task, masks, plan, per_epoch, total, start, end, _optimizer(model, optimizer, plan), seed)


def train(model: nn.Module, task: Task, **arguments: Any) -> list[dict[str, float]]:
    """Drain `steps`: train to the end and return all records.

    >>> import workbench as wb
    >>> task = wb.load("moons", device="cpu")
    >>> len(train(wb.make("lenet-300-100", task), task, steps=3))
    3
    """
    return list(steps(model, task, **arguments))


def _plan(task: Task, model: nn.Module, fast: bool | None, changes: dict[str, Any]) -> Recipe:
    plan = recipe(task, model)
    own = {p.name for p in inspect.signature(steps).parameters.values() if p.kind is p.KEYWORD_ONLY}
    for name in changes:
        check_choice("training option", name, {*Recipe.__dataclass_fields__, *own})
    plan = replace(plan, **changes, **({} if fast is None else {"fast": fast}))
    check_count("batch_size", plan.batch_size)
    return plan


def _optimizer(model: nn.Module, optimizer: str | MakeOptimizer | None, plan: Recipe) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError(
            "training needs at least one parameter that requires a gradient; all are frozen. Use model.requires_grad_()"
        )
    if callable(optimizer):
        made = optimizer(trained)
        if not isinstance(made, torch.optim.Optimizer):
            raise TypeError(f"the function optimizer returns a torch optimizer; got {type(made).__name__}")
        closure = inspect.signature(made.step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            raise TypeError(
                f"an optimizer here steps by the gradients of one batch; {type(made).__name__} evaluates the loss "
                "several times a step, by a closure. Use another, such as torch.optim.SGD"
            )
        return made
    if isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            "optimizer is a name or a function of the parameters; got an optimizer that holds parameters already. "
            "Pass lambda parameters: torch.optim.SGD(parameters, lr=0.1)"
        )
    name = check_choice("optimizer", "sgd" if optimizer is None else optimizer, ("adam", "adamw", "sgd"))
    if name == "sgd":
        nesterov = plan.momentum > 0
        return torch.optim.SGD(
            trained, lr=plan.lr, momentum=plan.momentum, weight_decay=plan.weight_decay, nesterov=nesterov, fused=True
        )
    make = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return make(trained, lr=plan.lr / 50, weight_decay=plan.weight_decay, fused=True)


def _run(
    model: nn.Module,
    task: Task,
    masks: Masks,
    plan: Recipe,
    per_epoch: int,
    total: int,
    start: int,
    end: int,
    optimizer: torch.optim.Optimizer,
    seed: int,
) -> Iterator[dict[str, float]]:
    rates = [group["lr"] for group in optimizer.param_groups]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    pays = plan.fast and len(task.shape) == 3 and has_fast_bfloat16(task.device)
    half = torch.autocast(task.device.type, torch.bfloat16) if pays else contextlib.nullcontext()
    held, amount = kept_bits(model, masks), 3 * work(model, task.splits["train"].inputs[: plan.batch_size])
    clear_weights_(held)
    dtype = own_dtype(model)
    frozen = [module for module in model.modules() if model.training and not module.training]
    _train_mode(model, frozen)
    try:
        for epoch in range(start // per_epoch, math.ceil(end / per_epoch)):
            for index, (inputs, targets) in enumerate(task.batches("train", plan.batch_size, seed, epoch)):
                step = epoch * per_epoch + index
                if index == per_epoch:
                    break
                if step < start:
                    continue
                if step >= end:
                    return
                began = time.perf_counter()
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * plan.share(step, total)
                inputs = inputs.to(dtype)
                if plan.fast:
                    inputs = fast_layout(model, inputs)
                with threads(amount):
                    with seeded(seed * 1_000_003 + step), half:
                        loss = functional.cross_entropy(logits(model(inputs)), targets)
                    for parameter in parameters:
                        parameter.grad = None
                    loss.backward()
                    clear_grads_(held)
                    optimizer.step()
                    clear_weights_(held)
                row = {"step": step + 1, "epoch": epoch, "loss": loss.item(), "lr": optimizer.param_groups[0]["lr"]}
                if not math.isfinite(row["loss"]):
                    raise ValueError(
                        f"training needs a finite loss; that of step {step + 1} is {row['loss']}, at a rate of "
                        f"{row['lr']:.3g}. Lower lr, or check the inputs; the weights may be lost: load a snapshot"
                    )
                row["seconds"] = time.perf_counter() - began
                if index == per_epoch - 1 or step == end - 1:
                    row["val_accuracy"] = evaluate(model, task)["accuracy"]
                yield row
                if not model.training:
                    _train_mode(model, frozen)
    finally:
        clear_weights_(held)
        model.eval()


def _train_mode(model: nn.Module, frozen: list[nn.Module]) -> None:
    model.train()
    for module in frozen:
        module.training = False


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 convolutions run in hardware here: CUDA from Ampere on, CPUs with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or torch.backends.cpu.get_cpu_capability() != "AVX512":  # which may be kept from torch
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
