"""LeNet-300-100 and LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998, doi:10.1109/5.726791), with ReLU."""

import math
from collections import OrderedDict

from torch import nn

from workbench.models.registry import Shape, image_of, network, scaled


@network("lenet-300-100", fits=lambda shape: True, inputs="any input, flattened")
def lenet_300_100(shape: Shape, classes: int, width: float) -> nn.Module:
    """Two hidden layers of 300 and 100 units on the flattened input."""
    a, b = scaled(300, width), scaled(100, width)
    layers: dict[str, nn.Module] = dict(flatten=nn.Flatten(), fc1=nn.Linear(math.prod(shape), a), relu1=nn.ReLU())
    layers |= dict(fc2=nn.Linear(a, b), relu2=nn.ReLU(), fc3=nn.Linear(b, classes))
    return nn.Sequential(OrderedDict(layers))


@network("lenet-5", fits=image_of(28, 32), inputs="images of 28 x 28 to 32 x 32")
def lenet_5(shape: Shape, classes: int, width: float) -> nn.Module:
    """Two 5 x 5 convolutions (6 and 16 channels) with max pooling, then 120 and 84 units.

    28 x 28 images are padded to 32 x 32 by the first convolution, as in the paper.
    """
    a, b, c, d = (scaled(units, width) for units in (6, 16, 120, 84))
    layers: dict[str, nn.Module] = dict(conv1=nn.Conv2d(shape[0], a, 5, padding=(32 - shape[1]) // 2), relu1=nn.ReLU())
    layers |= dict(pool1=nn.MaxPool2d(2), conv2=nn.Conv2d(a, b, 5), relu2=nn.ReLU(), pool2=nn.MaxPool2d(2))
    layers |= dict(flatten=nn.Flatten(), fc1=nn.Linear(b * 5 * 5, c), relu3=nn.ReLU())
    layers |= dict(fc2=nn.Linear(c, d), relu4=nn.ReLU(), fc3=nn.Linear(d, classes))
    return nn.Sequential(OrderedDict(layers))
