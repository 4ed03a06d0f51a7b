"""Norms of queries and keys."""

from __future__ import annotations

import pytest
import torch

from vitblocks import GlobalAttention, LayerNorm, QKNorm, RMSNorm, ViT
from vitblocks.checkpoint import export


def test_each_head_is_normed_by_itself_and_values_are_not() -> None:
    attention, x = GlobalAttention(12, 3, qk_norm=RMSNorm).double(), 5 * torch.randn(2, 6, 12, dtype=torch.float64)
    q, k, v = attention.split_qkv(x)
    for normed in (q, k):
        torch.testing.assert_close(normed.square().mean(dim=-1), torch.ones(2, 3, 6).double(), rtol=1e-3, atol=1e-3)
    without = GlobalAttention(12, 3).double()
    without.load_state_dict(attention.state_dict(), strict=False)
    torch.testing.assert_close(without.split_qkv(x)[2], v)
    assert (without.split_qkv(x)[0] - q).abs().max() > 0.1


def test_queries_and_keys_have_norms_of_their_own() -> None:
    norm = QKNorm(4, LayerNorm).double()
    torch.nn.init.constant_(norm.get_parameter("k.weight"), 2.0)
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    q, k = norm(x, x)
    torch.testing.assert_close(k, 2 * q)


def test_models_have_them_under_timms_names() -> None:
    sizes = {"image_size": 16, "patch_size": 8, "num_classes": 3, "dim": 8, "depth": 1, "heads": 2, "mlp_dim": 8}
    keys = export(ViT(**sizes, qk_norm=LayerNorm), "timm")
    assert keys["blocks.0.attn.q_norm.weight"].shape == keys["blocks.0.attn.k_norm.bias"].shape == (4,)


def test_other_channels_are_refused() -> None:
    with pytest.raises((ValueError, RuntimeError), match="4"):
        QKNorm(4)(torch.zeros(1, 2, 3, 5), torch.zeros(1, 2, 3, 5))
    with pytest.raises(TypeError, match="qk_norm must be something to call"):
        GlobalAttention(8, 2, qk_norm=3)
