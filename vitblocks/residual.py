"""The residual connection: layer scale, drop path, and the sum they guard."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from .checks import check_count, check_rate
from .contract import made, require_layer
from .grid import Grid, length
from .norm import LayerNorm, NormFactory
from .registry import part


@part
class LayerScale(nn.Module):
    """Multiply each channel by a learned weight (CaiT, arXiv:2103.17239, Section 2.1, eq. 4): ``(B, N, C) -> (B, N, C)``."""

    def __init__(self, dim: int, init: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((dim,), float(init)))

    def forward(self, x: Tensor) -> Tensor:
        if length(x, -1) != length(self.weight, 0):
            raise ValueError(f"x must have {self.weight.shape[0]} channels, got shape {tuple(x.shape)}")
        return x * self.weight


@part
class DropPath(nn.Module):
    """Drop a residual branch for whole samples (stochastic depth, arXiv:1603.09382), scaling the kept ones by 1 / (1 - rate)."""

    idle_in_eval = True

    def __init__(self, rate: float = 0.0) -> None:
        """Raises ValueError unless ``0 <= rate < 1``."""
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(keep)
        return x * mask.div_(keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


def drop_path_schedule(rate: float, depth: int) -> list[float]:
    """Rates rising linearly from 0 at the first block to ``rate`` at the last (arXiv:1603.09382, Section 3).

    Raises:
        ValueError: ``rate`` is none in [0, 1), or ``depth`` negative.
    """
    check_rate("drop_path", rate)
    check_count("depth", depth)
    return [rate * i / max(depth - 1, 1) for i in range(depth)]


@part
class Shortcut(nn.Module):
    """``x + drop_path(scale(update))``: the only place where a residual sum is taken."""

    def __init__(self, dim: int, *, layer_scale: float | None = None, drop_path: float = 0.0) -> None:
        """``layer_scale`` is the starting value of the per-channel weights; None leaves them out."""
        super().__init__()
        self.scale = nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, update: Tensor) -> Tensor:
        """Raises ValueError where ``update`` would only broadcast to ``x``."""
        if update.shape != x.shape:
            raise ValueError(
                f"a residual layer must keep the shape {tuple(x.shape)}, it returned {tuple(update.shape)}"
            )
        return x + self.drop_path(self.scale(update))


@part
class Residual(nn.Module):
    """``x + layer(norm(x), grid)``: one pre-norm residual branch, the unit that blocks are made of.

    Args:
        dim: channels of ``x``.
        layer: any ``layer(x, grid) -> x`` that keeps the shape.
        norm: factory ``dim -> module`` for the norm before the layer; ``nn.Identity`` for none.
        layer_scale, drop_path: see :class:`Shortcut`.

    Raises:
        TypeError: ``layer`` is no layer, or ``norm`` no factory.
    """

    normed: ClassVar = {"norm": "layer"}
    shortcuts: ClassVar = {"shortcut": "layer"}
    residuals = (("norm", "layer", "shortcut"),)

    def __init__(
        self,
        dim: int,
        layer: nn.Module,
        *,
        norm: NormFactory = LayerNorm,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        require_layer(layer, "layer")
        self.norm = made(norm, dim, "norm")
        self.layer = layer
        self.shortcut = Shortcut(dim, layer_scale=layer_scale, drop_path=drop_path)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return self.shortcut(x, self.layer(self.norm(x), grid))
