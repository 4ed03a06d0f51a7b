"""CCT's own part against its formula."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vitblocks.attention import GlobalAttention
from vitblocks.feedforward import Mlp
from vitblocks.zoo.cct import CompactBlock

from .common import stirred

DIM, GRID = 8, (2, 3)


def parts() -> dict[str, Any]:
    return {"dim": DIM, "attn": GlobalAttention(DIM, 2), "mlp": Mlp(DIM)}


def tokens() -> Tensor:
    return torch.randn(2, 1 + 6, DIM, dtype=torch.float64)


def test_compact_block() -> None:
    """The second residual starts from the normed tokens."""
    block, x = stirred(CompactBlock(**parts())), tokens()
    y = block.norm2(x + block.attn(block.norm1(x), GRID))
    torch.testing.assert_close(block(x, GRID), y + block.mlp(y, GRID))
