"""Attention within windows, for any partition of the grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor
from typing_extensions import Unpack

from ..grid import Grid, Size, require_no_prefix, split_prefix
from ..registry import part
from .attend import add_bias
from .base import SelfAttention, Steps, merge_heads, split_heads
from .options import SelfAttentionOptions
from .windows import DilatedWindows, Padding, Partition, ShiftedWindows, Windows

if TYPE_CHECKING:
    from ..inspect.places import Call, Pair


@part
class WindowAttention(SelfAttention):
    """Self-attention within the windows of a partition: ``(B, N, dim) -> (B, N, dim)``, any ``(H, W)``, padded to whole windows.

    Every window sees the prefix tokens as well, and they see everything. A position bias is asked for the window's grid. Padding is
    zeros before the projection; the partition says whether it is masked or attended to.

    Args:
        windows: a :class:`~vitblocks.attention.windows.Partition`, such as ``Windows(7)``.
        head_dim, value_dim, qkv, qkv_bias, qk_norm, rotary, proj, attend, position_bias, dropout: see
            :class:`~vitblocks.attention.SelfAttention`.

    Raises:
        ValueError: in ``forward``, with prefix tokens if padding is attended to.
    """

    writes = "proj"
    separable = ("qkv",)
    hidden_by = "attend"

    def __init__(
        self, dim: int, heads: int = 8, *, windows: Partition, **options: Unpack[SelfAttentionOptions]
    ) -> None:
        super().__init__(dim, heads, **options)
        if not isinstance(windows, Partition):
            raise TypeError(f"windows must be a Partition such as Windows(7), got {windows!r}")
        self.windows = windows

    @property
    def reads(self) -> tuple[str, ...] | None:
        # Zeros that are attended to are read as they are: nothing that was done to the tokens before was done to them.
        return ("qkv",) if self.windows.padding == "masked" else None

    @property
    def steps(self) -> Steps | None:
        return None if self.windows.step is None else (self.windows.step, self.windows.step)

    def places(self, call: Call) -> Pair:
        if not call.grouped:
            return call.first(call.queries), call.first(call.tokens)
        ids = call.windows(self.windows)
        prefix = torch.arange(call.prefix, device=call.device).expand(len(ids), -1)
        return call.of(ids), call.of(torch.cat([prefix, ids], dim=1))

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        if grid == (0, 0):
            return self.mix(x, grid, x.shape[1])
        prefix, patches = split_prefix(x, grid)
        window = self.windows.window(grid)
        mask = self.windows.mask(grid, x)
        if prefix.shape[1]:
            if self.windows.padding == "attended":
                require_no_prefix(x, grid, "attention that sees padding")
            return self._with_prefix(x, grid, prefix.shape[1], mask)
        return self.windows.join(self.mix(self.windows.split(patches, grid), window, mask=mask), grid)

    def _with_prefix(self, x: Tensor, grid: Grid, prefix: int, mask: Tensor | None) -> Tensor:
        """Windows attend to the prefix and themselves; the prefix attends to all tokens, without position bias."""
        q, k, v = self.split_qkv(x)
        to_all = self.attend(q[:, :, :prefix], self.turn(q, k, grid)[1], v)
        window = self.windows.window(grid)
        queries, keys, values = (self._in_windows(part[:, :, prefix:], grid) for part in (q, k, v))
        groups = queries.shape[1]
        keys = torch.cat([repeat(k[:, :, :prefix], "b h p d -> b g h p d", g=groups), keys], dim=-2)
        values = torch.cat([repeat(v[:, :, :prefix], "b h p d -> b g h p d", g=groups), values], dim=-2)
        # Positions are those of the window's own grid, as without prefix tokens: dilated tokens are one place apart there.
        queries, keys = self.turn(queries, keys, window)
        if mask is not None:
            mask = torch.cat([mask.new_zeros(*mask.shape[:-1], prefix), mask], dim=-1)
        bias = self.bias(window, prefix, q=F.pad(queries, (0, 0, prefix, 0)))
        bias = mask if bias is None else add_bias(bias[..., prefix:, :], mask)
        local = merge_heads(self.attend(queries, keys, values, bias))
        mixed = torch.cat([merge_heads(to_all), self.windows.join(local, grid)], dim=1)
        return self.dropout(self.proj(mixed))

    def _in_windows(self, part: Tensor, grid: Grid) -> Tensor:
        """``(B, heads, H*W, d) -> (B, G, heads, n, d)``."""
        return split_heads(self.windows.split(merge_heads(part), grid), self.heads)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, windows={self.windows}"


@part
class LocalWindowAttention(WindowAttention):
    """Attention in windows side by side (Twins, arXiv:2104.13840, Section 3.2), or shifted by half (Swin, arXiv:2103.14030).

    Args:
        window: size of a window, an int or a (height, width).
        shift: how far the windows are shifted; 0 for not at all.
        padding: what becomes of the padding to whole windows, ``"masked"`` or ``"attended"``.
        head_dim, value_dim, qkv, qkv_bias, qk_norm, rotary, proj, attend, position_bias, dropout: see
            :class:`~vitblocks.attention.SelfAttention`.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        *,
        window: Size = 7,
        shift: Size = 0,
        padding: Padding = "masked",
        **options: Unpack[SelfAttentionOptions],
    ) -> None:
        plain = shift in (0, (0, 0))
        windows = Windows(window, padding=padding) if plain else ShiftedWindows(window, shift, padding=padding)
        super().__init__(dim, heads, windows=windows, **options)


@part
class DilatedWindowAttention(WindowAttention):
    """Attention among tokens that lie ``dilation`` apart (CrossFormer's long distance, arXiv:2108.00154, Section 3.2).

    Args:
        window, dilation, padding: see :class:`~vitblocks.attention.DilatedWindows`.
        head_dim, value_dim, qkv, qkv_bias, qk_norm, rotary, proj, attend, position_bias, dropout: see
            :class:`~vitblocks.attention.SelfAttention`.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        *,
        window: Size | None = 7,
        dilation: Size = 8,
        padding: Padding = "masked",
        **options: Unpack[SelfAttentionOptions],
    ) -> None:
        super().__init__(dim, heads, windows=DilatedWindows(window, dilation, padding=padding), **options)
