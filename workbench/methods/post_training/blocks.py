"""A decoder run block by block: each block is pruned on the inputs that the pruned blocks before it give."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from workbench.models import prunable
from workbench.models.hollow import empty, zero
from workbench.models.running import evaluating, outputs

Visit = Callable[[str, nn.Module, Callable[[], None]], None]


def blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The decoder's blocks by name: the members of the `nn.ModuleList` that holds most of the prunable weights.

    >>> model = nn.Module()
    >>> model.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    >>> list(blocks(model))
    ['layers.0', 'layers.1']
    """
    weights = prunable(model)
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    size = {name: sum(w.numel() for n, w in weights.items() if n.startswith(f"{name}.")) for name in lists}
    if not size or not max(size.values()):
        told = f"a decoder keeps its blocks in an nn.ModuleList; {type(model).__name__} has none with weights"
        raise ValueError(f"{told}. Use wb.score and wb.keep_top, which take any model")
    found = max(lists, key=lambda name: size[name])  # of equal ones the first, which is the outer one
    return {f"{found}.{at}": block for at, block in lists[found].named_children()}


@torch.no_grad()
def walk(model: nn.Module, inputs: Tensor, visit: Visit, rows: int = 8) -> None:
    """Run `inputs` through the model once and stop behind the last block; before a block's outputs go on, `visit` it.

    `visit(name, block, run)` may change the block's weights; `run()` passes all samples through the block as it is now,
    `rows` at a time, for hooks that watch. What the next block reads is computed afterwards. A pass of one sample comes
    first: its shapes tell which of a block's arguments have an entry for each sample. In this pass a block whose
    parameters are on the meta device has zeros; `visit` must fill it. A block that runs several
    times is visited the first time.
    """
    if not isinstance(inputs, Tensor):
        told = f"calibration reads a tensor of inputs, [n, t]; got {type(inputs).__name__}"
        raise TypeError(f"{told}. Pass the inputs alone, such as task.batch(32).inputs")
    if inputs.ndim < 2 or not len(inputs):
        raise ValueError(f"calibration needs at least one sample, [n, t]; got shape {tuple(inputs.shape)}. Pass more")
    found, ones = blocks(model), dict[str, Any]()
    with contextlib.ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(without_cache(model))
        with contextlib.ExitStack() as hooks, contextlib.suppress(_Done):
            for name, block in found.items():
                note = partial(_note, ones, name, len(found))
                hooks.callback(block.register_forward_pre_hook(note, with_kwargs=True).remove)
            hollow = [block for block in found.values() if any(p.is_meta for p in block.parameters())]
            for block in hollow:
                hooks.callback(empty, block)
            zero(hollow, inputs.device)
            outputs(model, inputs[:1])
        if idle := found.keys() - ones:
            told = f"blocks run when the model does; these do not: {', '.join(sorted(idle))}"
            raise ValueError(f"{told}. Wrap the model in a module whose forward runs them all")
        for name, block in found.items():
            last = name == next(reversed(ones))  # in the order in which they run
            stack.enter_context(_replaced(name, block, visit, ones[name], len(inputs), rows, last))
        try:
            model(inputs)
        except _Done:
            pass
        except IndexError as error:
            told = f"the model cannot look up tokens {inputs.min()} to {inputs.max()} in rows of {inputs.shape[1]}"
            raise ValueError(f"{told}. Pass tokens of its vocabulary, in rows no longer than its positions") from error


class _Done(Exception):
    """The last block was reached; what is behind it does not matter."""


def _note(ones: dict[str, Any], name: str, blocks: int, module: nn.Module, args: Any, kwargs: Any) -> None:
    """Keep the arguments of a block's first call; those of the last block end the pass."""
    ones.setdefault(name, (args, kwargs))
    if len(ones) == blocks:
        raise _Done


@contextlib.contextmanager
def _replaced(name: str, block: nn.Module, visit: Visit, one: Any, n: int, rows: int, last: bool) -> Iterator[None]:
    own, before = block.forward, vars(block).get("forward")

    def back() -> None:
        if before is None:
            vars(block).pop("forward", None)
        else:
            block.forward = before

    def forward(*args: Any, **kwargs: Any) -> Any:
        back()
        parts = [_part((args, kwargs), one, n, slice(at, at + rows)) for at in range(0, n, rows)]

        def run() -> None:
            for some, named in parts:
                block(*some, **named)  # with its hooks: a block may be a layer that is watched

        visit(name, block, run)
        if last:
            raise _Done
        return _joined([own(*some, **named) for some, named in parts])

    block.forward = forward
    try:
        yield
    finally:
        back()


def _part(value: Any, one: Any, n: int, rows: slice) -> Any:
    """The arguments of some of n samples: tensors that differ from those of `one` sample lose the other rows."""
    if isinstance(value, Tensor) and value.shape != one.shape:
        each = len(one)  # some tensors have a row for each head of each sample
        if value.shape != (n * each, *one.shape[1:]):
            told = f"samples stand along the first dimension of what a block reads; got {tuple(value.shape)} for {n}"
            raise ValueError(f"{told} and {tuple(one.shape)} for one. Let the model put samples first")
        return value[rows.start * each : rows.stop * each]
    if isinstance(value, tuple | list):
        return type(value)(_part(item, single, n, rows) for item, single in zip(value, one, strict=True))
    return {key: _part(item, one[key], n, rows) for key, item in value.items()} if isinstance(value, dict) else value


def _joined(parts: list[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)
    if isinstance(first, dict):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple | list):
        return type(first)(_joined(list(same)) for same in zip(*parts, strict=True))
    return first


@contextlib.contextmanager
def without_cache(model: nn.Module) -> Iterator[None]:
    """Models of `transformers`, also inside others, without cache: a block that runs twice would fill it twice."""
    configs: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    using = [config for config in configs if getattr(config, "use_cache", False)]
    try:
        for config in using:
            config.use_cache = False
        yield
    finally:
        for config in using:
            config.use_cache = True
