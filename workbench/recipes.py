"""Recipes, what trains a network well on a task, as data; and the optimizers that they set up."""

import inspect
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from workbench.data.task import Task
from workbench.types import check_choice

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Recipe:
    """What trains a network well on a task: SGD with Nesterov momentum, linear warm-up, then a cosine to zero.

    "adam" and "adamw" as the optimizer take a fiftieth of the rate.

    `fast` allows the memory layout of `fast_layout`, which saves a fifth to a third of a step (ResNet-20, batch size
    128), and bfloat16 autocast in steps of `LARGE` work where the processor has it in hardware: without, it nearly
    doubles a step.
    """

    epochs: int = 20
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.1
    fast: bool = True
    optimizer: str = "sgd"

    def share(self, step: int, total: int) -> float:
        """Learning rate of step `step` (from 0) of `total`, as a share of the highest."""
        rise = max(self.warmup * total, 1)
        if step < rise:
            return (step + 1) / math.ceil(rise)
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(total - rise, 1)))


LARGE = 5e7
"""Multiply-adds (as `models.work` bounds them) of a training step from which bfloat16 pays; below, casts cost more."""

LENET = "lenet-300-100"

# Test accuracy in % and CPU seconds on one busy core, mean of seeds 0 to 2: digits with vgg 99.1 (4.6 s), lenet-300-100
# 98.6 (1.0 s), resnet-20 98.9 (5.7 s), resnet-32 98.7 (10.0 s); lenet-300-100 with moons 95.7 (0.7 s), circles 99.1
# (0.8 s), spirals 100 (1.4 s).
RECIPES: dict[tuple[str, str], Recipe] = {
    ("digits", "vgg"): Recipe(epochs=12, batch_size=64, lr=0.1),
    **{("digits", name): Recipe(epochs=8, batch_size=64, lr=0.1) for name in ("resnet-20", "resnet-32")},
    **{(data, LENET): Recipe(epochs=30, batch_size=64, lr=0.1) for data in ("digits", "moons", "circles")},
    ("spirals", LENET): Recipe(epochs=60, batch_size=64, lr=0.1),
    # Large batches, which cost a third less a sample than 128 at lr 0.05; on CIFAR-10, two seeds, 53.0 against 53.3 %.
    **{(data, LENET): Recipe(epochs=12, batch_size=512, lr=0.1) for data in ("mnist", "fashion-mnist")},
    ("text", "llama"): Recipe(epochs=8, batch_size=32, lr=0.1, weight_decay=0.1, optimizer="adamw"),
}
NETWORK_RECIPES: dict[str, Recipe] = {
    **dict.fromkeys((LENET, "lenet-5"), Recipe(epochs=12, lr=0.05)),
    "vgg": Recipe(epochs=20, lr=0.1),
    "vgg-16": Recipe(epochs=60, lr=0.05),
    **dict.fromkeys(("resnet-20", "resnet-32"), Recipe(epochs=60, lr=0.2)),
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


def low(used: Recipe) -> dict[str, float]:
    """What fine-tuning changes in a recipe: a hundredth of the rate, from the first step on.

    >>> low(Recipe(lr=0.5))
    {'lr': 0.005, 'warmup': 0.0}
    """
    return {"lr": used.lr / 100, "warmup": 0.0}


def make_optimizer(model: nn.Module, optimizer: str | MakeOptimizer | None, used: Recipe) -> torch.optim.Optimizer:
    """An optimizer of the model's parameters that require a gradient, by name or as a function makes it.

    >>> make_optimizer(nn.Linear(2, 1), "adam", Recipe(lr=0.1)).param_groups[0]["lr"]
    0.002
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("training needs parameters that require gradients; all are frozen. Use model.requires_grad_()")
    if callable(optimizer):
        if not isinstance(made := optimizer(trained), torch.optim.Optimizer):
            raise TypeError(f"the function optimizer returns a torch optimizer; got {type(made).__name__}")
        closure = inspect.signature(made.step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            told = f"{type(made).__name__} evaluates the loss several times per step, with a closure"
            raise TypeError(
                f"an optimizer takes one step with the gradients of one batch; {told}. Use one like torch.optim.SGD"
            )
        return made
    if isinstance(optimizer, torch.optim.Optimizer):
        told = "optimizer is a name or a function of the parameters; got an optimizer that holds parameters already"
        raise TypeError(f"{told}. Pass lambda parameters: torch.optim.SGD(parameters, lr=0.1)")
    name = check_choice("optimizer", used.optimizer if optimizer is None else optimizer, ("adam", "adamw", "sgd"))
    shared: dict[str, Any] = dict(weight_decay=used.weight_decay, fused=True)
    if name == "sgd":
        return torch.optim.SGD(trained, used.lr, used.momentum, nesterov=used.momentum > 0, **shared)
    return (torch.optim.Adam if name == "adam" else torch.optim.AdamW)(trained, used.lr / 50, **shared)


def settings(model: nn.Module, recipe: Recipe, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What a run is made with, as plain words and numbers: the recipe, the optimizer, and the parameters it has.

    >>> model = nn.Linear(2, 1)
    >>> settings(model, Recipe(), make_optimizer(model, "adam", Recipe()))["betas of group 0"]
    (0.9, 0.999)
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {name: value for name, value in vars(recipe).items() if name != "epochs"}
    found["optimizer"], place = type(optimizer).__name__, itertools.count()
    for index, group in enumerate(optimizer.param_groups):
        for name, value in group.items():
            if value is None or isinstance(value, bool | int | float | str | tuple):
                found[f"{name} of group {index}"] = value
        for p in group["params"]:
            found[f"the optimizer's group and place of {names.get(id(p), 'others')}"] = index, next(place)
    return found


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 convolutions run in hardware here: CUDA from Ampere on, CPUs with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or torch.backends.cpu.get_cpu_capability() != "AVX512":  # which may be kept from torch
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
