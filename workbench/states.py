"""A run at one moment: its record, what an update sees of it, and the state from which it goes on bit for bit."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench.seeds import generator
from workbench.types import Batch, Masks

EXTRA = "_extra_state"
"""How torch ends the name of what a module keeps beside its tensors (`nn.Module.get_extra_state`)."""


@dataclass(frozen=True)
class State:
    """A run of `wb.steps` after `step` steps; made by a record's `state()`, and given to `wb.steps(..., state=)`.

    `weights` holds parameters, buffers and modules' extra states, `masks` the current masks, `optimizer` its
    `state_dict`, `memory` what an update keeps, `frozen` the modules that stay in evaluation mode, `run` the facts that
    a run which continues it must share. Tensors are copies on the CPU. There is no random state: all that a step draws
    follows from the seed and the step. `save` writes one safetensors file, the rest as JSON in its metadata; no pickle.

    Misleads if the data change: only a change of the task's name, size or shape is noticed.
    """

    step: int
    weights: dict[str, Any]
    masks: Masks
    optimizer: dict[str, Any]
    memory: dict[str, Any]
    frozen: list[str]
    run: dict[str, Any]

    @staticmethod
    def of(model: nn.Module, optimizer: torch.optim.Optimizer, **rest: Any) -> State:
        """A copy of a run's state now. Raises TypeError if the optimizer or the memory holds more than plain data."""
        own = {id(parameter) for parameter in model.parameters()}
        if not all(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
            told = "a state holds the model's parameters; the optimizer has other parameters too, which would be lost"
            raise ValueError(f"{told}. Make them part of the model")
        whole = {"weights": contents(model), "optimizer": optimizer.state_dict(), **rest}
        return State(**{name: copied(part, name) for name, part in whole.items()})

    def save(self, path: str | Path) -> None:
        """Write the state to `path` (`.safetensors`), completely or not at all.

        >>> import tempfile
        >>> import workbench as wb
        >>> task = wb.load("moons", device="cpu")
        >>> path = Path(tempfile.mkdtemp(), "run.safetensors")
        >>> for row in wb.steps(wb.make("lenet-300-100", task), task, steps=5):
        ...     if row["step"] == 3:
        ...         row.state().save(path)
        >>> model = wb.make("lenet-300-100", task, seed=1)
        >>> [row["step"] for row in wb.steps(model, task, steps=5, state=wb.State.load(path))]
        [4, 5]
        """
        from safetensors.torch import save_file

        found: dict[str, Tensor] = {}
        text = json.dumps(_packed({field.name: getattr(self, field.name) for field in fields(self)}, "state", found))
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f".{path.name}.part")
        try:
            save_file(found, written, {"state": text})
            with open(written, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(written, path)
        finally:
            written.unlink(missing_ok=True)

    @staticmethod
    def load(path: str | Path) -> State:
        """Read what `save` wrote. Raises ValueError for any other file."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        content = Path(path).read_bytes()
        try:
            found = load(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            return State(**_unpacked(json.loads(header["state"]), found))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            told = f"a state is a complete file that State.save wrote; {path} is not: {error!r}"
            raise ValueError(f"{told}. Save one from a record") from error

    def check(self, model: nn.Module, run: dict[str, Any]) -> None:
        """Raise ValueError, with the differences, if the state belongs to another model or another run."""
        here, there = ({n: _kind(v) for n, v in weights.items()} for weights in (contents(model), self.weights))
        then, now = ({**facts} for facts in (self.run, run))
        if (old := then.pop("torch", "another")) != (new := now.pop("torch", "another")):
            warnings.warn(f"the state was made with torch {old}, here is {new}: the bits may differ", stacklevel=3)
        if told := [*_differences(there, here), *_differences(then, now)]:
            more = f" and {len(told) - 5} more" if len(told) > 5 else ""
            rule = "a state continues its own run, with the same model, data, schedule and optimizer"
            differs = f"what differs: {'; '.join(told[:5])}{more}"
            raise ValueError(f"{rule}; {differs}. Pass the arguments with which the run started")

    @torch.no_grad()
    def restore_(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put weights, buffers and the optimizer's state back, exactly and in place."""
        for name, value in contents(model).items():
            if name.endswith(EXTRA):
                model.get_submodule(name[: -len(EXTRA)].rstrip(".")).set_extra_state(copied(self.weights[name], name))
            else:
                value.copy_(self.weights[name])
        optimizer.load_state_dict(copied(self.optimizer, "optimizer"))
        for index, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            now = optimizer.state[parameter] if index in self.optimizer["state"] else {}
            for name, value in self.optimizer["state"].get(index, {}).items():
                if isinstance(value, Tensor):  # torch gave it the parameter's dtype; fused steps need its strides, too
                    like = parameter if value.shape == parameter.shape else value
                    now[name] = torch.empty_like(like, dtype=value.dtype, device=now[name].device).copy_(value)


class Record(dict[str, Any]):
    """The numbers of one step by name; `masks` are those in force after it, `state()` is where the run stands."""

    _masks: Masks | None = None
    _passed: Masks | None = None
    _optimizer: torch.optim.Optimizer | None = None
    _take: Callable[[], State] | None = None

    @property
    def masks(self) -> Masks:
        """The masks in force after this step, not a copy: leave them as they are. Empty if there are none.

        >>> Record(step=1).masks
        {}
        """
        return {} if self._masks is None else self._masks

    @property
    def passed(self) -> Masks:
        """The masks in its forward pass: others than `masks` where the update changed them."""
        return {} if self._passed is None else self._passed

    @property
    def moments(self) -> int:
        """Bytes of the optimizer's state."""
        states = self._optimizer.state.values() if self._optimizer else ()
        return sum(t.nbytes for state in states for t in state.values() if torch.is_tensor(t) and t.ndim)

    def state(self) -> State:
        """A copy, made now, of all that the run needs to go on from here; ValueError once training has gone on."""
        if self._take is None:
            told = f"take a record's state before the next step; training has already left step {self['step']}"
            raise ValueError(f"{told}. Call state() in the body of the loop")
        return self._take()

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return dict, (dict(self),)  # a copy, also in another process, is the numbers alone


@dataclass(frozen=True)
class Progress:
    """The state of a run when it calls `update`: all gradients are there, and the weights have not moved yet.

    `step` of `total` steps are done. The gradients in `.grad` are those of `batch`; `loss` is its loss, detached. Put
    what an update keeps between calls into `memory`: a dict of tensors (on the data's device), numbers and text, which
    a state saves.
    """

    step: int
    total: int
    model: nn.Module
    optimizer: torch.optim.Optimizer
    batch: Batch
    loss: Tensor
    memory: dict[str, Any]
    seed: int
    in_force: Masks

    @property
    def masks(self) -> Masks:
        """The current masks, as a copy that the update may change and return; empty if there are none."""
        return {name: mask.clone() for name, mask in self.in_force.items()}

    @property
    def behind(self) -> dict[str, Tensor]:
        """With `straight_through`: all weights that have a mask, removed ones with the values behind the masks."""
        return self.memory["behind"]

    @cached_property
    def generator(self) -> torch.Generator:
        """Random numbers of this step: a CPU generator that follows from the seed and the step, and so resumes."""
        return generator(self.seed, f"update {self.step}")


def contents(model: nn.Module) -> dict[str, Any]:
    """All parameters and buffers of a model, tied ones once, under their first name, and what modules keep beside them.

    >>> list(contents(nn.BatchNorm1d(2)))
    ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """
    extra = {name: value for name, value in model.state_dict().items() if name.endswith(EXTRA)}
    return {**dict(model.named_parameters()), **dict(model.named_buffers()), **extra}


def copied(tree: Any, what: str, device: str | torch.device = "cpu") -> Any:
    """A copy of plain data, its tensors on `device`. Raises TypeError, naming `what` it is, for all else.

    >>> copied({"seen": (1, torch.ones(2))}, "memory")
    {'seen': (1, tensor([1., 1.]))}
    """
    if isinstance(tree, Tensor):
        return tree.detach().to(device, copy=True, memory_format=torch.contiguous_format)
    if isinstance(tree, Mapping) and all(isinstance(key, str | int) for key in tree):
        return {key: copied(value, f"{what}[{key!r}]", device) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        items = [copied(value, f"{what}[{index}]", device) for index, value in enumerate(tree)]
        return items if isinstance(tree, list) else tuple(items)
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(
        "a state holds tensors, numbers, text and None, and dicts (by text or whole numbers), lists and tuples of "
        f"them; {what} is {type(tree).__name__}. Keep it as one of these"
    )


def _packed(tree: Any, path: str, found: dict[str, Tensor]) -> Any:
    """Plain data as JSON, which has no tuples, whole numbers as keys or tensors; these go to `found`."""
    if isinstance(tree, Tensor):
        while path in found:
            path += "'"
        found[path] = tree
        return {"tensor": path}
    if isinstance(tree, dict):
        return {"dict": [[key, _packed(value, f"{path}/{key}", found)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        items = [_packed(value, f"{path}/{index}", found) for index, value in enumerate(tree)]
        return items if isinstance(tree, list) else {"tuple": items}
    return tree


def _unpacked(tree: Any, found: dict[str, Tensor]) -> Any:
    """What `_packed` was given."""
    match tree:
        case list():
            return [_unpacked(item, found) for item in tree]
        case {"tensor": path}:
            return found[path]
        case {"tuple": items}:
            return tuple(_unpacked(items, found))
        case {"dict": pairs}:
            return {key: _unpacked(value, found) for key, value in pairs}
    return tree


def _kind(value: Any) -> str:
    if not isinstance(value, Tensor):
        return "a state of its own"
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


def _differences(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for name in {**then, **now}:
        if then.get(name) != now.get(name):
            yield f"{name} was {then.get(name, 'nothing')}, is {now.get(name, 'nothing')}"
