"""NesT's own parts (arXiv:2105.12723)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ...embed.adaptors import Downsample
from ...grid import map_size
from ...norm import LayerNorm, MapNorm, NormFactory
from ...registry import part


@part
class SameMaxPool2d(nn.Module):
    """Max-pooling padded as little as gives ``ceil(size / stride)``, more at the bottom and right (TensorFlow's SAME): map to map."""

    def __init__(self, kernel_size: int = 3, stride: int = 2) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = (
            max((-(-side // self.stride) - 1) * self.stride + self.kernel_size - side, 0) for side in map_size(image)
        )
        margins = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        return F.max_pool2d(F.pad(image, margins, value=float("-inf")), self.kernel_size, self.stride)


@part
class BlockAggregation(Downsample):
    """Convolution, norm over channels, max-pooling (NesT, arXiv:2105.12723, Section 3.1): ``(x, grid) -> (x, grid)`` at half the size.

    Args:
        dim, out_dim: channels in and out.
        norm: factory.
        pool: the pooling, a finished map -> map module; :class:`SameMaxPool2d` of 3x3 with stride 2 if None, as the authors' code has it.
    """

    def __init__(self, dim: int, out_dim: int, *, norm: NormFactory = LayerNorm, pool: nn.Module | None = None) -> None:
        pool = SameMaxPool2d(3, 2) if pool is None else pool
        super().__init__(nn.Sequential(nn.Conv2d(dim, out_dim, 3, padding=1), MapNorm(norm(out_dim)), pool))
