"""PHEW's walks one by one."""

from __future__ import annotations

import numpy as np
import torch

import workbench as wb
from parity import parity
from parity.nets import apart, draw, small


@parity("phew", "numpy: 300 walks one after another through a CNN, with the same random numbers")
def phew() -> float:
    model, batch = small()
    walks = 300
    lucky = draw(0)
    starts = torch.randint(2, (walks,), generator=lucky).numpy()
    luck = [torch.rand(walks, generator=lucky, dtype=torch.float64).numpy() for _ in range(2)]
    weights = [w.detach().abs().numpy() for w in wb.prunable(model).values()]
    kernels = weights[0].reshape(3, 2, 9), weights[1].reshape(4, 3, 4)  # out, in, places
    first: list[dict[tuple[int, ...], int]] = [{}, {}]
    for walk in range(walks):
        unit = starts[walk]
        for found, kernel, chances in zip(first, kernels, luck, strict=True):
            edges = [(out, unit, place) for out in range(kernel.shape[0]) for place in range(kernel.shape[2])]
            heights = np.cumsum([kernel[edge] for edge in edges])
            edge = edges[int(np.argmax(heights > chances[walk] * heights[-1]))]
            found.setdefault(edge, walk)
            unit = edge[0]
    largest = max(kernel.max() for kernel in kernels)
    expected = {}
    for name, weight, kernel, found in zip(wb.prunable(model), weights, kernels, first, strict=True):
        score = kernel / largest - 1
        for edge, walk in found.items():
            score[edge] = 1 - walk / walks
        expected[name] = torch.from_numpy(score.reshape(weight.shape))
    return apart(wb.score(model, batch, "phew", seed=0, walks=walks), expected)
