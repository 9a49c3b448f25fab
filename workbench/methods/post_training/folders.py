"""A decoder's folder as `transformers` writes it, opened without memory: its tensors are read when they are needed."""

import contextlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench.extras import lab
from workbench.methods.post_training.blocks import blocks
from workbench.methods.post_training.checks import check_decoder
from workbench.models.hollow import without_memory
from workbench.seeds import seeded

ONE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = "*.bin", "*.pt", "*.pth", "*.ckpt"
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


@dataclass(frozen=True)
class Folder:
    """A decoder on disk. `model` has its shapes, not its weights.

    `files` names for each tensor its file. A tensor becomes the parameter `targets` of its name, or with others the
    parameters `groups` of that name, where `transformers` computes these from them. `homes` says which tensors belong
    to which block; those under "" stand outside of all blocks.
    """

    path: Path
    name: str
    model: Any
    dtype: torch.dtype
    files: dict[str, Path]
    targets: dict[str, str]
    groups: dict[str, set[str]]
    homes: dict[str, list[str]]
    transforms: list[Any]

    def read(self, tensors: Iterable[str], device: torch.device, files: Mapping[str, Path]) -> None:
        """Put these tensors from these files into the model, as `from_pretrained` does."""
        loading = lab("transformers.core_model_loading").convert_and_load_state_dict_in_model
        settings = lab("transformers.modeling_utils").LoadStateDictConfig(
            device_map={"": str(device)},
            dtype=self.dtype,
            dtype_plan=self.model._get_dtype_plan(self.dtype),
            weight_mapping=self.transforms,
        )
        with contextlib.ExitStack() as stack, _without_bars():
            slices = dict(slices_of(files, tensors, stack))
            told, _ = loading(self.model, slices, settings)
        if wrong := [*told.conversion_errors.values(), *told.mismatched_keys]:
            raise ValueError(
                f"the tensors of {self.path} do not fit its config.json: {wrong[0]}. Get both from one place"
            )

    def back(self, block: str, changed: dict[str, Tensor]) -> dict[str, Tensor]:
        """The folder's tensors that hold changed parameters of a block, with the new values, in their own dtype."""
        found, own = {}, self.homes[block]
        groups = {group for group, names in self.groups.items() if not names.isdisjoint(changed)}
        for key in own:
            if self.targets[key] in changed and self.targets[key] not in self.groups:
                found[key] = changed[self.targets[key]]
        if groups:
            names = set().union(*(self.groups[group] for group in groups))
            state = {name: p.detach() for name, p in self.model.named_parameters() if name in names}
            found |= lab("transformers.core_model_loading").revert_weight_conversion(self.model, state)
        due = {key for key in own if self.targets[key] in changed or self.targets[key] in groups}
        if found.keys() != due:
            told = (
                f"{self.name} stores {', '.join(sorted(due - found.keys())[:3])} in a form that cannot be written back"
            )
            raise ValueError(f"{told}. Prune the live model: wb.prune_llm(model, ...), then model.save_pretrained")
        with contextlib.ExitStack() as stack:
            kinds = {key: DTYPES[part.get_dtype()] for key, part in slices_of(self.files, found, stack)}
        return {key: value.to("cpu", kinds[key]).contiguous() for key, value in found.items()}


def slices_of(
    files: Mapping[str, Path], tensors: Iterable[str], stack: contextlib.ExitStack
) -> Iterator[tuple[str, Any]]:
    """Each tensor's name and what reads it, `slice[...]`, while the stack is open."""
    opened: dict[Path, Any] = {}
    for key in tensors:
        path = files[key]
        if path not in opened:
            opened[path] = stack.enter_context(whole(path))
        yield key, opened[path].get_slice(key)


def size_of(part: Any) -> int:
    """The bytes of a tensor that is not read yet; its dtype says its bits, such as "BF16"."""
    bits = re.search(r"\d+", part.get_dtype())
    return math.prod(part.get_shape()) * (int(bits[0]) if bits else 8) // 8


def whole(path: Path, remedy: str = "It may be cut short: get it again") -> Any:
    """An open safetensors file; ValueError with the remedy where it is none, or cut short.

    It is read, not mapped: a mapped file would count in full where memory is limited.
    """
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt", backend="pread")
    except (SafetensorError, OSError) as error:
        told = f"weights are whole safetensors files; {path} is not: {error}"
        raise ValueError(f"{told}. {remedy}") from error


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Without the progress bars of `transformers`, of which each block would print one."""
    logging = lab("transformers.utils.logging")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def opened(source: str | Path) -> Folder:
    """A folder, or a model of the hub by its id; ValueError for what is no whole decoder in safetensors."""
    path, name = located(source)
    config = config_of(path)
    files = _files(path)
    with contextlib.ExitStack() as stack:
        kinds = [part.get_dtype() for _, part in slices_of(files, files, stack)]
    first = next((DTYPES[kind] for kind in kinds if kind in DTYPES), torch.float32)
    dtype = config.dtype if isinstance(config.dtype, torch.dtype) else getattr(torch, str(config.dtype), first)
    transformers = lab("transformers")
    try:
        with without_memory(), seeded(0):  # some draw numbers for what is loaded anyway
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    except ValueError as error:
        told = f"a decoder is a model of transformers that predicts the next token; {name} is {config.model_type!r}"
        raise ValueError(f"{told}, which has no such form. Prune it with wb.score and wb.keep_top") from error
    if hollow := [key for key, buffer in model.named_buffers() if buffer.is_meta]:
        raise ValueError(f"{name} computes {hollow[0]} from memory that it lacks here. Prune the live model instead")
    transforms = lab("transformers.conversion_mapping").get_model_conversion_mapping(model)
    targets, groups = _targets(model, files, transforms)
    homes: dict[str, list[str]] = {"": [], **{block: [] for block in blocks(model)}}
    for key in files:
        home = next((b for b in homes if b and targets.get(key, "").startswith(f"{b}.")), "")
        homes[home].append(key)
    folder = Folder(path, name, model, dtype, files, targets, groups, homes, transforms)
    _check_whole(folder)
    return folder


def located(source: str | Path) -> tuple[Path, str]:
    """The folder on this machine, and its name; a model of the hub is downloaded."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path, path.resolve().name
    if path.exists():
        told = f"a decoder is a folder with config.json and safetensors; {path} is a file"
        raise ValueError(f"{told}. Pass the folder that it is in")
    if isinstance(source, Path) or not HUB_ID.fullmatch(source):
        raise ValueError(
            f"there is no folder {path}. Pass a folder that model.save_pretrained wrote, or an id of the hub"
        )
    hub = lab("huggingface_hub")
    wanted = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "LICENSE*"]
    try:
        return Path(hub.snapshot_download(source, allow_patterns=wanted)), source
    except Exception as error:  # of the network, of the hub, of the disk: many classes
        told = (
            f"there is no folder {source!r} here, and as a model of the hub it cannot be had ({type(error).__name__})"
        )
        raise ValueError(
            f"{told}. Connect to the network and check the id, or copy the model's folder here and pass its path"
        ) from error


def config_of(path: Path) -> Any:
    """A decoder's configuration; ValueError for a model of another kind."""
    if not (path / "config.json").is_file():
        raise ValueError(f"a decoder's folder has a config.json; {path} has none. Pass one that save_pretrained wrote")
    try:
        config = lab("transformers").AutoConfig.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError, lab("huggingface_hub.errors").StrictDataclassError) as error:
        why = " ".join(" ".join(str(error).splitlines()[:2]).split()).rstrip(".")  # the second line may be the reason
        told = f"transformers cannot read {path / 'config.json'}: {why}"
        raise ValueError(
            f"{told}. Models with code of their own are not run; others may need a newer transformers"
        ) from error
    check_decoder(config, str(path))
    if getattr(config, "quantization_config", None):
        told = f"weights to prune are floating-point numbers; {path} is quantized"
        raise ValueError(f"{told}. Prune the model it was made from, and quantize afterwards")
    return config


def _files(path: Path) -> dict[str, Path]:
    """The file of each tensor; all files are opened once, so that one that is missing or cut short is known first."""
    index: dict[str, str] = {}
    if not (path / ONE).is_file() and (path / INDEX).is_file():
        try:
            index = dict(json.loads((path / INDEX).read_text(encoding="utf-8"))["weight_map"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path / INDEX} is no index of shards: {error!r}. Get it again") from error
    elif not (path / ONE).is_file():
        if pickles := sorted(found.name for pattern in PICKLES for found in path.glob(pattern)):
            told = (
                f"weights are safetensors; {path} holds {pickles[0]}, a pickle, which can run any code when it is read"
            )
            raise ValueError(
                f"{told}. If you trust it, load it with from_pretrained, and save_pretrained writes safetensors"
            )
        raise ValueError(f"a decoder's folder holds {ONE} or {INDEX}; {path} has neither. Get the weights, too")
    shards = sorted(set(index.values())) or [ONE]
    if missing := [shard for shard in shards if not (path / shard).is_file()]:
        raise ValueError(f"{INDEX} names {len(shards)} shards; {', '.join(missing)} missing in {path}. Get it again")
    files: dict[str, Path] = {}
    for shard in shards:
        with whole(path / shard) as file:
            files |= dict.fromkeys(sorted(file.keys()), path / shard)
    if lost := [key for key, shard in index.items() if files.get(key) != path / shard]:
        told = f"{INDEX} says that {lost[0]} is in {index[lost[0]]}, which does not hold it"
        raise ValueError(f"{told}. Get both files from one place")
    return files


def _targets(model: Any, keys: Iterable[str], transforms: list[Any]) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Tensor -> parameter or buffer, and of those that are computed from several all that one computation gives.

    A tensor that the model does not know has no target.
    """
    loading = lab("transformers.core_model_loading")
    converters = [t for t in transforms if isinstance(t, loading.WeightConverter)]
    renamings = [t for t in transforms if isinstance(t, loading.WeightRenaming)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    state, prefix = model.state_dict(), model.base_model_prefix
    targets: dict[str, str] = {}
    groups: dict[str, set[str]] = {}
    for key in keys:
        name, pattern = loading.rename_source_key(key, renamings, converters, prefix, state)
        if name not in state and key in state:
            name, pattern = key, None
        if name not in state:
            continue
        targets[key] = name
        if pattern is not None:
            patterns = by_pattern[pattern].target_patterns
            groups[name] = {name.replace(patterns[0], other) for other in patterns}
    return targets, groups


def _check_whole(folder: Folder) -> None:
    """Every parameter has its tensor, but for the head, which is not run; shapes fit; none belongs to two blocks."""
    model, state = folder.model, folder.model.state_dict()
    with contextlib.ExitStack() as stack:
        for key, part in slices_of(folder.files, folder.targets, stack):
            name, there = folder.targets[key], list(part.get_shape())
            if name not in folder.groups and there != list(state[name].shape):
                told = f"the tensors of {folder.path} fit its config.json; {key} is {there} there"
                raise ValueError(f"{told}, {list(state[name].shape)} by the config. Get both from one place")
    given = set(folder.targets.values()).union(*folder.groups.values())
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    head = {id(parameter) for parameter in _parameters(model.get_output_embeddings())}
    for which, own in names.items():
        if which not in head and given.isdisjoint(own):
            told = f"the tensors of {folder.path} fit its config.json; none of them is {own[0]}"
            raise ValueError(f"{told}. Get both from one place")
        if len({b for b in folder.homes if b and any(name.startswith(f"{b}.") for name in own)}) > 1:
            told = f"blocks are read one at a time; {' and '.join(own)} are one tensor"
            raise ValueError(f"{told}. Prune the live model: wb.prune_llm(model, ...)")


def before_blocks(folder: Folder) -> list[str]:
    """The tensors outside the blocks that a pass may need: all but those of a head of its own."""
    model = folder.model
    entry = {id(parameter) for parameter in _parameters(model.get_input_embeddings())}
    names = {name for name, p in model.named_parameters(remove_duplicate=False) if id(p) in entry}
    head = {id(p) for p in _parameters(model.get_output_embeddings())} - entry
    behind = {name for name, p in model.named_parameters(remove_duplicate=False) if id(p) in head}
    known = [key for key in folder.homes[""] if key in folder.targets]
    return [key for key in known if folder.targets[key] in names or folder.targets[key] not in behind]


def _parameters(module: nn.Module | None) -> list[nn.Parameter]:
    return [] if module is None else list(module.parameters())
