"""Feature boosting and suppression: a small layer predicts which channels matter for an input (Gao et al. 2019)."""

import math

import torch
from torch import Tensor, nn

from workbench.methods.runtime.base import Gate, Gated, Seen, at_least, gates, macs_of, registered


class Boost(Gate):
    """Saliencies `s = ReLU(W mean|x_c| + b)` `[n, out]`; the top share stays, scaled by `s`, the others are closed."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__(conv, norm)
        self.saliency = nn.Linear(conv.in_channels, conv.out_channels)
        nn.init.kaiming_normal_(self.saliency.weight)
        self.saliency.weight.data /= 2  # saliencies of all layers multiply: with the whole, outputs grow without limit
        nn.init.ones_(self.saliency.bias)

    def forward(self, x: Tensor, passing: Tensor, setting: float) -> tuple[Tensor, Seen]:
        raw = self.saliency(x.abs().mean((2, 3)))
        s, best = raw.relu(), raw.topk(at_least(setting, raw.shape[1]), dim=1).indices
        open = torch.zeros_like(s).scatter(1, best, 1.0) * (s > 0)
        open = open.scatter(1, best[:, :1], 1.0)  # the first of them stays, whatever its saliency
        out = (self.norm(self.conv(x)) * (s * open)[:, :, None, None]).relu()
        macs = macs_of(self.conv, out, passing, open) + self.saliency.weight.numel()
        return out, Seen(open, macs, s.sum(1).mean(), open)


@registered("fbs")
def fbs(model: nn.Module, setting: float = 0.5, *, penalty: float = 1e-4) -> Gated:
    """Open the `setting` of each layer's channels that are predicted to matter most, and boost them.

    The loss has `penalty` times the saliencies' sum, a lasso (the paper: 1e-8). Saliencies start around 1, with half of
    the paper's `W`. The paper drops the norm's scale, as `s` takes its place; here it stays. Lower the share while you
    train (`lowering`: from 1 at the second step on); if the loss grows without limit, lower the rate.
    Source: Gao et al. 2019, arXiv:1810.05331, equations 4 to 8.
    """
    takes = "the share of a layer's channels that may open, in (0, 1]"
    layers = gates(model, lambda name, conv, norm: Boost(conv, norm))
    return Gated(layers, setting, penalty, takes=takes, least=math.ulp(0.0))
