"""Inputs on one scale: mean 0 and standard deviation 1 in each channel of the training split."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from workbench.types import warn

Moments = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Standardise:
    """`(x * scale - mean) / std` per channel, as float32; worked out in the dtype of `mean`.

    >>> Standardise(1.0, torch.tensor([1.0]), torch.tensor([2.0]))(torch.tensor([[1.0], [5.0]])).tolist()
    [[0.0], [2.0]]
    """

    scale: float
    mean: Tensor
    std: Tensor

    @cached_property
    def _affine(self) -> Moments:
        return -self.mean / self.std, self.scale / self.std

    def __call__(self, inputs: Tensor) -> Tensor:
        return torch.addcmul(*self._affine, inputs.to(self.mean.dtype)).float()


def standardised(train: Tensor, test: Tensor, device: torch.device) -> tuple[Standardise, torch.dtype]:
    """What standardises by the inputs `train` `[n, c, ...]`, and the dtype that raw inputs need to be kept in.

    That is uint8 for bytes, float64 where float32 would lose the differences (a time stamp), and float32 otherwise. A
    channel without differences has std 1. Raises ValueError where the two splits are not on one scale.
    """
    mean, std = moments(train)
    if train.dtype == torch.float64 and not needs_double(mean, std):
        train, test = train.float(), test.float()
        mean, std = moments(train)
    check_scales((mean, std), moments(test), values=min(len(train), len(test)) * train[0, 0].numel())
    kind = torch.float64 if needs_double(mean, std) else torch.float32
    both = torch.stack([mean, torch.where(std > 0, std, 1.0)]).to(device, kind)
    mean, std = both.reshape(2, -1, *[1] * (train.ndim - 2))
    return Standardise(1 / 255 if train.dtype == torch.uint8 else 1.0, mean, std), train.dtype


def moments(inputs: Tensor) -> Moments:
    """Mean and standard deviation per channel, float64; exactly 0 where values differ by rounding alone.

    Bytes count as [0, 1] and are summed as exact integer counts.
    """
    if inputs.dtype != torch.uint8:
        axes = [d for d in range(inputs.ndim) if d != 1]
        low, high = inputs.amin(axes).double(), inputs.amax(axes).double()
        mean, std = inputs.double().mean(axes), inputs.double().std(axes, correction=0)
        flat = (low == high) | (std <= 1e-15 * torch.maximum(-low, high))
        return torch.where(flat, low, mean), std.masked_fill(flat, 0)
    counts = torch.stack([torch.bincount(channel.reshape(-1), minlength=256) for channel in inputs.transpose(0, 1)])
    share = counts.double() / counts.sum(1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ levels
    std = (share @ levels.square() - mean.square()).clamp_min(0).sqrt()
    return mean, std.masked_fill((counts > 0).sum(1) == 1, 0)


def needs_double(mean: Tensor, std: Tensor) -> bool:
    """Whether `(x - mean) / std` in float32 would be off by more than about 1e-4, as for time stamps."""
    std = torch.where(std > 0, std, 1.0)
    return bool(((mean.abs() > 1000 * std) | (std < 1e-30)).any())


def check_scales(train: Moments, test: Moments, values: int) -> None:
    """Refuse splits of which one was scaled and the other not, by moments of `values` numbers a channel; or warn.

    A sample of ten differs 50-fold in no channel by chance, nor one of a hundred by more than a half or a whole std.
    """
    (mean, std), (test_mean, test_std) = train, test
    varied = (std > 0) & (test_std > 0)
    if not bool(varied.any()) or values < 10:
        return
    ratio = (test_std / std)[varied]
    factor = max(float(ratio.min()), 1 / float(ratio.max()))
    shift = float(((test_mean - mean).abs() / std)[varied].min())
    means = [f"{float(value.mean()):.3g}" for value in (mean, std, test_mean, test_std)]
    told = "train inputs have mean {} and std {}, test inputs {} and {}".format(*means)
    if factor > 50:
        raise ValueError(f"train and test inputs are on one scale; {told}. Scale both in the same way")
    if values >= 100 and (factor > 1.8 or shift > 1):
        warn(f"{told}: were both scaled in the same way?")
