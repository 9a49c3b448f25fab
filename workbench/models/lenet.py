"""LeNet-300-100 and LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998, doi:10.1109/5.726791), with ReLU."""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from workbench.models.registry import Shape, image_of, network


@network("lenet-300-100", fits=lambda shape: True, inputs="any input, flattened")
def lenet_300_100(shape: Shape, classes: int) -> nn.Module:
    """Two hidden layers of 300 and 100 units on the flattened input."""
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(math.prod(shape), 300),
            relu1=nn.ReLU(),
            fc2=nn.Linear(300, 100),
            relu2=nn.ReLU(),
            fc3=nn.Linear(100, classes),
        )
    )


@network("lenet-5", fits=image_of(28, 32), inputs="images of 28 x 28 to 32 x 32")
def lenet_5(shape: Shape, classes: int) -> nn.Module:
    """Two 5 x 5 convolutions (6 and 16 channels) with max pooling, then 120 and 84 units.

    28 x 28 images are padded to 32 x 32 by the first convolution, as in the paper.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(shape[0], 6, 5, padding=(32 - shape[1]) // 2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(16 * 5 * 5, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=nn.Linear(84, classes),
        )
    )
