"""Criteria: functions that score weights, higher = keep; `score` runs one and leaves the model as it was.

A new criterion is one file here and one import line below.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.criteria import (  # noqa: F401  (importing registers the criteria)
    apoz,
    bn_scale,
    cp,
    fisher,
    force,
    fpgm,
    grasp,
    hrank,
    l1,
    l2,
    lamp,
    lrp,
    magnitude,
    ntk_sap,
    obd,
    obs,
    phew,
    prospr,
    random,
    snip,
    synflow,
    taylor,
    thinet,
)
from workbench.criteria.registry import (
    STATISTICS,
    Criterion,
    criteria,
    criterion_table,
    find_criterion,
    own_criteria,
    register_criterion,
)
from workbench.granularity import GRANULARITIES, REDUCTIONS
from workbench.models import prunable, work
from workbench.models.channels import by_channel
from workbench.models.kernels import plain_kernels, plain_layers
from workbench.models.running import Loss, own_dtype
from workbench.models.weights import counted
from workbench.seeds import generator, threads
from workbench.types import Batch, Masks, Scores, check_batch, check_choice, check_masks, count_not_finite

__all__ = ["criteria", "criterion_table", "own_criteria", "register_criterion", "score", "untouched"]

LACKING = re.compile("derivative|not implemented|not supported|double backward|differentiable twice", re.IGNORECASE)
"""How PyTorch says that a function cannot be differentiated."""

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


@contextlib.contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Whatever the block does to `model`, put it back: weights, gradients, buffers, flags, and the random state.

    Also tensors that the block replaced or cast (`model.double()`). Gradients are set aside, so that a `backward()`
    inside starts from none. Cost: one copy of the weights. Layers and hooks that the block adds stay.

    >>> model = nn.Linear(2, 1)
    >>> before = model.weight.clone()
    >>> with untouched(model):
    ...     _ = model.weight.data.zero_()
    >>> torch.equal(model.weight, before)
    True
    """
    import random as python_random

    import numpy as np

    owned = [(store, dict(store)) for m in model.modules() for store in (m._parameters, m._buffers)]
    tensors = [(t, t.data, t.detach().clone()) for t in (*model.parameters(), *model.buffers())]
    grads = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    flags = [(module, module.training) for module in model.modules()]
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    states = torch.get_rng_state(), np.random.get_state(), python_random.getstate()
    for parameter, _, _ in grads:
        parameter.grad = None
    try:
        yield
    finally:
        for store, entries in owned:
            store.clear()
            store.update(entries)  # type: ignore[arg-type]
        for tensor, data, value in tensors:
            if tensor.data_ptr() != data.data_ptr() or tensor.dtype != data.dtype:
                tensor.data = data
            if not torch.equal(tensor, value):
                tensor.data.copy_(value)
        for parameter, grad, required in grads:
            parameter.requires_grad_(required)
            parameter.grad = grad
        for module, training in flags:
            module.training = training
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        python_random.setstate(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def score(
    model: nn.Module,
    batch: Batch | None,
    criterion: str | Criterion,
    *,
    masks: Masks | None = None,
    loss_fn: Loss | None = None,
    exclude: Iterable[str] = (),
    bn: str | None = None,
    seed: int = 0,
    granularity: str = "weight",
    reduce: str = "sum",
    **knobs: Any,
) -> Scores:
    """Score every prunable weight, or every output channel, higher = keep; the model is bit-equal afterwards.

    `criterion` is a name or a function `f(model, batch, *, masks, loss_fn, generator, **knobs) -> Scores`.
    `batch=None` is legal for those that need none (random, magnitude; SynFlow for networks made by `wb.make`).
    `loss_fn` is the mean cross entropy over the batch. `masks` mark the weights still there in iterative scoring.
    `exclude` leaves layers out. `bn` says which BatchNorm statistics data-driven criteria see: those of the "batch" or
    the "running" ones. The default is what the criterion's authors do (`wb.criterion_table()`): SNIP takes the running
    ones, GraSP, FORCE and ProsPr the batch's. Criteria that look at samples one by one or need a shape alone always see
    the running ones (NTK-SAP those of its own inputs); dropout is off.
    `seed` feeds the generator that random criteria draw from.
    `granularity="channel"` gives `[out]` scores by each weight's name; a criterion with no formula for channels is
    summed over a channel's weights, or reduced by the "mean", "max" or "norm" (root of the sum of squares).
    Models in float16 or bfloat16 are scored in float32: products of small gradients would be 0 there.
    Raises ValueError for weights that are not finite, a batch or labels that do not fit, or scores that do not fit the
    model.

    Misleads when scores of different layers are compared under a criterion that does not normalise for layer size.

    >>> import workbench as wb
    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, -4.0]]))
    >>> wb.score(model, None, "magnitude")["weight"].tolist()
    [[3.0, 4.0]]
    """
    run = Scorer(
        model,
        batch,
        criterion,
        loss_fn=loss_fn,
        exclude=exclude,
        bn=bn,
        seed=seed,
        granularity=granularity,
        reduce=reduce,
        **knobs,
    )
    with untouched(model):
        return run(check_masks(model, masks) if masks is not None else None)


class Scorer:
    """One checked scoring set-up, to be called (under `untouched`) with the masks of each round."""

    def __init__(
        self,
        model: nn.Module,
        batch: Batch | None,
        criterion: str | Criterion,
        *,
        loss_fn: Loss | None = None,
        exclude: Iterable[str] = (),
        bn: str | None = None,
        seed: int = 0,
        granularity: str = "weight",
        reduce: str = "sum",
        **knobs: Any,
    ) -> None:
        self.granularity = check_choice("granularity", granularity, GRANULARITIES)
        self.reduce = REDUCTIONS[check_choice("reduce", reduce, REDUCTIONS)]
        self.name, self.entry = find_criterion(criterion, granularity)
        self.weights, self.everything = counted(model, exclude), prunable(model, strict=False)
        for name, weight in self.everything.items():
            if bad := count_not_finite(weight):
                raise ValueError(
                    f"weights are finite numbers before they are scored; {name!r} holds {bad:,} NaN or infinite ones. "
                    "Reload the model or lower the learning rate"
                )
        self.model, self.batch = model, self._check_batch(model, batch)
        self.halves = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point() and t.itemsize < 4]
        self.amount = 0.0
        if self.batch is not None:
            inputs = self.batch.inputs
            if inputs.is_floating_point():  # as weights that share a dtype have it
                inputs = inputs.to(torch.promote_types(own_dtype(model, inputs.dtype), torch.float32))
            self.batch, self.amount = self.batch._replace(inputs=inputs), work(model, inputs)
        self.loss_fn = functional.cross_entropy if loss_fn is None else loss_fn
        chosen = self.entry.bn if bn is None else check_choice("bn", bn, STATISTICS)
        self.bn = "running" if self.entry.needs == "shape" else self.entry.bn if self.entry.bn_fixed else chosen
        self.knobs, self.draw = knobs, generator(seed, "scores")
        _check_knobs(self.name, self.entry.function, knobs)

    def _check_batch(self, model: nn.Module, batch: Batch | None) -> Batch | None:
        if batch is not None:
            return check_batch(batch)
        if self.entry.needs == "nothing":
            return None
        shape = getattr(model, "input_shape", None)
        if self.entry.needs == "shape" and shape is not None:
            device = next(model.parameters()).device
            return Batch(torch.ones(1, *shape, device=device), torch.zeros(1, dtype=torch.long, device=device))
        what = {"targets": "inputs and targets", "inputs": "inputs", "shape": "the shape of one input"}[
            self.entry.needs
        ]
        raise ValueError(f"{self.name!r} needs {what}; got batch=None. Pass a batch such as task.batch(256, seed=0)")

    def prepare(self) -> None:
        """Evaluation mode, but for the norms that see the batch's statistics; half precision becomes float32."""
        for tensor in self.halves:
            tensor.data = tensor.data.float()
        for module in self.model.modules():
            training = self.bn == "batch" and isinstance(module, BATCH_NORMS)
            if module.training != training:
                module.training = training

    def __call__(self, masks: Masks | None) -> Scores:
        """Scores of the prunable weights, checked for names, shapes and finite values."""
        self.prepare()
        with plain_kernels(), plain_layers(self.model), threads(self.amount):
            try:
                scores = self.entry.function(
                    self.model, self.batch, masks=masks, loss_fn=self.loss_fn, generator=self.draw, **self.knobs
                )
            except RuntimeError as error:
                lacking = isinstance(error, NotImplementedError) or LACKING.search(str(error))
                if not self.entry.builtin or self.entry.derivatives == "none" or not lacking:
                    raise
                raise ValueError(
                    f"{self.name!r} takes derivatives that PyTorch has not for all layers; those of "
                    f"{type(self.model).__name__} gave: {error}. Use another criterion, such as 'snip'"
                ) from error
        scores = self._check_scores(scores)
        if self.granularity == self.entry.granularity:
            return scores
        return GRANULARITIES[self.granularity].reduce(self.model, scores, self.reduce)

    def _check_scores(self, scores: Any) -> Scores:
        if not isinstance(scores, dict):
            raise TypeError(
                f"a criterion returns a dict of parameter name -> tensor; {self.name!r} gave {type(scores).__name__}"
            )
        unknown = sorted(set(scores) - set(self.everything))
        if unknown:
            raise ValueError(
                f"a criterion scores prunable weights; {self.name!r} also gave {', '.join(map(repr, unknown))}. "
                f"Prunable here: {', '.join(self.everything)}"
            )
        kept: Scores = {}
        for name, weight in self.weights.items():
            value, shape = scores.get(name), tuple(weight.shape)
            if self.entry.granularity == "channel":
                shape = (len(by_channel(self.model, name, weight)),)
            if not isinstance(value, Tensor) or tuple(value.shape) != shape:
                got = tuple(value.shape) if isinstance(value, Tensor) else "nothing"
                remedy = f". It has no meaning there: pass exclude=[{name!r}]" if self.entry.builtin else ""
                raise ValueError(
                    f"a criterion scores every prunable {self.entry.granularity}, {name!r} with shape {shape}; "
                    f"{self.name!r} gave {got}{remedy}"
                )
            if not value.is_floating_point():
                raise TypeError(
                    f"scores are floating-point tensors; {self.name!r} gave {value.dtype} for {name!r}. Use .float()"
                )
            if bad := count_not_finite(value):
                raise ValueError(
                    f"scores are finite numbers; {self.name!r} gave {bad:,} NaN or infinite ones in {name!r}. "
                    "Check the batch and the loss, or score the model in float64"
                )
            kept[name] = value.detach()
        return kept


def _check_knobs(name: str, function: Criterion, knobs: dict[str, Any]) -> None:
    import inspect

    signature = inspect.signature(function)
    given = ("masks", "loss_fn", "generator")
    try:
        signature.bind(None, None, **dict.fromkeys(given), **knobs)
    except TypeError as error:
        own = sorted(p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY and p.name not in given)
        raise TypeError(
            f"criterion {name!r} is called as f(model, batch, masks=, loss_fn=, generator=, **knobs): {error}. "
            f"Its knobs: {', '.join(own) or 'none'}; all criteria take bn=, exclude=, granularity=, loss_fn=, "
            "reduce= and seed="
        ) from error
