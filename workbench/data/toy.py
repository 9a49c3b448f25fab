"""moons, circles, spirals: points in the plane, for pictures of decision boundaries."""

from pathlib import Path

import numpy as np
import torch

from workbench.data.registry import source
from workbench.data.task import Task

POINTS = 2000


def _task(name: str, points: tuple[np.ndarray, np.ndarray], device: torch.device) -> Task:
    (x, y), n = points, POINTS // 4
    return Task.from_arrays(x[n:], y[n:], x[:n], y[:n], val=n, name=name, device=device)


@source("moons")
def load_moons(root: Path | None, device: torch.device) -> Task:
    """Two interleaved half circles with noise 0.2: 1,000 / 500 / 500 points `[2]`, two classes."""
    from sklearn.datasets import make_moons

    return _task("moons", make_moons(POINTS, noise=0.2, random_state=0), device)


@source("circles")
def load_circles(root: Path | None, device: torch.device) -> Task:
    """A circle inside another at half the radius, noise 0.1: 1,000 / 500 / 500 points `[2]`, two classes."""
    from sklearn.datasets import make_circles

    return _task("circles", make_circles(POINTS, noise=0.1, factor=0.5, random_state=0), device)


@source("spirals")
def load_spirals(root: Path | None, device: torch.device) -> Task:
    """Four spiral arms of one turn each, noise 0.02: 1,000 / 500 / 500 points `[2]`, four classes."""
    draw = np.random.default_rng(0)
    labels = draw.permutation(np.arange(POINTS) % 4)
    radius = draw.uniform(0.1, 1.0, POINTS)
    angle = 2 * np.pi * (radius + labels / 4)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _task("spirals", (points + draw.normal(0, 0.02, points.shape), labels), device)
