"""Convolutional projection: queries, keys and values see their neighbours before they are projected."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn
from typing_extensions import Unpack

from ..grid import Grid, half_kernel, image_grid, num_prefix, split_prefix, to_map, to_tokens
from ..norm import identity_norm
from ..prefix import join_prefix
from ..registry import part
from .attend import SoftmaxAttend
from .base import Attention, Steps, split_heads
from .options import AttentionOptions

if TYPE_CHECKING:
    from ..inspect.places import Call, Pair


@part
class ConvProjection(nn.Module):
    """Depthwise convolution, BatchNorm, Linear (CvT, arXiv:2103.15808, Section 3.2, eq. 2): tokens to tokens on a strided grid.

    Prefix tokens pass the convolution by and are projected alone.
    """

    chained: ClassVar = {"conv": "norm"}
    writes = "linear"

    def __init__(
        self,
        dim: int,
        out_dim: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        bias: bool = True,
        padding: int | None = None,
    ) -> None:
        """``padding`` is half the kernel, which must be odd, if None."""
        super().__init__()
        self.margin = half_kernel(kernel_size) if padding is None else padding
        self.conv = nn.Conv2d(dim, dim, kernel_size, stride, self.margin, groups=dim, bias=False)
        self.norm = nn.BatchNorm2d(dim)
        self.linear = nn.Linear(dim, out_dim, bias=bias)

    def coarser(self, grid: Grid) -> Grid:
        """The grid that the convolution makes of this one."""
        (kernel, _), (step, _), margin = self.conv.kernel_size, self.conv.stride, self.margin
        return tuple((side + 2 * margin - kernel) // step + 1 for side in grid)

    def reset_neutral(self) -> None:
        """Give the Linear the tokens as they are, in evaluation."""
        nn.init.dirac_(self.conv.weight, groups=self.conv.groups)
        identity_norm(self.norm)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        prefix, patches = split_prefix(x, grid)
        if patches.shape[1]:
            patches, _ = to_tokens(self.norm(self.conv(to_map(patches, grid))))
        return self.linear(join_prefix(prefix, patches))


@part
class ConvProjectionAttention(Attention):
    """Attention with convolutional projections (CvT, arXiv:2103.15808, Section 3.2): ``(B, N, dim) -> (B, N, dim)``, any ``(H, W)``.

    Keys and values may come from a coarser grid. Prefix tokens pass the convolutions by.

    Args:
        kernel_size: of the depthwise convolutions, odd; another raises ValueError.
        kv_stride, kv_padding: of the keys' and values' convolutions; the padding is half the kernel if None.
        qkv_bias: whether the Linears after them have a bias.
        attend: a :class:`SoftmaxAttend` if None, whose logits are scaled by ``dim ** -0.5`` with the *whole* embedding's dim, as in the
            authors' code.
        head_dim, value_dim, proj, position_bias, dropout: see :class:`~vitblocks.attention.Attention`.
    """

    writes = "proj"

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        *,
        kernel_size: int = 3,
        kv_stride: int = 2,
        kv_padding: int | None = None,
        qkv_bias: bool = True,
        **options: Unpack[AttentionOptions],
    ) -> None:
        if options.get("attend") is None:
            options["attend"] = SoftmaxAttend(scale=dim**-0.5)
        super().__init__(dim, heads, **options)
        width, values = heads * self.head_dim, heads * self.value_dim
        self.q = ConvProjection(dim, width, kernel_size=kernel_size, bias=qkv_bias)
        coarser = partial(
            ConvProjection, dim, kernel_size=kernel_size, stride=kv_stride, padding=kv_padding, bias=qkv_bias
        )
        self.k, self.v = coarser(width), coarser(values)

    @property
    def steps(self) -> Steps:
        down, right = self.k.conv.stride
        return (1, 1), (down, right)

    def places(self, call: Call) -> Pair:
        image_grid(call.grid, "ConvProjectionAttention")
        return call.first(call.tokens), call.on(self.k.coarser(call.grid), call.prefix)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        q, k, v = (split_heads(projection(x, grid), self.heads) for projection in (self.q, self.k, self.v))
        return self.output(self.attend(q, k, v, self.bias(grid, num_prefix(x, grid))))
