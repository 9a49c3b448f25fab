"""One checked set-up in which a criterion scores a model, round after round."""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.criteria.arguments import GIVEN, check_knobs
from workbench.criteria.registry import STATISTICS, Criterion, find_criterion
from workbench.granularity import REDUCTIONS, find_granularity, unit_shapes
from workbench.models import prunable, work
from workbench.models.kernels import plain_kernels
from workbench.models.running import Loss, own_dtype
from workbench.models.watch import example_of
from workbench.models.weights import counted
from workbench.seeds import generator, threads
from workbench.types import Batch, Masks, Scores, check_batch, check_choice, count_not_finite

LACKING = re.compile("derivative|not implemented|not supported|double backward|differentiable twice", re.IGNORECASE)
"""How PyTorch says that a function cannot be differentiated."""

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


class Scorer:
    """One checked scoring set-up, to be called (under `untouched`) with the masks of each round."""

    def __init__(
        self,
        model: nn.Module,
        batch: Batch | None,
        criterion: str | Criterion,
        loss_fn: Loss | None = None,
        exclude: Iterable[str] = (),
        bn: str | None = None,
        seed: int = 0,
        granularity: str = "weight",
        reduce: str = "sum",
        **knobs: Any,
    ) -> None:
        self.granularity, self.kind = granularity, find_granularity(granularity)
        self.reduce = REDUCTIONS[check_choice("reduce", reduce, REDUCTIONS)]
        self.name, self.entry = find_criterion(criterion, granularity)
        self.weights, self.everything = counted(model, exclude), prunable(model, strict=False)
        for name, weight in self.everything.items():
            if bad := count_not_finite(weight):
                raise ValueError(
                    f"weights are finite numbers before they are scored; {name!r} holds {bad:,} NaN or infinite ones. "
                    "Reload the model or lower the learning rate"
                )
        self.shapes = unit_shapes(
            model, self.weights, self.entry.granularity
        )  # a criterion may rebuild the model it scores
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
        check_knobs(self.name, self.entry.function, self.entry.arguments, knobs)

    def _check_batch(self, model: nn.Module, batch: Batch | None) -> Batch | None:
        if batch is not None:
            return check_batch(batch)
        if self.entry.needs == "nothing":
            return None
        if self.entry.needs == "shape" and getattr(model, "input_shape", None) is not None:
            inputs = example_of(model, None)
            return Batch(inputs, inputs.new_zeros(1, dtype=torch.long))
        what = {"targets": "inputs and targets", "inputs": "inputs", "shape": "the shape of one input"}
        raise ValueError(
            f"{self.name!r} needs {what[self.entry.needs]}; got batch=None. Pass one such as task.batch(256, seed=0)"
        )

    def prepare(self) -> None:
        """Evaluation mode, except for the norms that see the batch's statistics; half precision becomes float32."""
        for tensor in self.halves:
            tensor.data = tensor.data.float()
        for module in self.model.modules():
            training = self.bn == "batch" and isinstance(module, BATCH_NORMS)
            if module.training != training:
                module.training = training

    def __call__(self, masks: Masks | None) -> Scores:
        """Scores of the prunable weights, checked for names, shapes and finite values."""
        self.prepare()
        given = dict(zip(GIVEN, (self.model, self.batch, masks, self.loss_fn, self.draw), strict=True))
        with plain_kernels(self.model), threads(self.amount):
            try:
                scores = self.entry.run(given, self.knobs)
            except RuntimeError as error:
                lacking = isinstance(error, NotImplementedError) or LACKING.search(str(error))
                if not self.entry.builtin or self.entry.derivatives == "none" or not lacking:
                    raise
                raise ValueError(
                    f"{self.name!r} needs derivatives that PyTorch does not have for all layers; those of "
                    f"{type(self.model).__name__} gave: {error}. Use another criterion, such as 'snip'"
                ) from error
        scores = self._check_scores(scores)
        if self.granularity == self.entry.granularity:
            return scores
        return self.kind.reduce(self.model, scores, self.reduce)

    def _check_scores(self, scores: Any) -> Scores:
        if not isinstance(scores, dict):
            raise TypeError(
                f"a criterion returns a dict of parameter name -> tensor; {self.name!r} gave {type(scores).__name__}"
            )
        if unknown := sorted(set(scores) - set(self.everything)):
            raise ValueError(
                f"a criterion scores prunable weights; {self.name!r} also gave {', '.join(map(repr, unknown))}. "
                f"Prunable here: {', '.join(self.everything)}"
            )
        kept: Scores = {}
        for name in self.weights:
            value, shape = scores.get(name), self.shapes[name]
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
