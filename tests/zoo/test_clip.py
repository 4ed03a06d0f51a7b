"""CLIP."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitblocks import zoo

from .common import check_model


def tiny(**options: Any) -> zoo.CLIP:
    sizes = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32}
    return zoo.CLIP(**{**sizes, **options})


@pytest.mark.parametrize("head_bias", [True, False])
def test_does_what_every_model_does(head_bias: bool) -> None:
    check_model(tiny(drop_path=0.1, dropout=0.1, head_bias=head_bias), torch.randn(2, 3, 32, 32), classes=5)


def test_patches_and_projection_have_no_bias() -> None:
    model: Any = tiny()
    assert model.embed.conv.bias is None
    assert model.head.bias is None
    assert model.reset_head(3).head.bias is not None


def test_the_norm_comes_before_the_blocks() -> None:
    x, _ = tiny(depth=0).forward_stages(torch.randn(1, 3, 32, 32))[0]
    torch.testing.assert_close(x.mean(dim=-1), torch.zeros(1, 17), atol=1e-6, rtol=0.0)
