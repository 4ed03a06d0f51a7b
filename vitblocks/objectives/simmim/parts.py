"""SimMIM's own part: a position bias that the published model shares between its blocks (arXiv:2111.09886)."""

from __future__ import annotations

from torch import Tensor, nn

from ...grid import Grid
from ...registry import part


@part
class CopiedBias(nn.Module):
    """A block's own copy of a position bias that the published model shares between its blocks.

    No module is shared here, so copies learn apart. :mod:`vitblocks.checkpoint` loads all of them from the one that is published, and
    exports them as one if they agree.

    Args:
        bias: a finished position bias.
    """

    def __init__(self, bias: nn.Module) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, grid: Grid, prefix: int = 0) -> Tensor:
        return self.bias(grid, prefix)
