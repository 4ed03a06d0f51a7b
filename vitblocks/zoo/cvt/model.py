"""CvT: Introducing Convolutions to Vision Transformers (arXiv:2103.15808)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from ...attention import ConvProjectionAttention, SoftmaxAttend
from ...block import Block
from ...checks import check_choice
from ...embed import ConvDownsample, ConvEmbed
from ...feedforward import Activation, Mlp, QuickGELU
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import layer_norm
from ...pool import ClassPool, MeanPool
from ...prefix import ClassToken, PerToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from .configs import CONFIGS
from .layouts import LAYOUTS
from .origins import ORIGINS


@dataclass(frozen=True)
class StageSizes:
    """The sizes of one stage; kernel and stride are those of its embedding."""

    dim: int
    kernel_size: int
    stride: int
    proj_kernel_size: int
    kv_stride: int
    heads: int
    depth: int
    mlp_mult: float
    embed_padding: int | None
    kv_padding: int | None
    qkv_bias: bool

    @property
    def padding(self) -> int:
        """As given, or half of what patches overlap by, rounded up: 2 for a kernel of 7 with stride 4, 1 for 3 with 2, as published."""
        return max(-(-(self.kernel_size - self.stride) // 2), 0) if self.embed_padding is None else self.embed_padding


@part
class CvT(Model):
    """Overlapping convolutional embeddings between stages, convolutional projections of queries, keys and values, no positions.

    The class token joins in the third stage. Initialised as the authors do: Linears a truncated normal of standard deviation 0.02 with
    zero biases, the class token alike, convolutions and the head's bias as PyTorch does. Every image size works from 3 pixels on.

    Args:
        num_classes: 0 for features.
        s1_emb_dim ... s3_emb_dim: channels of each stage.
        s1_emb_kernel, s1_emb_stride ...: of the convolution that embeds patches.
        s1_proj_kernel ...: of the depthwise convolutions before queries, keys and values.
        s1_kv_proj_stride ...: stride of those before keys and values.
        s1_heads, s1_depth ...: attention heads, blocks.
        s1_mlp_mult ...: hidden width of the feed-forward over the channels.
        dropout: after the attention's projection, both Linears of the feed-forward, and the embeddings.
        channels: of the image.
        image_size: what the model is for, an int or a (height, width), if it is for one size: no weight depends on it.
        qkv_bias: whether the projections' Linears have a bias, in all stages or in each of the three.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0 over the third stage; the others have none, as published.
        activation: factory of the feed-forward's activation; the authors' code has QuickGELU, Hugging Face's the exact GELU.
        s1_emb_padding ...: zeros around the map that is embedded; half of what patches overlap by, rounded up, if None.
        s1_kv_proj_padding ...: zeros around the map before keys' and values' convolutions; half their kernel if None.
        pool: ``"cls"`` reads the class token; ``"mean"`` has none, and averages the patches.

    Raises:
        ValueError: a kernel of a projection is even, a ``dim`` does not divide into its heads, ``pool`` is unknown, or ``qkv_bias`` is
            not one for each stage.
    """

    layouts = LAYOUTS
    origins = ORIGINS
    configs = CONFIGS

    def __init__(
        self,
        *,
        num_classes: int,
        s1_emb_dim: int = 64,
        s1_emb_kernel: int = 7,
        s1_emb_stride: int = 4,
        s1_proj_kernel: int = 3,
        s1_kv_proj_stride: int = 2,
        s1_heads: int = 1,
        s1_depth: int = 1,
        s1_mlp_mult: float = 4,
        s2_emb_dim: int = 192,
        s2_emb_kernel: int = 3,
        s2_emb_stride: int = 2,
        s2_proj_kernel: int = 3,
        s2_kv_proj_stride: int = 2,
        s2_heads: int = 3,
        s2_depth: int = 2,
        s2_mlp_mult: float = 4,
        s3_emb_dim: int = 384,
        s3_emb_kernel: int = 3,
        s3_emb_stride: int = 2,
        s3_proj_kernel: int = 3,
        s3_kv_proj_stride: int = 2,
        s3_heads: int = 4,
        s3_depth: int = 10,
        s3_mlp_mult: float = 4,
        dropout: float = 0.0,
        channels: int = 3,
        qkv_bias: bool | Sequence[bool] = True,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        activation: Activation = QuickGELU,
        s1_emb_padding: int | None = None,
        s2_emb_padding: int | None = None,
        s3_emb_padding: int | None = None,
        s1_kv_proj_padding: int | None = None,
        s2_kv_proj_padding: int | None = None,
        s3_kv_proj_padding: int | None = None,
        pool: Literal["cls", "mean"] = "cls",
        image_size: Size | None = None,
    ) -> None:
        check_choice("pool", pool, ("cls", "mean"))
        biases = [qkv_bias] * 3 if isinstance(qkv_bias, bool) else list(qkv_bias)
        if len(biases) != 3:
            raise ValueError(f"qkv_bias must be a bool or one for each of 3 stages, got {qkv_bias}")
        sizes = [
            StageSizes(*row)
            for row in zip(
                (s1_emb_dim, s2_emb_dim, s3_emb_dim),
                (s1_emb_kernel, s2_emb_kernel, s3_emb_kernel),
                (s1_emb_stride, s2_emb_stride, s3_emb_stride),
                (s1_proj_kernel, s2_proj_kernel, s3_proj_kernel),
                (s1_kv_proj_stride, s2_kv_proj_stride, s3_kv_proj_stride),
                (s1_heads, s2_heads, s3_heads),
                (s1_depth, s2_depth, s3_depth),
                (s1_mlp_mult, s2_mlp_mult, s3_mlp_mult),
                (s1_emb_padding, s2_emb_padding, s3_emb_padding),
                (s1_kv_proj_padding, s2_kv_proj_padding, s3_kv_proj_padding),
                biases,
                strict=True,
            )
        ]
        norm = layer_norm(1e-5)

        def blocks(size: StageSizes, drop_path: float = 0.0) -> list[nn.Module]:
            return [
                Block(
                    size.dim,
                    ConvProjectionAttention(
                        size.dim,
                        size.heads,
                        kernel_size=size.proj_kernel_size,
                        kv_stride=size.kv_stride,
                        kv_padding=size.kv_padding,
                        qkv_bias=size.qkv_bias,
                        attend=SoftmaxAttend(scale=size.dim**-0.5, dropout=attn_dropout),
                        dropout=dropout,
                    ),
                    Mlp(size.dim, int(size.dim * size.mlp_mult), activation=activation, dropout=dropout),
                    norm=norm,
                    drop_path=rate,
                )
                for rate in drop_path_schedule(drop_path, size.depth)
            ]

        def transition(before: StageSizes, size: StageSizes) -> nn.Module:
            return ConvDownsample(before.dim, size.dim, size.kernel_size, stride=size.stride, padding=size.padding)

        first, second, third = sizes
        super().__init__(
            embed=ConvEmbed(
                first.kernel_size,
                first.dim,
                channels=channels,
                stride=first.stride,
                padding=first.padding,
                norm=norm(first.dim),
            ),
            stages=[
                Stage([PerToken(nn.Dropout(dropout)), *blocks(first)]),
                Stage([PerToken(nn.Dropout(dropout)), *blocks(second)], transition(first, second)),
                Stage(
                    [
                        *([ClassToken(third.dim)] if pool == "cls" else []),
                        PerToken(nn.Dropout(dropout)),
                        *blocks(third, drop_path),
                    ],
                    transition(second, third),
                ),
            ],
            norm=norm(third.dim),
            pool=ClassPool() if pool == "cls" else MeanPool(),
            head=linear_head(third.dim, num_classes),
            image_size=image_size,
        )
        self.stages.apply(trunc_normal_linear)
        if isinstance(self.head, nn.Linear):
            nn.init.trunc_normal_(self.head.weight, std=0.02)


def _variant(
    dims: Sequence[int], heads: Sequence[int], depths: Sequence[int], drop_path: float, activation: Activation
) -> Variant:
    options: dict[str, object] = {"drop_path": drop_path, "activation": activation}
    for i, (dim, head_count, depth) in enumerate(zip(dims, heads, depths, strict=True), start=1):
        options |= {f"s{i}_emb_dim": dim, f"s{i}_heads": head_count, f"s{i}_depth": depth}
    return Variant(CvT, options)


_SMALL = ((64, 192, 384), (1, 3, 6))
_WIDE = ((192, 768, 1024), (3, 12, 16))


def _published(activation: Activation, name: str) -> Variants:
    """Table 2 of the paper, with the drop path rates of the authors' configurations. No weight depends on the size of the image."""
    return {
        f"cvt_13_{name.format(224)}": _variant(*_SMALL, (1, 2, 10), 0.1, activation),
        f"cvt_13_{name.format(384)}": _variant(*_SMALL, (1, 2, 10), 0.1, activation),
        f"cvt_21_{name.format(224)}": _variant(*_SMALL, (1, 4, 16), 0.1, activation),
        f"cvt_21_{name.format(384)}": _variant(*_SMALL, (1, 4, 16), 0.1, activation),
        f"cvt_w24_{name.format(384)}": _variant(*_WIDE, (2, 2, 20), 0.3, activation),
    }


# Hugging Face's models have the exact GELU; the authors' code, whose configurations are called cvt-13-224x224 and so on, has QuickGELU.
VARIANTS: Variants = {**_published(nn.GELU, "{0}"), **_published(QuickGELU, "{0}x{0}")}
