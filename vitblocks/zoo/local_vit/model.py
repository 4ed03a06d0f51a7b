"""LocalViT: Bringing Locality to Vision Transformers (arXiv:2104.05707)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from ...attention import GlobalAttention, SoftmaxAttend
from ...block import Chain
from ...embed import ConvEmbed
from ...feedforward import Activation, ConvFeedForward, SqueezeExcite
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import LayerNorm
from ...pool import ClassPool
from ...position import LearnedPosition
from ...prefix import ClassToken, PerToken
from ...registry import Variant, Variants, part
from ...residual import Residual, drop_path_schedule
from ..sizes import patch_grid
from .layouts import LAYOUTS


@part
class LocalViT(Model):
    """DeiT whose feed-forward is an inverted residual: a depthwise convolution lets neighbouring patches meet.

    As in the authors' code the convolutions have no norm before them and are never dropped, and the class token bypasses them, so that
    those of the last block reach the patches alone. Initialised as the authors do: Linears, class token and positions a truncated
    normal of standard deviation 0.02, biases zero; convolutions as PyTorch's. Other image sizes than ``image_size`` work: positions are
    resized.

    Args:
        image_size, patch_size: an int or a (height, width).
        num_classes: 0 for features.
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden channels of the convolutions.
        channels: of the image.
        dropout: after the attention's projection.
        emb_dropout: after the positions.
        attn_dropout: on the attention weights.
        drop_path: of the last block's attention, rising linearly from 0.
        qkv_bias: whether the qkv projection has a bias.
        activation: factory of the activation after the first two convolutions: Hardswish, or ReLU6.
        channel_attention: factory ``channels -> map module`` of what weighs the hidden channels (:class:`SqueezeExcite`,
            :meth:`EfficientChannelAttention.for_channels`), or None for none.

    Raises:
        ValueError: ``image_size`` does not divide into patches, or ``dim`` not into heads.
    """

    layouts = LAYOUTS

    def __init__(
        self,
        *,
        image_size: Size,
        patch_size: Size,
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        qkv_bias: bool = True,
        activation: Activation = nn.Hardswish,
        channel_attention: Callable[[int], nn.Module] | None = SqueezeExcite,
    ) -> None:
        blocks = [
            Chain(
                attn=Residual(
                    dim,
                    GlobalAttention(
                        dim, heads, qkv_bias=qkv_bias, attend=SoftmaxAttend(dropout=attn_dropout), dropout=dropout
                    ),
                    drop_path=rate,
                ),
                conv=Residual(
                    dim,
                    ConvFeedForward(
                        dim,
                        mlp_dim,
                        activation=activation,
                        channel_attention=None if channel_attention is None else channel_attention(mlp_dim),
                    ),
                    norm=nn.Identity,
                ),
            )
            for rate in drop_path_schedule(drop_path, depth)
        ]
        position = LearnedPosition(dim, patch_grid(image_size, patch_size), num_prefix=1)
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels),
            stages=[Stage([ClassToken(dim), position, PerToken(nn.Dropout(emb_dropout)), *blocks])],
            norm=LayerNorm(dim),
            pool=ClassPool(),
            head=linear_head(dim, num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)


def _variant(dim: int, heads: int, mlp_ratio: int, **parts: Any) -> Variant:
    sizes = {"image_size": 224, "patch_size": 16, "dim": dim, "depth": 12, "heads": heads, "mlp_dim": mlp_ratio * dim}
    return Variant(LocalViT, {**sizes, **parts})


# The models of the authors' code; the names say the feed-forward's expansion, its activation and the reduction of its squeeze.
VARIANTS: Variants = {
    "localvit_tiny_mlp6_relu6": _variant(192, 4, 6, activation=nn.ReLU6, channel_attention=None),
    "localvit_tiny_mlp4_se_r4": _variant(192, 4, 4, channel_attention=partial(SqueezeExcite, reduction=4)),
    "localvit_tiny_mlp4_se_r192": _variant(192, 4, 4, channel_attention=partial(SqueezeExcite, reduction=192)),
    "localvit_small_mlp4_se_r384": _variant(384, 8, 4, channel_attention=partial(SqueezeExcite, reduction=384)),
}
