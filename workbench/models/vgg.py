"""VGG networks with batch normalisation (Simonyan and Zisserman 2015, arXiv:1409.1556) for small images."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from workbench.models.registry import Shape, image_of, network, scaled

POOL = 0
# Two poolings: on 8 x 8 inputs a third would leave 1 x 1 maps, where eight of nine kernel weights only meet padding.
SMALL = (16, 16, POOL, 32, 32, POOL, 64, 64, 128, 128)
VGG_16 = (64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512)


def _vgg(plan: Sequence[int], channels: int, classes: int, width: float) -> nn.Module:
    """3 x 3 convolutions without bias, each with BatchNorm and ReLU; global average pooling; one linear layer."""
    layers: dict[str, nn.Module] = {}
    pools = 0
    for planned in plan:
        if planned == POOL:
            pools += 1
            layers[f"pool{pools}"] = nn.MaxPool2d(2)
            continue
        number, after = (len(layers) - pools) // 3 + 1, scaled(planned, width)
        layers[f"conv{number}"] = nn.Conv2d(channels, after, 3, padding=1, bias=False)
        layers[f"bn{number}"] = nn.BatchNorm2d(after)
        layers[f"relu{number}"] = nn.ReLU()
        channels = after
    layers |= {"average": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(channels, classes)}
    return nn.Sequential(OrderedDict(layers))


@network("vgg", fits=image_of(8), inputs="images of at least 8 x 8")
def vgg(shape: Shape, classes: int, width: float) -> nn.Module:
    """Eight convolutions (16 to 128 channels, two poolings) and a linear layer: 294,032 weights on digits."""
    return _vgg(SMALL, shape[0], classes, width)


@network("vgg-16", fits=image_of(32), inputs="images of at least 32 x 32")
def vgg_16(shape: Shape, classes: int, width: float) -> nn.Module:
    """The 13 convolutions of VGG-16 and, as is usual on CIFAR, a single linear layer: 14.7 million weights."""
    return _vgg(VGG_16, shape[0], classes, width)
