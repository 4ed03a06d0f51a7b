"""Blocks taken apart into their residual branches."""

from __future__ import annotations

from torch import Tensor, nn

from ..grid import Grid
from .declared import child
from .reading import alike, known


class Branch(nn.Module):
    """A residual branch of a block by itself: ``shortcut(x, layer(norm(x), grid))``."""

    norm: nn.Module
    layer: nn.Module
    shortcut: nn.Module

    def __init__(self, norm: nn.Module, layer: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.layer = layer
        self.shortcut = shortcut

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return self.shortcut(x, self.layer(self.norm(x), grid))


def branches(layer: nn.Module) -> list[nn.Module]:
    """The residual branches that a layer is made of, or the layer itself."""
    parts = [[child(layer, name) for name in names] for names in known(layer, "residuals") or ()]
    found: list[nn.Module] = [Branch(*branch) for branch in parts if None not in branch]  # type: ignore[arg-type]
    return found if found and len(found) == len(parts) else [layer]


def each_alike(layer: nn.Module) -> bool:
    """Whether a layer, or all that a branch is made of, treats every token alike."""
    return all(alike(part) for part in layer.children()) if isinstance(layer, Branch) else alike(layer)
