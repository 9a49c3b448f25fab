"""Shapes of networks that people bring: half of each group's units removed, and proven."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from zoo import Course

import workbench as wb


def block(inner: int, outer: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(inplace=True)
    )


def unet(m: Course, x: Tensor) -> Tensor:
    y = m.down(x)
    return m.out(m.last(torch.cat([y, m.up(m.deep(functional.max_pool2d(y, 2)))], 1)))


def dense_blocks(m: Course, x: Tensor) -> Tensor:
    x = m.first(x)
    for norm, layer in ((m.n1, m.c1), (m.n2, m.c2)):
        x = torch.cat([x, layer(norm(x).relu())], 1)
    return m.out(m.n3(x).relu().mean((2, 3)))


def excited(m: Course, x: Tensor) -> Tensor:
    """A depthwise layer whose channels are weighed."""
    x = m.deep(m.wide(x))
    return m.out((x * m.grow(functional.silu(m.press(x.mean((2, 3), True)))).sigmoid()).mean((2, 3)))


def gated(m: Course, x: Tensor) -> Tensor:
    y = m.first(x)
    y = y + m.back(torch.tanh(m.filter(y)) * torch.sigmoid(m.gate(y)))
    return m.out(y.mean(-1))


def mixer(m: Course, x: Tensor) -> Tensor:
    x = m.first(x)
    x = x + m.t2(functional.gelu(m.t1(m.norm(x).transpose(1, 2)))).transpose(1, 2)
    return m.out(m.c2(functional.gelu(m.c1(m.norm(x)))).mean(1))


def translated(m: Course, x: Tensor) -> Tensor:
    """An encoder and a decoder, and attention between them."""
    kept, state = m.encoder(x)
    found, _ = m.decoder(x, state)
    weights = torch.bmm(m.query(found), kept.transpose(1, 2)).softmax(-1)
    return m.out(torch.tanh(m.both(torch.cat([torch.bmm(weights, kept), found], -1))))


def packed(m: Course, x: Tensor) -> Tensor:
    lengths = torch.full((len(x),), x.shape[1])
    _, (state, _) = m.unit(nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True))
    return m.out(state[-1])


def placed(m: Course, x: Tensor) -> Tensor:
    """Coordinates beside the channels."""
    y = m.first(x).relu()
    places = torch.arange(y.shape[-1]).to(y).expand(len(y), 1, *y.shape[2:])
    return m.out(m.second(torch.cat([y, places], 1)).amax((2, 3)))


def branches(m: Course, x: Tensor) -> Tensor:
    x = m.stem(x)
    pooled = m.pool(functional.max_pool2d(x, 3, 1, 1))
    return m.out(torch.cat([m.one(x).relu(), m.three(x).relu(), pooled], 1).mean((2, 3)))


IMAGES, STEPS = (2, 3, 8, 8), (2, 5, 6)
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "U-Net": (
        lambda: Course(
            unet,
            down=block(3, 6),
            deep=block(6, 8),
            up=nn.ConvTranspose2d(8, 6, 2, 2),
            last=block(12, 6),
            out=nn.Conv2d(6, 2, 1),
        ),
        IMAGES,
        4,
    ),
    "DenseNet": (
        lambda: Course(
            dense_blocks,
            first=nn.Conv2d(3, 6, 3),
            n1=nn.BatchNorm2d(6),
            c1=nn.Conv2d(6, 4, 3, padding=1),
            n2=nn.BatchNorm2d(10),
            c2=nn.Conv2d(10, 4, 3, padding=1),
            n3=nn.BatchNorm2d(14),
            out=nn.Linear(14, 3),
        ),
        IMAGES,
        3,
    ),
    "squeeze and excitation": (
        lambda: Course(
            excited,
            wide=block(3, 8),
            deep=nn.Conv2d(8, 8, 3, groups=8),
            press=nn.Conv2d(8, 4, 1),
            grow=nn.Conv2d(4, 8, 1),
            out=nn.Linear(8, 3),
        ),
        IMAGES,
        2,
    ),
    "WaveNet": (
        lambda: Course(
            gated,
            first=nn.Conv1d(5, 6, 1),
            filter=nn.Conv1d(6, 8, 1),
            gate=nn.Conv1d(6, 8, 1),
            back=nn.Conv1d(8, 6, 1),
            out=nn.Linear(6, 3),
        ),
        STEPS,
        2,
    ),
    "MLP-Mixer": (
        lambda: Course(
            mixer,
            first=nn.Linear(6, 8),
            norm=nn.LayerNorm(8),
            t1=nn.Linear(5, 6),
            t2=nn.Linear(6, 5),
            c1=nn.Linear(8, 10),
            c2=nn.Linear(10, 8),
            out=nn.Linear(8, 3),
        ),
        STEPS,
        3,
    ),
    "attention between LSTMs": (
        lambda: Course(
            translated,
            encoder=nn.LSTM(6, 8, batch_first=True),
            decoder=nn.LSTM(6, 8, batch_first=True),
            query=nn.Linear(8, 8, bias=False),
            both=nn.Linear(16, 6),
            out=nn.Linear(6, 4),
        ),
        STEPS,
        2,
    ),
    "packed sequences": (lambda: Course(packed, unit=nn.LSTM(6, 8, batch_first=True), out=nn.Linear(8, 3)), STEPS, 1),
    "coordinates": (
        lambda: Course(placed, first=nn.Conv2d(3, 6, 3), second=nn.Conv2d(7, 6, 3), out=nn.Linear(6, 3)),
        IMAGES,
        2,
    ),
    "Inception": (
        lambda: Course(
            branches,
            stem=block(3, 6),
            one=nn.Conv2d(6, 4, 1),
            three=nn.Conv2d(6, 4, 3, padding=1),
            pool=nn.Conv2d(6, 4, 1),
            out=nn.Linear(12, 3),
        ),
        IMAGES,
        4,
    ),
    "sub-pixels": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 12, 3), nn.PixelShuffle(2), nn.Conv2d(3, 2, 3)
        ),
        IMAGES,
        2,
    ),
}
"""A model, the shape of its inputs, and how many of its groups can shrink."""


@pytest.mark.parametrize("name", MODELS)
def test_half_of_the_units_are_removed_and_proven(name: str) -> None:
    build, shape, shrinking = MODELS[name]
    torch.manual_seed(0)
    model, x = build(), torch.randn(shape)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias), nn.init.normal_(module.running_mean)
    groups = wb.groups(model, x)
    scores = wb.group_scores(model, wb.score(model, None, "magnitude"), groups, "mean")
    assert len(scores) == shrinking
    small = wb.remove(model, wb.group_masks(model, wb.keep_top(scores, 0.5, allocation="layer"), groups), groups)
    assert wb.macs(small, x) < wb.macs(model, x)
