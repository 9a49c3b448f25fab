"""What the tests share: one thread, small data, small networks, one browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from chromium import ARGS, CHROMIUM, unavailable
from torch import nn

import workbench as wb
from workbench.data.text import from_bytes

torch.set_num_threads(1)
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One headless Chromium for all tests: Playwright runs once in a process."""
    if not CHROMIUM.exists():
        unavailable(f"no Chromium at {CHROMIUM} (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def digits() -> wb.Task:
    return wb.load("digits", device="cpu")


@pytest.fixture(scope="session")
def moons() -> wb.Task:
    return wb.load("moons", device="cpu")


def images(name: str, channels: int, side: int, n: int = 24) -> wb.Task:
    """Noise in the shape of a data set that is not shipped."""
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (n, channels, side, side), dtype=np.uint8)
    y = np.arange(n) % 10
    return wb.Task.from_arrays(x, y, x[:10], y[:10], name=name, val=4, device="cpu")


@pytest.fixture(scope="session")
def tasks(digits: wb.Task, moons: wb.Task) -> dict[str, wb.Task]:
    """A task for every data set of the registry; noise stands in for those that are downloaded."""
    stand_ins = {
        "cifar10": (3, 32),
        "cifar100": (3, 32),
        "svhn": (3, 32),
        "mnist": (1, 28),
        "fashion-mnist": (1, 28),
    }
    embedded = {name: wb.load(name, device="cpu") for name in ("circles", "spirals", "text")}
    embedded["wikitext2"] = from_bytes(bytes(range(256)) * 200, "wikitext2", torch.device("cpu"))
    return {"digits": digits, "moons": moons} | embedded | {k: images(k, *v) for k, v in stand_ins.items()}


@pytest.fixture(scope="session")
def network(tasks: dict[str, wb.Task]) -> Callable[[str], tuple[nn.Module, wb.Task]]:
    """`network(name)`: a fresh network of that name with the smallest task it fits, the widest ones at a quarter."""
    home, narrow = {"lenet-5": "mnist", "vgg-16": "cifar10", "llama": "text"}, {"vgg-16": 0.25, "llama": 0.25}

    def build(name: str, seed: int = 0) -> tuple[nn.Module, wb.Task]:
        task = tasks[home.get(name, "digits")]
        return wb.make(name, task, seed=seed, width=narrow.get(name, 1)), task

    return build


@pytest.fixture
def tiny() -> nn.Module:
    """Two convolutions with BatchNorm and a linear layer for digits: 404 weights, few enough for every criterion."""
    draw = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) / 2)
        for norm in (model[1], model[5]):
            norm.weight.abs_().add_(0.2)
    model.input_shape = (1, 8, 8)  # type: ignore[assignment]
    return model


@pytest.fixture(scope="session")
def trained(digits: wb.Task) -> dict[str, torch.Tensor]:
    """The weights of `lenet-300-100` after three epochs of digits."""
    model = wb.make("lenet-300-100", digits)
    wb.train(model, digits, epochs=3)
    return wb.snapshot(model)
