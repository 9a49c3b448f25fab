"""The multiply-adds of a pass, by the parameters whose products they are."""

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.parameter import UninitializedParameter
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.models import prunable
from workbench.models.watch import tensors
from workbench.types import Masks

PRODUCTS = dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv", "_addmm_activation"), (1, 2))
PRODUCTS |= dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot", "_int_mm", "_grouped_mm"), (0, 1))
PRODUCTS |= dict.fromkeys(("convolution", "_trilinear"), (0, 1))
"""Operations that multiply and add, by name, with the places of their two operands."""

PICKING = ("index", "index_select", "gather", "_unsafe_index")
"""Operations that take parts of their first argument, as the others say."""


class Origin(NamedTuple):
    """What a tensor is made of: the input, numbers the model made up, or what it owns; and of which parameters."""

    kind: str
    parameters: frozenset[str] = frozenset()


OWNED, MADE, INPUT = Origin("owned"), Origin("made"), Origin("input")


class Products(TorchDispatchMode):
    """Count the multiply-adds that each parameter of `model` takes part in, of the operations run in a `with` block.

    Which parameters a tensor is made of is followed by the memory that it views and through operations on parameters
    alone, such as a weight norm. A product with a part of a weight counts the part (`masks` that of the mask), one with
    a weight made of others counts for those of them that can be pruned, or else for the largest. Where weights alone
    are multiplied, they make a weight, which is not counted.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Of torch: else the first pass imports its compiler, which takes two seconds; `plain_kernels` keeps it out."""
        return False

    def __init__(self, model: nn.Module, example: Tensor, masks: Masks) -> None:
        super().__init__()
        if lazy := [name for name, p in model.named_parameters() if isinstance(p, UninitializedParameter)]:
            raise ValueError(f"weights have a shape before they are counted; {lazy[0]!r} is lazy. Pass one batch first")
        self.sizes = {name: p.numel() for name, p in model.named_parameters()}
        self.owned = prunable(model, strict=False)
        self.counts = dict.fromkeys(self.owned, 0)
        self.seen, self.lost = set[str](), dict[str, str]()
        self.samples, self.shape = len(example), tuple(example.shape)
        self.origins = {_memory(example): INPUT}
        self.ranges: dict[StorageWeakRef, list[tuple[int, int, str]]] = {}
        self.masks = {name: _laid_out(model.get_parameter(name), mask) for name, mask in masks.items()}
        self.starts = {name: int(p.storage_offset()) for name, p in model.named_parameters()}
        for name, p in model.named_parameters():
            start = self.starts[name]
            self.ranges.setdefault(_memory(p), []).append((start, start + _extent(p), name))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named, name = kwargs or {}, func.overloadpacket.__name__
        origins = [self._origin(t) for t in tensors((args, named)) if t.layout is torch.strided]
        out = func(*args, **named)
        made = self._product(name, args, out) if name in PRODUCTS else self._combined(name, origins)
        for tensor in tensors(out):
            if tensor.layout is torch.strided and (memory := _memory(tensor)) not in self.ranges:
                self.origins[memory] = made
        return out

    def _origin(self, tensor: Tensor) -> Origin:
        memory = _memory(tensor)
        if memory not in self.ranges:
            return self.origins.get(memory, OWNED)
        place = tensor.storage_offset()
        return Origin("owned", frozenset(n for start, end, n in self.ranges[memory] if start <= place < end))

    def _combined(self, name: str, origins: list[Origin]) -> Origin:
        """The origin of what an operation that is no product gives."""
        kinds = {origin.kind for origin in origins}
        together = frozenset().union(*(origin.parameters for origin in origins))
        if "input" not in kinds:
            return Origin("owned", together) if "owned" in kinds else MADE
        if len(origins) == 1 or (name in PICKING and origins[0].parameters):
            return Origin("input", origins[0].parameters)
        for parameter in together:
            self.lost.setdefault(parameter, name)
        return INPUT

    def _product(self, name: str, args: Sequence[Any], out: Tensor) -> Origin:
        operands = [args[place] for place in PRODUCTS[name]]
        origins = [self._origin(t) for t in operands]
        chosen = self._weight(origins)
        if chosen is None:
            together = origins[0].parameters | origins[1].parameters
            return Origin("owned", together) if together and origins[0].kind == origins[1].kind == "owned" else INPUT
        first, second = operands
        if name == "convolution":
            if origins[0].kind == "input" and len(first) % self.samples:
                self.unbatched(f"inputs of shape {tuple(first.shape)} for a convolution")
            cost = (first if args[6] else out).numel() * second[0].numel()  # is it transposed?
        elif name == "_trilinear":
            cost = len(first) * second.numel()
        else:
            cost = first.numel() * (second.shape[-1] if second.ndim > 1 else 1)
        self._count(operands[chosen], origins[chosen].parameters, cost)
        return INPUT

    def _weight(self, origins: Sequence[Origin]) -> int | None:
        """Which of two operands is the weight; None if neither is, or both make one."""
        owned = [k for k, origin in enumerate(origins) if origin.kind == "owned" and origin.parameters]
        if len(owned) == 2:
            owned = [k for k in owned if not origins[k].parameters.isdisjoint(self.owned)]
            return owned[0] if len(owned) == 1 else None
        if owned:
            return owned[0] if origins[1 - owned[0]].kind != "owned" else None
        return max((k for k, origin in enumerate(origins) if origin.parameters), default=None)

    def _count(self, operand: Tensor, parameters: frozenset[str], cost: int) -> None:
        prunable_ones = [name for name in self.owned if name in parameters]
        names = prunable_ones or [max(sorted(parameters), key=lambda name: self.sizes[name])]
        whole = sum(self.sizes[name] for name in names)
        for name in names:
            self.seen.add(name)
            kept = numbers = self.sizes[name]
            if (mask := self.masks.get(name)) is not None:
                if _memory(operand) in self.ranges:
                    place, numbers = operand.storage_offset() - self.starts[name], operand.numel()
                    mask = mask.as_strided(operand.shape, operand.stride(), place)
                kept = int(mask.sum())
            self.counts[name] = self.counts.get(name, 0) + cost * self.sizes[name] * kept // (whole * numbers)

    def unbatched(self, what: str) -> NoReturn:
        """Refuse an example that is no batch."""
        raise ValueError(
            f"an example is a batch of inputs [n, ...]; one of shape {self.shape} has {self.samples} samples, but "
            f"leads to {what}. Pass x[None] for a single sample"
        )

    def totals(self) -> dict[str, int]:
        """Multiply-adds of the whole pass by parameter name, those that can be pruned first."""
        if uncounted := [name for name in self.owned if name in self.lost and name not in self.seen]:
            raise ValueError(
                f"multiply-adds are counted for convolutions and matrix products; {uncounted[0]!r} is used in "
                f"{self.lost[uncounted[0]]!r} alone. Use torch.nn.functional.linear or a matrix product for it"
            )
        return self.counts


def _memory(tensor: Tensor) -> StorageWeakRef:
    """The memory that a tensor views; as long as this is held, no other has the same."""
    return StorageWeakRef(tensor.untyped_storage())


def _extent(tensor: Tensor) -> int:
    """Places in memory from the tensor's first number to its last."""
    spans = zip(tensor.shape, tensor.stride(), strict=True)
    return int(1 + sum((size - 1) * stride for size, stride in spans)) if tensor.numel() else 0


def _laid_out(weight: Tensor, mask: Tensor) -> Tensor:
    """A mask, flat, in the memory layout of its weight."""
    flat = torch.zeros(_extent(weight), dtype=torch.bool, device=mask.device)
    flat.as_strided(weight.shape, weight.stride()).copy_(mask)
    return flat
