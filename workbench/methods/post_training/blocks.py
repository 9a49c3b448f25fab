"""A decoder run block by block: each block is pruned on the inputs that the pruned blocks before it give."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from workbench.models import prunable
from workbench.models.running import evaluating

Calls = list[tuple[tuple[Any, ...], dict[str, Any]]]
"""Arguments of a block for one part of the samples after another."""
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
    return {f"{found}.{at}": block for at, block in enumerate(lists[found])}


@torch.no_grad()
def walk(model: nn.Module, inputs: Tensor, visit: Visit, rows: int = 8) -> None:
    """Run `inputs` through the model once and stop behind the last block; before a block's outputs go on, `visit` it.

    `visit(name, block, run)` may change the block's weights; `run()` passes all samples through the block as it is now,
    `rows` at a time, for hooks that watch. What the next block reads is computed afterwards.
    """
    if not isinstance(inputs, Tensor) or inputs.ndim != 2 or inputs.is_floating_point():
        shape = f"{inputs.dtype} {list(inputs.shape)}" if isinstance(inputs, Tensor) else type(inputs).__name__
        raise ValueError(f"tokens are whole numbers [n, t]; got {shape}. Pass task.batch(32).inputs, or a tokenizer's")
    found = blocks(model)
    last = next(reversed(found))
    with contextlib.ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(without_cache(model))
        for name, block in found.items():
            stack.enter_context(_replaced(name, block, visit, len(inputs), rows, name == last))
        try:
            model(inputs)
        except _Done:
            pass
        except IndexError as error:
            told = f"the model cannot look up tokens {inputs.min()} to {inputs.max()} in rows of {inputs.shape[1]}"
            raise ValueError(f"{told}. Pass tokens of its vocabulary, in rows no longer than its positions") from error


class _Done(Exception):
    """The last block was visited."""


@contextlib.contextmanager
def _replaced(name: str, block: nn.Module, visit: Visit, n: int, rows: int, last: bool) -> Iterator[None]:
    own = block.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        parts = [_part((args, kwargs), n, slice(at, at + rows)) for at in range(0, n, rows)]

        def run() -> None:
            for some, named in parts:
                own(*some, **named)

        visit(name, block, run)
        if last:
            raise _Done
        return _joined([own(*some, **named) for some, named in parts])

    block.forward = forward
    try:
        yield
    finally:
        del block.forward


def _part(value: Any, n: int, rows: slice) -> Any:
    """The arguments of some of n samples: tensors with a row for each lose the other rows."""
    if isinstance(value, Tensor):
        return value[rows] if value.ndim and len(value) == n else value
    if isinstance(value, tuple | list):
        return type(value)(_part(item, n, rows) for item in value)
    return {key: _part(item, n, rows) for key, item in value.items()} if isinstance(value, dict) else value


def _joined(parts: list[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)
    return (
        type(first)(_joined(list(same)) for same in zip(*parts, strict=True))
        if isinstance(first, tuple | list)
        else first
    )


@contextlib.contextmanager
def without_cache(model: nn.Module) -> Iterator[None]:
    """A model of `transformers` without its cache of keys and values: a block that runs twice would fill it twice."""
    config = getattr(model, "config", None)
    if not getattr(config, "use_cache", False):
        yield
        return
    config.use_cache = False  # type: ignore[union-attr]
    try:
        yield
    finally:
        config.use_cache = True  # type: ignore[union-attr]
