"""CCT's own part: its block (arXiv:2104.05704)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ...block import TwoBranches
from ...grid import Grid
from ...registry import part


@part
class CompactBlock(TwoBranches):
    """Pre-norm attention, then a feed-forward whose residual starts from the normed tokens (CCT, arXiv:2104.05704, authors' code)."""

    # What the second norm gives is also where the residual starts.
    normed: ClassVar = {"norm1": "attn"}
    shortcuts: ClassVar = {"shortcut1": "attn", "shortcut2": "mlp"}

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.norm2(self.shortcut1(x, self.attn(self.norm1(x), grid)))
        return self.shortcut2(x, self.mlp(x, grid))
