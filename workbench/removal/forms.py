"""What a pruned network costs in each form that it can have: bytes, memory, multiply-adds, measured seconds."""

from __future__ import annotations

import contextlib
import copy
import math
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench.masks import apply_masks_
from workbench.metrics import macs
from workbench.metrics.cost import in_turns, layer_macs, on_threads
from workbench.models.running import evaluating, fitted
from workbench.models.watch import example_of
from workbench.removal.kernels import half, sparse, sparse_layers
from workbench.removal.measure import Peak, weight_bytes
from workbench.removal.onnx_file import export, export_int8, run, session
from workbench.removal.smaller import remove
from workbench.seeds import processor
from workbench.types import Masks, check_count, check_masks

if TYPE_CHECKING:
    import pandas as pd

Call = Callable[[Tensor], Any]


def stored(model: nn.Module, masks: Masks) -> dict[str, int]:
    """Bytes of a masked model's tensors on disk, by form; tensors without a mask are dense in all of them.

    "dense": all values. "bitmask": a bit for each weight, and the kept values. "csr": for each kept weight its value
    and a column of 32 bits, and a row start for each output. "compressed": the dense bytes after zlib (level 6).

    >>> found = stored(nn.Linear(8, 4, bias=False), {"weight": torch.eye(4, 8).bool()})
    >>> found["dense"], found["bitmask"], found["csr"]
    (128, 20, 52)
    """
    masked = copy.deepcopy(model)
    apply_masks_(masked, masks)
    found = dict.fromkeys(("dense", "bitmask", "csr"), 0)
    raw = []
    for name, value in masked.state_dict().items():
        whole = value.numel() * value.element_size()
        sizes = dict.fromkeys(found, whole)
        if name in masks and value.ndim > 1:  # those of biases and norms stay whole
            sizes = weight_bytes(value.shape, int(masks[name].sum()), value.element_size())
        found = {form: size + sizes[form] for form, size in found.items()}
        raw.append(value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return {**found, "compressed": len(zlib.compress(b"".join(raw), 6))}


def costs(
    model: nn.Module,
    masks: Masks,
    example: Tensor | None = None,
    *,
    batches: Sequence[int] = (1, 32),
    repeats: int = 30,
    threads: int = 1,
    onnx: bool = True,
) -> pd.DataFrame:
    """What a masked model costs in each form: a row for each form and batch size.

    | form | what it is |
    |---|---|
    | dense | the model before pruning |
    | masked | the same tensors with zeros |
    | bitmask, compressed | forms on disk (`stored`); they are not run |
    | csr | linear layers and plain 2-d convolutions as torch's CSR products; the rest is masked (`sparse`) |
    | removed | what `wb.remove` gives |
    | onnx, onnx int8 | the removed model, or the masked one if nothing can be removed, in ONNX Runtime |
    | float16, 2:4 | on CUDA, where masks are 2:4: linear layers in half precision, dense and semi-structured |

    Columns: `parameters` (those kept; of a removed model all that it holds), `macs` of one sample (what this form
    multiplies), `bytes` on disk,
    `activation_bytes` (the most that a forward pass of the batch holds beside weights and inputs), `seconds` of a
    forward pass with `low` and `high` (the median of `repeats` and its 95 % interval, all forms in turn), `speedup`
    (dense seconds over these), `threads`, `device`, `processor`. What was left out, and why, stands in
    `.attrs["left_out"]`. `example` is a batch of inputs `[n, ...]`, repeated to the batch sizes; by default one of the
    model's `input_shape`.

    Misleads on a busy machine: look at the intervals. And about other machines: kernels and caches differ.

    >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    >>> masks = {"0.weight": torch.eye(64).bool()}
    >>> table = costs(model, masks, torch.ones(1, 64), batches=[1], repeats=3, onnx=False)
    >>> table.set_index("form")["macs"].to_dict()
    {'dense': 4224, 'masked': 4224, 'bitmask': 192, 'compressed': 192, 'csr': 192}
    """
    import pandas as pd

    masks, example = check_masks(model, masks), fitted(model, example_of(model, example))
    check_count("repeats", repeats, least=2)
    check_count("threads", threads)
    if isinstance(batches, int) or not batches or len({*batches}) < len(batches):
        raise ValueError(f"batches is a list of different batch sizes; got {batches!r}. Pass one such as [1, 32]")
    batches = [check_count("a batch size", batch) for batch in batches]
    left_out, one = dict[str, str](), example[:1]
    masked = copy.deepcopy(model)
    apply_masks_(masked, masks)
    as_csr = {name: masks[name] for name in (f"{n}.weight".lstrip(".") for n in sparse_layers(model)) if name in masks}
    total = sum(p.numel() for p in model.parameters())
    kept, sizes = total - sum(int((~mask).sum()) for mask in masks.values()), stored(model, masks)
    facts = {
        "dense": (total, macs(model, one), sizes["dense"]),
        "masked": (kept, macs(model, one), sizes["dense"]),
        "bitmask": (kept, macs(model, one, masks), sizes["bitmask"]),
        "compressed": (kept, macs(model, one, masks), sizes["compressed"]),
    }
    forms = {"dense": model, "masked": masked}
    try:
        forms["csr"] = sparse(masked)
        with torch.no_grad(), evaluating(forms["csr"]):
            forms["csr"](one)
        facts["csr"] = kept, macs(model, one, as_csr), stored(model, as_csr)["csr"]
    except RuntimeError as error:  # no kernel for this dtype
        del forms["csr"]
        left_out["csr"] = str(error)
    try:
        small = forms["removed"] = remove(model, masks, example)
        facts["removed"] = sum(p.numel() for p in small.parameters()), macs(small, one), _bytes(small)
    except ValueError as error:
        left_out["removed"] = str(error)
    if example.is_cuda:
        halves, packed = half(masked, masks, one, left_out)
        forms |= halves
        multiplied = layer_macs(model, one)
        fewer = sum(multiplied[name] for name in packed) // 2, sum(masks[name].numel() for name in packed) * 7 // 8
        for name, (macs_less, bytes_less) in zip(halves, ((0, 0), fewer), strict=False):  # half the values, 2 bits each
            facts[name] = kept, sum(multiplied.values()) - macs_less, sizes["dense"] // 2 - bytes_less
    with contextlib.ExitStack() as stack:
        stack.enter_context(on_threads(threads))
        runs: dict[str, Call] = {}
        for name, form in forms.items():
            stack.enter_context(evaluating(form))
            runs[name] = form
        if onnx:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            source = "removed" if "removed" in forms else "masked"
            for name, path in _files(forms[source], folder, example, left_out).items():
                opened = session(path, threads)
                runs[name] = partial(run, opened)
                facts[name] = *facts[source][:2], path.stat().st_size
        rows = [row for batch in batches for row in _measured(forms, runs, facts, example, batch, repeats)]
    table = pd.DataFrame(rows)
    dense = table["batch"].map(table[table["form"] == "dense"].set_index("batch")["seconds"])
    table["speedup"] = dense / table["seconds"]
    table = table.assign(threads=threads, device=str(example.device), processor=processor())
    table.attrs["left_out"] = left_out
    return table


@torch.no_grad()
def _measured(
    forms: Mapping[str, nn.Module],
    runs: Mapping[str, Call],
    facts: Mapping[str, tuple[int, int, int]],
    example: Tensor,
    batch: int,
    repeats: int,
) -> Iterator[dict[str, Any]]:
    """The rows of one batch size."""
    inputs = example.repeat(math.ceil(batch / len(example)), *[1] * (example.ndim - 1))[:batch]
    seconds = in_turns({name: partial(call, inputs) for name, call in runs.items()}, repeats)
    for name, (parameters, multiplied, size) in facts.items():
        most: float = math.nan
        if name in forms and name != "2:4":  # its tensors have no storage to count
            with Peak([*forms[name].parameters(), *forms[name].buffers(), inputs]) as peak:
                forms[name](inputs)
            most = peak.most
        median, low, high = seconds.get(name, (math.nan,) * 3)
        told = {"form": name, "batch": batch, "parameters": parameters, "macs": multiplied, "bytes": size}
        yield {**told, "activation_bytes": most, "seconds": median, "low": low, "high": high}


def _files(model: nn.Module, folder: Path, example: Tensor, left_out: dict[str, str]) -> dict[str, Path]:
    """The model as ONNX files; why not where it cannot be."""
    found = {}
    try:
        found["onnx"] = export(model, folder / "model.onnx", example)
    except (ImportError, ValueError) as error:
        left_out["onnx"] = left_out["onnx int8"] = str(error)
        return {}
    try:
        found["onnx int8"] = export_int8(found["onnx"], folder / "int8.onnx", example)
    except Exception as error:  # the quantizer raises errors of many kinds
        left_out["onnx int8"] = str(error)
    return found


def _bytes(model: nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in model.state_dict().values())
