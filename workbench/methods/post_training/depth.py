"""Whole blocks of a decoder: how much each changes what passes through it, and a model without some of them."""

import contextlib
import copy
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.methods.post_training.blocks import blocks, walk
from workbench.models.watch import tensors
from workbench.seeds import seeded
from workbench.types import check_choice, check_count, count_not_finite

OF_BLOCKS = re.compile("layer|block")
"""Names of lists in a config that may have an entry for each block."""


@torch.no_grad()
def block_influence(model: nn.Module, inputs: Tensor, span: int = 1, rows: int = 8) -> dict[str, float]:
    """How much each block changes what passes: `1 - cos(x, y)` of its inputs and outputs, the mean over all tokens.

    0 where outputs have the direction of the inputs, 1 where they are orthogonal. `inputs` are tokens `[n, t]`, of
    which `rows` pass at a time; the model is untouched. With `span=n` the value of a block is that of the n blocks that
    begin with it; the last n - 1 have none. Source: ShortGPT, Men et al. 2024, arXiv:2403.03853, eq. 1; several blocks
    in a row as in Gromov et al. 2024, arXiv:2403.17887, who take the angle of the last token.
    Misleads for blocks that change little but what all later ones need; of two alike each may be dropped, not both.

    >>> import workbench as wb
    >>> task = wb.load("text", device="cpu")
    >>> influence = block_influence(wb.trained("llama", task), task.batch(4).inputs)
    >>> list(influence)[0], all(0 < value < 1 for value in influence.values())
    ('model.layers.0', True)
    """
    if check_count("span", span) > (count := len(blocks(model))):
        raise ValueError(f"span is how many blocks in a row are looked at, from 1 to {count}; got {span}. Pass fewer")
    found = dict[str, float]()
    before = deque[tuple[str, Tensor]](maxlen=span)

    def visit(name: str, block: nn.Module, run: Callable[[], None]) -> None:
        with _passing(block) as (read, gave):
            run()
        before.append((name, torch.cat(read)))
        if len(before) == span:
            first, start = before[0]
            near = functional.cosine_similarity(start.float(), torch.cat(gave).float(), dim=-1)
            if count_not_finite(near):
                told = f"what passes is finite; between {first!r} and the end of {name!r} it is NaN or infinite"
                raise ValueError(f"{told}. Check the weights, or compute in float32")
            found[first] = float(1 - near.double().mean())

    walk(model, inputs, visit, rows)
    return found


@contextlib.contextmanager
def _passing(block: nn.Module) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """What a block reads and gives each time that it runs: the first tensor of its arguments and of its outputs."""
    read, gave = list[Tensor](), list[Tensor]()

    def note(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        read.append(next(iter(tensors((args, kwargs)))))
        gave.append(next(iter(tensors(output))))

    hook = block.register_forward_hook(note, with_kwargs=True)
    try:
        yield read, gave
    finally:
        hook.remove()


def drop_blocks(model: nn.Module, names: Iterable[str]) -> nn.Module:
    """A copy of a decoder without these blocks, by the names that `block_influence` has; the model is untouched.

    What counts blocks follows: a number that is each block's own place (`layer_idx`), and in a config of `transformers`
    `num_hidden_layers` and lists with an entry for each block. So the copy generates with a cache, and
    `from_pretrained` loads what its `save_pretrained` wrote. Raises ValueError for names that are no blocks, if none is
    left, or if the config would not build such a model.
    Misleads without training afterwards if blocks are few: each then does much.

    >>> import workbench as wb
    >>> small = drop_blocks(wb.trained("llama", wb.load("text", device="cpu")), ["model.layers.2"])
    >>> len(small.model.layers), small.config.num_hidden_layers
    (3, 3)
    """
    found = blocks(model)
    if not isinstance(names, Iterable):
        told = f"names are those of blocks, such as {[*found][:2]}; got {names!r} ({type(names).__name__})"
        raise TypeError(f"{told}. Take them from wb.block_influence(model, tokens)")
    gone = [check_choice("block", name, found) for name in ([names] if isinstance(names, str) else names)]
    stay = [at for at, name in enumerate(found) if name not in gone]
    if not stay or not gone:
        told = f"some of a decoder's {len(found)} blocks go and some stay; got {len({*gone})} that go"
        raise ValueError(f"{told}. Name from 1 to {len(found) - 1} of {', '.join(found)}")
    path = next(iter(found)).rpartition(".")[0]
    parts, memo = list(found.values()), dict[int, Any]()
    kept = nn.ModuleList(copy.deepcopy(parts[at], memo) for at in stay)
    memo[id(model.get_submodule(path))] = kept
    small = copy.deepcopy(model, memo)
    counted = _places(parts)
    for now, block in enumerate(kept):
        for module in block.modules():
            for name in counted & vars(module).keys():
                setattr(module, name, now)
    steps = path.split(".")
    above = [small.get_submodule(".".join(steps[:depth])) for depth in range(len(steps))]
    for config in {id(c): c for module in above if (c := getattr(module, "config", None)) is not None}.values():
        _shorten(config, len(parts), stay)
    if saved := next((module for module in above if hasattr(module, "save_pretrained")), None):
        _check_built(saved, hasattr(model, "removal"))
    return small


def _places(parts: list[nn.Module]) -> set[str]:
    """Names of the whole numbers that, wherever a block has them, are the block's place among all."""
    held = dict[str, set[tuple[int, int]]]()
    for at, block in enumerate(parts):
        for module in block.modules():
            for name, value in vars(module).items():
                if type(value) is int:
                    held.setdefault(name, set()).add((at, value))
    return {name for name, seen in held.items() if len(seen) > 1 and all(at == value for at, value in seen)}


def _shorten(config: Any, count: int, stay: list[int]) -> None:
    """Let a config, and the parts of it that count as many blocks, count those that stay."""
    parts: list[Any] = [config, getattr(config, "text_config", None)]
    for own in parts:
        if getattr(own, "num_hidden_layers", None) == count:
            for name, value in list(vars(own).items()):
                if isinstance(value, list) and len(value) == count and OF_BLOCKS.search(name):
                    setattr(own, name, [value[at] for at in stay])
            own.num_hidden_layers = len(stay)


def _check_built(model: Any, resized: bool) -> None:
    """Raise ValueError where a model of `transformers` built from its config would have other tensors."""
    with seeded(0), torch.device("meta"):
        built = type(model)(copy.deepcopy(model.config))
    there, here = ({n: tuple(t.shape) for n, t in one.state_dict().items()} for one in (built, model))
    wrong = sorted(there.keys() ^ here.keys()) or ([] if resized else [n for n in here if here[n] != there[n]])
    if wrong:
        told = f"a shorter model is one that its config builds; {type(model).__name__} differs in {len(wrong)} tensors"
        raise ValueError(
            f"{told}, such as {wrong[0]!r}. Its config counts blocks in another way: build the shorter model yourself, "
            "and load the weights of the blocks that stay"
        )
