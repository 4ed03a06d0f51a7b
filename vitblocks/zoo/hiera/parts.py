"""Hiera's own parts: attention whose queries are pooled, and the blocks around it (arXiv:2306.00989)."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...attention import Attend, Attention, Windows
from ...attention.attend import mask_bias
from ...attention.base import check_heads, split_heads
from ...attention.windows import PADDING
from ...contract import made, require_layer, require_module
from ...grid import Grid, Size, image_grid, require_no_prefix, to_map, to_pair, to_tokens
from ...norm import LayerNorm, NormFactory
from ...registry import part
from ...residual import Shortcut

if TYPE_CHECKING:
    from ...inspect.places import Call, Pair


def max_pooled(x: Tensor, grid: Grid, stride: tuple[int, int]) -> tuple[Tensor, Grid]:
    """The maximum of each channel over patches ``(B, H*W, C)`` that lie side by side, on the coarser grid, rounded up."""
    return to_tokens(F.max_pool2d(to_map(x, grid), stride, ceil_mode=True))


def mean_pooled(x: Tensor, grid: Grid, stride: tuple[int, int]) -> Tensor:
    """The mean of each channel over patches that lie side by side."""
    return to_tokens(F.avg_pool2d(to_map(x, grid), stride, ceil_mode=True))[0]


@part
class QueryPoolingAttention(Attention):
    """A transition ``(B, H*W, dim) -> (B, ceil(H/s) * ceil(W/s), out_dim)`` by attention of pooled queries, in windows or globally.

    Mask unit attention with query pooling (Hiera, arXiv:2306.00989, Section 3.1; pooling as MViTv2, arXiv:2112.01526): a query is the
    maximum of ``stride`` x ``stride`` ones, channel by channel, after the projection; keys and values are those of all tokens. In windows
    it looks at the tokens of the window that it lies in. Every grid works: the last windows hold what is there.

    Args:
        dim, out_dim: channels in and out.
        heads: attention heads, which share ``out_dim``.
        window: of the tokens that meet, an int or a (height, width) that ``stride`` divides; None for all of them.
        stride: rows and columns that are pooled to one query, an int or a (height, width).
        qkv_bias: whether the projection of queries, keys and values has a bias.
        attend, dropout: see :class:`~vitblocks.attention.Attention`.

    Raises:
        ValueError: ``heads`` does not divide ``out_dim``, or ``stride`` not the window; in ``forward``, where there are prefix tokens.
    """

    reads = ("qkv",)
    writes = "proj"
    is_layer = False

    def __init__(
        self,
        dim: int,
        out_dim: int,
        heads: int = 8,
        *,
        window: Size | None = None,
        stride: Size = 2,
        qkv_bias: bool = True,
        attend: Attend | None = None,
        dropout: float = 0.0,
    ) -> None:
        head_dim = check_heads(out_dim, heads, None)
        super().__init__(
            dim, heads, head_dim=head_dim, proj=nn.Linear(out_dim, out_dim), attend=attend, dropout=dropout
        )
        self.out_dim = out_dim
        self.stride = to_pair(stride, "stride")
        self.windows, self.coarse_windows = _windows(window, self.stride)
        self.qkv = nn.Linear(dim, 3 * out_dim, bias=qkv_bias)

    def places(self, call: Call) -> Pair:
        (height, width), (down, right) = image_grid(call.grid, "QueryPoolingAttention"), self.stride
        coarse = (-(-height // down), -(-width // right))
        if self.windows is None or self.coarse_windows is None:
            return call.on(coarse, 0), call.first(call.tokens)
        on_coarse = replace(call, tokens=prod(coarse), grid=coarse)
        return on_coarse.of(on_coarse.windows(self.coarse_windows)), call.of(call.windows(self.windows))

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        require_no_prefix(x, grid, "QueryPoolingAttention")
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, coarse = max_pooled(q, image_grid(grid, "QueryPoolingAttention"), self.stride)
        if self.windows is None or self.coarse_windows is None:
            q, k, v = (split_heads(part, self.heads) for part in (q, k, v))
            return self.output(self.attend(q, k, v)), coarse
        q, k, v = self.coarse_windows.split(q, coarse), self.windows.split(k, grid), self.windows.split(v, grid)
        q, k, v = (split_heads(part, self.heads) for part in (q, k, v))
        mixed = self.output(self.attend(q, k, v, self._mask(self.windows, grid, x)))
        return self.coarse_windows.join(mixed, coarse), coarse

    @staticmethod
    def _mask(windows: Windows, grid: Grid, like: Tensor) -> Tensor | None:
        """The bias that hides keys which fill up the last windows, ``(G, 1, 1, n)``; None where there are none.

        Queries that do so see the keys there are, and are left out afterwards.
        """
        labels = windows.labels(grid, like.device)
        return None if labels is None else mask_bias(rearrange(labels != PADDING, "g n -> g 1 1 n"), like.dtype)

    def extra_repr(self) -> str:
        window = None if self.windows is None else self.windows.size
        return f"dim={self.dim}, out_dim={self.out_dim}, heads={self.heads}, window={window}, stride={self.stride}"


def _windows(window: Size | None, stride: tuple[int, int]) -> tuple[Windows | None, Windows | None]:
    """Windows of keys, and of as many queries as are pooled from them."""
    if window is None:
        return None, None
    (rows, columns), (down, right) = to_pair(window, "window"), stride
    if rows % down or columns % right:
        raise ValueError(f"stride {stride} must divide the window, got {(rows, columns)}")
    return Windows((rows, columns)), Windows((rows // down, columns // right))


class PoolingBlock(nn.Module):
    """A transition that is a pre-norm block: attention of pooled queries, then a feed-forward on the coarser grid.

    Args:
        attn: a finished :class:`QueryPoolingAttention`.
        mlp: a finished layer of its ``out_dim`` channels.
        norm: factory ``dim -> module`` of each norm.
        layer_scale, drop_path: see :class:`~vitblocks.Shortcut`.

    Raises:
        TypeError: ``attn`` is no QueryPoolingAttention, ``mlp`` no layer, or ``norm`` no factory.
    """

    def __init__(
        self,
        attn: QueryPoolingAttention,
        mlp: nn.Module,
        *,
        norm: NormFactory = LayerNorm,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        require_module(attn, "attn")
        if not isinstance(attn, QueryPoolingAttention):
            raise TypeError(f"attn must be a QueryPoolingAttention, got a {type(attn).__name__}")
        require_layer(mlp, "mlp")
        self.stride = attn.stride
        self.norm1 = made(norm, attn.dim, "norm")
        self.attn = attn
        self.shortcut1 = Shortcut(attn.out_dim, layer_scale=layer_scale, drop_path=drop_path)
        self.norm2 = made(norm, attn.out_dim, "norm")
        self.mlp = mlp
        self.shortcut2 = Shortcut(attn.out_dim, layer_scale=layer_scale, drop_path=drop_path)

    def skip(self, x: Tensor, normed: Tensor, grid: Grid) -> Tensor:
        """What attention is added to, on the coarser grid, from the tokens and from what their norm gives."""
        raise NotImplementedError(f"{type(self).__name__} must define skip(x, normed, grid)")

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        normed = self.norm1(x)
        update, coarse = self.attn(normed, grid)
        x = self.shortcut1(self.skip(x, normed, grid), update)
        return self.shortcut2(x, self.mlp(self.norm2(x), coarse)), coarse


@part
class ExpandingBlock(PoolingBlock):
    """Attention is added to the maxima of projected tokens (Hiera, arXiv:2306.00989, authors' code): of *normed* ones.

    Arguments and errors: see :class:`~vitblocks.zoo.hiera.parts.PoolingBlock`.
    """

    normed: ClassVar = {"norm2": "mlp"}  # two layers read norm1
    shortcuts: ClassVar = {"shortcut1": "attn", "shortcut2": "mlp"}

    def __init__(
        self,
        attn: QueryPoolingAttention,
        mlp: nn.Module,
        *,
        norm: NormFactory = LayerNorm,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(attn, mlp, norm=norm, layer_scale=layer_scale, drop_path=drop_path)
        self.proj = nn.Linear(attn.dim, attn.out_dim)

    def skip(self, x: Tensor, normed: Tensor, grid: Grid) -> Tensor:
        return max_pooled(self.proj(normed), grid, self.stride)[0]


@part
class DoublingBlock(PoolingBlock):
    """Attention is added to the maxima of tokens beside their means, which have twice the channels (timm's Hiera of arXiv:2311.05613).

    Arguments: see :class:`~vitblocks.zoo.hiera.parts.PoolingBlock`.

    Raises:
        ValueError: ``attn`` does not double the channels.
    """

    normed: ClassVar = {"norm1": "attn", "norm2": "mlp"}
    shortcuts: ClassVar = {"shortcut1": "attn", "shortcut2": "mlp"}

    def __init__(
        self,
        attn: QueryPoolingAttention,
        mlp: nn.Module,
        *,
        norm: NormFactory = LayerNorm,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(attn, mlp, norm=norm, layer_scale=layer_scale, drop_path=drop_path)
        if attn.out_dim != 2 * attn.dim:
            raise ValueError(f"attn must double its {attn.dim} channels, it gives {attn.out_dim}")

    def skip(self, x: Tensor, normed: Tensor, grid: Grid) -> Tensor:
        return torch.cat([max_pooled(x, grid, self.stride)[0], mean_pooled(x, grid, self.stride)], dim=-1)
