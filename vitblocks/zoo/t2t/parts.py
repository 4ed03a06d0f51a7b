"""T2T-ViT's own parts: soft splits, and the attention between them that narrows their wide tokens (arXiv:2101.11986)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...attention import Attend, KernelAttend, SoftmaxAttend
from ...embed.adaptors import sliding_grid
from ...feedforward import Mlp
from ...grid import Grid, Size, map_size, require_no_prefix, to_map, to_pair
from ...norm import NormFactory, layer_norm
from ...registry import part


class _Unfold(nn.Module):
    def __init__(self, kernel_size: Size, stride: Size, padding: Size | None = None) -> None:
        """``padding`` is half of what kernel and stride overlap by, rounded up, if None (2 for 7/4, 1 for 3/2)."""
        super().__init__()
        self.kernel_size = to_pair(kernel_size, "kernel_size")
        self.stride = to_pair(stride, "stride")
        half = tuple(max(-(-(k - s) // 2), 0) for k, s in zip(self.kernel_size, self.stride, strict=True))
        self.padding = (half[0], half[1]) if padding is None else to_pair(padding, "padding", minimum=0)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """The grid that a map of this (height, width) is split into. Raises ValueError if it is smaller than the kernel."""
        return sliding_grid(size, self.kernel_size, self.stride, self.padding)

    def unfold(self, image: Tensor) -> tuple[Tensor, Grid]:
        grid = self.grid(map_size(image))
        tokens = F.unfold(image, self.kernel_size, padding=self.padding, stride=self.stride)
        return rearrange(tokens, "b c n -> b n c"), grid

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


@part
class UnfoldEmbed(_Unfold):
    """Soft split of an image (T2T-ViT, arXiv:2101.11986, Section 3.1, eq. 3): ``(B, C, H, W) -> (x (B, N, C * kernel area), grid)``.

    The channels of a token are ordered (channel, row, column), the column fastest.

    Raises:
        ValueError: in ``forward``, for an image smaller than the kernel.
    """

    def forward(self, image: Tensor) -> tuple[Tensor, Grid]:
        return self.unfold(image)


@part
class Unfold(_Unfold):
    """Soft split of a map of tokens (T2T-ViT, arXiv:2101.11986, Section 3.1): a transition ``(x, grid) -> (x, grid)``.

    Channels grow by the kernel's area, ordered (channel, row, column). Raises ValueError in ``forward`` with prefix tokens.
    """

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        require_no_prefix(x, grid, "Unfold")
        return self.unfold(to_map(x, grid))


@part
class TokenTransformer(nn.Module):
    """Attention of one head to fewer channels, then a feed-forward (T2T-ViT, arXiv:2101.11986, Section 3.1, eq. 1).

    A layer ``(B, N, dim) -> (B, N, out_dim)``, any grid; prefix tokens are ordinary tokens. Since the width changes, the first residual
    starts from the values: ``y = v + proj(attend(q, k, v))``, then ``y + mlp(norm2(y))``.

    Args:
        dim, out_dim: channels in and out; the authors narrow to 64.
        attend: how queries, keys and values become an output; softmax with logits scaled by ``dim ** -0.5``, the width that comes in,
            as in the authors' code, if None.
        mlp_dim: hidden channels of the feed-forward; ``out_dim`` if None.
        qkv_bias: whether the qkv projection has a bias.
        dropout: on what either branch adds.
        norm: factory of the norms, with an epsilon of 1e-5 as published.
    """

    normed: ClassVar = {"norm1": "qkv", "norm2": "mlp"}

    def __init__(
        self,
        dim: int,
        out_dim: int,
        *,
        attend: Attend | None = None,
        mlp_dim: int | None = None,
        qkv_bias: bool = False,
        dropout: float = 0.0,
        norm: NormFactory = layer_norm(1e-5),
    ) -> None:
        super().__init__()
        self.norm1 = norm(dim)
        self.qkv = nn.Linear(dim, 3 * out_dim, bias=qkv_bias)
        self.attend = SoftmaxAttend(scale=dim**-0.5) if attend is None else attend
        self.proj = nn.Linear(out_dim, out_dim)
        self.norm2 = norm(out_dim)
        self.mlp = Mlp(out_dim, out_dim if mlp_dim is None else mlp_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        q, k, v = rearrange(self.qkv(self.norm1(x)), "b n (three d) -> three b 1 n d", three=3)
        mixed = self.proj(self.attend(q, k, v))
        x = rearrange(v + self.dropout(mixed), "b 1 n d -> b n d")
        return x + self.dropout(self.mlp(self.norm2(x), grid))


@part
def token_performer(dim: int, out_dim: int, *, dropout: float = 0.1) -> TokenTransformer:
    """A token transformer with kernel attention, linear in the tokens (T2T-ViT, Section 3.1 and authors' code).

    Half as many random features as channels, drawn once and fixed; queries and keys are not scaled. The authors make the features
    ``sqrt(out_dim / 2)`` long, where the Performer's own are ``sqrt(out_dim)``.
    """
    count = out_dim // 2
    attend = KernelAttend(out_dim, features=count, scale=1.0)
    with torch.no_grad():
        attend.features.mul_((count / out_dim) ** 0.5)
    return TokenTransformer(dim, out_dim, attend=attend, qkv_bias=True, dropout=dropout)
