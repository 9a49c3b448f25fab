"""ResNets for CIFAR-sized images (He, Zhang, Ren and Sun 2016, arXiv:1512.03385, section 4.2)."""

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.models.registry import Shape, image_of, network, scaled


class Block(nn.Module):
    """Two 3 x 3 convolutions around a parameter-free shortcut (option A: stride and zero channels)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if (extra := out.shape[1] - x.shape[1]) or self.stride > 1:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, extra))
        return functional.relu(out + x)


class ResNet(nn.Module):
    """3 stages of `blocks` residual blocks with 16, 32 and 64 times `width` channels: depth 6 * blocks + 2."""

    def __init__(self, blocks: int, shape: Shape, classes: int, width: float) -> None:
        super().__init__()
        a, b, c = (scaled(stage, width) for stage in (16, 32, 64))
        self.conv = nn.Conv2d(shape[0], a, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(a)
        plan = [a] * (blocks + 1) + [b] * blocks + [c] * blocks
        strides = [2 if k in (blocks, 2 * blocks) else 1 for k in range(3 * blocks)]
        self.blocks = nn.Sequential(*map(Block, plan, plan[1:], strides))
        self.fc = nn.Linear(c, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(functional.relu(self.bn(self.conv(x))))
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


for _depth in (20, 32, 56):
    _build = functools.partial(ResNet, (_depth - 2) // 6)
    network(f"resnet-{_depth}", fits=image_of(8), inputs="images of at least 8 x 8")(_build)
