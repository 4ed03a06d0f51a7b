"""RegionViT's own parts: a regional token for each window, before the patches (arXiv:2106.02689)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from typing_extensions import Unpack

from ...attention.base import ONE, SelfAttention
from ...attention.options import SelfAttentionOptions
from ...attention.windows import Windows, labels_mask, round_up
from ...block import TwoBranches
from ...grid import Grid, Size, channels_last, map_size, num_prefix, split_prefix, to_pair, to_tokens
from ...norm import LayerNorm, NormFactory
from ...prefix import join_prefix, require_prefix
from ...registry import part
from ...residual import Shortcut

if TYPE_CHECKING:
    from ...inspect.places import Call, Pair


def stride_of(module: nn.Module, name: str) -> tuple[int, int]:
    """How far apart a module makes the places of its map. Raises TypeError where it does not say."""
    stride: Any = getattr(module, "stride", None)
    if stride is None:
        raise TypeError(
            f"{name} must say its stride, as ConvEmbed and ConvDownsample do, got a {type(module).__name__}"
        )
    return to_pair(stride, "stride")


def split_regional(x: Tensor, grid: Grid, windows: Windows, what: str) -> tuple[Tensor, Tensor]:
    """``x (B, R + H*W, C)`` as regional tokens ``(B, R, C)``, row-major, one per window, and patches ``(B, H*W, C)``.

    Raises:
        ValueError: the prefix tokens are not as many as the windows.
    """
    regional, patches = split_prefix(x, grid)
    rows, columns = windows.counts(grid)
    if regional.shape[1] != rows * columns:
        raise ValueError(
            f"{what} needs one prefix token per window: grid {grid} has {rows} x {columns} windows of "
            f"{windows.window(grid)}, x carries {regional.shape[1]} prefix token(s)"
        )
    return regional, patches


@part
class RegionalAttention(SelfAttention):
    """Attention of a window's tokens and its regional token (RegionViT, arXiv:2106.02689, Section 3.2, eq. 2).

    ``(B, R + H*W, dim) -> (B, R + H*W, dim)``: the R prefix tokens are the regional ones, row-major, exactly one per window. On the
    grid ``(0, 0)`` the regional tokens attend to one another, which is the paper's regional self-attention; the same weights serve both.
    A position bias applies among the window's own tokens alone.

    Args:
        window: size of a region, an int or a (height, width).
        head_dim, value_dim, qkv, qkv_bias, qk_norm, rotary, proj, attend, position_bias, dropout: see
            :class:`~vitblocks.attention.SelfAttention`.

    Raises:
        ValueError: in ``forward``, where the prefix tokens are not as many as the windows.
    """

    reads = ("qkv",)
    writes = "proj"
    steps = ONE
    hidden_by = "attend"

    def __init__(self, dim: int, heads: int = 8, *, window: Size = 7, **options: Unpack[SelfAttentionOptions]) -> None:
        super().__init__(dim, heads, **options)
        self.windows = Windows(window)

    def places(self, call: Call) -> Pair:
        if not call.grouped:
            return call.first(call.queries), call.first(call.tokens)
        regional = torch.arange(call.prefix, device=call.device)[:, None]
        both = call.of(torch.cat([regional, call.windows(self.windows)], dim=1))
        return both, both

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        if grid == (0, 0):
            return self.mix(x, grid, x.shape[1])
        regional, patches = split_regional(x, grid, self.windows, type(self).__name__)
        return join_prefix(*self.mix_regions(regional, patches, grid, self._mask(grid, x)))

    def mix_regions(self, regional: Tensor, patches: Tensor, grid: Grid, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Every window together with its regional token; ``mask`` is a bias ``(R, 1, 1 + n, 1 + n)``."""
        together = torch.cat([rearrange(regional, "b r c -> b r 1 c"), self.windows.split(patches, grid)], dim=2)
        mixed = self.mix(together, self.windows.window(grid), 1, mask)
        regional, windows = mixed.split([1, mixed.shape[2] - 1], dim=2)
        return rearrange(regional, "b r 1 c -> b r c"), self.windows.join(windows, grid)

    def _mask(self, grid: Grid, like: Tensor) -> Tensor | None:
        labels = self.windows.labels(grid, like.device)
        # The regional token bears the label of the grid's own tokens, so it meets them and not the padding.
        return None if labels is None else labels_mask(F.pad(labels, (1, 0), value=0), like.dtype)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, windows={self.windows}"


@part
class RegionalBlock(TwoBranches):
    """Regional tokens attend to one another, then every token within its region, with one attention (RegionViT, arXiv:2106.02689).

    The regional self-attention calls ``attn`` on the grid ``(0, 0)``, with a norm and a residual branch of its own.

    Args:
        regions: how many of the first tokens are regional, from ``(x, grid)``: all prefix tokens, unless some of them are others.
        others: as for every block.

    Raises:
        ValueError: in ``forward``, where there are no prefix tokens.
    """

    # The attention is called after two norms.
    normed: ClassVar = {"norm2": "mlp"}
    shortcuts: ClassVar = {"shortcut2": "mlp"}

    def __init__(
        self,
        dim: int,
        attn: nn.Module,
        mlp: nn.Module,
        *,
        regions: Callable[[Tensor, Grid], int] = num_prefix,
        norm: NormFactory = LayerNorm,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(dim, attn, mlp, norm=norm, layer_scale=layer_scale, drop_path=drop_path)
        self.regions = regions
        self.norm0 = norm(dim)
        self.shortcut0 = Shortcut(dim, layer_scale=layer_scale, drop_path=drop_path)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        require_prefix(x, grid, "RegionalBlock")
        count = self.regions(x, grid)
        regional, others = x.split([count, x.shape[1] - count], dim=1)
        regional = self.shortcut0(regional, self.attn(self.norm0(regional), (0, 0)))
        x = torch.cat([regional, others], dim=1)
        x = self.shortcut1(x, self.attn(self.norm1(x), grid))
        return self.shortcut2(x, self.mlp(self.norm2(x), grid))


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
        self.stride = stride_of(local, "local")
        rows, columns = to_pair(window, "window")
        self.region = (self.stride[0] * rows, self.stride[1] * columns)
        self.local = local
        self.regional = nn.Conv2d(channels, dim, self.region, self.region)

    def forward(self, image: Tensor) -> tuple[Tensor, Grid]:
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
        self.stride = stride_of(transition, "transition")

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        regional, patches = split_regional(x, grid, self.windows, "DownsampleBothMaps")
        regional, _ = self.transition(regional, self.windows.counts(grid))
        patches, coarse = self.transition(patches, grid)
        return join_prefix(regional, patches), coarse
