"""Channel gating: a partial sum decides whether the rest of a sum is worth computing (Hua et al. 2019)."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.methods.runtime.base import Gate, Gated, Seen, at_least, gates, macs_of, registered


class PartialSum(Gate):
    """Each place of an output map sums the first inputs, and the others only where that sum is above a threshold."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, first: float) -> None:
        super().__init__(conv, norm)
        self.first = min(conv.in_channels - 1, at_least(first, conv.in_channels))
        self.partial_norm, self.gate_norm = deepcopy(norm), nn.BatchNorm2d(conv.out_channels, affine=False)
        self.shift = nn.Parameter(torch.zeros(conv.out_channels))

    def forward(self, x: Tensor, passing: Tensor, setting: float) -> tuple[Tensor, Seen]:
        weight, k = self.conv.weight, self.first
        plain: Any = {name: getattr(self.conv, name) for name in ("stride", "padding", "dilation")}
        partial = functional.conv2d(x[:, :k], weight[:, :k], self.conv.bias, **plain)
        rest = functional.conv2d(x[:, k:], weight[:, k:], **plain)
        above = self.gate_norm(partial) - (setting + self.shift)[:, None, None]
        soft = torch.sigmoid(4 * above)  # the step's slope is that of a steep sigmoid
        gate = (above >= 0).to(x.dtype) + soft - soft.detach()
        out = (gate * self.norm(partial + rest) + (1 - gate) * self.partial_norm(partial)).relu()
        open, every = (above >= 0).to(x.dtype).mean((2, 3)), passing.new_ones(out.shape[:2])
        macs = macs_of(self.conv, out, passing[:, :k], every) + macs_of(self.conv, out, passing[:, k:], open)
        return out, Seen(open, macs, (self.shift**2).sum(), every)


@registered("cgnet")
def cgnet(model: nn.Module, setting: float = 0.5, *, first: float = 0.25, penalty: float = 1e-4) -> Gated:
    """Sum the `first` share of the input channels; where that is below a threshold, the sum stops there.

    Each channel's threshold is `setting` + a learned shift, which the loss holds near 0 by `penalty` times its square.
    A place that stops has a norm of its own for its partial sum. Layers with one input channel have no gate.
    Source: Hua et al. 2019, arXiv:1805.12549, section 3.
    """
    if not 0 < first < 1:
        raise ValueError(f"first is a share of the input channels, in (0, 1); got {first!r}. Pass one such as 0.25")

    def partial(name: str, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Gate | None:
        return PartialSum(conv, norm, first) if conv.in_channels > 1 else None

    takes = "the threshold of the normalised partial sums, a number from -10 to 10"
    return Gated(gates(model, partial), setting, penalty, takes=takes, least=-10.0, most=10.0)
