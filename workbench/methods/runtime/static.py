"""The rival of a gated network: the same channels for every input."""

import math

import torch
from torch import Tensor, nn

from workbench.criteria import score
from workbench.methods.runtime.base import Gate, Gated, Seen, gates, macs_of, registered
from workbench.types import Scores, check_choice


class Fixed(Gate):
    """The top share of the channels by a score that is known before the input."""

    order: Tensor

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, scores: Tensor) -> None:
        super().__init__(conv, norm)
        self.register_buffer("order", scores.argsort(descending=True, stable=True))

    def forward(self, x: Tensor, passing: Tensor, setting: float) -> tuple[Tensor, Seen]:
        open = torch.zeros(len(self.order), device=x.device, dtype=x.dtype)
        open[self.order[: max(1, math.floor(setting * len(open) + 0.5))]] = 1.0
        out = self.norm(self.conv(x)).relu() * open[:, None, None]
        every = open.expand(len(x), -1)
        return out, Seen(every, macs_of(self.conv, out, passing, every), x.new_zeros(()), every)


@registered("static")
def static(model: nn.Module, setting: float = 0.5, *, scores: Scores | None = None) -> Gated:
    """Open the `setting` of each layer's channels with the highest scores `[out]` (None: L1), the same for all inputs.

    Shares are rounded, and at least one channel stays. Trained with its gates in place it is a network with pruned
    channels, fine-tuned. It needs no gate at run time.
    """
    found = score(model, None, "l1", granularity="channel") if scores is None else scores

    def fixed(name: str, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Gate:
        return Fixed(conv, norm, found[check_choice("scored layer", f"{name}.weight", found)])

    takes = "the share of a layer's channels that stay, in (0, 1]"
    return Gated(gates(model, fixed), setting, takes=takes, least=math.ulp(0.0))
