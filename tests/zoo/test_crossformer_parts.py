"""CrossFormer's own parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitblocks.zoo.crossformer import CrossScaleConv

DIM = 8


def image(height: int = 12, width: int = 8, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, height, width, dtype=torch.float64)


def test_cross_scale_convolution_puts_scales_side_by_side() -> None:
    conv, x = CrossScaleConv(3, 20, (4, 8, 16), stride=4).double(), image(16, 8)
    assert [c.out_channels for c in conv.convs if isinstance(c, nn.Conv2d)] == [10, 5, 5]
    y = conv(x)
    assert y.shape == (2, 20, 4, 2)
    # Each scale is centred on the patch: a kernel of 8 reaches 2 pixels beyond a patch of 4.
    wide: Any = conv.convs[1]
    padded = F.pad(x, (2, 2, 2, 2))
    window = padded[:, :, 4:12, 0:8]
    expected = torch.einsum("bcij,ocij->bo", window, wide.weight) + wide.bias
    torch.testing.assert_close(y[:, 10:15, 1, 0], expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: CrossScaleConv(3, DIM, stride=5), r"kernel_sizes must exceed the stride 5 by even numbers"),
        (lambda x: CrossScaleConv(3, DIM, ()), r"kernel_sizes must exceed"),
        (lambda x: CrossScaleConv(3, DIM).double()(x[..., :3]), r"a size of \(12, 3\) is smaller than"),
    ],
)
def test_bad_arguments(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(image())
