"""Groups and removal of half the channels, beside torch-pruning's pruner, which also scores; neither proves it."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb
from benchmarks.measure import Row, in_turns, random_task, relative
from workbench.removal import Groups
from workbench.removal.smaller import doomed, without


class Block(nn.Module):
    """The basic block of ResNet-18, with a convolution on the shortcut where the width changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
        self.short = nn.Sequential()
        if before != after:
            self.short = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))) + self.short(x))


def resnet_18(classes: int = 10) -> nn.Module:
    """ResNet-18 for images of 32 x 32 (He et al. 2016, arXiv:1512.03385): 11.2 million weights."""
    widths, layers = (64, 64, 128, 256, 512), list[nn.Module]()
    for stage, (before, after) in enumerate(itertools.pairwise(widths)):
        layers += [Block(before, after, 1 + (stage > 0)), Block(after, after, 1)]
    first = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()
    return nn.Sequential(*first, *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


def rows(quick: bool) -> Iterator[Row]:
    task = random_task((3, 32, 32), train=200)
    example, turns = task.batch(1).inputs, 1 if quick else 10
    models = {
        "resnet-20": wb.make("resnet-20", task),
        "resnet-56": wb.make("resnet-56", task),
        "resnet-18": resnet_18(),
    }
    for name, model in models.items():
        masks = _masks(model, wb.groups(model, example))
        calls = {
            "theirs": functools.partial(_torch_pruning, model, example),
            "removed": lambda model=model, masks=masks: _removed(wb.groups(model, example), masks),
            "scored": functools.partial(_scored_and_removed, model, example),
        }
        seconds = in_turns(turns, **calls)
        times = relative(seconds, "theirs")
        yield Row(f"groups and removal of {name} / torch-pruning's pruner", times["removed"], "x", 1.3)
        yield Row(f"groups, scores, masks, removal: {name} / torch-pruning's pruner", times["scored"], "x")
        yield Row(f"groups and removal of {name}", seconds["removed"] * 1e3, "ms")
    yield from _costs(models["resnet-18"], example, quick)


def _costs(model: nn.Module, example: Tensor, quick: bool) -> Iterator[Row]:
    """Measured seconds beside multiply-adds, one thread; and from where on CSR pays."""
    masks = wb.masks_to(model, wb.group_scores(model, wb.score(model, None, "magnitude"), example), 0.5, example)
    batch, how = (2, {"repeats": 2}) if quick else (32, {"repeats": 7})
    table = wb.costs(model, masks, example, batches=[batch], **how).set_index("form")
    half = f"ResNet-18 at half the multiply-adds, batches of {batch}"
    ratio = table.loc["dense", "macs"] / table.loc["removed", "macs"]
    yield Row(f"{half}: multiply-adds before / after", ratio, "x")
    for form in ("masked", "csr", "removed", "onnx", "onnx int8"):
        yield Row(f"{half}: seconds dense / {form}", table.loc[form, "speedup"], "x")
    off = abs(table.loc["removed", "speedup"] / ratio - 1)
    yield Row(f"{half}: how far the seconds are from the multiply-adds", off, "", 0.25)
    linear, convolution = ((256, 256), (16, 16, 3, 3)) if quick else ((2048, 2048), (128, 128, 3, 3))
    how = {"within": 0.1 if quick else 0.02, "repeats": 3 if quick else 9}
    for form, size, rows in itertools.product(("csr", "removed"), (linear, convolution), (1, 32)):
        found = wb.break_even(rows, size, form=form, **how)
        found = found if found == found else 1.0
        yield Row(
            f"sparsity from which {form!r} is faster (1: none): {' x '.join(map(str, size))}, batch {rows}", found, ""
        )


def _masks(model: nn.Module, found: Groups) -> wb.Masks:
    scores = wb.group_scores(model, wb.score(model, None, "magnitude"), found)
    return wb.group_masks(model, wb.keep_top(scores, 0.5, allocation="layer"), found)


def _removed(found: Groups, masks: wb.Masks) -> nn.Module:
    return without(found.coupling, masks, doomed(found.coupling, masks))


def _scored_and_removed(model: nn.Module, example: Tensor) -> nn.Module:
    found = wb.groups(model, example)
    return _removed(found, _masks(model, found))


def _torch_pruning(model: nn.Module, example: Tensor) -> None:
    import torch_pruning as tp

    model = copy.deepcopy(model)  # it works in place; ours leaves the model as it is
    last = [module for module in model.modules() if isinstance(module, nn.Linear)]
    importance = tp.importance.MagnitudeImportance()
    with torch.enable_grad():
        tp.pruner.MagnitudePruner(model, example, importance, pruning_ratio=0.5, ignored_layers=last).step()
