"""Feed-forwards: what mixes the channels of a token, alone or with its neighbours on the grid."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log2
from typing import ClassVar

from einops import rearrange, reduce
from torch import Tensor, nn

from .grid import Grid, half_kernel, num_prefix, split_prefix, to_map, to_tokens
from .norm import NormFactory, identity_norm
from .prefix import join_prefix
from .registry import part

Activation = Callable[[], nn.Module]
FeedForward = Callable[..., nn.Module]
"""A factory that is called as :class:`Mlp` is, ``(dim, mlp_dim, *, activation, dropout) -> layer``: Mlp or GatedMlp."""

TanhGELU: Activation = partial(nn.GELU, approximate="tanh")
"""GELU by its tanh approximation (arXiv:1606.08415, Section 2), which JAX code uses by default."""


@part
class QuickGELU(nn.Module):
    """GELU by a sigmoid, ``x * sigmoid(1.702 x)`` (arXiv:1606.08415, Section 2), as in the authors' code of CvT."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x * (1.702 * x).sigmoid()


@part
class Mlp(nn.Module):
    """Linear, activation, Linear (arXiv:2010.11929, Section 3.1): ``(B, N, C) -> (B, N, C)``, every token alike.

    Args:
        dim: channels in and out.
        mlp_dim: hidden channels; ``4 * dim`` if None.
        activation: factory of the activation. GELU is the exact one.
        dropout: after the activation and after the second Linear.
        linear: factory ``(in, out) -> module``, nn.Linear or a norm-carrying one such as LinearNorm.
    """

    reads = ("fc1",)
    activated = ("fc1", "act", "fc2")
    writes = "fc2"
    hidden_into = "fc2"
    per_token = True

    def __init__(
        self,
        dim: int,
        mlp_dim: int | None = None,
        *,
        activation: Activation = nn.GELU,
        dropout: float = 0.0,
        linear: Callable[[int, int], nn.Module] = nn.Linear,
    ) -> None:
        super().__init__()
        mlp_dim = 4 * dim if mlp_dim is None else mlp_dim
        self.fc1 = linear(dim, mlp_dim)
        self.act = activation()
        self.dropout1 = nn.Dropout(dropout)
        self.fc2 = linear(mlp_dim, dim)
        self.dropout2 = nn.Dropout(dropout)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return self.dropout2(self.fc2(self.dropout1(self.act(self.fc1(x)))))


@part
class GatedMlp(nn.Module):
    """Gated feed-forward (GLU variants, arXiv:2002.05202, Section 2): ``fc2(act(gate(x)) * fc1(x))``.

    ``mlp_dim`` is ``8/3 * dim`` if None, which costs as much as an :class:`Mlp` of ``4 * dim``. SiLU makes it SwiGLU. ``norm`` is the
    factory of a norm of what ``fc2`` reads (EVA-02, arXiv:2303.11331, Section 2.1), or None.
    """

    reads = ("gate", "fc1")
    writes = "fc2"
    per_token = True
    normed: ClassVar = {"norm": "fc2"}
    hidden_into = "fc2"

    @property
    def activated(self) -> tuple[str, ...] | None:
        return ("gate", "act", "fc2") if isinstance(self.norm, nn.Identity) else None

    def __init__(
        self,
        dim: int,
        mlp_dim: int | None = None,
        *,
        activation: Activation = nn.SiLU,
        dropout: float = 0.0,
        norm: NormFactory | None = None,
    ) -> None:
        super().__init__()
        mlp_dim = 8 * dim // 3 if mlp_dim is None else mlp_dim
        self.gate = nn.Linear(dim, mlp_dim)
        self.fc1 = nn.Linear(dim, mlp_dim)
        self.act = activation()
        self.dropout1 = nn.Dropout(dropout)
        self.norm = nn.Identity() if norm is None else norm(mlp_dim)
        self.fc2 = nn.Linear(mlp_dim, dim)
        self.dropout2 = nn.Dropout(dropout)

    def reset_neutral(self) -> None:
        """Let all through: an :class:`Mlp` of ``gate`` and ``fc2``."""
        nn.init.zeros_(self.fc1.weight)
        nn.init.ones_(self.fc1.bias)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return self.dropout2(self.fc2(self.norm(self.dropout1(self.act(self.gate(x)) * self.fc1(x)))))


@part
class SqueezeExcite(nn.Module):
    """Scale each channel of a map by what the mean map says (SE, arXiv:1709.01507, eq. 3): ``(B, C, H, W)`` kept."""

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 4,
        hidden: int | None = None,
        activation: Activation = nn.ReLU,
        gate: Activation = nn.Hardsigmoid,
    ) -> None:
        """``reduction`` divides the channels for the hidden width, unless ``hidden`` is that. Raises ValueError if nothing is left."""
        super().__init__()
        width = channels // reduction if hidden is None else hidden
        if width < 1:
            what = f"reduction {reduction}" if hidden is None else f"hidden {hidden}"
            raise ValueError(f"{what} leaves nothing of {channels} channels")
        self.fc1 = nn.Linear(channels, width)
        self.act = activation()
        self.fc2 = nn.Linear(width, channels)
        self.gate = gate()

    def forward(self, image: Tensor) -> Tensor:
        scale = self.gate(self.fc2(self.act(self.fc1(reduce(image, "b c h w -> b c", "mean")))))
        return image * rearrange(scale, "b c -> b c 1 1")


@part
class EfficientChannelAttention(nn.Module):
    """Scale each channel by a 1-D convolution over the channel means (ECA, arXiv:1910.03151, eq. 5): ``(B, C, H, W)`` kept."""

    @classmethod
    def for_channels(cls, channels: int, *, gate: Activation = nn.Sigmoid) -> EfficientChannelAttention:
        """With the paper's adaptive kernel for so many channels: gamma 2, b 1, made odd as LocalViT's code does."""
        kernel_size = int(abs(log2(channels) + 1) / 2)
        return cls(kernel_size + (kernel_size + 1) % 2, gate=gate)

    def __init__(self, kernel_size: int = 3, *, gate: Activation = nn.Sigmoid) -> None:
        """Raises ValueError for an even ``kernel_size``."""
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=half_kernel(kernel_size), bias=False)
        self.gate = gate()

    def forward(self, image: Tensor) -> Tensor:
        scale = self.gate(self.conv(reduce(image, "b c h w -> b 1 c", "mean")))
        return image * rearrange(scale, "b 1 c -> b c 1 1")


@part
class ConvFeedForward(nn.Module):
    """Inverted residual as a feed-forward (LocalViT, arXiv:2104.05707, Section 3.2): 1x1, depthwise, 1x1 convolutions, each with BatchNorm.

    Patches are mixed with their neighbours; prefix tokens pass by unchanged: their update is zero.

    Args:
        dim: channels in and out.
        mlp_dim: hidden channels; ``4 * dim`` if None.
        kernel_size: of the depthwise convolution, odd; another raises ValueError.
        activation: after the first two convolutions (ReLU6 or Hardswish in the paper).
        channel_attention: a map -> map module on the ``mlp_dim`` channels before the last convolution
            (:class:`SqueezeExcite`, :class:`EfficientChannelAttention`), or None.
    """

    reads = ("conv1",)
    chained: ClassVar = {"conv1": "norm1", "conv": "norm", "conv2": "norm2"}
    writes = "norm2"
    hidden_into = "conv2"

    def __init__(
        self,
        dim: int,
        mlp_dim: int | None = None,
        *,
        kernel_size: int = 3,
        activation: Activation = nn.Hardswish,
        channel_attention: nn.Module | None = None,
    ) -> None:
        super().__init__()
        mlp_dim = 4 * dim if mlp_dim is None else mlp_dim
        self.conv1 = nn.Conv2d(dim, mlp_dim, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(mlp_dim)
        self.act = activation()
        self.conv = nn.Conv2d(
            mlp_dim, mlp_dim, kernel_size, padding=half_kernel(kernel_size), groups=mlp_dim, bias=False
        )
        self.norm = nn.BatchNorm2d(mlp_dim)
        self.channel_attention = nn.Identity() if channel_attention is None else channel_attention
        self.conv2 = nn.Conv2d(mlp_dim, dim, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(dim)

    def reset_neutral(self) -> None:
        """Mix no neighbours, in evaluation: what is left between the outer convolutions is the activation, twice."""
        nn.init.dirac_(self.conv.weight, groups=self.conv.groups)
        identity_norm(self.norm)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        if num_prefix(x, grid) == x.shape[1]:
            return x.new_zeros(x.shape)
        prefix, patches = split_prefix(x, grid)
        image = self.act(self.norm1(self.conv1(to_map(patches, grid))))
        image = self.act(self.norm(self.conv(image)))
        update, _ = to_tokens(self.norm2(self.conv2(self.channel_attention(image))))
        return join_prefix(prefix.new_zeros(prefix.shape), update)
