"""MobileViT's own parts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitblocks.attention import (
    GlobalAttention,
    LocalWindowAttention,
)
from vitblocks.block import Block
from vitblocks.feedforward import Mlp
from vitblocks.residual import Residual
from vitblocks.zoo.mobile_vit import ConvFusion, Interleaved, ResizeToMultiple

from .common import stirred

DIM, HEADS, HEAD_DIM = 12, 3, 4


def tokens(count: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, count, DIM, dtype=torch.float64)


def test_interleaved_layers_run_on_strided_slices() -> None:
    layers = [Block(DIM, GlobalAttention(DIM, HEADS), Mlp(DIM)), Residual(DIM, LocalWindowAttention(DIM, HEADS))]
    layer = Interleaved(layers, (2, 3)).double()
    x = tokens(24)
    image, expected = x.unflatten(1, (4, 6)), torch.zeros(2, 4, 6, DIM, dtype=torch.float64)
    for i in range(2):
        for j in range(3):
            part = image[:, i::2, j::3].flatten(1, 2)
            for inner in layers:
                part = inner(part, (2, 2))
            expected[:, i::2, j::3] = part.unflatten(1, (2, 2))
    torch.testing.assert_close(layer(x, (4, 6)), expected.flatten(1, 2))


def test_interleaved_layers_name_what_they_cannot_take() -> None:
    layer = Interleaved([Mlp(DIM)], 2).double()
    with pytest.raises(ValueError, match="Interleaved takes no prefix tokens, got 1"):
        layer(tokens(17), (4, 4))
    with pytest.raises(ValueError, match=r"grid \(3, 4\) does not divide into sub-grids \(2, 2\) apart"):
        layer(tokens(12), (3, 4))


def test_a_layer_may_run_on_a_map_resized_to_a_multiple() -> None:
    layer = ResizeToMultiple(Interleaved([Mlp(DIM)], 2), 2).double()
    x = tokens(15)
    image = F.interpolate(x.mT.reshape(2, DIM, 3, 5), size=(4, 6), mode="bilinear")
    inner = layer.layer(image.flatten(2).mT, (4, 6))
    back = F.interpolate(inner.mT.reshape(2, DIM, 4, 6), size=(3, 5), mode="bilinear")
    torch.testing.assert_close(layer(x, (3, 5)), back.flatten(2).mT)
    x = tokens(24)
    assert torch.equal(layer(x, (4, 6)), layer.layer(x, (4, 6)))


def test_a_dilation_is_positive() -> None:
    with pytest.raises(ValueError, match="dilation must be at least 1, got 0"):
        Interleaved([], 0)


def test_conv_fusion_reads_its_input_beside_the_layer() -> None:
    layer = stirred(ConvFusion(DIM, 4, Mlp(4), out_dim=6))
    x = tokens(6)
    image = x.mT.reshape(2, DIM, *(2, 3))
    inner = layer.inner(layer.expand(layer.local(image)).flatten(2).mT, (2, 3))
    projected = layer.project(inner.mT.reshape(2, 4, *(2, 3)))
    expected = layer.fuse(torch.cat([image, projected], dim=1)).flatten(2).mT
    torch.testing.assert_close(layer(x, (2, 3)), expected)
