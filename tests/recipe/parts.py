"""Small parts of one's own, registered as a user would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitblocks.registry import part


@part
@dataclass(frozen=True)
class Tile:
    """A value that is no module."""

    size: int
    offset: tuple[int, int] = (0, 0)


@part
class TinyNorm(nn.LayerNorm):
    """A class of torch.nn with another default."""

    def __init__(self, dim: int, eps: float = 1e-3) -> None:
        super().__init__(dim, eps=eps)


@part
class TinyLayer(nn.Module):
    """A layer that makes its own modules."""

    def __init__(
        self,
        dim: int,
        *,
        norm: Callable[[int], nn.Module] = TinyNorm,
        activation: Callable[[], nn.Module] = nn.GELU,
        tile: Tile | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim must be positive, got {dim}")
        self.tile = tile
        self.norm = norm(dim)
        self.fc = nn.Linear(dim, dim)
        self.act = activation()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.act(self.fc(self.norm(x))))


@part
class TinyChild(TinyLayer):
    """A subclass without a constructor of its own."""


@part
class TinyWide(TinyLayer):
    """A subclass that calls its parent's constructor with other arguments."""

    def __init__(self, dim: int) -> None:
        super().__init__(2 * dim, dropout=0.25)


@part
class TinyStack(nn.Module):
    """Finished layers, and how often they are run."""

    passing = ("seen",)

    def __init__(self, layers: Sequence[nn.Module], *more: nn.Module, times: int = 1, **named: nn.Module) -> None:
        super().__init__()
        self.times = times
        self.seen = 0
        self.layers = nn.ModuleList([*layers, *more])
        for name, layer in named.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        for _ in range(self.times):
            for layer in self.layers:
                x = layer(x)
        return x


@part
class TinyModel(nn.Module):
    """A model that makes its layers itself."""

    mean: Tensor

    def __init__(self, dim: int, depth: int, heads: tuple[int, int] = (1, 1), scale: float = 1.0) -> None:
        super().__init__()
        self.heads = heads
        self.scale = scale
        self.layers = nn.ModuleList(TinyLayer(dim) for _ in range(depth))
        self.head = nn.Linear(dim, 3)
        self.register_buffer("mean", torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x * self.scale)
        return self.head(x - self.mean)


@part
class TinyTaker(nn.Module):
    """Takes the layers of a model, and not the model."""

    def __init__(self, model: TinyModel) -> None:
        super().__init__()
        self.layers = model.layers

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


@part
class TinyOptions(nn.Module):
    """Is given a dictionary of anything, and a function."""

    def __init__(self, options: dict[str, Any], act: Callable[..., Any]) -> None:
        super().__init__()
        self.options = options
        self.act = act


@part
class Named:
    """Takes arguments of any name."""

    def __init__(self, **given: Any) -> None:
        self.given = given


@part
def wide_norm(dim: int) -> nn.Module:
    """A factory that is a function."""
    return nn.LayerNorm(dim, eps=0.1)
