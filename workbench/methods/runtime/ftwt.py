"""Fire together, wire together: a head learns which channels hold most of the activation (Elkerdawy et al. 2022)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.methods.runtime.base import Gate, Gated, Seen, gates, macs_of, registered


class Predicted(Gate):
    """A head reads the mean of each input channel, and predicts a mask of the output channels."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, mass: float) -> None:
        super().__init__(conv, norm)
        self.head, self.mass = nn.Linear(conv.in_channels, conv.out_channels), mass

    def forward(self, x: Tensor, passing: Tensor, setting: float) -> tuple[Tensor, Seen]:
        logits = self.head(x.detach().mean((2, 3)))
        open = (logits.sigmoid() > setting).to(x.dtype).scatter(1, logits.argmax(1, keepdim=True), 1.0)
        whole = self.norm(self.conv(x)).relu()
        term = whole.new_zeros(())
        if self.training:
            term = functional.binary_cross_entropy_with_logits(logits, holders(whole, self.mass))
        macs = macs_of(self.conv, whole, passing, open) + self.head.weight.numel()
        return whole * open[:, :, None, None], Seen(open, macs, term, open)


@torch.no_grad()
def holders(maps: Tensor, mass: float) -> Tensor:
    """1 for the fewest channels whose highest activations hold a share `mass` of their sum, `[n, channels]`.

    >>> holders(torch.tensor([[[[1.0]], [[6.0]], [[3.0]]]]), 0.7)
    tensor([[0., 1., 1.]])
    """
    highest = maps.amax((2, 3))
    ordered, order = highest.sort(dim=1, descending=True, stable=True)
    before = ordered.cumsum(1) - ordered  # what stronger channels hold
    return torch.zeros_like(highest).scatter(1, order, (before < mass * ordered.sum(1, keepdim=True)).to(maps.dtype))


@registered("ftwt")
def ftwt(model: nn.Module, setting: float = 0.5, *, mass: float = 0.8, penalty: float = 1.0) -> Gated:
    """Open the channels that a head predicts to hold the share `mass` of a layer's highest activations.

    The target comes from the layer itself, computed in full in training; the head sees its inputs without a gradient.
    Outputs are masked by the prediction in training, too. The loss has `penalty` times the heads' cross entropy. (The
    authors' code leaves out the channel with which the share is reached.)
    Source: Elkerdawy et al. 2022, arXiv:2110.08232.
    """
    if not 0 < mass <= 1:
        raise ValueError(f"mass is a share of the activations, in (0, 1]; got {mass!r}. Pass one such as 0.8")
    layers = gates(model, lambda name, conv, norm: Predicted(conv, norm, mass))
    return Gated(layers, setting, penalty, takes="the probability above which a channel opens, in [0, 1]")
