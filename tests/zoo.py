"""Small models of every kind that users bring, with a batch each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb


class Course(nn.Module):
    """Layers by name, and what a test does with them."""

    def __init__(self, course: Callable[..., Tensor], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.course = course

    def forward(self, x: Tensor) -> Tensor:
        return self.course(self, x)


class Tied(nn.Module):
    """One weight used by two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.second(self.first(x).relu()).relu())


class Patches(nn.Module):
    """A vision transformer: patches, attention, a class token by the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 4, stride=4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class Decoder(nn.Module):
    """A small Llama: embedding, RMS norm, causal attention, gated feed-forward; the next token of the last place."""

    def __init__(self, width: int = 8, words: int = 11) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(width, 16, bias=False), nn.Linear(width, 16, bias=False)
        self.down, self.head = nn.Linear(16, width, bias=False), nn.Linear(width, words, bias=False)
        self.norm = nn.RMSNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        y = self.norm(x)
        x = x + self.o(functional.scaled_dot_product_attention(self.q(y), self.k(y), self.v(y), is_causal=True))
        y = self.norm(x)
        return self.head(self.norm(x + self.down(functional.silu(self.gate(y)) * self.up(y))))[:, -1]


class Residual(nn.Module):
    """A block with a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.bn, self.fc = nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        return self.fc((x + self.bn(self.conv(x))).relu().mean((2, 3)))


class Conv1D(nn.Module):
    """The linear layer of transformers' GPT-2: a weight `[in, out]`."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf) / nx**0.5), nn.Parameter(torch.zeros(nf))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], self.nf)


class Recurrent(nn.Module):
    """Two recurrent layers, one reading both ways, and a cell."""

    def __init__(self, cell: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.both = cell(3, 4, batch_first=True, bidirectional=True)
        self.on, self.cell, self.head = cell(8, 3, batch_first=True), nn.GRUCell(3, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(self.on(self.both(x)[0])[0][:, -1]))


class Pairs(nn.Module):
    """A bilinear layer of two halves of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.pairs, self.head = nn.Linear(6, 6), nn.Bilinear(3, 3, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pairs(*self.first(x).relu().chunk(2, 1)).relu())


def _images(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))


def _made(model: nn.Module, inputs: Tensor) -> tuple[nn.Module, wb.Batch]:
    with torch.no_grad():
        model(inputs)
    return model, wb.Batch(inputs, torch.arange(len(inputs)) % 3)


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))


def _pictures() -> Tensor:
    return torch.randn(6, 1, 8, 8)


ZOO: dict[str, Callable[[], tuple[nn.Module, wb.Batch]]] = {
    "linear": lambda: _made(_mlp(), torch.randn(6, 5)),
    "conv1d": lambda: _made(
        nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3)),
        torch.randn(6, 2, 9),
    ),
    "grouped": lambda: _made(_images(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2)), _pictures()),
    "depthwise, dilated": lambda: _made(
        _images(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4, dilation=2)), _pictures()
    ),
    "transposed": lambda: _made(
        _images(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2)), _pictures()
    ),
    "tied": lambda: _made(Tied(), torch.randn(6, 6)),
    "residual": lambda: _made(Residual(), _pictures()),
    "vision transformer": lambda: _made(Patches(), _pictures()),
    "llama": lambda: _made(Decoder(), torch.randint(0, 11, (6, 5))),
    "conv1d of transformers": lambda: _made(
        nn.Sequential(Conv1D(6, 5), nn.ReLU(), Conv1D(4, 6), nn.ReLU(), nn.Linear(4, 3)), torch.randn(6, 5)
    ),
    "lstm": lambda: _made(Recurrent(), torch.randn(6, 5, 3)),
    "gru": lambda: _made(Recurrent(nn.GRU), torch.randn(6, 5, 3)),
    "rnn": lambda: _made(Recurrent(nn.RNN), torch.randn(6, 5, 3)),
    "bilinear": lambda: _made(Pairs(), torch.randn(6, 6)),
    "float64": lambda: _made(
        nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).double(), torch.randn(6, 5).double()
    ),
    "bfloat16": lambda: _made(
        nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).bfloat16(), torch.randn(6, 5).bfloat16()
    ),
    "compiled": lambda: _made(
        torch.compile(_mlp(), backend="eager"),  # type: ignore[arg-type]
        torch.randn(6, 5),
    ),
}
