"""MaxViT's own parts: its mobile convolution (arXiv:2204.01697, Section 3.3), and the block that timm's MaxxViT has in its place."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import ClassVar, Literal, TypeAlias

from torch import Tensor, nn

from ...checks import check_choice
from ...embed.same import SameAvgPool2d, SameConv2d
from ...feedforward import Activation, Mlp, SqueezeExcite
from ...grid import to_map, to_pair, to_tokens
from ...norm import LayerNorm, NormFactory
from ...registry import part
from ...residual import Shortcut

ConvPadding: TypeAlias = Literal["symmetric", "same"]
"""Of convolutions: half a kernel on all sides, or TensorFlow's "same", which puts the odd pixel at the bottom and right."""


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    groups: int = 1,
    bias: bool,
    padding: ConvPadding,
) -> nn.Conv2d:
    """A convolution that divides the map by its stride, rounded up."""
    check_choice("padding", padding, ("symmetric", "same"))
    if padding == "same":
        return SameConv2d(in_channels, out_channels, kernel_size, stride=stride, groups=groups, bias=bias)
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=bias)


@part
class MBConv(nn.Module):
    """Normed, expanded, convolved channel by channel, squeezed and excited, projected, and added to the map (Section 3.3 and Appendix A.1).

    ``(B, in_channels, H, W) -> (B, out_channels, H', W')``, sizes divided by ``stride`` and rounded up. At a stride of 2 the map that is
    added to is averaged, and projected where the channels change.

    Args:
        in_channels, out_channels: channels in and out.
        hidden_dim: channels in between.
        squeezed: hidden channels of the squeeze and excitation.
        stride: of the depthwise convolution, 1 or 2.
        kernel_size: of the depthwise convolution.
        bias: whether the projections to ``out_channels`` have one.
        padding: see :data:`ConvPadding`.
        norm: factory ``channels -> map module``.
        activation: factory, after the first two convolutions.
        squeeze_activation: factory, within squeeze and excitation.
        drop_path: rate.

    Raises:
        ValueError: another stride, other channels at a stride of 1, or an unknown ``padding``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden_dim: int,
        squeezed: int,
        *,
        stride: int = 1,
        kernel_size: int = 3,
        bias: bool = True,
        padding: ConvPadding = "symmetric",
        norm: NormFactory = nn.BatchNorm2d,
        activation: Activation = nn.GELU,
        squeeze_activation: Activation = nn.SiLU,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        _check_stride(stride, in_channels, out_channels)
        conv = partial(convolution, padding=padding)
        self.stride = to_pair(stride, "stride")
        self.skip = nn.Identity() if stride == 1 else pooled(in_channels, out_channels, bias=bias, padding=padding)
        self.branch = nn.Sequential(
            OrderedDict(
                norm=norm(in_channels),
                expand=nn.Conv2d(in_channels, hidden_dim, 1, bias=False),
                norm1=norm(hidden_dim),
                act1=activation(),
                depthwise=conv(hidden_dim, hidden_dim, kernel_size, stride=stride, groups=hidden_dim, bias=False),
                norm2=norm(hidden_dim),
                act2=activation(),
                excite=SqueezeExcite(hidden_dim, hidden=squeezed, activation=squeeze_activation, gate=nn.Sigmoid),
                project=nn.Conv2d(hidden_dim, out_channels, 1, bias=bias),
            )
        )
        self.shortcut = Shortcut(out_channels, drop_path=drop_path)

    def forward(self, image: Tensor) -> Tensor:
        return self.shortcut(self.skip(image), self.branch(image))


@part
class ConvNeXtBlock(nn.Module):
    """Convolved channel by channel, normed, through a feed-forward, and added to the map (ConvNeXt, arXiv:2201.03545, Figure 4).

    ``(B, in_channels, H, W) -> (B, out_channels, H', W')``, sizes divided by ``stride`` and rounded up. At a stride of 2 the map that is
    added to is averaged, and projected where the channels change.

    Args:
        in_channels, out_channels: channels in and out, the latter a multiple of the former.
        stride: of the depthwise convolution, 1 or 2.
        kernel_size: of the depthwise convolution.
        mlp_ratio: hidden width of the feed-forward over the channels out.
        padding: see :data:`ConvPadding`.
        norm: factory of the norm of tokens.
        activation: factory of the feed-forward's activation.
        layer_scale: starting value of a learned scale for each channel; None for none.
        drop_path: rate.

    Raises:
        ValueError: another stride, other channels at a stride of 1, or an unknown ``padding``.
    """

    normed: ClassVar = {"norm": "mlp"}
    shortcuts: ClassVar = {"shortcut": "mlp"}

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        kernel_size: int = 7,
        mlp_ratio: float = 4.0,
        padding: ConvPadding = "symmetric",
        norm: NormFactory = LayerNorm,
        activation: Activation = nn.GELU,
        layer_scale: float | None = 1e-6,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        _check_stride(stride, in_channels, out_channels)
        if out_channels % in_channels:
            raise ValueError(f"out_channels must be a multiple of in_channels={in_channels}, got {out_channels}")
        self.stride = to_pair(stride, "stride")
        self.skip = nn.Identity() if stride == 1 else pooled(in_channels, out_channels, bias=True, padding=padding)
        self.depthwise = convolution(
            in_channels, out_channels, kernel_size, stride=stride, groups=in_channels, bias=True, padding=padding
        )
        self.norm = norm(out_channels)
        self.mlp = Mlp(out_channels, int(out_channels * mlp_ratio), activation=activation)
        self.shortcut = Shortcut(out_channels, layer_scale=layer_scale, drop_path=drop_path)

    def forward(self, image: Tensor) -> Tensor:
        x, grid = to_tokens(self.depthwise(image))
        skip, _ = to_tokens(self.skip(image))
        return to_map(self.shortcut(skip, self.mlp(self.norm(x), grid)), grid)


def _check_stride(stride: int, in_channels: int, out_channels: int) -> None:
    check_choice("stride", stride, (1, 2))
    if stride == 1 and in_channels != out_channels:
        raise ValueError(f"a stride of 1 keeps the channels, got {in_channels} in and {out_channels} out")


def pooled(in_channels: int, out_channels: int, *, bias: bool, padding: ConvPadding) -> nn.Sequential:
    """Means of 2x2 pixels, and other channels where they change."""
    pool = SameAvgPool2d(2) if padding == "same" else nn.AvgPool2d(2, ceil_mode=True)
    expand = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1, bias=bias)
    return nn.Sequential(OrderedDict(pool=pool, expand=expand))
