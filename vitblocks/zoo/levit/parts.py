"""LeViT's own parts (arXiv:2104.01136)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from einops import rearrange
from torch import Tensor, nn
from typing_extensions import Unpack

from ...attention.attend import Attend
from ...attention.base import Attention, parted, split_heads
from ...attention.options import HeadOptions
from ...checks import check_words
from ...grid import Grid, Size, image_grid, length, require_no_prefix, to_pair
from ...head import linear_head
from ...norm import BatchNorm, NormFactory
from ...registry import part

if TYPE_CHECKING:
    from ...inspect.places import Call, Pair


@part
@dataclass(frozen=True)
class Shrink:
    """The sizes of the attention between two stages and of the feed-forward after it (Section 4.4).

    Args:
        key_dim: channels of a query or key, in every head.
        heads: attention heads; as many as keys fit in the channels that come in, if None.
        attn_ratio: channels of a value over those of a key.
        mlp_mult: hidden width of the feed-forward over the channels that go out.
        stride: rows and columns between two queries.
    """

    key_dim: int
    heads: int | None = None
    attn_ratio: float = 4
    mlp_mult: float = 2
    stride: int = 2

    def __post_init__(self) -> None:
        check_words(vars(self))


@part
class DownsamplingAttention(Attention):
    """A transition ``(B, H*W, dim) -> (B, ceil(H/s) * ceil(W/s), out_dim)`` by attention (LeViT, arXiv:2104.01136, Section 4.4).

    There is no residual around it: the tokens it returns are new.

    Args:
        dim, out_dim: channels in and out.
        stride: every how many rows and columns a query is taken.
        q, kv: finished modules ``dim -> heads * head_dim`` and ``dim -> heads * (head_dim + value_dim)``; Linears if None.
        proj: output projection ``heads * value_dim -> out_dim``; a Linear if None.
        head_dim, value_dim, attend, position_bias, dropout: see :class:`~vitblocks.attention.Attention`; a position bias gives
            ``(heads, queries, H*W)``.

    Raises:
        ValueError: in ``forward``, where there are prefix tokens.
    """

    reads = ("q", "kv")
    writes = "proj"
    separable = ("kv",)
    is_layer = False

    def __init__(
        self,
        dim: int,
        out_dim: int,
        heads: int = 8,
        *,
        stride: Size = 2,
        q: nn.Module | None = None,
        kv: nn.Module | None = None,
        proj: nn.Module | None = None,
        value_dim: int | None = None,
        attend: Attend | None = None,
        **options: Unpack[HeadOptions],
    ) -> None:
        super().__init__(dim, heads, value_dim=value_dim, proj=nn.Identity(), attend=attend, **options)
        self.stride = to_pair(stride, "stride")
        self.q = nn.Linear(dim, heads * self.head_dim) if q is None else q
        self.kv = nn.Linear(dim, heads * (self.head_dim + self.value_dim)) if kv is None else kv
        self.proj = nn.Linear(heads * self.value_dim, out_dim) if proj is None else proj

    def places(self, call: Call) -> Pair:
        height, width = image_grid(call.grid, "DownsamplingAttention")
        down, right = self.stride
        return call.on((-(-height // down), -(-width // right)), 0), call.first(call.tokens)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        require_no_prefix(x, grid, "DownsamplingAttention")
        down, right = self.stride
        height, width = image_grid(grid, "DownsamplingAttention")
        picked = rearrange(x, "b (h w) c -> b h w c", h=height, w=width)[:, ::down, ::right]
        coarse = (length(picked, 1), length(picked, 2))
        q = split_heads(self.q(rearrange(picked, "b h w c -> b (h w) c")), self.heads)
        widths = [self.heads * self.head_dim, self.heads * self.value_dim]
        k, v = (split_heads(part, self.heads) for part in parted(self.kv(x), widths))
        return self.output(self.attend(q, k, v, self.bias(grid, 0))), coarse


def norm_head(dim: int, num_classes: int, norm: NormFactory = BatchNorm) -> nn.Module:
    """A norm of the features ``(B, dim)``, then :func:`linear_head` (LeViT, arXiv:2104.01136, authors' code).

    With ``num_classes=0`` the features themselves, without the norm.
    """
    head = linear_head(dim, num_classes)
    return nn.Sequential(OrderedDict(norm=norm(dim), linear=head)) if num_classes else head
