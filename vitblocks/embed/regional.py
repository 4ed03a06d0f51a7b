"""Two maps in one sequence: regional tokens, one for each window, before the patches (RegionViT)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..attention.regional import split_regional
from ..attention.windows import Windows, round_up
from ..grid import Grid, Size, channels_last, map_size, to_pair, to_tokens
from ..prefix import join_prefix
from ..registry import part
from .adaptors import check_image


@part
class RegionalEmbed(nn.Module):
    """Embed patches, and regions of ``window`` patches each (RegionViT, arXiv:2106.02689): ``image -> (x, grid)``.

    ``x`` is ``(B, R + H*W, dim)``: the R regional tokens are prefix tokens, row-major, one for each window. They are a convolution of
    the image whose kernel and stride are a region. An image that does not divide into regions is padded with zeros on both sides for
    it, and for it alone.

    Args:
        local: a finished embedder of the patches, ``image -> (x, grid)`` with a ``stride``.
        dim: channels of a token.
        window: patches of a region, an int or a (height, width).
        channels: channels of the image.

    Raises:
        ValueError: in ``forward``, for an image whose last rows or columns have a region but no patch.
    """

    def __init__(self, local: nn.Module, dim: int, *, window: Size = 7, channels: int = 3) -> None:
        super().__init__()
        self.windows = Windows(window)
        self.stride = to_pair(local.stride, "stride")  # type: ignore[arg-type]
        rows, columns = to_pair(window, "window")
        self.region = (self.stride[0] * rows, self.stride[1] * columns)
        self.local = local
        self.regional = nn.Conv2d(channels, dim, self.region, self.region)

    def forward(self, image: Tensor) -> tuple[Tensor, Grid]:
        check_image(image)
        image = channels_last(image)
        patches, grid = self.local(image)
        regional, regions = to_tokens(self.regional(self._pad(image)))
        if regions != self.windows.counts(grid):
            height, width = map_size(image)
            down = (height // self.region[0] * self.region[0], width // self.region[1] * self.region[1])
            up = (round_up(height, self.region[0]), round_up(width, self.region[1]))
            raise ValueError(
                f"an image of {(height, width)} has regions {regions}, its patches {grid} fill only {self.windows.counts(grid)}; "
                f"{down} or {up} would do"
            )
        return join_prefix(regional, patches), grid

    def _pad(self, image: Tensor) -> Tensor:
        """The image with zeros on both sides, up to whole regions; the odd one at the bottom and right."""
        rows, columns = (round_up(side, whole) - side for side, whole in zip(map_size(image), self.region, strict=True))
        return F.pad(image, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


@part
class OnBothMaps(nn.Module):
    """A layer called on the map of the regional tokens and on that of the patches, with the same weights: ``(B, R + H*W, C)`` kept.

    Args:
        layer: any layer ``(x, grid) -> x``.
        window: patches of a region.

    Raises:
        ValueError: in ``forward``, where the prefix tokens are not as many as the windows.
    """

    def __init__(self, layer: nn.Module, window: Size = 7) -> None:
        super().__init__()
        self.layer = layer
        self.windows = Windows(window)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        regional, patches = split_regional(x, grid, self.windows, "OnBothMaps")
        return join_prefix(self.layer(regional, self.windows.counts(grid)), self.layer(patches, grid))


@part
class DownsampleBothMaps(nn.Module):
    """A transition called on the map of the regional tokens and on that of the patches, with the same weights.

    ``(x (B, R + H*W, C), grid) -> (x, grid)``. The windows that come out are again one for each regional token if both maps are made
    coarser by rounding up.

    Args:
        transition: any ``(x, grid) -> (x, grid)`` with a ``stride``, such as :class:`~vitblocks.embed.adaptors.Downsample`.
        window: patches of a region.

    Raises:
        ValueError: in ``forward``, where the prefix tokens are not as many as the windows.
    """

    def __init__(self, transition: nn.Module, window: Size = 7) -> None:
        super().__init__()
        self.transition = transition
        self.windows = Windows(window)
        self.stride = transition.stride

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        regional, patches = split_regional(x, grid, self.windows, "DownsampleBothMaps")
        regional, _ = self.transition(regional, self.windows.counts(grid))
        patches, coarse = self.transition(patches, grid)
        return join_prefix(regional, patches), coarse
