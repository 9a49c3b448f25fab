"""PHEW: weights in the order in which random walks visit them (Patil and Dovrolis 2021, arXiv:2010.11354)."""

import torch
from torch import Tensor, nn

from workbench.criteria.registry import criterion
from workbench.models import prunable
from workbench.types import Masks, Scores, check_count

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@criterion(
    "phew",
    family="magnitude",
    cost="walks through the weights; no pass",
    source="Patil and Dovrolis 2021, arXiv:2010.11354",
    chain=True,
)
def phew(model: nn.Module, masks: Masks | None, generator: torch.Generator, walks: int = 100_000) -> Scores:
    """`s = 1 - t / T` for a weight that walk t of T = `walks` (from 0) is the first to visit, else `|w| / max |w| - 1`.

    Even walks go from an input to an output, odd ones from an output to an input, and each kind starts at every unit in
    turn. From unit to unit a walk picks a weight with chance in proportion to `|w|`: forward of those that leave the
    unit, backward of those that enter it. Units are channels, and a kernel has a weight for every place; forward out of
    a flattened map comes first a place of it, all with equal chance. The authors stop when enough weights are visited;
    to keep the highest scores is the same, save that it may cut the last walk short. This workbench's reading is the
    order of what no walk visits, walks that meet a unit without weights and then visit nothing, and walks within masks.
    Takes chains (`nn.Sequential`) of linear and convolution layers.
    Misleads at densities that few walks reach: what no walk visited is ranked by magnitude alone.
    """
    check_count("walks", walks)
    strengths, chain = _chain(model, masks or {})
    first = {name: torch.full((s.numel(),), walks, dtype=torch.int32) for name, s in strengths.items()}
    for forward in (True, False):
        course = chain if forward else chain[::-1]
        times = torch.arange(0 if forward else 1, walks, 2, dtype=torch.int32)
        at = times.long() // 2 % strengths[course[0][0]].shape[1 if forward else 0]
        alive, steps = torch.ones(len(times), dtype=torch.bool), []
        for name, places in course:
            luck = torch.rand(len(times), generator=generator, dtype=torch.float64)
            at, index, lives = _step(at, strengths[name], places, luck, forward)
            alive &= lives
            steps.append(index)
        for (name, _), index in zip(course, steps, strict=True):
            first[name].scatter_reduce_(0, index[alive], times[alive], "amin")
    largest = max(float(s.max()) for s in strengths.values()) or 1.0
    scores = {}
    for name in list(strengths):  # each is let go when its score is there
        found, weight = first.pop(name), model.get_parameter(name)
        score = strengths.pop(name).reshape(-1).div_(largest).sub_(1)
        score = torch.where(found < walks, 1 - found.double() / walks, score)
        scores[name] = score.reshape(weight.shape).to(weight.device)
    return scores


def _step(at: Tensor, strength: Tensor, places: int, luck: Tensor, forward: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Next units, the weights stepped through and whether there was one; `strength` is `[out, in, kernel]`.

    Each unit of the layer before has `places` inputs. What is left of a walk's luck after a place is drawn is luck too.
    """
    _, inputs, kernel = strength.shape
    if forward:
        luck = luck * places
        at, luck = at * places + luck.long(), luck.frac()
    ends = (strength.transpose(0, 1) if forward else strength).flatten(1).cumsum(1)
    sums = ends[:, -1:].clone()
    ends = ends.div_(sums + (sums == 0)).add_(torch.arange(len(ends))[:, None])  # row r now rises from r to r + 1
    goal = torch.minimum(at + luck, torch.nextafter((at + 1).double(), at.double()))
    chosen = torch.searchsorted(ends.reshape(-1), goal, right=True) % ends.shape[1]
    other, spot = chosen // kernel, chosen % kernel
    output, source = (other, at) if forward else (at, other)
    units = output if forward else source // places
    return units, (output * inputs + source) * kernel + spot, sums[at, 0] > 0


def _chain(model: nn.Module, masks: Masks) -> tuple[dict[str, Tensor], list[tuple[str, int]]]:
    """The magnitudes `[out, in, kernel]`, and the layers in order, each with its inputs per unit of the one before."""
    if not isinstance(model, nn.Sequential | nn.Linear):
        raise _no_chain("the model", model)
    strengths: dict[str, Tensor] = {}
    chain: list[tuple[str, int]] = []
    names = {id(w): name for name, w in prunable(model, strict=False).items()}
    for layer, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, LAYERS) and getattr(module, "groups", 1) == 1:
            name, weight = names[id(module.weight)], module.weight.detach()
            units = len(strengths[chain[-1][0]]) if chain else weight.shape[1]
            if weight.shape[1] % units or (weight.ndim > 2 and weight.shape[1] != units):
                raise _no_chain(layer, module)
            chain.append((name, weight.shape[1] // units))
            strengths[name] = (weight * masks.get(name, 1)).abs().double().cpu().reshape(*weight.shape[:2], -1)
        elif isinstance(module, nn.Sequential | nn.modules.batchnorm._NormBase | nn.PReLU):
            continue
        elif next(module.parameters(), None) is not None or not type(module).__module__.startswith("torch.nn"):
            raise _no_chain(layer, module)
    return strengths, chain


def _no_chain(name: str, module: nn.Module) -> ValueError:
    return ValueError(
        "phew walks through an nn.Sequential of linear and ungrouped convolution layers, each taking what the one "
        f"before gives; got {name!r} ({type(module).__name__}). Use another criterion, such as 'synflow'"
    )
