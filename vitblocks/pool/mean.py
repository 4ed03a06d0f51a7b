"""Pool by averaging tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..grid import Grid, split_prefix
from ..prefix import require_prefix
from ..registry import part


@part
class MeanPool(nn.Module):
    """The mean of the patches, then a norm if one is given (arXiv:2106.04560, Section 2): ``(B, N, C) -> (B, C)``, any grid.

    Prefix tokens are left out. ``norm`` is a finished module on the mean: "mean first, norm after" is what ViTs with mean pooling do.

    Raises:
        ValueError: in ``forward``, where there are no patches.
    """

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.norm = nn.Identity() if norm is None else norm

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        patches = split_prefix(x, grid)[1]
        if patches.shape[1] == 0:
            raise ValueError(f"MeanPool needs patches, grid {grid} has none")
        return self.norm(patches.mean(dim=1))


@part
class ClassMeanPool(nn.Module):
    """The first prefix token beside the mean of the patches (DINOv2, arXiv:2304.07193, Section 7.1): ``(B, N, C) -> (B, 2 * C)``.

    Other prefix tokens are left out.

    Raises:
        ValueError: in ``forward``, where there are no prefix tokens, or no patches.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        require_prefix(x, grid, "ClassMeanPool")
        patches = split_prefix(x, grid)[1]
        if patches.shape[1] == 0:
            raise ValueError(f"ClassMeanPool needs patches, grid {grid} has none")
        return torch.cat([x[:, 0], patches.mean(dim=1)], dim=1)


@part
class PrefixMeanPool(nn.Module):
    """The mean of the prefix tokens (RegionViT's regional ones, arXiv:2106.02689): ``(B, N, C) -> (B, C)``, any grid.

    Raises:
        ValueError: in ``forward``, where there are no prefix tokens.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return x[:, : require_prefix(x, grid, "PrefixMeanPool")].mean(dim=1)


@part
class TokenMeanPool(nn.Module):
    """The mean of all tokens, prefix tokens too, then a norm if one is given: ``(B, N, C) -> (B, C)``, any grid.

    No paper's: what vit-pytorch up to 0.26 does with ``pool="mean"``, so that weights trained there are read as they were trained.
    ``ViT(pool="mean", prefix_tokens=1)`` with ``model.pool = TokenMeanPool(model.pool.norm)`` is that model.
    """

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.norm = nn.Identity() if norm is None else norm

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return self.norm(x.mean(dim=1))
