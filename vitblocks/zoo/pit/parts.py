"""PiT's own part: its pooling (arXiv:2103.16302)."""

from __future__ import annotations

from torch import nn

from ...embed.adaptors import Downsample
from ...registry import part


@part
class PoolingDownsample(Downsample):
    """Depthwise convolution for patches, a Linear for prefix tokens (PiT, arXiv:2103.16302, Section 3.1): ``(x, grid) -> (x, grid)``.

    Args:
        dim, out_dim: channels in and out; each channel becomes ``out_dim / dim``.
        stride: of the convolution, whose kernel is ``stride + 1`` with a padding of ``stride // 2``.
    """

    def __init__(self, dim: int, out_dim: int, *, stride: int = 2) -> None:
        """Raises ValueError unless ``dim`` divides ``out_dim``."""
        if out_dim % dim:
            raise ValueError(f"out_dim must be a multiple of dim {dim}, got {out_dim}: every channel becomes several")
        conv = nn.Conv2d(dim, out_dim, stride + 1, stride, stride // 2, groups=dim)
        super().__init__(conv, prefix=nn.Linear(dim, out_dim))
