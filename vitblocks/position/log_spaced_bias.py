"""A bias of the logits computed by a small network from offsets on a logarithmic scale, for windows of any size."""

from __future__ import annotations

from math import log

import torch
from einops import rearrange
from torch import Tensor, nn

from ..checks import check_int
from ..grid import Grid, Size, image_grid, to_pair
from ..registry import part
from .relative_bias import pad_prefix, pairwise


@part
class LogSpacedBias(nn.Module):
    """Log-spaced continuous position bias (Swin V2, arXiv:2111.09883, Section 3.4, eqs. 3 and 4): an MLP from offset to a bias per head.

    Called as ``position_bias(grid, prefix) -> (heads, prefix + H*W, prefix + H*W)``. An offset ``d`` along a side is read as
    ``sign(d) ln(1 + |d|)``. Linear, ReLU, Linear. Pairs with a prefix token have no bias.

    Args:
        heads: attention heads.
        mlp_dim: hidden width.
        span: offsets are first divided by the largest there is, and multiplied by this; their logarithm is to this base. The authors' code
            has 8. None: offsets are counted in places, as in the MaxViTs that timm trained.
        pretrained: the window that weights were trained with, whose largest offset a ``span`` is that of; an int or a (height, width). The
            grid that it is called with if None.
        limit: biases are ``limit * sigmoid`` of what the MLP gives, whose last Linear then has no bias; 16 in the authors' code. None: just
            what it gives.

    Raises:
        ValueError: ``heads`` or ``mlp_dim`` is not positive, ``span`` not more than 1, ``limit`` not positive, or a window is given
            without a span.
    """

    def __init__(
        self,
        heads: int,
        mlp_dim: int = 512,
        *,
        span: float | None = 8.0,
        pretrained: Size | None = None,
        limit: float | None = 16.0,
    ) -> None:
        super().__init__()
        check_int("heads", heads)
        check_int("mlp_dim", mlp_dim)
        if span is not None and not span > 1:
            raise ValueError(f"span must be more than 1, or None for offsets in places, got {span!r}")
        if limit is not None and not limit > 0:
            raise ValueError(f"limit must be positive, or None for none, got {limit!r}")
        if pretrained is not None and span is None:
            raise ValueError(
                f"pretrained is {pretrained!r}, which has no meaning without a span: offsets are in places"
            )
        self.heads = heads
        self.span = span
        self.limit = limit
        self.pretrained = None if pretrained is None else to_pair(pretrained, "pretrained")
        self.fc1 = nn.Linear(2, mlp_dim)
        self.act = nn.ReLU()
        self.fc2 = nn.Linear(mlp_dim, heads, bias=limit is None)

    def reset_neutral(self) -> None:
        """The same bias for all places, which softmax does not see."""
        nn.init.zeros_(self.fc2.weight)
        if self.fc2.bias is not None:
            nn.init.zeros_(self.fc2.bias)

    def side(self, length: int, largest: int) -> Tensor:
        """The offsets along a side of this length, as the network reads them: ``(2 * length - 1,)``."""
        like = self.fc1.weight
        dtype = torch.float32 if like.itemsize < 4 else like.dtype
        offsets = torch.arange(1 - length, length, device=like.device, dtype=dtype)
        if self.span is not None:
            offsets = offsets * (self.span / max(largest - 1, 1))
        logs = offsets.sign() * offsets.abs().log1p() / (1.0 if self.span is None else log(self.span))
        return logs.to(like.dtype)

    def offsets(self, grid: tuple[int, int]) -> Tensor:
        """The bias of every offset: ``(heads, 2H-1, 2W-1)``."""
        rows, columns = (self.side(*sizes) for sizes in zip(grid, self.pretrained or grid, strict=True))
        x = self.fc2(self.act(self.fc1(torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1))))
        biases = x if self.limit is None else self.limit * x.sigmoid()
        return rearrange(biases, "h w heads -> heads h w")

    def forward(self, grid: Grid, prefix: int = 0) -> Tensor:
        size = image_grid(grid, "LogSpacedBias")
        if size == (0, 0):
            return self.fc1.weight.new_zeros(self.heads, prefix, prefix)
        return pad_prefix(pairwise(self.offsets(size)), prefix)

    def extra_repr(self) -> str:
        given = {"heads": self.heads, "span": self.span, "pretrained": self.pretrained, "limit": self.limit}
        return ", ".join(f"{name}={value}" for name, value in given.items())
