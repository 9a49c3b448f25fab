"""The layers of a decoder's blocks: which of them go by what share, what they read, and how one is pruned."""

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from workbench.methods.post_training.base import POST_TRAINING, Entry, Inputs, Share
from workbench.methods.post_training.blocks import blocks
from workbench.methods.post_training.checks import check_decoder, is_pretrained
from workbench.methods.post_training.experts import prune_stack, stacks_of, watched_experts
from workbench.models import left_out, prunable
from workbench.models.weights import turned, warn_of
from workbench.types import count_not_finite


@dataclass(frozen=True)
class Plan:
    """What is asked of a decoder: the method with its options, and by block the share and the names of the layers.

    `left` are the weights of no known layer, and their shares of all; stacks that were pruned are taken out of it.
    """

    entry: Entry
    options: dict[str, Any]
    shares: dict[str, Share]
    layers: dict[str, list[str]]
    left: dict[str, float]

    @torch.no_grad()
    def pruned(
        self, name: str, block: nn.Module, run: Callable[[], None]
    ) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
        """For each layer of a block the name of its weight, the weight itself, its mask and its new values.

        All of them, and the experts in stacked weights, are watched in one `run` of the block, before the first is
        pruned.
        """
        layers = {layer: block.get_submodule(layer[len(name) + 1 :]) for layer in self.layers[name]}
        needed = self.entry.needs != "nothing"
        stacks = {stack: weight for stack, weight in stacks_of(name, block).items() if stack in self.left}
        with watched(layers, self.entry) as seen, watched_experts(block, stacks, self.entry.needs) as experts:
            if needed or stacks:
                run()
        if unseen := [layer for layer in layers if needed and not seen[layer].n]:
            told = f"layers read calibration tokens; of {name!r} these saw none: {', '.join(unseen)}"
            more = "with * for the block's number they are those of all blocks"
            raise ValueError(f"{told}. Pass exclude={unseen} ({more}), or more tokens if they are experts")
        prune = partial(_pruned, entry=self.entry, share=self.shares[name], options=self.options)
        for layer, module in layers.items():
            mask, new = prune(f"{layer}.weight", matrix(module), seen.pop(layer))
            yield f"{layer}.weight", weight_of(module), *((mask.t(), new.t()) if turned(module) else (mask, new))
        for stack, read in experts.items():
            if read.turned is not None:
                del self.left[stack]
                check_groups(stack, self.shares[name], read.matrix(0))
                found = prune_stack(stack, read, self.shares[name], self.entry.needs, prune)
                yield stack, stacks[stack].detach(), *found

    def warn(self, model: nn.Module) -> None:
        """Warn of what stayed whole."""
        warn_of(self.left, model)


def planned(
    model: nn.Module,
    method: str,
    sparsity: float | Mapping[str, float],
    granularity: str,
    exclude: Iterable[str],
    options: dict[str, Any],
) -> Plan:
    """Check all that can be checked before anything is computed; the model needs shapes only.

    >>> from workbench.methods.post_training import scores
    >>> model = nn.Module()
    >>> model.layers = nn.ModuleList([nn.Linear(4, 2)])
    >>> planned(model, "wanda", 0.5, "2:4", [], {}).layers
    {'layers.0': ['layers.0']}
    """
    if is_pretrained(model):
        check_decoder(model.config, type(model).__name__)
    entry, found = POST_TRAINING[method], blocks(model)
    budget = sparsity if isinstance(sparsity, Mapping) else dict.fromkeys(found, sparsity)
    if budget.keys() != found.keys():
        told = f"sparsities by block name each of {', '.join(found)}; got {', '.join(map(str, budget)) or 'none'}"
        raise ValueError(f"{told}. Pass one number, or the blocks' names as keys")
    shares = {name: Share.of(budget[name], granularity) for name in found}
    known_options = [*inspect.signature(entry.function).parameters][3:]
    if unknown := [option for option in options if option not in known_options]:
        told = f"{method!r} takes {', '.join(known_options) or 'no options'}; got {', '.join(unknown)}"
        raise TypeError(f"{told}. Leave out what it does not take")
    exclude = [exclude] if isinstance(exclude, str) else list(exclude)
    known = prunable(model, exclude)
    linear = {name: layers_of(name, block) for name, block in found.items()}
    inside = {f"{layer}.weight" for layers in linear.values() for layer in layers}
    if other := [w for w in known if w.startswith(tuple(f"{name}." for name in found)) and w not in inside]:
        told = f"one-shot methods prune linear layers; {', '.join(other)} are of another kind"
        raise ValueError(f"{told}. Pass exclude={other} to leave them whole")
    layers = {name: [layer for layer in own if f"{layer}.weight" in known] for name, own in linear.items()}
    for name, share in shares.items():
        for layer in layers[name]:
            check_groups(layer, share, matrix(linear[name][layer]))
    return Plan(entry, options, shares, layers, left_out(model, exclude))


def layers_of(name: str, block: nn.Module) -> dict[str, nn.Module]:
    found = {f"{name}.{inner}".rstrip("."): module for inner, module in block.named_modules()}
    return {layer: module for layer, module in found.items() if isinstance(module, nn.Linear) or turned(module)}


def weight_of(layer: nn.Module) -> Tensor:
    found = layer.weight
    assert isinstance(found, Tensor)
    return found.detach()


def matrix(layer: nn.Module) -> Tensor:
    """A layer's weight as `[out, in]`."""
    return weight_of(layer).t() if turned(layer) else weight_of(layer)


def _pruned(
    name: str, weight: Tensor, inputs: Inputs, entry: Entry, share: Share, options: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """The mask and the new values of a weight `[out, in]`."""
    if inputs.n and entry.needs != "nothing" and count_not_finite(inputs.power):
        raise ValueError(f"inputs of {name!r} are NaN or infinite. Check the weights, or calibrate in float32")
    if count := count_not_finite(weight):
        raise ValueError(f"weights are finite numbers; {name!r} has {count} that are NaN or infinite. Mend the model")
    return entry.function(weight, inputs, share, **options)


def check_groups(name: str, share: Share, weight: Tensor) -> None:
    """Raise ValueError where n:m does not divide the rows of a weight `[out, in]`."""
    if share.m and weight.shape[1] % share.m:
        told = f"'{share.n}:{share.m}' groups inputs; {name!r} has {weight.shape[1]}, no multiple of {share.m}"
        raise ValueError(f"{told}. Pass exclude=[{name!r}], or another n:m")


@contextlib.contextmanager
def watched(layers: dict[str, nn.Module], entry: Entry) -> Iterator[dict[str, Inputs]]:
    """What each layer reads while a block runs; layers that read one tensor share what is made of it."""
    seen: dict[str, Inputs] = {layer: Inputs() for layer in layers}
    now: list[Any] = [None, None]  # the tensor that was read last, and of which inputs it is

    def look(name: str, given: Tensor) -> None:
        if now[0] is given and (not seen[name].n or seen[name] is now[1]):  # the layer before read it, too
            seen[name] = now[1]
            return
        seen[name].add(given.reshape(-1, given.shape[-1]), entry.needs)
        now[:] = given, seen[name]

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda module, args: look(name, args[0])

    hooks = [module.register_forward_pre_hook(hook(name)) for name, module in layers.items()]
    try:
        yield seen
    finally:
        for one in hooks:
            one.remove()
