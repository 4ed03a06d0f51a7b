"""The token transformer, kernels that slide, and modules from elsewhere as layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import ConvEmbed, OnSequence
from vitblocks.embed.adaptors import sliding_grid
from vitblocks.testing import check_layer
from vitblocks.zoo.t2t import TokenTransformer, UnfoldEmbed, token_performer

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
    layer = make(12, 8, dropout=1.0).train()
    x = torch.randn(2, 15, 12)
    torch.testing.assert_close(layer(x, (3, 5)), layer.qkv(layer.norm1(x))[..., 16:])


@pytest.mark.parametrize("size", [(7, 9), (8, 8), (5, 16)])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (5, 3, 0), (4, 1, 2), (2, 3, 0)])
def test_sliding_grid_is_the_size_a_convolution_gives(
    size: tuple[int, int], kernel: int, stride: int, padding: int
) -> None:
    image = torch.zeros(1, 1, *size)
    expected = tuple(
        torch.nn.functional.conv2d(image, torch.ones(1, 1, kernel, kernel), None, stride, padding).shape[2:]
    )
    pairs = [(side, side) for side in (kernel, stride, padding)]
    assert sliding_grid(size, *pairs) == expected
    assert UnfoldEmbed(kernel, stride, padding)(image)[1] == expected
    assert ConvEmbed(kernel, 2, channels=1, stride=stride, padding=padding)(image)[1] == expected


@pytest.mark.parametrize("embed", [UnfoldEmbed(7, 4, 1), ConvEmbed(7, 2, stride=4, padding=1)])
def test_an_image_smaller_than_the_kernel_is_refused(embed: nn.Module) -> None:
    assert embed(torch.randn(1, 3, 5, 5))[1] == (1, 1)
    with pytest.raises(ValueError, match=r"\(5, 4\).*\(5, 5\) or more"):
        embed(torch.randn(1, 3, 5, 4))


def test_on_sequence_takes_a_module_as_it_is() -> None:
    check_layer(OnSequence(nn.Linear(6, 6)), 6)
    with pytest.raises(ValueError, match=r"Linear must keep the shape \(2, 4, 6\)"):
        OnSequence(nn.Linear(6, 5))(torch.randn(2, 4, 6), (2, 2))
