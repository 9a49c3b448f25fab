"""PHEW's walks one by one, forward and backward."""

from __future__ import annotations

import numpy as np
import torch

import workbench as wb
from parity import parity
from parity.nets import apart, small
from workbench.seeds import generator

Edge = tuple[int, ...]


def pick(edges: list[Edge], weight: np.ndarray, luck: float) -> Edge | None:
    """The edge on which the luck falls when they lie side by side, each as long as its weight; None if all are 0."""
    heights = np.cumsum([abs(weight[edge]) for edge in edges])
    return edges[int(np.argmax(heights > luck * heights[-1]))] if heights[-1] else None


def there(start: int, kernels: np.ndarray, linear: np.ndarray, luck: list[float]) -> list[Edge | None]:
    """From an input channel through a kernel to a channel, one of the 4 places of its map, an output."""
    edges = [(out, start, y, x) for out in range(3) for y in range(3) for x in range(3)]
    if (first := pick(edges, kernels, luck[0])) is None:
        return [None]
    place, rest = divmod(4 * luck[1], 1)
    return [first, pick([(out, 4 * first[0] + int(place)) for out in range(4)], linear, rest)]


def back(start: int, kernels: np.ndarray, linear: np.ndarray, luck: list[float]) -> list[Edge | None]:
    """From an output to any place of any map, and through a kernel of that map's channel to an input channel."""
    if (second := pick([(start, column) for column in range(12)], linear, luck[0])) is None:
        return [None]
    edges = [(second[1] // 4, source, y, x) for source in range(2) for y in range(3) for x in range(3)]
    return [pick(edges, kernels, luck[1]), second]


@parity("phew", "numpy: 300 walks one after another through a CNN, with the same random numbers")
def phew() -> float:
    model, batch = small()
    walks = 300
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in wb.prunable(model).items()}
    masks["0.weight"][2] = False  # walks backward into channel 2 are lost
    masks["5.weight"][:, 5] = False  # walks forward out of the second place of channel 1 are lost
    weights = {name: (weight.detach() * masks[name]).numpy() for name, weight in wb.prunable(model).items()}
    lucky = generator(0, "scores")
    luck = [torch.rand(walks // 2, generator=lucky, dtype=torch.float64).tolist() for _ in range(4)]
    first: dict[str, dict[Edge, int]] = {name: {} for name in weights}
    for walk in range(walks):
        turn, backward = divmod(walk, 2)
        go, units = (back, 4) if backward else (there, 2)
        path = go(turn % units, *weights.values(), [chances[turn] for chances in luck[2 * backward :][:2]])
        if None not in path:
            for found, edge in zip(first.values(), path, strict=True):
                found.setdefault(edge, walk)
    largest = max(float(abs(weight).max()) for weight in weights.values())
    expected = {}
    for name, weight in weights.items():
        score = abs(weight) / largest - 1
        for edge, walk in first[name].items():
            score[edge] = 1 - walk / walks
        expected[name] = torch.from_numpy(score)
    return apart(wb.score(model, batch, "phew", seed=0, masks=masks, walks=walks), expected)
