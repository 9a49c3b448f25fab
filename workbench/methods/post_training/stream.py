"""A decoder's folder pruned into another one: a block is read, pruned, written, and let go."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench.extras import lab
from workbench.methods.post_training.blocks import walk
from workbench.methods.post_training.card import model_card
from workbench.methods.post_training.checks import check_tokens, warn_of_bytes
from workbench.methods.post_training.folders import (
    INDEX,
    PICKLES,
    Folder,
    before_blocks,
    opened,
    size_of,
    slices_of,
    whole,
)
from workbench.methods.post_training.plan import Plan, planned
from workbench.models.hollow import empty
from workbench.seeds import versions
from workbench.types import check_count

if TYPE_CHECKING:
    import pandas as pd

RECORD = "pruning.json"
LEFT = ".*", "README.md", RECORD, "*.safetensors", "*.index.json", *PICKLES, "*.h5", "*.msgpack", "*.gguf"
"""What is not copied: weights in any form, and what is written anew."""


def prune_folder(
    source: str | Path,
    inputs: Tensor,
    method: str,
    sparsity: float | Mapping[str, float],
    out: str | Path,
    granularity: str,
    exclude: Iterable[str],
    rows: int,
    report: Callable[[str], None],
    options: dict[str, Any],
) -> pd.DataFrame:
    """What `prune_llm` does with a folder: all is checked first, then a file is written for each block."""
    out, exclude = Path(out).expanduser(), [exclude] if isinstance(exclude, str) else list(exclude)
    folder = opened(source)
    plan = planned(folder.model, method, sparsity, granularity, exclude, options)
    check_count("rows", rows)
    check_tokens(folder.model, folder.name, inputs)
    warn_of_bytes(folder.model, folder.name, inputs)
    asked = dict(method=method, sparsity=sparsity, granularity=granularity, exclude=exclude, options=options, rows=rows)
    record = _begun(out, folder, _record(folder, inputs, asked))
    rest = _parts(folder)
    total = len(rest) + len(plan.layers)
    names = [f"model-{number:05}-of-{total:05}.safetensors" for number in range(1, total + 1)]
    for name in names:  # what is damaged is told before anything is computed
        if (out / name).exists():
            _keys(out / name)
    for name, tensors in zip(names, rest, strict=False):
        if not (out / name).exists():
            with contextlib.ExitStack() as stack:
                _save({key: part[...] for key, part in slices_of(folder.files, tensors, stack)}, out / name)
    shards = dict(zip(plan.layers, (out / name for name in names[len(rest) :]), strict=True))
    seconds = dict[str, float]()
    if not all(path.exists() for path in shards.values()):
        _walk(folder, plan, inputs, shards, rows, seconds, report, record)
    weight_map = {key: name for name in names for key in _keys(out / name)}
    if weight_map.keys() != folder.files.keys():
        raise ValueError(f"{out} holds other tensors than {folder.path}. Remove it, and start again")
    table = _table(plan, record, seconds)
    for layer in table["layer"]:
        plan.left.pop(layer, None)  # also of blocks that were there
    plan.warn(folder.model)
    _copy(folder, out)
    _write(out / "README.md", model_card(folder, plan, record, table))
    index = {"metadata": {"total_size": sum(_size(out / name) for name in names)}, "weight_map": weight_map}
    _write(out / INDEX, index)
    return table


def _walk(
    folder: Folder,
    plan: Plan,
    inputs: Tensor,
    shards: Mapping[str, Path],
    rows: int,
    seconds: dict[str, float],
    report: Callable[[str], None],
    record: dict[str, Any],
) -> None:
    """Prune the blocks that have no file yet; each block goes on with the weights in its file.

    What the record says of a block's layers is on disk before the block's file is.
    """
    model, device, held = folder.model, inputs.device, list[nn.Module]()
    for module in model.modules():
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(device)
    folder.read(before_blocks(folder), device, folder.files)
    missing = {name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter.is_meta}
    model.tie_weights(missing_keys=missing, recompute_mapping=False)  # where only the head of a tied pair is stored

    def hold(name: str, block: nn.Module, *run: Any) -> None:
        """Read a block, from its file if there is one, in place of the block that was held."""
        if held != [block]:
            for other in held:
                empty(other)
            held[:] = [block]
            there = dict.fromkeys(folder.homes[name], shards[name]) if shards[name].exists() else folder.files
            folder.read(folder.homes[name], device, there)

    def visit(name: str, block: nn.Module, run: Callable[[], None]) -> None:
        hold(name, block)
        if not shards[name].exists():
            counts, changed = {}, {}
            start = time.perf_counter()
            for layer, weight, mask, new in plan.pruned(name, block, run):
                changed[layer] = weight.copy_(new)
                counts[layer] = [*mask.shape, int(mask.sum())]
                seconds[layer], start = time.perf_counter() - start, time.perf_counter()
            tensors = folder.back(name, changed)
            changed.clear()
            empty(block)
            held.clear()
            with contextlib.ExitStack() as stack:
                others = [key for key in folder.homes[name] if key not in tensors]
                tensors |= {key: part[...] for key, part in slices_of(folder.files, others, stack)}
            record["layers"] |= counts
            _write(shards[name].with_name(RECORD), record)
            _save(tensors, shards[name])
            tensors.clear()
            hold(name, block)
        block.register_forward_pre_hook(partial(hold, name))  # it may run again
        report(name)

    walk(model, inputs, visit, rows)


def _record(folder: Folder, inputs: Tensor, asked: dict[str, Any]) -> dict[str, Any]:
    """All that the bits of the result follow from."""
    weights = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        for key, part in slices_of(folder.files, sorted(folder.files), stack):
            shape = part.get_shape()
            weights.update(f"{key} {part.get_dtype()} {shape} ".encode())
            weights.update(_bytes(part[:1] if shape else part[...]))
    tokens = hashlib.sha256(_bytes(inputs.cpu()))
    found = {"model": folder.name, "tensors": weights.hexdigest(), **asked}
    found |= {"tokens": list(inputs.shape), "calibration": tokens.hexdigest(), "device": inputs.device.type}
    if inputs.device.type == "cpu":
        found["threads"] = torch.get_num_threads()  # sums are split among them
    libraries = {name: version for name, version in versions().items() if name in ("torch", "workbench")}
    found["versions"] = libraries | {"transformers": lab("transformers").__version__}
    return dict(json.loads(json.dumps(found, default=repr)))


def _begun(out: Path, folder: Folder, record: dict[str, Any]) -> dict[str, Any]:
    """Make the folder of the result, or find that it holds a part of the same one; the record that is there then."""
    if out.resolve().is_relative_to(folder.path.resolve()):
        told = f"the result stands in a folder of its own; got out={str(out)!r}, in the model's folder"
        raise ValueError(f"{told}. Pass another out=")
    if out.exists() and not out.is_dir():
        raise ValueError(f"out= is a folder; {out} is a file. Pass another name")
    there = {path.name for path in out.iterdir() if not path.name.endswith(".part")} if out.exists() else set[str]()
    old = {"layers": dict[str, list[int]]()}
    if RECORD in there:
        try:
            old = json.loads((out / RECORD).read_text(encoding="utf-8"))
            dict(old["layers"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{out / RECORD} is no record of prune_llm: {error!r}. Pass another out=") from error
        if other := [name for name in record if old.get(name) != record[name]]:
            was = ", ".join(f"{name} {_short(old.get(name))} there, {_short(record[name])} now" for name in other)
            raise ValueError(
                f"{out} holds a model pruned from other arguments: {was}. Pass the same ones, or another out="
            )
    elif there:
        told = f"the result stands in a new or empty folder; {out} holds {', '.join(sorted(there)[:3])}"
        raise ValueError(f"{told}. Pass another out=")
    needed = sum(path.stat().st_size for path in {*folder.files.values()})
    needed -= sum(path.stat().st_size for path in out.glob("model-*.safetensors"))
    disk = next(parent for parent in (out, *out.absolute().parents) if parent.is_dir())
    if (free := shutil.disk_usage(disk).free) < needed:
        told = f"the result takes {needed / 1e9:,.1f} GB; {disk} has {free / 1e9:,.1f} GB free"
        raise ValueError(f"{told}. Make room, or pass an out= on another disk")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for part in out.glob(".*.part"):
            part.unlink()
        record["layers"] = old["layers"]
        _write(out / RECORD, record)
    except OSError as error:
        raise ValueError(f"out= is a folder that can be written; {error}. Pass another one") from error
    return record


def _short(value: Any) -> str:
    return f"{value[:8]}..." if isinstance(value, str) and len(value) == 64 else json.dumps(value)


def _parts(folder: Folder) -> list[list[str]]:
    """The tensors outside the blocks, in files that are not larger than a block, where a tensor is not."""
    with contextlib.ExitStack() as stack:
        sizes = {key: size_of(part) for key, part in slices_of(folder.files, folder.files, stack)}
    most = max(sum(sizes[key] for key in keys) for block, keys in folder.homes.items() if block)
    parts: list[list[str]] = []
    for key in folder.homes[""]:
        if not parts or sum(sizes[other] for other in (*parts[-1], key)) > most:
            parts.append([])
        parts[-1].append(key)
    return parts


@contextlib.contextmanager
def _finished(path: Path) -> Iterator[Path]:
    """A file to write, which gets its name once it is on the disk as a whole."""
    part = path.with_name(f".{path.name}.part")
    yield part
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    with _finished(path) as part:
        save_file(tensors, part, {"format": "pt"})


def _write(path: Path, text: str | dict[str, Any]) -> None:
    with _finished(path) as part:
        part.write_text(text if isinstance(text, str) else json.dumps(text, indent=1) + "\n", encoding="utf-8")


def _copy(folder: Folder, out: Path) -> None:
    """Config, tokenizer and what else stands beside the weights."""
    for path in sorted(folder.path.iterdir()):
        if path.is_file() and not any(path.match(pattern) for pattern in LEFT):
            with _finished(out / path.name) as part:
                shutil.copyfile(path, part)


def _keys(path: Path) -> list[str]:
    """The tensors in a file of the result."""
    with whole(path, "It was written by an earlier call: remove this file and call again") as file:
        return sorted(file.keys())


def _size(path: Path) -> int:
    with whole(path) as file:
        return sum(size_of(file.get_slice(key)) for key in file.keys())  # noqa: SIM118


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _table(plan: Plan, record: dict[str, Any], seconds: Mapping[str, float]) -> pd.DataFrame:
    """A row for each layer."""
    import pandas as pd

    rows = []
    for block in plan.layers:
        for layer, (*shape, kept) in record["layers"].items():
            if layer.startswith(f"{block}."):
                weights = math.prod(shape)
                row = {"block": block, "layer": layer, "shape": tuple(shape), "weights": weights, "kept": kept}
                rows.append({**row, "sparsity": 1 - kept / weights, "seconds": seconds.get(layer, math.nan)})
    return pd.DataFrame(rows)
