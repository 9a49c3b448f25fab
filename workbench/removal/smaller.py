"""A smaller model in place of a masked one, and the proof that they compute the same."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from workbench.masks.apply import apply_masks_
from workbench.models.kernels import plain_kernels
from workbench.models.running import evaluating, outputs
from workbench.removal.modules import resized
from workbench.removal.units import OUTPUT, Coupling, Groups, counting, coupling
from workbench.seeds import seeded
from workbench.types import Masks, check_masks

AGREE = 1e-5
"""How far the outputs of the masked and the removed model may differ in float64, as a part of the largest."""

SHARPER = 1e-3
"""The same where all weights are scaled to outputs of variance 1: faults are large there, and so is rounding."""

NOT_RUN = "the smaller model does not run"
RUNS = "let the model's code take sizes from its tensors and layers, not from numbers of its own"
COVERED = (
    'cover biases and norms, too, as keep_top(..., granularity="channel", model=model) does: a unit goes if it is 0 '
    "wherever it is read"
)
NOT_FINITE = "the masked model's outputs are not finite"

HEADS = re.compile(r"(heads|n_head|num_head)$")
WIDTHS = "split_size", "inner_dim", "all_head_size"
"""Numbers that modules of a model's own code keep, by name: of their heads, and of all heads' width."""


def remove(model: nn.Module, masks: Masks, example: Tensor | Groups | None = None) -> nn.Module:
    """A new, smaller model that computes what the masked model computes: units that the masks empty are taken out.

    A unit goes if the masks keep none of the weights that write it, in all members of its group (`wb.groups`), and
    nothing holds it; all other masked weights stay, as zeros. Biases and norms follow the masks: those of
    `keep_top(..., granularity="channel", model=model)` cover them. `example` is a batch of inputs `[n, ...]`;
    without it, the model's `input_shape` tells one. The model is untouched. `wb.save_removed` writes the result.

    It is proven each time: in float64 and evaluation mode both give the same outputs within 1e-5 of the largest, for
    the example and for random inputs of its shape; then once more with every weight scaled to an output of variance 1,
    as small weights hide much (within 1e-3). Raises ValueError, with the group's name, if they do not, if
    outputs of the model or all units of a layer would go, or if none can.
    Misleads in training: a removed unit cannot grow back, and statistics of a batch norm are those of fewer units.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> kept = torch.tensor([True, False, True])
    >>> remove(model, {"0.weight": kept[:, None].expand(3, 4), "0.bias": kept}, torch.ones(1, 4))[0]
    Linear(in_features=4, out_features=2, bias=True)
    """
    masks, found = check_masks(model, masks), coupling(model, example)
    gone = doomed(found, masks)
    small, tests = without(found, masks, gone), list(_tests(found.example))
    if told := difference(model, masks, small, tests):
        names, alone = [name for name, units in found.order.items() if gone[units].any()], np.zeros_like(gone)
        for name in names:
            alone[:] = False
            alone[found.order[name]] = gone[found.order[name]]
            if one := difference(model, masks, without(found, masks, alone), tests):
                names, told = [name], one
                break
        raise ValueError(
            f"a removed model gives the masked model's outputs within {AGREE:g} of the largest; without the masked "
            f"units of {', '.join(map(repr, names))} {told}. Keep these units in the masks, or "
            + (RUNS if NOT_RUN in told else COVERED)
        )
    return small


def doomed(found: Coupling, masks: Masks) -> np.ndarray:
    """Which units go: those that the masks empty in all their members and that nothing holds."""
    dead, held = found.written.copy(), np.zeros_like(found.written)
    held[list(found.why)] = True
    given = {found.weights[name]: mask for name, mask in masks.items() if name in found.weights}
    for name, dim in found.writers:
        units, mask = found.dims[name, dim], given.get(found.weights[name])
        alive = None if mask is None else mask.movedim(dim, 0).flatten(1).any(1).cpu().numpy()
        dead[units if alive is None else units[alive]] = False
    stuck = {name: units[dead[units] & held[units]].tolist() for name, units in found.order.items()}
    for name, units in stuck.items():
        if units and OUTPUT in [found.why[unit] for unit in units]:
            raise ValueError(
                f"the model's outputs are not removed; the masks empty {len(units)} units of {name!r}, and {OUTPUT}. "
                f"Leave this layer out, as wb.score(..., exclude=[{name!r}]) does"
            )
    for name, dim in found.writers:
        if dead[found.dims[name, dim]].all():
            raise ValueError(
                f"a layer keeps at least one unit; the masks empty all {len(found.dims[name, dim])} of {name!r}. Use "
                'allocation="layer", or a lower sparsity'
            )
    if not (dead & ~held).any():
        told = "".join(f"; {name!r} stays, because {found.why[units[0]]}" for name, units in stuck.items() if units)
        raise ValueError(
            f"a unit goes if it is masked in all members of its group; these masks empty none that can go{told}. Use "
            'granularity="channel", and wb.group_scores where layers share their units; wb.groups shows which do'
        )
    return dead & ~held


def without(found: Coupling, masks: Masks, gone: np.ndarray) -> nn.Module:
    """A copy of the masked model without these units; its `removal` says which numbers in its own code changed."""
    made, changed = dict[str, Tensor](), dict[str, list[tuple[np.ndarray, np.ndarray]]]()
    for name, held in (*found.model.named_parameters(), *found.model.named_buffers()):
        tensor, mask = held.detach(), masks.get(name)
        for dim in range(tensor.ndim):
            units = found.dims.get((name, dim))
            if units is not None and gone[units].any():
                stay = ~gone[units]
                index = torch.from_numpy(np.flatnonzero(stay)).to(tensor.device)
                tensor, mask = tensor.index_select(dim, index), None if mask is None else mask.index_select(dim, index)
                changed.setdefault(name.rpartition(".")[0], []).append((units, units[stay]))
        if mask is not None or tensor.shape != held.shape:
            made[name] = tensor if mask is None else tensor.where(mask, torch.zeros_like(tensor))
    numbers = {**getattr(found.model, "removal", {})}
    for name, module in found.model.named_modules():
        if changed and not type(module).__module__.startswith("torch.nn"):
            near = [name, *(f"{name}.{child}".lstrip(".") for child, _ in module.named_children())]
            new = _numbers(module, [sizes for path in near for sizes in changed.get(path, [])])
            if new:
                numbers[name] = {**numbers.get(name, {}), **new}
    small = resized(found.model, made, numbers)
    small.removal = numbers  # type: ignore[assignment]
    return small


def _numbers(module: nn.Module, changed: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, int]:
    """New numbers of heads and of their width; `changed` are the units of a dimension's indices, before and after."""
    found = {}
    names = [name for name in vars(module) if HEADS.search(name) or name in WIDTHS]
    sizes = sorted((len(np.unique(b)), len(np.unique(a)), len(b), len(a)) for b, a in changed) if names else []
    for name in names:
        value = vars(module)[name]
        for units, left, width, narrow in sizes if type(value) is int else []:
            if HEADS.search(name) and units > 1 and value % units == 0:
                found[name] = value // units * left
            elif name in WIDTHS and value == width:
                found[name] = narrow
    return found


def _tests(example: Tensor) -> Iterator[Tensor]:
    """The example, and random inputs of its shape: normal numbers, or whole numbers out of the example's."""
    yield example
    with seeded(0):
        if example.is_floating_point():
            yield torch.randn(example.shape, dtype=torch.float64).to(example.device)
        else:
            yield example.flatten()[torch.randint(example.numel(), example.shape, device=example.device)]


def difference(model: nn.Module, masks: Masks, small: nn.Module, tests: list[Tensor]) -> str:
    """In words how the removed model's outputs differ from the masked model's; empty if they agree."""
    masked, small = resized(model, {}).double(), resized(small, {}).double()
    apply_masks_(masked, masks)
    for inputs in tests:
        if told := _apart(masked, small, inputs, AGREE):
            return told
    scales = {name: _scale(p) for name, p in masked.named_parameters() if p.ndim > 1}
    for one in (masked, small):
        with torch.no_grad():
            for name, scale in scales.items():
                one.get_parameter(name).mul_(scale)
    told = _apart(masked, small, tests[-1], SHARPER)
    return f"with scaled weights {told}" if told and NOT_FINITE not in told else ""


def _scale(weight: Tensor) -> float:
    """What makes a weight's outputs of inputs of variance 1 have variance 1."""
    size = float(weight.detach().square().sum() / len(weight)) ** 0.5
    return 1 / size if size else 1.0


def _apart(masked: nn.Module, small: nn.Module, inputs: Tensor, bound: float) -> str:
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    with torch.no_grad(), evaluating(masked), evaluating(small), plain_kernels(masked):
        try:
            want = counting(outputs(masked, inputs))
        except (ValueError, TypeError) as error:
            told = (
                f"removal is proven in float64; {type(masked).__name__} does not run there: {error.__cause__ or error}"
            )
            raise ValueError(f"{told}. Let it use operations that take float64") from error
        try:
            got = counting(outputs(small, inputs))
        except (ValueError, TypeError) as error:
            return f"{NOT_RUN}: {error.__cause__ or error}"
    for a, b in zip(want, got, strict=True):
        if a.shape != b.shape:
            return f"its outputs have shape {tuple(b.shape)} in place of {tuple(a.shape)}"
        if not a.isfinite().all():
            return NOT_FINITE
        far, size = float((a - b).abs().max()), float(a.abs().max())
        if not far <= bound * size:
            return f"they differ by {far:.2g}, the largest is {size:.2g}"
    return ""
