"""A model as an ONNX file, opened again and compared; and the same with weights and activations of 8 bits."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench.extras import check_lab, lab
from workbench.models.running import evaluating, fitted, logits
from workbench.models.watch import example_of

AGREE = 1e-4
"""How far outputs of the file may be from the model's, as a part of the largest."""


def export(model: nn.Module, path: str | Path, example: Tensor | None = None) -> Path:
    """Write a model as ONNX, for batches of any size; the file is opened in ONNX Runtime and compared.

    `example` is a batch of inputs `[n, ...]`; by default one of the model's `input_shape`. The outputs of the file and
    of the model on it agree within 1e-4 of the largest. To deploy a pruned model, export what `wb.remove` gives: masked
    weights are zeros in the file. The file needs `onnxruntime` and `numpy` alone, see `docs/deployment.md`.

    Raises ImportError if the extra `lab` is not installed, ValueError for an operation that ONNX does not have or a
    file that computes something else.

    Misleads as a promise of the same speed elsewhere: see `wb.costs`.

    >>> export(nn.Linear(2, 1), "x.onnx", torch.ones(2))
    Traceback (most recent call last):
    ValueError: an example is a batch of inputs [n, ...]; got shape (2,). Pass x[None] for a single sample
    """
    check_lab("onnx", "onnxscript", "onnxruntime")
    example, path = fitted(model, example_of(model, example)), Path(path)
    if example.ndim < 2 or not len(example):
        told = f"an example is a batch of inputs [n, ...]; got shape {tuple(example.shape)}"
        raise ValueError(f"{told}. Pass x[None] for a single sample")
    path.parent.mkdir(parents=True, exist_ok=True)
    more = torch.cat([example] * 3)  # a batch of one would stay one
    wrapped = _Logits(model)
    try:
        with evaluating(model), torch.no_grad(), _quiet():
            made: Any = torch.onnx.export(wrapped, (more,), dynamo=True, dynamic_shapes=({0: "batch"},), verbose=False)
    except Exception as error:
        reason = str(error.__cause__ or error).strip().split("\n")[0]
        told = f"{type(model).__name__} has no form in ONNX for any batch size: {reason}"
        raise ValueError(f"{told}. Replace this operation, or export the part of the model before it") from error
    made.save(str(path))
    opened = session(path)
    for inputs in (example, more, more[:2]):
        with torch.no_grad(), evaluating(model):
            want = wrapped(inputs).cpu()
        far, size = float((want - torch.from_numpy(run(opened, inputs))).abs().max()), float(want.abs().max())
        if not far <= AGREE * size:
            raise ValueError(
                f"outputs of the file agree with the model's within {AGREE:g} of the largest, {size:.3g}; for a batch "
                f"of {len(inputs)} they differ by {far:.2g}. Look for operations that depend on the batch or on chance"
            )
    return path


class _Logits(nn.Module):
    """A model that gives its one output of interest."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return logits(self.model(x))


def export_int8(path: str | Path, to: str | Path, inputs: Tensor) -> Path:
    """An exported model with weights and activations of 8 bits, whose ranges are those that `inputs` `[n, ...]` give.

    ONNX Runtime's static quantization, one scale a tensor. What it costs in accuracy must be measured.
    """
    check_lab("onnx", "onnxruntime")
    made = lab("onnxruntime.quantization")

    class Reader(made.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            name = session(path).get_inputs()[0].name
            self.batches = iter([{name: part.cpu().numpy()} for part in inputs.split(32)])

        def get_next(self) -> Any:
            return next(self.batches, None)

    ready = Path(to).with_suffix(".part")
    with _quiet():
        lab("onnxruntime.quantization.shape_inference").quant_pre_process(path, ready, skip_symbolic_shape=True)
        kinds = {"weight_type": made.QuantType.QInt8, "activation_type": made.QuantType.QUInt8}
        made.quantize_static(ready, to, Reader(), **kinds)
    ready.unlink()
    return Path(to)


def session(path: str | Path, threads: int = 1) -> Any:
    """An ONNX Runtime session of a file on the CPU."""
    runtime = lab("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(opened: Any, inputs: Tensor) -> Any:
    """The first output of a session for a batch, as a numpy array."""
    return opened.run(None, {opened.get_inputs()[0].name: inputs.detach().cpu().numpy()})[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters tell about themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        told = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
