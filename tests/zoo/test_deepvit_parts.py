"""DeepViT's own parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vitblocks.attention import GlobalAttention
from vitblocks.feedforward import Mlp
from vitblocks.zoo.deepvit import PatchStem, RescaledBlock

from .common import stirred

DIM, GRID = 8, (2, 3)


def parts() -> dict[str, Any]:
    return {"dim": DIM, "attn": GlobalAttention(DIM, 2), "mlp": Mlp(DIM)}


def tokens() -> Tensor:
    return torch.randn(2, 1 + 6, DIM, dtype=torch.float64)


def test_rescaled_block() -> None:
    block, x = stirred(RescaledBlock(**parts(), scale=0.5)), tokens()
    y = x + block.attn(block.norm1(0.5 * x), GRID) / 0.5
    torch.testing.assert_close(block(x, GRID), y + block.mlp(block.norm2(0.5 * y), GRID) / 0.5)
    with pytest.raises(ValueError, match="scale must be positive, got 0"):
        RescaledBlock(**parts(), scale=0)


def test_the_stem_halves_before_the_patches() -> None:
    with pytest.raises(ValueError, match="patch_size must be even, got 7"):
        PatchStem(7, DIM)
