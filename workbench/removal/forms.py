"""What a pruned network costs in each form that it can have: bytes, memory, multiply-adds, measured seconds."""

from __future__ import annotations

import contextlib
import copy
import math
import statistics
import tempfile
import time
import warnings
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.masks import apply_masks_
from workbench.metrics import macs
from workbench.metrics.cost import layer_macs
from workbench.models.running import evaluating, fitted
from workbench.models.watch import example_of
from workbench.removal.onnx_file import export, export_int8, run, session
from workbench.removal.smaller import remove
from workbench.seeds import generator, processor
from workbench.types import Masks, check_count, check_masks, check_sparsity

if TYPE_CHECKING:
    import pandas as pd

Call = Callable[[Tensor], Any]


class Sparse(nn.Module):
    """A linear layer, or a 2-d convolution as a matrix product, with its weight as CSR: nonzero weights only."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer, self.bias = layer, layer.bias
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
            self.weight = layer.weight.detach().flatten(1).to_sparse_csr()

    def forward(self, x: Tensor) -> Tensor:
        layer: Any = self.layer
        bias = 0 if self.bias is None else self.bias[:, None]
        if isinstance(layer, nn.Linear):
            return (self.weight @ x.flatten(0, -2).t() + bias).t().unflatten(0, x.shape[:-1])
        how: dict[str, Any] = dict(dilation=layer.dilation, padding=layer.padding, stride=layer.stride)
        columns = functional.unfold(x, layer.kernel_size, **how)
        spread = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        free = [n + 2 * p - s - 1 for n, p, s in zip(x.shape[2:], layer.padding, spread, strict=True)]
        places = [n // step + 1 for n, step in zip(free, layer.stride, strict=True)]
        found = self.weight @ columns.transpose(0, 1).flatten(1) + bias
        return found.unflatten(1, (len(x), *places)).transpose(0, 1)


def sparse_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that `sparse` makes CSR: linear ones and plain 2-d convolutions, outside torch's fused blocks."""
    fused = [f"{name}." for name, layer in model.named_modules() if isinstance(layer, nn.TransformerEncoderLayer)]
    found = {}
    for name, layer in model.named_modules():
        plain = isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
        plain = plain and not isinstance(layer.padding, str)
        if (type(layer) is nn.Linear or plain) and not name.startswith(tuple(fused)):
            found[name] = layer
    return found


def sparse(model: nn.Module) -> nn.Module:
    """A copy with the weights of `sparse_layers` as CSR; the rest stays as it is.

    >>> sparse(nn.Sequential(nn.Linear(4, 2)))[0].weight.layout
    torch.sparse_csr
    """
    made = copy.deepcopy(model)
    for name, layer in sparse_layers(made).items():
        if not name:
            return Sparse(layer)
        made.set_submodule(name, Sparse(layer))
    return made


class Half(nn.Module):
    """A model in half precision; inputs that are fractions are cast."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).half()

    def forward(self, x: Tensor) -> Any:
        return self.model(x.half() if x.is_floating_point() else x)


class Peak(TorchDispatchMode):
    """The most bytes that tensors made in a `with` block hold at one time; `known` ones, and views, do not count.

    >>> with torch.no_grad(), Peak() as peak:
    ...     _ = torch.zeros(1000).add(1).sum()
    >>> peak.most
    8000
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.most = 0
        self._held = {t.untyped_storage().data_ptr(): [1, 0] for t in known}  # references, bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        for one in given if isinstance(given, tuple | list) else [given]:
            if isinstance(one, Tensor) and one.layout == torch.strided and one.numel():
                storage = one.untyped_storage()
                held = self._held.setdefault(storage.data_ptr(), [0, storage.nbytes()])
                self.now += 0 if held[0] else held[1]
                held[0] += 1
                weakref.finalize(one, self._release, storage.data_ptr())
        self.most = max(self.most, self.now)
        return given

    def _release(self, place: int) -> None:
        held = self._held[place]
        held[0] -= 1
        if not held[0]:
            self.now -= held[1]
            del self._held[place]


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
            values = int(masks[name].sum())
            sizes["bitmask"] = math.ceil(value.numel() / 8) + values * value.element_size()
            sizes["csr"] = values * (value.element_size() + 4) + 4 * (len(value) + 1)
        found = {form: size + sizes[form] for form, size in found.items()}
        raw.append(value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return {**found, "compressed": len(zlib.compress(b"".join(raw), 6))}


def in_turns(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[float, float, float]]:
    """Median seconds of each call, with a 95 % interval by order statistics; all called in turn, after three turns.

    Below six repeats it is the range, which holds the median less often.
    """
    from scipy.stats import binom

    spent: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-3, repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            if turn >= 0:
                spent[name].append(time.perf_counter() - start)
    low = max(int(binom.ppf(0.025, repeats, 0.5)) - 1, 0)
    ordered = {name: sorted(values) for name, values in spent.items()}
    return {name: (statistics.median(v), v[low], v[repeats - 1 - low]) for name, v in ordered.items()}


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
        forms |= _half(masked, masks, left_out)
        if "2:4" in forms:
            fitting = _two_of_four(model, masks)
            multiplied, held = layer_macs(model, one), [masks[name].numel() for name in fitting]
            facts["float16"] = kept, sum(multiplied.values()), sizes["dense"] // 2
            halved = sum(multiplied.values()) - sum(multiplied[name] for name in fitting) // 2
            facts["2:4"] = (
                kept,
                halved,
                sizes["dense"] // 2 - sum(held) * 7 // 8,
            )  # half the values, and 2 bits for each
    with contextlib.ExitStack() as stack:
        stack.enter_context(_threads(threads))
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


def _two_of_four(model: nn.Module, masks: Masks) -> list[str]:
    """The linear weights whose masks keep at most 2 of each 4 inputs, in sizes that torch takes in half precision."""
    linear = {f"{name}.weight".lstrip("."): m for name, m in model.named_modules() if type(m) is nn.Linear}
    sizes = {name: masks[name].shape for name in linear if name in masks}
    fitting = [name for name, (rows, columns) in sizes.items() if rows % 32 == 0 and columns % 64 == 0]
    return [name for name in fitting if int(masks[name].unflatten(1, (-1, 4)).sum(-1).max()) <= 2]


def _half(masked: nn.Module, masks: Masks, left_out: dict[str, str]) -> dict[str, nn.Module]:
    """The model in half precision, dense and with its 2:4 weights as semi-structured tensors."""
    from torch.sparse import to_sparse_semi_structured

    fitting = _two_of_four(masked, masks)
    if not fitting:
        left_out["2:4"] = (
            "no linear layer, with outputs in 32s and inputs in 64s, has a mask that keeps at most 2 of each 4 inputs"
        )
        return {}
    dense, made = Half(masked), Half(masked)
    for name in fitting:
        layer: Any = made.model.get_submodule(name.rpartition(".")[0])
        layer.weight = nn.Parameter(to_sparse_semi_structured(layer.weight.detach()), requires_grad=False)
    return {"float16": dense, "2:4": made}


def _bytes(model: nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in model.state_dict().values())


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def csr_speedup(
    sparsity: float, batch: int = 1, size: tuple[int, int] = (2048, 2048), *, repeats: int = 15, threads: int = 1
) -> float:
    """How much faster than dense a linear layer of random weights is as CSR: dense seconds over CSR seconds."""
    sparsity, batch = check_sparsity(sparsity), check_count("batch", batch)
    check_count("repeats", repeats, least=2)
    layer = nn.Linear(size[1], size[0], bias=False)
    layer.weight.mul_((torch.rand(size, generator=generator(0)) >= sparsity).float())
    inputs, as_csr = torch.randn(batch, size[1]), Sparse(layer)
    with _threads(threads):
        seconds = in_turns({"dense": lambda: layer(inputs), "csr": lambda: as_csr(inputs)}, repeats)
    return seconds["dense"][0] / seconds["csr"][0]


def break_even(
    batch: int = 1,
    size: tuple[int, int] = (2048, 2048),
    *,
    least: float = 0.0,
    most: float = 0.995,
    within: float = 0.01,
    repeats: int = 15,
    threads: int = 1,
) -> float:
    """The sparsity from which a linear layer `[out, in]` is faster as CSR than dense, found by halving; NaN if none.

    Measured here and now: it moves with the batch size, the processor and the library.

    >>> 0 <= break_even(64, (256, 256), within=0.2, repeats=3) <= 1
    True
    """
    how: dict[str, Any] = dict(repeats=repeats, threads=threads)
    if not (0 <= least < most < 1 and within > 0):
        told = f"least and most are sparsities, least < most, and within > 0; got {least}, {most} and {within}"
        raise ValueError(f"{told}. Leave them out")
    if csr_speedup(most, batch, size, **how) < 1:
        return math.nan
    low, high = least, most
    while high - low > within:
        middle = (low + high) / 2
        if csr_speedup(middle, batch, size, **how) < 1:
            low = middle
        else:
            high = middle
    return (low + high) / 2
