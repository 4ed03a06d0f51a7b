"""Feed-forwards against their formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitblocks.feedforward import ConvFeedForward, EfficientChannelAttention, GatedMlp, Mlp, SqueezeExcite
from vitblocks.norm import LinearNorm

DIM = 8


def tokens(prefix: int = 0) -> Tensor:
    return torch.randn(2, prefix + 15, DIM, dtype=torch.float64)


def test_mlp() -> None:
    mlp: Any = Mlp(DIM, 12).double()
    x = tokens()
    hidden = x @ mlp.fc1.weight.T + mlp.fc1.bias
    exact = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(mlp(x, (3, 5)), mlp.fc2(exact))
    wide: Any = Mlp(DIM)
    assert wide.fc1.out_features == 4 * DIM


def test_mlp_of_other_linears() -> None:
    mlp = Mlp(DIM, linear=LinearNorm)
    assert isinstance(mlp.fc1, LinearNorm)
    assert isinstance(mlp.fc2, LinearNorm)


def test_mlp_drops_twice() -> None:
    mlp, x = Mlp(DIM, 512, activation=nn.Identity, dropout=0.5).double().train(), tokens()
    hidden: list[Tensor] = []
    mlp.fc2.register_forward_pre_hook(lambda module, inputs: hidden.append(inputs[0]))
    y = mlp(x, (3, 5))
    assert 0.4 < (hidden[0] == 0).double().mean() < 0.6
    assert 0.3 < (y == 0).double().mean() < 0.7


def test_gated_mlp_is_swiglu_by_default() -> None:
    mlp, x = GatedMlp(DIM, 12).double(), tokens()
    gate = mlp.gate(x)
    torch.testing.assert_close(mlp(x, (3, 5)), mlp.fc2(gate * gate.sigmoid() * mlp.fc1(x)))
    count = sum(p.numel() for p in GatedMlp(96).parameters())
    assert count == pytest.approx(sum(p.numel() for p in Mlp(96).parameters()), rel=0.01)


def test_squeeze_excite() -> None:
    module, x = SqueezeExcite(DIM, reduction=2).double(), torch.randn(2, DIM, 3, 5, dtype=torch.float64)
    mean = x.sum(dim=(2, 3)) / 15
    scale = (module.fc2(module.fc1(mean).clamp(min=0)) / 6 + 0.5).clamp(0, 1)
    torch.testing.assert_close(module(x), x * scale[:, :, None, None])


def test_efficient_channel_attention_looks_at_neighbouring_channels() -> None:
    module, x = EfficientChannelAttention(3).double(), torch.randn(2, DIM, 3, 5, dtype=torch.float64)
    mean = F.pad(x.mean(dim=(2, 3)), (1, 1))
    weight = module.conv.weight[0, 0]
    scale = torch.stack([(mean[:, c : c + 3] @ weight).sigmoid() for c in range(DIM)], dim=1)
    torch.testing.assert_close(module(x), x * scale[:, :, None, None])


@pytest.mark.parametrize(("channels", "kernel"), [(16, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5)])
def test_the_kernel_grows_with_the_channels(channels: int, kernel: int) -> None:
    """Eq. 12 of the ECA paper: the odd number nearest to log2(C) / 2 + 1 / 2, rounded up from an even one."""
    assert EfficientChannelAttention.for_channels(channels).conv.kernel_size == (kernel,)


@pytest.mark.parametrize("attention", [None, SqueezeExcite(12)])
def test_conv_feed_forward(attention: nn.Module | None) -> None:
    layer = ConvFeedForward(DIM, 12, kernel_size=5, activation=nn.ReLU6, channel_attention=attention).double().eval()
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.normal_()
    x = tokens(2)
    image = x[:, 2:].mT.reshape(2, DIM, 3, 5)
    hidden = layer.norm1(F.conv2d(image, layer.conv1.weight)).clamp(0, 6)
    hidden = layer.norm(F.conv2d(hidden, layer.conv.weight, padding=2, groups=12)).clamp(0, 6)
    hidden = hidden if attention is None else attention(hidden)
    update = layer.norm2(F.conv2d(hidden, layer.conv2.weight)).flatten(2).mT
    torch.testing.assert_close(layer(x, (3, 5)), torch.cat([torch.zeros_like(x[:, :2]), update], dim=1))
    assert torch.equal(layer(x[:, :2], (0, 0)), torch.zeros_like(x[:, :2]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SqueezeExcite(3, reduction=4), "reduction 4 leaves nothing of 3 channels"),
        (lambda: ConvFeedForward(DIM, kernel_size=4), "kernel_size must be odd and positive, got 4"),
        (lambda: EfficientChannelAttention(2), "kernel_size must be odd and positive, got 2"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
