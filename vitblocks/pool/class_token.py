"""Pool by reading prefix tokens."""

from __future__ import annotations

from torch import Tensor, nn

from ..grid import Grid
from ..prefix import require_prefix
from ..registry import part


@part
class ClassPool(nn.Module):
    """The first prefix token (ViT, arXiv:2010.11929, eq. 4): ``(B, N, C) -> (B, C)``.

    Args:
        count: with more than 1, that many prefix tokens, ``(B, count, C)``: DeiT's class and distillation token
            (arXiv:2012.12877, Section 4).

    Raises:
        ValueError: in ``forward``, where there are fewer prefix tokens.
    """

    reads_first = "count"

    def __init__(self, count: int = 1) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        require_prefix(x, grid, "ClassPool", self.count)
        return x[:, 0] if self.count == 1 else x[:, : self.count]

    def extra_repr(self) -> str:
        return f"count={self.count}"
