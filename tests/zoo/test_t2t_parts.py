"""T2T-ViT's own parts: soft splits against torch's unfold, token transformers against their formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitblocks.grid import Size, to_tokens
from vitblocks.testing import check_layer
from vitblocks.zoo.t2t import TokenTransformer, Unfold, UnfoldEmbed, token_performer


def image(height: int = 12, width: int = 8, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, height, width, dtype=torch.float64)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(7, 4, 2), (3, 2, 1), ((3, 5), (1, 2), (1, 2)), (2, 2, 0)])
def test_unfold_is_torch_unfold_with_half_the_overlap_as_padding(kernel: Size, stride: Size, padding: Size) -> None:
    x = image(13, 9)
    tokens, grid = UnfoldEmbed(kernel, stride)(x)
    expected = F.unfold(x, kernel, padding=padding, stride=stride).mT
    assert torch.equal(tokens, expected)
    assert grid[0] * grid[1] == expected.shape[1]
    assert torch.equal(Unfold(kernel, stride)(*to_tokens(x))[0], expected)
    assert UnfoldEmbed(kernel, stride).stride == ((stride, stride) if isinstance(stride, int) else stride)


BOTH = pytest.mark.parametrize("make", [TokenTransformer, token_performer])


@BOTH
def test_keeps_the_contract(make: Any) -> None:
    check_layer(lambda: make(12, 8), 12, out_dim=8)


def test_is_attention_that_skips_from_the_values() -> None:
    """By hand, from the paper's code: logits scaled by the width that comes in."""
    layer = TokenTransformer(12, 8).double().eval()
    x = torch.randn(2, 15, 12, dtype=torch.float64)
    q, k, v = layer.qkv(layer.norm1(x)).split(8, dim=-1)
    y = v + layer.proj((q @ k.transpose(1, 2) * 12**-0.5).softmax(-1) @ v)
    y = y + layer.mlp.fc2(torch.nn.functional.gelu(layer.mlp.fc1(layer.norm2(y))))
    torch.testing.assert_close(layer(x, (3, 5)), y)


@BOTH
def test_dropout_is_on_what_each_branch_adds(make: Any) -> None:
    """With all of it dropped, the values are left."""
    layer = make(12, 8, dropout=0.5).train()
    for module in layer.modules():
        if isinstance(module, nn.Dropout):
            module.p = 1.0
    x = torch.randn(2, 15, 12)
    torch.testing.assert_close(layer(x, (3, 5)), layer.qkv(layer.norm1(x))[..., 16:])


def test_an_image_smaller_than_the_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a size of \(12, 8\) is smaller than the kernel \(20, 20\)"):
        UnfoldEmbed(20, 4, 0)(image())
